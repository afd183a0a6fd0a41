//! Tells the library whether it is optimised in full, which no built-in `cfg` does. What is not, uses
//! more of the stack, and `crypto::stack_wipe` wipes more.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(zmtp_auth_optimised)");
    if std::env::var_os("OPT_LEVEL").is_some_and(|level| level == "3") {
        println!("cargo::rustc-cfg=zmtp_auth_optimised");
    }
}

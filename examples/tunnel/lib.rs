//! The example of a tunnel: `cargo run --example tunnel`. It has a package of its own, since it needs
//! the sockets of another crate. This library is empty: cargo wants one next to examples.
#![forbid(unsafe_code)]

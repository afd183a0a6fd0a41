//! Makes certificates for a server and a client: `public_keys` with a `.key` file for each side, and
//! `private_keys` with the `.key_secret` files. Existing files are not overwritten. An argument names
//! the directory to write to; the default is the current one.
//!
//! `cargo run --example generate_certificates -- /tmp/certificates`

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use zmtp_auth::cert::create_certificates;

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args_os()
        .nth(1)
        .map_or_else(|| ".".into(), PathBuf::from);
    let public_keys = base.join("public_keys");
    let private_keys = base.join("private_keys");
    fs::create_dir_all(&public_keys)?;
    fs::create_dir_all(&private_keys)?;
    for name in ["server", "client"] {
        let moved = public_keys.join(format!("{name}.key"));
        if moved.exists() {
            return Err(format!("{} exists already", moved.display()).into());
        }
        let (public, secret) = create_certificates(&private_keys, name, &[])?;
        fs::rename(public, &moved)?;
        println!("{}\n{}", moved.display(), secret.display());
    }
    Ok(())
}

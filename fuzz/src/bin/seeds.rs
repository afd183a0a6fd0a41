//! Writes every seed of every target below a directory: `seeds DIR`. `fuzz-all` starts from them.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use zmtp_auth_fuzz::{TARGETS, seeds};

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: seeds DIR");
        std::process::exit(2);
    };
    for (target, _) in TARGETS {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        for (name, seed) in seeds::honest(target) {
            fs::write(folder.join(name), seed)?;
        }
        for (number, seed) in seeds::recorded(target).iter().enumerate() {
            fs::write(folder.join(format!("recorded-{number}")), seed)?;
        }
    }
    Ok(())
}

//! Where the test environment has its pyzmq, and the shared libraries that came with it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python that has pyzmq.
pub fn python() -> PathBuf {
    std::env::var_os("ZMTP_AUTH_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop-venv/bin/python"),
        PathBuf::from,
    )
}

/// The wheel's libsodium.
pub fn sodium() -> PathBuf {
    library("libsodium")
}

/// The wheel's libzmq.
pub fn zmq() -> PathBuf {
    library("libzmq")
}

/// The library of the wheel whose file name begins with `name`. A wheel has its libraries in a folder
/// next to the package.
fn library(name: &str) -> PathBuf {
    let python = python();
    let found = Command::new(&python)
        .args(["-c", "import zmq; print(zmq.__path__[0])"])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; run ./test once, or set ZMTP_AUTH_PYTHON",
                python.display()
            )
        });
    assert!(found.status.success(), "{} has no pyzmq", python.display());
    let package = String::from_utf8(found.stdout).expect("a path in UTF-8");
    let folder = Path::new(package.trim()).with_file_name("pyzmq.libs");
    std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
        .unwrap_or_else(|| panic!("{} has no {name}", folder.display()))
}

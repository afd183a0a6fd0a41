//! Where the test environment has its pyzmq, and the shared libraries that came with it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that is not there, and how to get it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{problem}; run ./test once, which installs pyzmq with its libraries, or let ZMTP_AUTH_PYTHON name a \
     Python that has pyzmq from its wheel"
)]
pub struct Missing {
    problem: String,
}

impl Missing {
    pub(crate) fn new(problem: String) -> Self {
        Self { problem }
    }
}

/// The Python that has pyzmq: the one that `ZMTP_AUTH_PYTHON` names, or the one that `./test` prepares.
#[must_use]
pub fn python() -> PathBuf {
    std::env::var_os("ZMTP_AUTH_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop-venv/bin/python"),
        PathBuf::from,
    )
}

/// The wheel's libsodium.
///
/// # Errors
/// Returns [`Missing`] if there is no Python with pyzmq, or no libsodium in its wheel.
pub fn sodium() -> Result<PathBuf, Missing> {
    library("libsodium")
}

/// The wheel's libzmq.
///
/// # Errors
/// Returns [`Missing`] if there is no Python with pyzmq, or no libzmq in its wheel.
pub fn zmq() -> Result<PathBuf, Missing> {
    library("libzmq")
}

/// The library of the wheel whose file name begins with `name`. A wheel has its libraries in a folder
/// next to the package.
fn library(name: &str) -> Result<PathBuf, Missing> {
    const PACKAGE: &str = "from importlib.util import find_spec
print(find_spec('zmq').submodule_search_locations[0])";

    let python = python();
    let found = Command::new(&python)
        .args(["-c", PACKAGE])
        .output()
        .map_err(|error| Missing::new(format!("{}: {error}", python.display())))?;
    if !found.status.success() {
        return Err(Missing::new(format!("{} has no pyzmq", python.display())));
    }
    let package = String::from_utf8_lossy(&found.stdout);
    let folder = Path::new(package.trim()).with_file_name("pyzmq.libs");
    let files = std::fs::read_dir(&folder)
        .map_err(|error| Missing::new(format!("{}: {error}", folder.display())))?;
    let mut paths = files.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|file| file.to_string_lossy().starts_with(name))
    };
    paths
        .find(is_it)
        .ok_or_else(|| Missing::new(format!("{} has no {name}", folder.display())))
}

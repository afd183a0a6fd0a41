//! A directory for the files that targets load.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory for this thread, in memory if the system has such a place.
pub struct Scratch(tempfile::TempDir);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

impl Scratch {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self(dir.expect("a temporary directory"))
    }

    /// Runs `use_it` with this thread's directory.
    pub fn with<T>(use_it: impl FnOnce(&Self) -> T) -> T {
        SCRATCH.with_borrow(use_it)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, replacing an old one.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("the file is ours");
        path
    }

    /// Removes files if they exist.
    pub fn clear(&self, names: &[&str]) {
        for name in names {
            let _ = fs::remove_file(self.path().join(name));
        }
    }
}

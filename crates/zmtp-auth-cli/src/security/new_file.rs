//! Files that are new, whole, and readable by their owner alone.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Creates `path`, which must not exist, and writes `content` to it. On unix only its owner may
/// read it, from the first moment on. What could not be written whole is removed.
pub(crate) fn create_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open_new(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // The first failure is the one to tell.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Creates `path`, which must not exist, empty. On unix only its owner may read it.
pub(crate) fn open_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

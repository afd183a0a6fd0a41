//! Creates new files that only their owner can read.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Creates `path`, which must not exist, and writes `content` to it. On unix only the owner can read
/// the file, from its creation on. If writing fails, the file is removed.
pub(crate) fn create_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open_new(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // The failed write is reported, not a failure to clean up.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Creates the empty file `path`, which must not exist. On unix only the owner can read it.
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

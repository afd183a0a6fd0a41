//! Opens files that may hold secrets: regular ones alone.
#![forbid(unsafe_code)]

use crate::cert::problem::FileFailure;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// A regular file, open for reading.
pub(crate) struct RegularFile {
    pub(crate) file: File,
    /// Bytes in it, by its metadata.
    pub(crate) len: u64,
    /// Permission bits, if others than the owner have any; `None` where there are no such bits.
    pub(crate) loose_mode: Option<u32>,
}

/// Why a file was not opened.
pub(crate) enum NotOpened {
    Unreadable(FileFailure),
    /// A directory, pipe, socket or device.
    NotAFile,
}

/// Opens a regular file; symbolic links are followed.
pub(crate) fn open(path: &Path) -> Result<RegularFile, NotOpened> {
    let unreadable = |error: io::Error| NotOpened::Unreadable((&error).into());
    // Before opening: to open a device may act on it. After opening: the path may lead elsewhere
    // by now.
    require_file(&fs::metadata(path).map_err(unreadable)?)?;
    let file = options().open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    require_file(&metadata)?;
    Ok(RegularFile {
        file,
        len: metadata.len(),
        loose_mode: loose_mode(&metadata),
    })
}

/// Options that wait neither for the writer of a pipe nor for a device, and make no terminal that
/// of this process. They change nothing for a regular file.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    options
}

fn require_file(metadata: &Metadata) -> Result<(), NotOpened> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(NotOpened::NotAFile)
    }
}

#[cfg(unix)]
fn loose_mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn loose_mode(_: &Metadata) -> Option<u32> {
    None
}

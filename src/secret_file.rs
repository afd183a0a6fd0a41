//! Reads files that may hold secrets: regular files only, up to a limit, into memory that is wiped.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error as ThisError;
use zeroize::Zeroizing;

/// Why a certificate, password file or policy file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The file or directory cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] OsError),
    /// A directory, pipe, socket or device.
    #[error("is not a regular file")]
    NotAFile,
    /// The file is larger than its kind may be.
    #[error("is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes that a file of this kind may have.
        limit: usize,
    },
    /// The file grew while it was read, so its end is missing.
    #[error("grew while it was read")]
    Growing,
}

impl From<io::Error> for FileErrorKind {
    fn from(error: io::Error) -> Self {
        Self::Unreadable((&error).into())
    }
}

/// A failure of the operating system: an [`io::Error`] that can be compared and cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OsError {
    /// The kind of failure.
    pub kind: io::ErrorKind,
    /// The system's error number.
    pub os_error: Option<i32>,
}

impl From<&io::Error> for OsError {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            os_error: error.raw_os_error(),
        }
    }
}

impl std::error::Error for OsError {}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.os_error {
            Some(number) => io::Error::from_raw_os_error(number).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// A file that was read.
pub(crate) struct SecretFile {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// The permission bits, if users other than the owner have any. `None` on systems without such
    /// bits.
    pub(crate) loose_mode: Option<u32>,
    /// What the system said about the open file before its content was read.
    pub(crate) metadata: Metadata,
}

/// Reads a regular file of at most `limit` bytes. Symbolic links are followed.
///
/// # Errors
/// Returns [`FileErrorKind`] if the file cannot be opened or read, is not a regular file, is larger
/// than `limit` bytes, or grows while it is read.
pub(crate) fn read(path: &Path, limit: usize) -> Result<SecretFile, FileErrorKind> {
    read_opened(open(path)?, limit)
}

/// As [`read`], for a file that a listing of its directory has just called regular. It saves a look.
///
/// # Errors
/// Returns the errors of [`read`].
pub(crate) fn read_listed(path: &Path, limit: usize) -> Result<SecretFile, FileErrorKind> {
    let opened = open_listed(path).or_else(|_| open(path))?;
    read_opened(opened, limit)
}

fn read_opened(
    (mut file, metadata): (File, Metadata),
    limit: usize,
) -> Result<SecretFile, FileErrorKind> {
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if expected > limit {
        return Err(FileErrorKind::TooLarge { limit });
    }
    // The whole buffer is allocated at once, because a buffer that grows leaves copies of the
    // secret behind. One byte more than expected shows that the file has grown.
    let mut content = Zeroizing::new(vec![0; expected + 1]);
    let mut len = 0;
    // A read that had room for more than the file had has reached its end.
    let mut is_end = false;
    while !is_end && len < content.len() {
        match file.read(&mut content[len..]) {
            Ok(count) => {
                len += count;
                is_end = count == 0 || len == expected;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if len > expected {
        return Err(FileErrorKind::Growing);
    }
    content.truncate(len);
    Ok(SecretFile {
        content,
        loose_mode: loose_mode(&metadata),
        metadata,
    })
}

/// The warning about a file with passwords on which users other than its owner have permissions.
pub(crate) fn open_to_others(path: &Path, mode: u32) -> String {
    format!("{path:?} holds passwords and is open to others than its owner (mode {mode:03o})")
}

/// Opens a regular file.
fn open(path: &Path) -> Result<(File, Metadata), FileErrorKind> {
    // The check before opening matters because opening a device may act on it. The check after
    // opening matters because the path may lead elsewhere by then.
    require_file(&fs::metadata(path)?)?;
    regular(options(0).open(path)?)
}

/// Opens a file that was regular a moment ago. A link that has replaced it since is not followed, since
/// it may lead to a device; only a user with all rights can put a device itself there.
#[cfg(unix)]
fn open_listed(path: &Path) -> Result<(File, Metadata), FileErrorKind> {
    regular(options(libc::O_NOFOLLOW).open(path)?)
}

/// Other systems have no such flag.
#[cfg(not(unix))]
fn open_listed(path: &Path) -> Result<(File, Metadata), FileErrorKind> {
    open(path)
}

/// A file that was opened, if it is regular.
fn regular(file: File) -> Result<(File, Metadata), FileErrorKind> {
    let metadata = file.metadata()?;
    require_file(&metadata)?;
    Ok((file, metadata))
}

/// Options for opening, with more flags on unix. They change nothing for a regular file. With them,
/// opening does not wait for the writer of a pipe or for a device, and does not make a terminal the
/// controlling terminal of this process.
#[cfg_attr(not(unix), allow(unused_variables))]
fn options(more: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | more);
    }
    options
}

fn require_file(metadata: &Metadata) -> Result<(), FileErrorKind> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(FileErrorKind::NotAFile)
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_more_in_it_than_its_length_says_is_growing() {
        // The kernel reports a length of 0 for this file.
        let read = read(Path::new("/proc/self/status"), 1024);
        assert!(matches!(read, Err(FileErrorKind::Growing)));
    }
}

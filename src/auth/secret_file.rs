//! Files with secrets: read whole, bounded, into memory that is wiped.
#![forbid(unsafe_code)]

use crate::cert::problem::FileFailure;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Unreadable(FileFailure),
    /// A directory, pipe, socket or device.
    NotAFile,
    TooLarge,
    /// It grew while it was read, so that its end would be missing.
    Growing,
}

/// A file that was read.
pub(crate) struct SecretFile {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// Permission bits, if others than the owner have any; `None` where there are no such bits.
    pub(crate) loose_mode: Option<u32>,
}

/// Reads a regular file of at most `most` bytes; symbolic links are followed.
pub(crate) fn read(path: &Path, most: usize) -> Result<SecretFile, Unusable> {
    let unreadable = |error: io::Error| Unusable::Unreadable((&error).into());
    // Before opening: to open a pipe would wait for its writer. After opening: the path may lead
    // elsewhere by now.
    require_file(&fs::metadata(path).map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    require_file(&metadata)?;
    // Allocated at once, since a buffer that grew would leave copies behind.
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if expected > most {
        return Err(Unusable::TooLarge);
    }
    let mut content = Zeroizing::new(Vec::with_capacity(expected + 1));
    file.take(expected as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() > expected {
        return Err(Unusable::Growing);
    }
    Ok(SecretFile {
        content,
        loose_mode: loose_mode(&metadata),
    })
}

fn require_file(metadata: &fs::Metadata) -> Result<(), Unusable> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Unusable::NotAFile)
    }
}

#[cfg(unix)]
fn loose_mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn loose_mode(_: &fs::Metadata) -> Option<u32> {
    None
}

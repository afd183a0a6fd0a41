//! Files with secrets: read whole, bounded, into memory that is wiped.
#![forbid(unsafe_code)]

use crate::cert::problem::FileFailure;
use crate::cert::regular_file::{self, NotOpened, RegularFile};
use std::io::Read;
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
    let RegularFile {
        file,
        len,
        loose_mode,
    } = regular_file::open(path)?;
    // Allocated at once, since a buffer that grew would leave copies behind.
    let expected = usize::try_from(len).unwrap_or(usize::MAX);
    if expected > most {
        return Err(Unusable::TooLarge);
    }
    let mut content = Zeroizing::new(Vec::with_capacity(expected + 1));
    file.take(expected as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| Unusable::Unreadable((&error).into()))?;
    if content.len() > expected {
        return Err(Unusable::Growing);
    }
    Ok(SecretFile {
        content,
        loose_mode,
    })
}

impl From<NotOpened> for Unusable {
    fn from(not_opened: NotOpened) -> Self {
        match not_opened {
            NotOpened::Unreadable(failure) => Self::Unreadable(failure),
            NotOpened::NotAFile => Self::NotAFile,
        }
    }
}

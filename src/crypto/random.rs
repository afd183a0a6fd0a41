//! Where randomness comes from, as a parameter: tests replace it, so that a handshake is
//! reproducible to the byte.
#![forbid(unsafe_code)]

use crate::error::LocalError;
use std::fmt;
use zeroize::Zeroizing;

/// A source of unpredictable bytes.
///
/// Replacing the default is only for tests and vectors, through
/// `Dangerous::with_random`: an attacker who can predict the source reads all traffic.
pub trait RandomSource: Send + Sync {
    /// Fills `buffer` completely.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the source fails; `buffer` must not be used then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError>;
}

impl fmt::Debug for dyn RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSource")
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        getrandom::fill(buffer).map_err(|_| LocalError::Random)
    }
}

/// `N` fresh bytes.
///
/// # Errors
/// [`LocalError::Random`] if the source fails.
pub(crate) fn array<const N: usize>(source: &dyn RandomSource) -> Result<[u8; N], LocalError> {
    let mut bytes = [0; N];
    source.fill(&mut bytes)?;
    Ok(bytes)
}

/// Most bytes that [`fill_each`] takes at once.
const AT_ONCE: usize = 128;

/// Fills all of `parts`, in order, from one read of the source: a system call costs much more than
/// its bytes.
///
/// # Errors
/// [`LocalError::Random`] if the source fails, or if there is more to fill than [`AT_ONCE`].
pub(crate) fn fill_each<const N: usize>(
    source: &dyn RandomSource,
    parts: [&mut [u8]; N],
) -> Result<(), LocalError> {
    let total = parts.iter().map(|part| part.len()).sum();
    let mut drawn = Zeroizing::new([0; AT_ONCE]);
    let mut drawn = drawn.get_mut(..total).ok_or(LocalError::Random)?;
    source.fill(drawn)?;
    for part in parts {
        let (now, rest) = drawn.split_at_mut(part.len());
        part.copy_from_slice(now);
        drawn = rest;
    }
    Ok(())
}

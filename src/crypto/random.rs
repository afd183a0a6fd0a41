//! The source of randomness as a parameter. Tests replace it, so that a handshake is reproducible
//! byte for byte.
#![forbid(unsafe_code)]

use crate::error::LocalError;
use std::fmt;
use zeroize::Zeroizing;

/// A source of unpredictable bytes.
///
/// Replace the default only for tests and vectors, through `Dangerous::with_random`. An attacker
/// who can predict the source can read all traffic.
pub trait RandomSource: Send + Sync {
    /// Fills `buffer` completely.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the source fails. `buffer` must not be used then.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError>;
}

impl fmt::Debug for dyn RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSource")
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no state, and programs name it as a value"
)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        getrandom::fill(buffer).map_err(|_| LocalError::Random)
    }
}

/// Draws `N` fresh bytes.
///
/// # Errors
/// Returns [`LocalError::Random`] if the source fails.
pub(crate) fn array<const N: usize>(source: &dyn RandomSource) -> Result<[u8; N], LocalError> {
    let mut bytes = [0; N];
    source.fill(&mut bytes)?;
    Ok(bytes)
}

/// Most bytes that [`fill_each`] fills at once. More than any handshake step draws.
const AT_ONCE: usize = 128;

/// Fills all of `parts`, in order, from one read of the source, because a system call costs much
/// more than its bytes.
///
/// # Errors
/// Returns [`LocalError::Random`] if the source fails, or if there is more to fill than
/// [`AT_ONCE`].
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

//! An error and its causes on one line.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

/// Shows an error and its causes on one line, separated by colons.
///
/// The errors of this crate do not repeat their cause in their own text. A log line or a message for
/// a person usually needs both:
///
/// ```
/// use zmtp_auth::{CryptoError, Error, WithCauses};
///
/// let error = Error::from(CryptoError::ReplayedNonce);
/// assert!(WithCauses(&error).to_string().ends_with("a nonce was used again"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WithCauses<'a>(
    /// The error.
    pub &'a (dyn Error + 'static),
);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

//! An error and its causes on one line.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

/// Shows an error and its causes on one line, separated by colons.
///
/// The errors of this crate do not repeat their cause in their own text. A log line or a message for
/// a person usually needs both. A cause is left out if the text before it ends with it already,
/// because errors of other crates may show their cause themselves.
///
/// ```
/// use zmtp_auth::{CryptoError, Error, WithCauses};
///
/// let error = Error::from(CryptoError::ReplayedNonce);
/// assert!(WithCauses(&error).to_string().ends_with("a nonce was used again"));
/// ```
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "programs wrap an error in it")]
pub struct WithCauses<'a>(
    /// The error.
    pub &'a (dyn Error + 'static),
);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&line)
    }
}

//! An error and its causes on one line.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;

/// Shows an error and its causes on one line, separated by colons.
///
/// The errors of this crate do not repeat their cause in their own text. A log line or a message for
/// a person usually needs both. A cause is left out if the line equals it, or ends with a colon
/// and the cause, because errors of other crates may show their cause themselves.
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
            let before = line.strip_suffix(&text);
            let is_shown = before.is_some_and(|before| before.is_empty() || before.ends_with(": "));
            if !is_shown {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error as ThisError;

    #[derive(Debug, ThisError)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] Inner);

    #[derive(Debug, ThisError)]
    #[error("refused")]
    struct Inner;

    #[test]
    fn a_cause_is_left_out_only_if_the_line_ends_with_it_after_a_colon() {
        for (outer, line) in [
            ("the peer was refused", "the peer was refused: refused"),
            ("cannot connect: refused", "cannot connect: refused"),
            ("refused", "refused"),
            ("cannot connect", "cannot connect: refused"),
        ] {
            assert_eq!(WithCauses(&Outer(outer, Inner)).to_string(), line);
        }
    }
}

//! Problems of watched directories and files.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::with_causes::WithCauses;
use std::fmt;

/// A problem of a watched directory or file. It is not an error: `Display` shows it whole,
/// with the causes of the error that it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadIssue {
    /// This certificate is not valid and is left out.
    Certificate(CertificateError),
    /// A file of the directory holds a secret key, whether it is loaded or not: a
    /// [`CertificateWarning::SecretInPublic`].
    Secret(CertificateWarning),
    /// The directory is absent or cannot be read. It admits no peer.
    DirectoryGone(CertificateError),
    /// The password file is absent or cannot be read. It admits no peer.
    FileGone(PasswordFileError),
    /// The password file has a line that is not valid. Its users before the change stay in force.
    FileKept(PasswordFileError),
    /// Reading takes longer than
    /// [`ReloadSettings::read_timeout`](crate::auth::ReloadSettings::read_timeout), for example
    /// because a network file system hangs. What was read before stays in force. Another event
    /// follows when the reading ends.
    Hangs,
}

impl fmt::Display for ReloadIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => write!(f, "left out: {}", WithCauses(error)),
            Self::Secret(warning) => warning.fmt(f),
            Self::DirectoryGone(error) => write!(f, "no peer is admitted: {}", WithCauses(error)),
            Self::FileGone(error) => write!(f, "no peer is admitted: {}", WithCauses(error)),
            Self::FileKept(error) => write!(
                f,
                "not loaded, and the users before the change stay in force: {}",
                WithCauses(error)
            ),
            Self::Hangs => f.write_str(
                "the system does not answer a read, so what was read before stays in force",
            ),
        }
    }
}

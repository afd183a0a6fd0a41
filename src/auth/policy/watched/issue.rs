//! What can be wrong with a watched directory or file.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::{CertificateError, CertificateWarning};
use thiserror::Error;

/// What is wrong with a directory or file that is loaded again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReloadIssue {
    /// This certificate does not count.
    #[error("left out: {0}")]
    Certificate(CertificateError),
    /// A file of the directory holds a secret key, whether it counts or not: a
    /// [`CertificateWarning::SecretInPublic`].
    #[error("{0}")]
    Secret(CertificateWarning),
    /// The directory is absent or unreadable: it admits nobody.
    #[error("admits nobody: {0}")]
    DirectoryGone(CertificateError),
    /// The password file is absent or unreadable: it admits nobody.
    #[error("admits nobody: {0}")]
    FileGone(PasswordFileError),
    /// The password file has a bad line: what it held before stays in force.
    #[error("not loaded, what was there before stays: {0}")]
    FileKept(PasswordFileError),
    /// Reading takes longer than [`ReloadSettings::patience`](crate::auth::ReloadSettings::patience),
    /// as it does where a network file system hangs: what was read before stays in force. Another
    /// event tells when the reading has come to its end.
    #[error("cannot be read: the system does not answer, what was there before stays")]
    Hangs,
}

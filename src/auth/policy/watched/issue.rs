//! Problems of watched directories and files.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::with_causes::WithCauses;
use thiserror::Error;

/// A problem of a watched directory or file. It is written for logs: `Display` shows all causes, and
/// there is no `source()`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReloadIssue {
    /// This certificate is not valid and is left out.
    #[error("left out: {}", WithCauses(.0))]
    Certificate(CertificateError),
    /// A file of the directory holds a secret key, whether it is loaded or not: a
    /// [`CertificateWarning::SecretInPublic`].
    #[error("{0}")]
    Secret(CertificateWarning),
    /// The directory is absent or cannot be read. It admits no peer.
    #[error("no peer is admitted: {}", WithCauses(.0))]
    DirectoryGone(CertificateError),
    /// The password file is absent or cannot be read. It admits no peer.
    #[error("no peer is admitted: {}", WithCauses(.0))]
    FileGone(PasswordFileError),
    /// The password file has a line that is not valid. Its users before the change stay in force.
    #[error("not loaded, and the users before the change stay in force: {}", WithCauses(.0))]
    FileKept(PasswordFileError),
    /// Reading takes longer than
    /// [`ReloadSettings::read_timeout`](crate::auth::ReloadSettings::read_timeout), for example
    /// because a network file system hangs. What was read before stays in force. Another event
    /// follows when the reading ends.
    #[error("the system does not answer a read, so what was read before stays in force")]
    Hangs,
}

//! What is told of files that are loaded again.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::{CertificateError, CertificateWarning};
use std::path::PathBuf;
use thiserror::Error;

/// A change on disk that came into force, or that keeps one from it. Which keys and users it has
/// added, changed and removed is told by [`AuditEvents`](crate::auth::AuditEvents) and in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadEvent {
    /// The domain that is ruled by it.
    pub domain: Domain,
    /// The directory or file.
    pub path: PathBuf,
    /// Keys or users in force now.
    pub admitted: usize,
    /// What is wrong. Empty: all is well.
    pub troubles: Vec<ReloadIssue>,
    /// Files of a directory that are no certificates by their names.
    pub passed_over: Vec<PathBuf>,
}

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

impl ReloadEvent {
    pub(crate) fn log(&self) {
        let (domain, path) = (&self.domain, &self.path);
        tracing::info!(%domain, ?path, admitted = self.admitted, "loaded again");
        for trouble in &self.troubles {
            tracing::warn!(%domain, ?path, "loaded again: {trouble}");
        }
    }
}

//! Why a policy file cannot be used: where, and the reason.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::CertificateError;
use crate::secret_file::{FileError, FileFailure};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Most bytes in a policy file. 1 MiB: longer lists of users or keys have files of their own.
pub(super) const MAX_FILE_LEN: usize = 1024 * 1024;

/// Why a policy file cannot be used. Nothing of it is in force then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFileError {
    /// The file; `None` for settings that were made in Rust.
    pub file: Option<PathBuf>,
    /// Line and column, counted from 1 and the column in characters, if the reason lies at one
    /// place.
    pub at: Option<(usize, usize)>,
    /// The section or value that the reason lies in, such as `domain.billing.curve`; empty if it
    /// lies in the whole file, or [`PolicyFileError::at`] says more.
    pub place: String,
    /// What is wrong.
    pub reason: PolicyFileErrorKind,
}

impl fmt::Display for PolicyFileError {
    /// Paths and names are shown escaped, so that neither can forge a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "policy file {file:?}")?,
            None => f.write_str("policy")?,
        }
        if let Some((line, column)) = self.at {
            write!(f, ", line {line}, column {column}")?;
        }
        if !self.place.is_empty() {
            write!(f, ", {}", self.place)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for PolicyFileError {}

/// What is wrong with a policy file. No variant holds or shows a password.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PolicyFileErrorKind {
    /// The file is not read. It may have 1 MiB.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file, or one that it names, was another at each of several readings: see
    /// [`Authenticator::reload_policy`](crate::auth::Authenticator::reload_policy).
    #[error("keeps changing, also in what it names: replace a file by renaming a whole one")]
    KeepsChanging,
    /// Another explicit call has come into force since the policy began to be loaded, or a policy
    /// that began to be loaded later: see
    /// [`Authenticator::load_policy`](crate::auth::Authenticator::load_policy).
    #[error("another call has changed the policy meanwhile, which stays in force: load it again")]
    Overtaken,
    /// The file is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The text is no TOML, has a key that no policy has, or a value that its key cannot have.
    #[error("{0}")]
    Toml(String),
    /// `allow` and `deny` in one place.
    #[error("use either allow or deny, not both")]
    BothLists,
    /// An `allow` without addresses.
    #[error("an empty list of allowed addresses would admit nobody: leave it out to allow all")]
    NobodyAllowed,
    /// `inherit` in `*`, which has nothing to inherit from.
    #[error("\"*\" is what others inherit from, and cannot inherit itself")]
    NothingToInherit,
    /// `validity` where there are no keys whose validity it could be.
    #[error("validity needs curve = {{ certificates = .. }} or {{ keys = .. }} beside it")]
    ValidityOfNothing,
    /// `layout` where there is no directory of certificates.
    #[error("layout needs curve = {{ certificates = .. }} beside it")]
    LayoutOfNothing,
    /// `reload` where there is nothing to load again.
    #[error("reload needs curve = {{ certificates = .. }} or plain = {{ file = .. }} beside it")]
    ReloadOfNothing,
    /// `reload` in a build without feature `reload`.
    #[error("reload needs a build with feature \"reload\"")]
    ReloadNotBuilt,
    /// The password file of a domain.
    #[error(transparent)]
    PasswordFile(Box<PasswordFileError>),
    /// The directory of certificates of a domain.
    #[error(transparent)]
    Certificates(Box<CertificateError>),
    /// The system has no randomness for the key that passwords are hashed under.
    #[error("the random source failed")]
    Random,
    /// The system has no thread that could load files again.
    #[error("no thread to load files again: {0}")]
    Thread(FileFailure),
}

impl From<PasswordFileError> for PolicyFileErrorKind {
    fn from(error: PasswordFileError) -> Self {
        Self::PasswordFile(Box::new(error))
    }
}

impl From<CertificateError> for PolicyFileErrorKind {
    fn from(error: CertificateError) -> Self {
        Self::Certificates(Box::new(error))
    }
}

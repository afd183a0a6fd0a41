//! Errors of policy files, with the place of the fault.
#![forbid(unsafe_code)]

use crate::access::topics::TopicPermissionError;
use crate::auth::policy::curve::row::CurveKeyError;
use crate::auth::policy::password_file::PasswordFileError;
use crate::cert::problem::CertificateError;
use crate::secret_file::{FileErrorKind, OsError};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Maximum length of a policy file in bytes. 1 MiB: longer lists of users or keys belong in files of
/// their own.
pub(super) const MAX_FILE_LEN: usize = 1024 * 1024;

/// Why a policy file cannot be used. No part of it is then in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFileError {
    /// The file; `None` for settings that were created in Rust.
    pub file: Option<PathBuf>,
    /// Line and column, counted from 1, the column in characters; `None` if the fault is not at one
    /// place.
    pub at: Option<(usize, usize)>,
    /// The section or value with the fault, such as `domain.billing.curve`; empty if the fault is in
    /// the file as a whole, or [`PolicyFileError::at`] is set.
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

impl std::error::Error for PolicyFileError {
    /// The cause of [`PolicyFileError::reason`], whose own text `Display` shows.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// What is wrong with a policy file. No variant holds or shows a password.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PolicyFileErrorKind {
    /// The file cannot be read, or is larger than 1 MiB.
    #[error(transparent)]
    File(#[from] FileErrorKind),
    /// The file, or a file that it names, was different at each of several readings: see
    /// `Authenticator::reload_policy` (feature `reload`).
    #[error(
        "the file or one that it names keeps changing: replace a file by renaming a complete one"
    )]
    KeepsChanging,
    /// Another explicit call has come into force since this load began, or a policy whose load began
    /// later: see [`Authenticator::load_policy`](crate::auth::Authenticator::load_policy).
    #[error(
        "another call has changed the policy meanwhile and stays in force: load this one again"
    )]
    Overtaken,
    /// The file is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The text is not TOML, or has an unknown key, or a value that its key does not allow.
    #[error("{0}")]
    Toml(String),
    /// `allow` and `deny` in the same section.
    #[error("use either allow or deny, not both")]
    BothLists,
    /// `allow` is an empty list.
    #[error("an empty allow list admits no peer: leave allow out to admit all addresses")]
    EmptyAllowList,
    /// `inherit` in `*`, which has nothing to inherit from.
    #[error("other domains inherit from \"*\", which cannot inherit itself: remove inherit")]
    NothingToInherit,
    /// `validity` in a section without keys.
    #[error(
        "validity needs curve = {{ certificates = .. }} or {{ keys = .. }} in the same section"
    )]
    ValidityWithoutKeys,
    /// `layout` in a section without a directory of certificates.
    #[error("layout needs curve = {{ certificates = .. }} in the same section")]
    LayoutWithoutDirectory,
    /// `names` in a section without a directory of certificates.
    #[error("names needs curve = {{ certificates = .. }} in the same section")]
    NamesWithoutDirectory,
    /// A row of the keys of a domain cannot be used: it says another thing about a key than an
    /// earlier row. A row that is not valid by itself has a line and a column, as
    /// [`PolicyFileErrorKind::Toml`], unless the settings were created in Rust.
    #[error(transparent)]
    CurveKeys(Box<CurveKeyError>),
    /// The topics of an entry cannot be used.
    #[error("the topics of {0:?}: {1}")]
    TopicPermissions(String, TopicPermissionError),
    /// The name of an entry of topics is not the name of a user.
    #[error("{0:?} does not name one user of 1 to 255 bytes; \"*\" alone names all others")]
    TopicUser(String),
    /// An entry of topics does not say the mechanism, and the domain has several.
    #[error(
        "{0:?} may be a user of several mechanisms: write the mechanism before it, \"curve:NAME\""
    )]
    TopicMechanism(String),
    /// Two entries of topics name the same user.
    #[error("{0:?} names a user that an earlier entry names")]
    SameTopicUser(String),
    /// `reload` in a section without files.
    #[error(
        "reload needs curve = {{ certificates = .. }} or plain = {{ file = .. }} in the same section"
    )]
    ReloadWithoutFiles,
    /// `reload` in a build without feature `reload`.
    #[error("reload needs a build with feature \"reload\"")]
    ReloadNotBuilt,
    /// The password file of a domain cannot be used.
    #[error(transparent)]
    PasswordFile(Box<PasswordFileError>),
    /// The directory of certificates of a domain cannot be used.
    #[error(transparent)]
    Certificates(Box<CertificateError>),
    /// The operating system gave no random bytes for the key of the keyed hashes.
    #[error("the system's random source failed, which keyed hashes of passwords need")]
    Random,
    /// The operating system could not start a thread to reload files.
    #[error("the system could not start a thread to reload files")]
    Thread(#[source] OsError),
}

impl From<PasswordFileError> for PolicyFileErrorKind {
    fn from(error: PasswordFileError) -> Self {
        Self::PasswordFile(Box::new(error))
    }
}

impl From<CurveKeyError> for PolicyFileErrorKind {
    fn from(error: CurveKeyError) -> Self {
        Self::CurveKeys(Box::new(error))
    }
}

impl From<CertificateError> for PolicyFileErrorKind {
    fn from(error: CertificateError) -> Self {
        Self::Certificates(Box::new(error))
    }
}

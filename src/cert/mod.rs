//! CURVE certificates in files, as `pyzmq` and `czmq` read and write them.
//!
//! A certificate is a public key with metadata about its owner, and on the owner's machine the
//! secret key. It is stored in two text files in ZPL (RFC 4): `NAME.key`, which goes to peers, and
//! `NAME.key_secret`, which stays with the owner.
//!
//! ```
//! use zmtp_auth::cert::{Certificate, create_certificates, load_certificates};
//!
//! let dir = tempfile::tempdir()?;
//! let (public, secret) = create_certificates(dir.path(), "ada", &[("email", "ada@example.org")])?;
//!
//! let known = load_certificates(dir.path())?;
//! assert!(known.problems.is_empty());
//! let ada = Certificate::load(&secret)?;
//! assert_eq!(known.certificates[0].public_key(), ada.public_key());
//! assert_eq!(Certificate::load(&public)?.metadata(), ada.metadata());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod certificate;
pub(crate) mod directory;
mod file;
mod form;
#[cfg(feature = "reload")]
pub(crate) mod known_files;
mod listing;
pub(crate) mod load;
mod parser;
pub(crate) mod problem;
pub(crate) mod validity;
mod zpl;

pub use crate::secret_file::{FileErrorKind, OsError};
pub use certificate::{Certificate, create_certificates, load_certificate, load_key_pair};
pub use directory::{CertificateDirectory, Layout};
pub use load::{DirectoryReport, load_certificates};
pub use problem::{CertificateError, CertificateErrorKind, CertificateWarning, KeyField};
pub use validity::Validity;

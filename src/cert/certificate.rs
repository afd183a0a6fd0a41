//! A certificate: a public key, optionally its secret key, and metadata. Loads it from a file and
//! saves it.
#![forbid(unsafe_code)]

use crate::cert::file::{self, NewFile};
use crate::cert::form::{self, Content, Keys};
use crate::cert::parser;
use crate::cert::problem::{
    CertificateError, CertificateErrorKind, CertificateWarning, Flaw, MAX_FILE_LEN,
};
use crate::cert::validity::Validity;
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::error::LocalError;
use crate::secret_file;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A CURVE certificate.
///
/// A certificate is not signed. Anyone who can replace the file can replace the key. Clones share the
/// secret key until one of them changes. It is wiped when its last owner is dropped, and `Debug` does not
/// show it.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<CertificateParts>);

#[derive(Debug, Clone)]
struct CertificateParts {
    content: Content,
    file: Option<PathBuf>,
    warnings: Vec<CertificateWarning>,
}

impl Certificate {
    /// A fresh key pair without metadata.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the system has no randomness.
    pub fn generate() -> Result<Self, LocalError> {
        KeyPair::generate().map(Self::from)
    }

    fn new(keys: Keys) -> Self {
        Self(Arc::new(CertificateParts {
            content: keys.into(),
            file: None,
            warnings: Vec::new(),
        }))
    }

    /// Adds a metadata property.
    ///
    /// # Errors
    /// Returns a [`CertificateErrorKind`] if the name or value cannot be written and read back (see
    /// [`create_certificates`]), [`CertificateErrorKind::NameTaken`] if the name exists already,
    /// and the errors of [`Certificate::validity`] if no server would admit a certificate with this
    /// property.
    pub fn with_metadata(mut self, name: &str, value: &str) -> Result<Self, CertificateErrorKind> {
        form::check_writable(name, value)?;
        let metadata = &mut Arc::make_mut(&mut self.0).content.metadata;
        if metadata
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            return Err(CertificateErrorKind::NameTaken);
        }
        metadata.push((name.to_owned(), value.to_owned()));
        self.validity()?;
        Ok(self)
    }

    /// Loads a public or secret certificate file that this crate, `pyzmq`, `czmq` or a person
    /// wrote.
    ///
    /// The format is ZPL (RFC 4), and keys are read strictly. A key may be quoted or not, and may
    /// stand outside `curve`. Any indentation is accepted, lines may end with CRLF, and comments
    /// may follow values. Only regular files of at most 64 KiB are read. Symbolic links are
    /// followed.
    ///
    /// Metadata that cannot be used is dropped, and so are sections other than `metadata` and
    /// `curve`. The key loads, with [`CertificateWarning::Dropped`]. A name that occurs twice is
    /// dropped in both places. A line that was probably meant as `not-before` or `not-after` is
    /// never silently dropped: [`Certificate::validity`] then fails.
    ///
    /// A secret key loads even if users other than the owner have access to the file, with a
    /// warning in [`Certificate::warnings`]. Each warning is also a `tracing` event.
    ///
    /// # Errors
    /// Returns [`CertificateError`] with file, line and reason.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateError> {
        let certificate = Self::read(path.as_ref())?;
        for warning in certificate.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(certificate)
    }

    /// As [`Certificate::load`], without log events.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        Self::read_file(path, false).map(|(certificate, _)| certificate)
    }

    /// As [`Certificate::read`], with what the system says about the file that was opened. It was asked
    /// before the content was read. `is_listed` says that the system has just called it a regular file.
    pub(crate) fn read_file(
        path: &Path,
        is_listed: bool,
    ) -> Result<(Self, Metadata), CertificateError> {
        let read = if is_listed {
            secret_file::read_listed
        } else {
            secret_file::read
        };
        let file = read(path, MAX_FILE_LEN)
            .map_err(|error| Flaw::from(CertificateErrorKind::from(error)).in_file(path))?;
        let mut parts = Self::parse_file(&file.content, path)?;
        if let Some(mode) = file.loose_mode {
            let file = path.to_owned();
            let warning = match &parts.content.keys {
                Keys::Pair(_) => Some(CertificateWarning::LoosePermissions { file, mode }),
                Keys::Public(_) if mode & 0o022 != 0 => {
                    Some(CertificateWarning::WritableByOthers { file, mode })
                }
                Keys::Public(_) => None,
            };
            parts.warnings.extend(warning);
        }
        Ok((Self(Arc::new(parts)), file.metadata))
    }

    /// Parses the text of a certificate that does not come from a file, as [`Certificate::load`]
    /// does. Errors and warnings name it as `file`.
    ///
    /// # Errors
    /// Returns [`CertificateError`], with line and reason, if the text is not a certificate.
    pub fn parse(text: &[u8], file: impl Into<PathBuf>) -> Result<Self, CertificateError> {
        let parts = Self::parse_file(text, file)?;
        Ok(Self(Arc::new(parts)))
    }

    fn parse_file(
        text: &[u8],
        file: impl Into<PathBuf>,
    ) -> Result<CertificateParts, CertificateError> {
        let file = file.into();
        let content = parser::parse(text).map_err(|flaw| flaw.in_file(&file))?;
        let dropped = &content.dropped;
        let warning = (!dropped.lines.is_empty()).then(|| CertificateWarning::Dropped {
            file: file.clone(),
            lines: dropped.lines.clone(),
            more: dropped.more,
        });
        Ok(CertificateParts {
            warnings: warning.into_iter().collect(),
            file: Some(file),
            content,
        })
    }

    /// Writes `NAME.key` and `NAME.key_secret` to the directory `dir`, and returns both paths.
    ///
    /// Either both files are created completely, or neither. An existing file is never overwritten,
    /// even if another process creates it meanwhile. On Unix the secret file has mode 0600 from its
    /// creation. Elsewhere it inherits the permissions of `dir`. The file system must support hard
    /// links.
    ///
    /// # Errors
    /// Returns [`CertificateError`] if there is no secret key, the name or metadata cannot be
    /// written, a file exists, or the file system fails.
    pub fn save(
        &self,
        dir: impl AsRef<Path>,
        name: &str,
    ) -> Result<(PathBuf, PathBuf), CertificateError> {
        let dir = dir.as_ref();
        check_file_name(dir, name)?;
        let (public_name, secret_name) = (format!("{name}.key"), format!("{name}.key_secret"));
        let in_dir = |name: &str, reason| Flaw::from(reason).in_file(dir.join(name));
        let public = self.0.content.render_public();
        let public = public.map_err(|reason| in_dir(&public_name, reason))?;
        let secret = self.0.content.render_secret();
        let secret = secret.map_err(|reason| in_dir(&secret_name, reason))?;
        // The secret file comes first. If a crash leaves one of the two, a secret file alone is
        // enough: it holds the public key too.
        file::create_all(
            dir,
            &[
                NewFile {
                    name: secret_name.clone(),
                    text: &secret,
                    secret: true,
                },
                NewFile {
                    name: public_name.clone(),
                    text: &public,
                    secret: false,
                },
            ],
        )?;
        Ok((dir.join(public_name), dir.join(secret_name)))
    }

    /// Writes only `NAME.key` to the directory `dir`, as [`Certificate::save`] does, and returns
    /// its path.
    ///
    /// # Errors
    /// Returns the errors of [`Certificate::save`], except that no secret key is needed; that is,
    /// if the name or metadata cannot be written, the file exists, or the file system fails.
    pub fn save_public(
        &self,
        dir: impl AsRef<Path>,
        name: &str,
    ) -> Result<PathBuf, CertificateError> {
        let dir = dir.as_ref();
        check_file_name(dir, name)?;
        let name = format!("{name}.key");
        let path = dir.join(&name);
        let text = self.0.content.render_public();
        let text = text.map_err(|reason| Flaw::from(reason).in_file(&path))?;
        let file = NewFile {
            name,
            text: &text,
            secret: false,
        };
        file::create_all(dir, &[file])?;
        Ok(path)
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.content.keys.public_key()
    }

    /// Both keys, if the certificate holds the secret.
    #[must_use]
    pub fn key_pair(&self) -> Option<&KeyPair> {
        match &self.0.content.keys {
            Keys::Public(_) => None,
            Keys::Pair(pair) => Some(pair),
        }
    }

    /// The metadata, in the order of the file. Names are 1 to 255 bytes of ASCII, unique without
    /// regard to case, and never `Identity`, `Socket-Type` or `User-Id`, so each can become a ZAP
    /// metadata property.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.0.content.metadata
    }

    /// Its metadata `name`, which a directory may turn into the user id of its holder: see
    /// [`CertificateDirectory::with_names`](crate::cert::CertificateDirectory::with_names).
    pub(crate) fn name(&self) -> Option<&str> {
        let mut metadata = self.metadata().iter();
        let (_, name) = metadata.find(|(name, _)| name.eq_ignore_ascii_case("name"))?;
        Some(name)
    }

    /// When the certificate is valid, by its metadata `not-before` and `not-after`. Both are
    /// optional. Each is an RFC 3339 date with time and offset, such as `2027-01-31T12:00:00Z` or
    /// `2027-01-31T14:00:00.5+02:00`.
    ///
    /// Loading a single certificate ignores it.
    /// [`load_certificates`](crate::cert::load_certificates), which loads the certificates of
    /// peers, reports bad dates.
    ///
    /// # Errors
    /// Returns [`CertificateErrorKind::Date`], [`CertificateErrorKind::NeverValid`] or
    /// [`CertificateErrorKind::ValidityLikeName`] if the metadata does not give a validity, and
    /// [`CertificateErrorKind::Restriction`] if an unusable line of the file was probably meant to.
    pub fn validity(&self) -> Result<Validity, CertificateErrorKind> {
        self.validity_or_flaw().map_err(|flaw| flaw.reason)
    }

    /// The validity, or the reason why it cannot be read, with its line.
    pub(crate) fn validity_or_flaw(&self) -> Result<Validity, Flaw> {
        match &self.0.content.restriction {
            Some(flaw) => Err(flaw.clone()),
            None => Ok(Validity::of(self.metadata())?),
        }
    }

    /// The file that it was loaded from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Problems with its file that did not keep it from loading.
    #[must_use]
    pub fn warnings(&self) -> &[CertificateWarning] {
        &self.0.warnings
    }

    /// The same certificate without the secret key, which is wiped. This is the form to give to
    /// peers.
    #[must_use]
    pub fn into_public(mut self) -> Self {
        if self.key_pair().is_some() {
            let key = self.public_key();
            Arc::make_mut(&mut self.0).content.keys = Keys::Public(key);
        }
        self
    }

    /// Whether both say the same, apart from secret keys.
    #[cfg(feature = "reload")]
    pub(crate) fn is_same_public(&self, other: &Self) -> bool {
        self.public_key() == other.public_key()
            && self.metadata() == other.metadata()
            && self.0.content.restriction == other.0.content.restriction
            && self.warnings() == other.warnings()
            && self.file() == other.file()
    }

    /// Whether one is a clone of the other.
    #[cfg(feature = "reload")]
    pub(crate) fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<KeyPair> for Certificate {
    fn from(pair: KeyPair) -> Self {
        Self::new(Keys::Pair(pair))
    }
}

impl From<PublicKey> for Certificate {
    fn from(key: PublicKey) -> Self {
        Self::new(Keys::Public(key))
    }
}

/// Checks that the name makes files in `dir` itself that a directory load finds.
fn check_file_name(dir: &Path, name: &str) -> Result<(), CertificateError> {
    // Both path separators and the colon are refused on every system, so that a name that works on
    // one system works on all.
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.starts_with('.') || name.contains(bad) {
        return Err(Flaw::from(CertificateErrorKind::FileName).in_file(dir));
    }
    Ok(())
}

/// Creates a key pair and writes it with `metadata` to `NAME.key` and `NAME.key_secret` in the
/// directory `dir`. Returns both paths. It corresponds to `zmq.auth.create_certificates`, except
/// that it never overwrites a file and writes the metadata to both files. See
/// [`Certificate::save`].
///
/// Metadata names consist of ASCII letters, digits and `$-_@.&+/`. They neither start nor end with
/// a slash, and do not start with `public-key` or `secret-key`. `Identity`, `Socket-Type` and
/// `User-Id` are reserved by ZAP. Values are any text without `"`, line breaks and control
/// characters other than tabs. Blanks around them are kept. Name and value together have at most
/// about 1000 bytes.
///
/// # Errors
/// Returns [`CertificateError`] if a name or value is not of that form, a file exists, or the file
/// system fails.
pub fn create_certificates(
    dir: impl AsRef<Path>,
    name: &str,
    metadata: &[(&str, &str)],
) -> Result<(PathBuf, PathBuf), CertificateError> {
    let dir = dir.as_ref();
    check_file_name(dir, name)?;
    let failed = |reason| Flaw::from(reason).in_file(dir.join(format!("{name}.key")));
    let mut certificate =
        Certificate::generate().map_err(|_: LocalError| failed(CertificateErrorKind::Random))?;
    for (name, value) in metadata {
        certificate = certificate.with_metadata(name, value).map_err(failed)?;
    }
    certificate.save(dir, name)
}

/// Loads one certificate file, as `zmq.auth.load_certificate` does. See [`Certificate::load`].
///
/// # Errors
/// Returns [`CertificateError`] with file, line and reason.
pub fn load_certificate(path: impl AsRef<Path>) -> Result<Certificate, CertificateError> {
    Certificate::load(path)
}

/// Loads the key pair of a secret certificate file, `NAME.key_secret`: what a server or client proves
/// itself with. See [`Certificate::load`].
///
/// # Errors
/// Returns [`CertificateError`] with file, line and reason: [`CertificateErrorKind::PublicOnly`] if the
/// file holds no secret key.
pub fn load_key_pair(path: impl AsRef<Path>) -> Result<KeyPair, CertificateError> {
    let path = path.as_ref();
    let pair = Certificate::load(path)?.key_pair().cloned();
    pair.ok_or_else(|| Flaw::from(CertificateErrorKind::PublicOnly).in_file(path))
}

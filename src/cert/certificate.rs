//! A certificate: a public key, perhaps its secret, and metadata; loaded from a file and saved.
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
use std::path::{Path, PathBuf};

/// A CURVE certificate.
///
/// It is not signed: a program that can replace the file replaces the key. Cloning copies the secret;
/// both copies are wiped on drop, and `Debug` shows neither.
#[derive(Debug, Clone)]
pub struct Certificate {
    content: Content,
    file: Option<PathBuf>,
    warnings: Vec<CertificateWarning>,
}

impl Certificate {
    /// A fresh key pair without metadata.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the system has no randomness.
    pub fn generate() -> Result<Self, LocalError> {
        KeyPair::generate().map(Self::from)
    }

    fn new(keys: Keys) -> Self {
        Self {
            content: keys.into(),
            file: None,
            warnings: Vec::new(),
        }
    }

    /// Adds a metadata property.
    ///
    /// # Errors
    /// A [`CertificateErrorKind`] if the name or value cannot be written and read back: see
    /// [`create_certificates`]. [`CertificateErrorKind::NameTaken`] if the name is there already. Those
    /// of [`Certificate::validity`] if with it no server would admit the certificate.
    pub fn with_metadata(mut self, name: &str, value: &str) -> Result<Self, CertificateErrorKind> {
        form::check_writable(name, value)?;
        let metadata = &mut self.content.metadata;
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

    /// Loads a public or secret certificate file, written by this crate, `pyzmq`, `czmq` or hand.
    ///
    /// The form is ZPL (RFC 4), and keys are read strictly. A key may be quoted or not, and may
    /// stand outside `curve`; any indentation does; lines may end in CRLF, and comments may follow
    /// values. Only regular files of at most 64 KiB are read; symbolic links are followed.
    ///
    /// Metadata that cannot be used is dropped, and so are sections other than `metadata` and
    /// `curve`: the key loads, with [`CertificateWarning::Dropped`]. A name that is given twice is
    /// dropped in all its occurrences. What was probably meant for `not-before` or `not-after` is
    /// never just dropped: [`Certificate::validity`] fails then.
    ///
    /// A secret in a file that others than its owner may use is loaded all the same, with a
    /// warning in [`Certificate::warnings`]. Each warning is a `tracing` event too.
    ///
    /// # Errors
    /// Returns [`CertificateError`] with file, line and reason.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateError> {
        let certificate = Self::read(path.as_ref())?;
        for warning in &certificate.warnings {
            tracing::warn!("{warning}");
        }
        Ok(certificate)
    }

    /// As [`Certificate::load`], without telling the log.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        let file = secret_file::read(path, MAX_FILE_LEN)
            .map_err(|error| Flaw::from(CertificateErrorKind::from(error)).in_file(path))?;
        let mut certificate = Self::parse(&file.content, path)?;
        if let Some(mode) = file.loose_mode {
            let file = path.to_owned();
            let warning = match &certificate.content.keys {
                Keys::Pair(_) => Some(CertificateWarning::LoosePermissions { file, mode }),
                Keys::Public(_) if mode & 0o022 != 0 => {
                    Some(CertificateWarning::WritableByOthers { file, mode })
                }
                Keys::Public(_) => None,
            };
            certificate.warnings.extend(warning);
        }
        Ok(certificate)
    }

    /// Reads the text of a certificate that does not come from a file, as [`Certificate::load`]
    /// does. Errors and warnings name it as `file`.
    ///
    /// # Errors
    /// Returns [`CertificateError`] with line and reason.
    pub fn parse(text: &[u8], file: impl Into<PathBuf>) -> Result<Self, CertificateError> {
        let file = file.into();
        let content = parser::parse(text).map_err(|flaw| flaw.in_file(&file))?;
        let dropped = &content.dropped;
        let warning = (!dropped.lines.is_empty()).then(|| CertificateWarning::Dropped {
            file: file.clone(),
            lines: dropped.lines.clone(),
            more: dropped.more,
        });
        Ok(Self {
            warnings: warning.into_iter().collect(),
            file: Some(file),
            content,
        })
    }

    /// Writes `NAME.key` and `NAME.key_secret` to the directory `dir`, and returns both paths.
    ///
    /// Both files are new and whole, or none is there: what exists is never overwritten, nor is
    /// what another process creates meanwhile. On unix the secret file has mode 0600 from its
    /// creation; elsewhere it inherits the permissions of `dir`. The file system must know hard
    /// links.
    ///
    /// # Errors
    /// [`CertificateError`] if there is no secret, the name or metadata cannot be written, a file
    /// exists, or the file system refuses.
    pub fn save(
        &self,
        dir: impl AsRef<Path>,
        name: &str,
    ) -> Result<(PathBuf, PathBuf), CertificateError> {
        let dir = dir.as_ref();
        check_file_name(dir, name)?;
        let (public_name, secret_name) = (format!("{name}.key"), format!("{name}.key_secret"));
        let in_dir = |name: &str, reason| Flaw::from(reason).in_file(dir.join(name));
        let public = self.content.render_public();
        let public = public.map_err(|reason| in_dir(&public_name, reason))?;
        let secret = self.content.render_secret();
        let secret = secret.map_err(|reason| in_dir(&secret_name, reason))?;
        // The secret first: a public file without its secret would be the greater nuisance.
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
    /// As [`Certificate::save`], but without a secret, too.
    pub fn save_public(
        &self,
        dir: impl AsRef<Path>,
        name: &str,
    ) -> Result<PathBuf, CertificateError> {
        let dir = dir.as_ref();
        check_file_name(dir, name)?;
        let name = format!("{name}.key");
        let path = dir.join(&name);
        let text = self.content.render_public();
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
        self.content.keys.public_key()
    }

    /// Both keys, if the certificate holds the secret.
    #[must_use]
    pub fn key_pair(&self) -> Option<&KeyPair> {
        match &self.content.keys {
            Keys::Public(_) => None,
            Keys::Pair(pair) => Some(pair),
        }
    }

    /// Metadata in the order of the file. Names are 1 to 255 bytes of ASCII, unique without regard
    /// to case, and never `Identity`, `Socket-Type` or `User-Id`, so that each can become a ZAP
    /// metadata property.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.content.metadata
    }

    /// When the certificate counts, by its metadata: `not-before` and `not-after`, both optional,
    /// each a date with time and offset as RFC 3339 has it, `2027-01-31T12:00:00Z` or
    /// `2027-01-31T14:00:00.5+02:00`.
    ///
    /// A certificate is loaded without regard to it;
    /// [`load_certificates`](crate::cert::load_certificates), which loads those of others,
    /// reports one whose dates are bad.
    ///
    /// # Errors
    /// Returns [`CertificateErrorKind::Date`], [`CertificateErrorKind::NeverValid`] or
    /// [`CertificateErrorKind::ValidityLikeName`] if the metadata says none, and
    /// [`CertificateErrorKind::Restriction`] if a line of the file that cannot be used was probably
    /// meant to.
    pub fn validity(&self) -> Result<Validity, CertificateErrorKind> {
        self.validity_or_flaw().map_err(|flaw| flaw.reason)
    }

    /// Its validity, or what keeps it from being told and where.
    pub(crate) fn validity_or_flaw(&self) -> Result<Validity, Flaw> {
        match &self.content.restriction {
            Some(flaw) => Err(flaw.clone()),
            None => Ok(Validity::of(self.metadata())?),
        }
    }

    /// The file it was loaded from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What should be changed about its file, though it was loaded.
    #[must_use]
    pub fn warnings(&self) -> &[CertificateWarning] {
        &self.warnings
    }

    /// The same certificate as it may be given away: without the secret, which is wiped.
    #[must_use]
    pub fn into_public(mut self) -> Self {
        self.content.keys = Keys::Public(self.public_key());
        self
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

/// The name must make two files in `dir` itself that a directory load finds.
fn check_file_name(dir: &Path, name: &str) -> Result<(), CertificateError> {
    // Both separators and the colon of drives and streams on every system, so that a name that
    // is good on one is good on all.
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.starts_with('.') || name.contains(bad) {
        return Err(Flaw::from(CertificateErrorKind::FileName).in_file(dir));
    }
    Ok(())
}

/// Makes a fresh key pair and writes it with `metadata` as `NAME.key` and `NAME.key_secret` to
/// the directory `dir`; returns the paths of both. It is `zmq.auth.create_certificates`, except
/// that nothing is ever overwritten, and that metadata is in both files; see
/// [`Certificate::save`].
///
/// Metadata names are made of ASCII letters and digits and `$-_@.&+/`, start and end without a
/// slash, and start with neither `public-key` nor `secret-key`; `Identity`, `Socket-Type` and
/// `User-Id` are taken by ZAP. Values are any text without `"`, line breaks and control
/// characters other than tabs; blanks around them are kept. Name and value together have at most
/// about 1000 bytes.
///
/// # Errors
/// [`CertificateError`] if a name or value is not of that form, a file exists, or the file system
/// refuses.
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

/// Loads one certificate file: `zmq.auth.load_certificate`; see [`Certificate::load`].
///
/// # Errors
/// [`CertificateError`] with file, line and reason.
pub fn load_certificate(path: impl AsRef<Path>) -> Result<Certificate, CertificateError> {
    Certificate::load(path)
}

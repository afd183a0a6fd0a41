//! A certificate: a public key, perhaps its secret, and metadata; loaded from a file and saved.
#![forbid(unsafe_code)]

use crate::cert::file::{self, NewFile};
use crate::cert::form::{self, Content, Keys};
use crate::cert::problem::{BadCertificate, CertificateError, CertificateWarning, Flaw};
use crate::crypto::keys::{KeyPair, PublicKey};
use crate::error::LocalError;
use std::path::{Path, PathBuf};

/// A CURVE certificate.
///
/// It is not signed: whoever can replace the file replaces the key. Cloning copies the secret;
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
            content: Content {
                keys,
                metadata: Vec::new(),
            },
            file: None,
            warnings: Vec::new(),
        }
    }

    /// Adds a metadata property.
    ///
    /// # Errors
    /// A [`BadCertificate`] if the name or value cannot be written and read back: see
    /// [`create_certificates`]. [`BadCertificate::NameTaken`] if the name is there already. Those
    /// of [`Certificate::validity`] if with it nobody would admit the certificate.
    pub fn with_metadata(mut self, name: &str, value: &str) -> Result<Self, BadCertificate> {
        form::check_writable(name, value)?;
        let metadata = &mut self.content.metadata;
        if metadata
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            return Err(BadCertificate::NameTaken);
        }
        metadata.push((name.to_owned(), value.to_owned()));
        self.validity()?;
        Ok(self)
    }

    /// Loads a public or secret certificate file, written by this crate, `pyzmq`, `czmq` or hand.
    ///
    /// The form is ZPL (RFC 4), read strictly. A key may be quoted or not, and may stand outside
    /// `curve`; any indentation does; lines may end in CRLF, and comments may follow values. Only
    /// regular files of at most 64 KiB are read; symbolic links are followed.
    ///
    /// A secret in a file that others than its owner may use is loaded all the same, with a
    /// warning in [`Certificate::warnings`] and a `tracing` event.
    ///
    /// # Errors
    /// [`CertificateError`] with file, line and reason.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateError> {
        let path = path.as_ref();
        let contents = file::read(path).map_err(|reason| Flaw::from(reason).in_file(path))?;
        let content = Content::parse(contents.bytes()).map_err(|flaw| flaw.in_file(path))?;
        let mut warnings = Vec::new();
        if let (Keys::Pair(_), Some(mode)) = (&content.keys, contents.loose_mode) {
            let warning = CertificateWarning::LoosePermissions {
                file: path.to_owned(),
                mode,
            };
            tracing::warn!("{warning}");
            warnings.push(warning);
        }
        Ok(Self {
            content,
            file: Some(path.to_owned()),
            warnings,
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
        self.content.keys.public()
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
        return Err(Flaw::from(BadCertificate::FileName).in_file(dir));
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
        Certificate::generate().map_err(|_: LocalError| failed(BadCertificate::Random))?;
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

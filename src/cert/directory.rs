//! Loads all public certificates of a directory, and reports the files that could not be loaded.
#![forbid(unsafe_code)]

use crate::access::user_name::check_user_name;
use crate::cert::certificate::Certificate;
#[cfg(feature = "reload")]
use crate::cert::known_files::KnownFiles;
use crate::cert::problem::{CertificateError, CertificateErrorKind, CertificateWarning, Flaw};
use crate::crypto::keys::PublicKey;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
#[cfg(feature = "reload")]
use std::time::SystemTime;

/// Most files without a certificate's name that are searched for a secret key, the first by name.
/// 64: a directory of public keys holds few others, and each may take a read of 64 KiB at every
/// load.
const MAX_SEARCHED: usize = 64;

/// Which files of a directory are public certificates. The caller says so, and nothing is guessed:
/// renaming a file so that it no longer matches withdraws its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "policy-file",
    derive(serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Layout {
    /// `NAME.key`, as `pyzmq` and this crate write them. Names that start with a dot do not count.
    #[default]
    Pyzmq,
    /// `NAME`, as `czmq` writes them: regular files whose names have no dot and do not end with
    /// `_secret` or `~`. A file that nevertheless holds a secret key is reported and not loaded.
    Czmq,
}

impl Layout {
    /// Whether a file of this name is a public certificate.
    fn takes(self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        match self {
            Self::Pyzmq => name.ends_with(b".key") && !name.starts_with(b"."),
            Self::Czmq => {
                !name.contains(&b'.') && !name.ends_with(b"_secret") && !name.ends_with(b"~")
            }
        }
    }
}

/// A directory of certificates and its layout. A plain path has [`Layout::Pyzmq`].
///
/// ```
/// use zmtp_auth::auth::Authenticator;
/// use zmtp_auth::cert::{CertificateDirectory, Layout};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// let auth = Authenticator::new();
/// auth.configure_curve("*", path)?;
/// auth.configure_curve("billing", CertificateDirectory::new(path).with_layout(Layout::Czmq))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDirectory {
    path: PathBuf,
    layout: Layout,
    names: bool,
}

impl CertificateDirectory {
    /// The directory at `path`. Brackets and stars in it have no special meaning.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            layout: Layout::default(),
            names: false,
        }
    }

    /// Whether a file of this name is a public certificate in the layout.
    #[cfg(feature = "reload")]
    pub(crate) fn takes(&self, name: &OsStr) -> bool {
        self.layout.takes(name)
    }

    /// The same directory in another layout.
    #[must_use]
    pub const fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets whether the metadata `name` of a certificate becomes the user id of its holder. By default
    /// the user id is that of
    /// [`Authenticator::curve_user_id`](crate::auth::Authenticator::curve_user_id), as in pyzmq.
    ///
    /// A certificate whose name cannot be a user id is a bad file
    /// ([`CertificateErrorKind::UserName`]), and so are all certificates of a key to which they give
    /// different names ([`CertificateErrorKind::TwoNames`]). A certificate without a name keeps the
    /// default user id, with a warning.
    #[must_use]
    pub const fn with_names(mut self, names: bool) -> Self {
        self.names = names;
        self
    }

    /// Whether the metadata `name` becomes the user id.
    pub(crate) const fn names(&self) -> bool {
        self.names
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<P: AsRef<Path>> From<P> for CertificateDirectory {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

/// The content of a directory of certificates.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DirectoryReport {
    /// The certificates, without secret keys, each public key once, ordered by file name.
    pub certificates: Vec<Certificate>,
    /// The certificate files that were not loaded, ordered by name, each with the reason.
    pub problems: Vec<(PathBuf, CertificateError)>,
    /// Problems with files that were loaded.
    pub warnings: Vec<CertificateWarning>,
    /// Everything else in the directory, ordered by name. These names are not certificates in this
    /// layout.
    pub passed_over: Vec<PathBuf>,
    /// Whether [`configure_curve`](crate::auth::Authenticator::configure_curve), which returned
    /// this report, has ended the watch of another directory. See
    /// [`Configured::ended_watch`](crate::auth::Configured::ended_watch).
    pub ended_watch: bool,
}

/// Loads every certificate of a directory, by default each `*.key`. It corresponds to
/// `zmq.auth.load_certificates`, except that a bad file does not stop the others: it is reported in
/// [`DirectoryReport::problems`] and as a `tracing` event.
///
/// Subdirectories are not searched. Symbolic links are followed. Files that the [`Layout`] does not
/// take for certificates are listed in [`DirectoryReport::passed_over`]. If several files have the
/// same public key, the last one by name counts, with a warning. A certificate whose
/// [`validity`](Certificate::validity) cannot be read is a bad file. One that has expired or is not
/// valid yet loads. If a `*.key` holds a secret key, the key is checked and dropped, with a
/// warning. The first 64 other files are searched too, and each certificate with a secret key among
/// them gets the same warning, including a `*_secret` file next to its public file.
///
/// # Errors
/// Returns [`CertificateError`] if the directory cannot be listed completely, because half of its
/// keys would be a wrong answer.
pub fn load_certificates(
    directory: impl Into<CertificateDirectory>,
) -> Result<DirectoryReport, CertificateError> {
    let directory = directory.into();
    let report = read(&directory)?;
    report.log();
    Ok(report)
}

/// As [`load_certificates`], without log events.
pub(crate) fn read(directory: &CertificateDirectory) -> Result<DirectoryReport, CertificateError> {
    read_by(directory, Certificate::read)
}

/// As [`read`], without reading files that are known at `now`.
#[cfg(feature = "reload")]
pub(crate) fn read_again(
    directory: &CertificateDirectory,
    known: &mut KnownFiles,
    now: SystemTime,
) -> Result<DirectoryReport, CertificateError> {
    known.begin();
    let report = read_by(directory, |file| known.read(file, now));
    known.end();
    report
}

/// Reads a directory, and each certificate file in it by `read_file`.
fn read_by(
    directory: &CertificateDirectory,
    mut read_file: impl FnMut(&Path) -> Result<Certificate, CertificateError>,
) -> Result<DirectoryReport, CertificateError> {
    let path = directory.path();
    let mut report = DirectoryReport::default();
    let files = list(directory, &mut report.passed_over).map_err(|error| {
        Flaw::from(CertificateErrorKind::Directory((&error).into())).in_file(path)
    })?;
    let mut loaded: Vec<Option<Certificate>> = Vec::new();
    let mut places: HashMap<PublicKey, usize> = HashMap::new();
    let mut names = Names::default();
    for file in files {
        let certificate = read_file(&file);
        let certificate = certificate
            .and_then(|read| public(read, &file, directory.layout, &mut report.warnings));
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) => {
                report.problems.push((file, error));
                continue;
            }
        };
        let earlier = places.insert(certificate.public_key(), loaded.len());
        if let Err(flaw) = usable(&certificate, directory) {
            let error = flaw.in_file(&file);
            report.problems.push((file, error));
            // A bad file replaces an earlier file with the same key, as a good one does. Otherwise
            // a bad date would leave a key valid that the date was meant to end.
            if let Some(earlier) = earlier {
                loaded[earlier] = None;
            }
            loaded.push(None);
            continue;
        }
        if directory.names
            && let Some(other) = names.conflict(&certificate, &file)
        {
            // A key with two names has no owner that anyone could rely on.
            let two_names = |of: &Path, other: PathBuf| {
                let error = Flaw::from(CertificateErrorKind::TwoNames(other)).in_file(of);
                (of.to_owned(), error)
            };
            let earlier = earlier.and_then(|place| loaded[place].take());
            if let Some(earlier) = earlier.as_ref().and_then(Certificate::file) {
                report.problems.push(two_names(earlier, file.clone()));
            }
            report.problems.push(two_names(&file, other));
            loaded.push(None);
            continue;
        }
        if let Some(earlier) = earlier.and_then(|place| loaded[place].take()) {
            report.warnings.push(CertificateWarning::SameKey {
                file,
                replaced: earlier.file().unwrap_or(path).to_owned(),
            });
        }
        loaded.push(Some(certificate));
    }
    report.certificates = loaded.into_iter().flatten().collect();
    report
        .problems
        .sort_by(|(one, _), (other, _)| one.cmp(other));
    if directory.names {
        let nameless = report.certificates.iter();
        let nameless = nameless.filter(|certificate| certificate.name().is_none());
        let files = nameless.filter_map(Certificate::file);
        let warnings = files.map(|file| CertificateWarning::NoName {
            file: file.to_owned(),
        });
        report.warnings.extend(warnings);
    }
    report.warnings.extend(secrets(&report.passed_over));
    Ok(report)
}

/// Checks that peers can be admitted by the certificate.
fn usable(certificate: &Certificate, directory: &CertificateDirectory) -> Result<(), Flaw> {
    certificate.validity_or_flaw()?;
    match certificate.name() {
        Some(name) if directory.names => {
            let checked = check_user_name(name.as_bytes(), &certificate.public_key());
            checked.map_err(|error| CertificateErrorKind::UserName(error).into())
        }
        _ => Ok(()),
    }
}

/// The names that the certificates of a directory give their keys.
#[derive(Default)]
struct Names(HashMap<PublicKey, Named>);

/// The first certificate of a key.
struct Named {
    file: PathBuf,
    name: Option<String>,
    /// Whether another certificate gives the key another name.
    is_disputed: bool,
}

impl Names {
    /// The first file that has the key of `certificate`, if any file gives the key another name.
    fn conflict(&mut self, certificate: &Certificate, file: &Path) -> Option<PathBuf> {
        let first = self.0.entry(certificate.public_key());
        let first = first.or_insert_with(|| Named {
            file: file.to_owned(),
            name: certificate.name().map(str::to_owned),
            is_disputed: false,
        });
        first.is_disputed |= first.name.as_deref() != certificate.name();
        first.is_disputed.then(|| first.file.clone())
    }
}

/// Warnings of secret keys in files that are not loaded. Everyone who can read the directory can
/// read them too.
fn secrets(passed_over: &[PathBuf]) -> impl Iterator<Item = CertificateWarning> {
    let searched = passed_over.iter().take(MAX_SEARCHED);
    let secret = searched.filter(|file| {
        Certificate::read(file).is_ok_and(|certificate| certificate.key_pair().is_some())
    });
    secret.map(|file| CertificateWarning::SecretInPublic { file: file.clone() })
}

/// The certificate of a file without its secret key, if it holds one.
fn public(
    certificate: Certificate,
    file: &Path,
    layout: Layout,
    warnings: &mut Vec<CertificateWarning>,
) -> Result<Certificate, CertificateError> {
    if certificate.key_pair().is_some() {
        if layout == Layout::Czmq {
            return Err(Flaw::from(CertificateErrorKind::HoldsSecret).in_file(file));
        }
        warnings.push(CertificateWarning::SecretInPublic {
            file: file.to_owned(),
        });
    }
    warnings.extend_from_slice(certificate.warnings());
    Ok(certificate.into_public())
}

impl DirectoryReport {
    /// Logs the problems, and how many files were passed over.
    pub(crate) fn log(&self) {
        for (_, error) in &self.problems {
            tracing::warn!("{error}");
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        let Some(first) = self.passed_over.first() else {
            return;
        };
        let count = self.passed_over.len();
        if self.certificates.is_empty() {
            tracing::warn!(
                ?first,
                count,
                "no certificate, but files that are not named so"
            );
        } else {
            tracing::debug!(?first, count, "files that are not named as certificates");
        }
    }

    /// Files that were passed over and may have been meant as certificates: they are not hidden,
    /// not backups, and not secret files by name.
    #[cfg(feature = "policy-file")]
    pub(crate) fn overlooked(&self) -> impl Iterator<Item = &Path> {
        let files = self.passed_over.iter().map(PathBuf::as_path);
        files.filter(|file| {
            let name = file.file_name().unwrap_or_default().as_encoded_bytes();
            !name.starts_with(b".") && !name.ends_with(b"~") && !name.ends_with(b"_secret")
        })
    }
}

/// The certificate files, ordered by name. All other names go to `passed_over`.
fn list(
    directory: &CertificateDirectory,
    passed_over: &mut Vec<PathBuf>,
) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        let path = entry.path();
        let is_other = || fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let takes = directory.layout.takes(&entry.file_name());
        // In a layout where any name can be a certificate's, a subdirectory must not count as one.
        if takes && !(directory.layout == Layout::Czmq && is_other()) {
            files.push(path);
        } else {
            passed_over.push(path);
        }
    }
    // All are in one directory, so this is the order of their names.
    let by_bytes = |one: &PathBuf, other: &PathBuf| one.as_os_str().cmp(other.as_os_str());
    files.sort_unstable_by(by_bytes);
    passed_over.sort_unstable_by(by_bytes);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_says_which_names_are_certificates() {
        for (name, pyzmq, czmq) in [
            ("ada.key", true, false),
            ("[a]*.key", true, false),
            ("a.b.key", true, false),
            (" .key", true, false),
            (".key", false, false),
            (".ada.key", false, false),
            ("ada.key_secret", false, false),
            ("ada.key.revoked", false, false),
            ("ada.key~", false, false),
            ("ada.KEY", false, false),
            (".0011.tmp", false, false),
            ("ada", false, true),
            ("key", false, true),
            ("ada lovelace", false, true),
            ("ada_secret", false, false),
            ("ada~", false, false),
            ("ada.revoked", false, false),
            (".ada", false, false),
        ] {
            let name = OsStr::new(name);
            assert_eq!(Layout::Pyzmq.takes(name), pyzmq, "{name:?}");
            assert_eq!(Layout::Czmq.takes(name), czmq, "{name:?}");
        }
    }
}

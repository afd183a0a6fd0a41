//! Loads all public certificates of a directory, and reports the files that could not be loaded.
#![forbid(unsafe_code)]

use crate::access::user_name::check_user_name;
use crate::cert::certificate::Certificate;
use crate::cert::directory::{CertificateDirectory, Layout};
use crate::cert::listing::Listing;
use crate::cert::problem::{CertificateError, CertificateErrorKind, CertificateWarning, Flaw};
use crate::crypto::keys::PublicKey;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Most files without a certificate's name that are searched for a secret key, the first by name.
/// 64: a directory of public keys holds few others, and each may take a read of 64 KiB at every
/// load.
const MAX_SEARCHED: usize = 64;

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
    let listing = Listing::of(directory, |_, _| false);
    let listing = listing.map_err(|error| cannot_be_listed(directory, &error))?;
    let mut files = listing.files;
    files.sort_unstable_by(|one, other| one.path.as_os_str().cmp(other.path.as_os_str()));
    let files = files.into_iter().map(|file| {
        let read = Certificate::read_file(&file.path, file.is_regular);
        let read = read.map(|(certificate, _)| certificate);
        let found = Found::of(read, &file.path, directory.layout());
        (file.path, found)
    });
    let mut report = judge(directory, files);
    report.pass_over(listing.others);
    Ok(report)
}

/// The error about a directory that cannot be listed.
pub(crate) fn cannot_be_listed(
    directory: &CertificateDirectory,
    error: &io::Error,
) -> CertificateError {
    Flaw::from(CertificateErrorKind::Directory(error.into())).in_file(directory.path())
}

/// What a certificate file holds, without its secret key.
#[derive(Clone)]
pub(crate) struct Found {
    certificate: Result<Certificate, Box<CertificateError>>,
    /// Whether the file of a certificate that is loaded holds a secret key too.
    holds_secret: bool,
}

impl Found {
    /// What a file of that path holds, as it was read.
    pub(crate) fn of(
        read: Result<Certificate, CertificateError>,
        file: &Path,
        layout: Layout,
    ) -> Self {
        let holds_secret = read.as_ref().is_ok_and(|read| read.key_pair().is_some());
        if holds_secret && layout == Layout::Czmq {
            let error = Flaw::from(CertificateErrorKind::HoldsSecret).in_file(file);
            return Self {
                certificate: Err(error.into()),
                holds_secret: false,
            };
        }
        Self {
            certificate: read.map(Certificate::into_public).map_err(Box::new),
            holds_secret,
        }
    }

    /// Whether both say the same.
    #[cfg(feature = "reload")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.holds_secret == other.holds_secret
            && match (&self.certificate, &other.certificate) {
                (Ok(one), Ok(other)) => one.is_same_public(other),
                (Err(one), Err(other)) => one == other,
                _ => false,
            }
    }

    /// The public key, if it is a certificate.
    #[cfg(feature = "reload")]
    pub(crate) fn key(&self) -> Option<PublicKey> {
        let certificate = self.certificate.as_ref().ok()?;
        Some(certificate.public_key())
    }
}

/// The report about these files, in the order of their names. What it says about a file depends on the
/// files with the same key alone.
pub(crate) fn judge(
    directory: &CertificateDirectory,
    files: impl IntoIterator<Item = (PathBuf, Found)>,
) -> DirectoryReport {
    let mut report = DirectoryReport::default();
    let mut loaded: Vec<Option<Certificate>> = Vec::new();
    let mut places: HashMap<PublicKey, usize> = HashMap::new();
    let mut names = Names::default();
    for (file, found) in files {
        let certificate = match found.certificate {
            Ok(certificate) => certificate,
            Err(error) => {
                report.problems.push((file, *error));
                continue;
            }
        };
        if found.holds_secret {
            let file = file.clone();
            report
                .warnings
                .push(CertificateWarning::SecretInPublic { file });
        }
        report.warnings.extend_from_slice(certificate.warnings());
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
        if directory.names()
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
                replaced: earlier.file().unwrap_or(directory.path()).to_owned(),
            });
        }
        loaded.push(Some(certificate));
    }
    report.certificates = loaded.into_iter().flatten().collect();
    report
        .problems
        .sort_by(|(one, _), (other, _)| one.cmp(other));
    if directory.names() {
        let nameless = report.certificates.iter();
        let nameless = nameless.filter(|certificate| certificate.name().is_none());
        let files = nameless.filter_map(Certificate::file);
        let warnings = files.map(|file| CertificateWarning::NoName {
            file: file.to_owned(),
        });
        report.warnings.extend(warnings);
    }
    report
}

/// Checks that peers can be admitted by the certificate.
fn usable(certificate: &Certificate, directory: &CertificateDirectory) -> Result<(), Flaw> {
    certificate.validity_or_flaw()?;
    match certificate.name() {
        Some(name) if directory.names() => {
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

/// The files that hold secret keys, among those that are not loaded. Everyone who can read the directory can
/// read them too.
fn secrets(passed_over: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let searched = passed_over.iter().take(MAX_SEARCHED);
    searched.filter(|file| {
        Certificate::read(file).is_ok_and(|certificate| certificate.key_pair().is_some())
    })
}

impl DirectoryReport {
    /// Adds the files that are no certificates by name, and a warning about each that holds a secret key.
    /// Returns the latter.
    pub(crate) fn pass_over(&mut self, others: Vec<PathBuf>) -> Vec<PathBuf> {
        let secrets: Vec<_> = secrets(&others).cloned().collect();
        let warnings = secrets.iter().cloned();
        let warnings = warnings.map(|file| CertificateWarning::SecretInPublic { file });
        self.warnings.extend(warnings);
        self.passed_over = others;
        secrets
    }

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

//! All public certificates of a directory, and a report of what could not be loaded.
#![forbid(unsafe_code)]

use crate::cert::certificate::Certificate;
use crate::cert::problem::{BadCertificate, CertificateError, CertificateWarning, Flaw};
use crate::crypto::keys::PublicKey;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a directory of certificates holds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DirectoryReport {
    /// The good certificates, without secrets, each public key once, ordered by file name.
    pub certificates: Vec<Certificate>,
    /// The files that hold no good certificate, ordered by name, each with the reason.
    pub problems: Vec<(PathBuf, CertificateError)>,
    /// What was loaded and should be looked after.
    pub warnings: Vec<CertificateWarning>,
}

/// Loads every `*.key` of a directory: `zmq.auth.load_certificates`, except that a bad file does
/// not spoil the others but is reported, in [`DirectoryReport::problems`] and as a `tracing`
/// event.
///
/// Subdirectories are not searched and names that start with a dot left out. `path` is taken
/// literally, whatever brackets or stars it holds. Symbolic links are followed. Of several files
/// with the same public key the last by name counts, with a warning. A certificate whose
/// [`validity`](Certificate::validity) cannot be told is a bad file; one that is over, or still to
/// come, is a good one. Where a `*.key` holds a
/// secret it is checked, and then dropped.
///
/// # Errors
/// [`CertificateError`] if the directory cannot be listed completely: the keys of half a directory
/// are no answer.
pub fn load_certificates(path: impl AsRef<Path>) -> Result<DirectoryReport, CertificateError> {
    let path = path.as_ref();
    let files = list(path).map_err(|error| {
        let reason = BadCertificate::Unreadable((&error).into());
        Flaw::from(reason).in_file(path)
    })?;
    let mut report = DirectoryReport::default();
    let mut loaded: Vec<Option<Certificate>> = Vec::new();
    let mut places: HashMap<PublicKey, usize> = HashMap::new();
    for file in files {
        let certificate = match Certificate::load(&file) {
            Ok(certificate) => certificate.into_public(),
            Err(error) => {
                tracing::warn!("{error}");
                report.problems.push((file, error));
                continue;
            }
        };
        report.warnings.extend_from_slice(certificate.warnings());
        let earlier = places.insert(certificate.public_key(), loaded.len());
        if let Err(reason) = certificate.validity() {
            let error = Flaw::from(reason).in_file(&file);
            tracing::warn!("{error}");
            report.problems.push((file, error));
            // It counts in place of an earlier file with its key, as a good one would: a bad date
            // must not leave a key in force that the date was to end.
            if let Some(earlier) = earlier {
                loaded[earlier] = None;
            }
            loaded.push(None);
            continue;
        }
        if let Some(earlier) = earlier.and_then(|place| loaded[place].take()) {
            let warning = CertificateWarning::SameKey {
                file,
                replaced: earlier.file().unwrap_or(path).to_owned(),
            };
            tracing::warn!("{warning}");
            report.warnings.push(warning);
        }
        loaded.push(Some(certificate));
    }
    report.certificates = loaded.into_iter().flatten().collect();
    Ok(report)
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if is_certificate_name(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn is_certificate_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".key") && !name.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_key_files_are_certificates() {
        for name in ["ada.key", "[a]*.key", "a.b.key", " .key"] {
            assert!(is_certificate_name(OsStr::new(name)), "{name:?}");
        }
        for name in [
            ".key",
            ".ada.key",
            "ada.key_secret",
            "ada.key~",
            "ada.KEY",
            "key",
            ".0011.tmp",
        ] {
            assert!(!is_certificate_name(OsStr::new(name)), "{name:?}");
        }
    }
}

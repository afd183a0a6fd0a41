//! The contents of a watched directory or file, by entry.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::auth::policy::plain::table::{PasswordTable, Stored};
use crate::auth::policy::watched::issue::ReloadIssue;
use crate::cert::certificate::Certificate;
use crate::cert::known_files::Report;
use crate::cert::load::DirectoryReport;
use crate::cert::problem::{CertificateError, CertificateWarning};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

/// Comparison by content. It is not `PartialEq`, because types that hold stored passwords must not
/// have a comparison operator.
pub(crate) trait Content {
    /// Whether both have the same content. File times do not matter.
    fn is_same(&self, other: &Self) -> bool;
}

/// The result of reading a directory or file once.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) entries: Entries,
    /// The names of the entries that it is about: all whose entry may differ from that of the reading
    /// before. `None` if it is about all.
    pub(crate) about: Option<BTreeSet<Name>>,
    /// Files of a directory whose names are not those of certificates.
    pub(crate) passed_over: Vec<PathBuf>,
    /// The permission bits of a password file, if users other than its owner have any.
    pub(crate) loose_mode: Option<u32>,
    /// Whether an entry that is missing here is absent on disk. A password file with a line that is
    /// not valid gives no information about any user.
    is_whole: bool,
}

pub(crate) type Entries = BTreeMap<Name, Entry>;

/// The entries before those that have changed. `None` stands for no entry.
pub(crate) type Settled = BTreeMap<Name, Option<Entry>>;

/// The name of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The directory or password file as a whole. It has an entry only if there is a problem.
    Whole,
    /// A file of the directory, by its path. Its bytes are compared, which takes less time than its parts.
    File(OsString),
    /// The warning about a file that holds a secret key. The file may have another entry.
    Secret(OsString),
    /// A user of the password file.
    User(Bytes),
}

impl Name {
    /// The file of a directory that it names.
    pub(crate) const fn file(&self) -> Option<&OsString> {
        match self {
            Self::File(file) | Self::Secret(file) => Some(file),
            Self::Whole | Self::User(_) => None,
        }
    }
}

/// The smallest part of a source that comes into force independently of the rest.
#[derive(Clone)]
pub(crate) enum Entry {
    Certificate(Certificate),
    User(Stored),
    Issue(ReloadIssue),
    /// Nothing was loaded yet. It differs from every other entry, so the first reading is a change.
    Unloaded,
}

impl Content for Entry {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(one), Self::Certificate(other)) => {
                // Most files are known, and then both are one certificate.
                one.is_clone_of(other)
                    || one.public_key() == other.public_key()
                        && one.metadata() == other.metadata()
                        && one.validity() == other.validity()
            }
            (Self::User(one), Self::User(other)) => one.is_same(other),
            (Self::Issue(one), Self::Issue(other)) => one == other,
            _ => false,
        }
    }
}

impl Entry {
    /// The certificate, if it is one.
    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            _ => None,
        }
    }
}

impl Reading {
    pub(crate) fn of_directory(read: Result<Report, CertificateError>) -> Self {
        let Report { report, about } = match read {
            Ok(report) => report,
            Err(error) => return Self::of_issue(ReloadIssue::DirectoryGone(error), true),
        };
        let names = |file: PathBuf| {
            let file = file.into_os_string();
            [Name::Secret(file.clone()), Name::File(file)]
        };
        Self {
            about: about.map(|files| files.into_iter().flat_map(names).collect()),
            ..Self::of_report(&report)
        }
    }

    pub(crate) fn of_report(report: &DirectoryReport) -> Self {
        let good = report.certificates.iter().filter_map(|certificate| {
            let entry = Entry::Certificate(certificate.clone());
            Some((Name::File(certificate.file()?.into()), entry))
        });
        let bad = report.problems.iter().map(|(file, error)| {
            let issue = ReloadIssue::Certificate(error.clone());
            (Name::File(file.into()), Entry::Issue(issue))
        });
        let secrets = report.warnings.iter().filter_map(|warning| match warning {
            CertificateWarning::SecretInPublic { file } => {
                let issue = ReloadIssue::Secret(warning.clone());
                Some((Name::Secret(file.into()), Entry::Issue(issue)))
            }
            _ => None,
        });
        Self {
            entries: good.chain(bad).chain(secrets).collect(),
            about: None,
            passed_over: report.passed_over.clone(),
            loose_mode: None,
            is_whole: true,
        }
    }

    pub(crate) fn of_table(table: &PasswordTable, loose_mode: Option<u32>) -> Self {
        let users = table.stored();
        let entries =
            users.map(|(name, stored)| (Name::User(name.clone()), Entry::User(stored.clone())));
        Self {
            entries: entries.collect(),
            about: None,
            passed_over: Vec::new(),
            loose_mode,
            is_whole: true,
        }
    }

    pub(crate) fn of_passwords(
        table: &Result<PasswordTable, PasswordFileError>,
        loose_mode: Option<u32>,
    ) -> Self {
        match table {
            Ok(table) => Self::of_table(table, loose_mode),
            Err(error) if error.is_gone() => {
                Self::of_issue(ReloadIssue::FileGone(error.clone()), true)
            }
            Err(error) => Self::of_issue(ReloadIssue::FileKept(error.clone()), false),
        }
    }

    fn of_issue(issue: ReloadIssue, is_whole: bool) -> Self {
        Self {
            entries: Entries::from([(Name::Whole, Entry::Issue(issue))]),
            about: None,
            passed_over: Vec::new(),
            loose_mode: None,
            is_whole,
        }
    }

    /// Whether a missing entry of this name means that it is absent on disk.
    pub(crate) fn covers(&self, name: &Name) -> bool {
        self.is_whole || *name == Name::Whole
    }

    /// Whether both have the same entries.
    #[cfg(feature = "policy-file")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.entries, &other.entries);
        one.len() == two.len()
            && one.iter().all(|(name, entry)| {
                let other = two.get(name);
                other.is_some_and(|other| entry.is_same(other))
            })
    }
}

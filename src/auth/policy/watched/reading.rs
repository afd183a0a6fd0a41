//! What was read of a watched directory or file, entry by entry.
#![forbid(unsafe_code)]

use crate::auth::policy::password_file::PasswordFileError;
use crate::auth::policy::plain::{PasswordTable, Stored};
use crate::auth::policy::watched::issue::ReloadIssue;
use crate::cert::certificate::Certificate;
use crate::cert::directory::DirectoryReport;
use crate::cert::problem::{CertificateError, CertificateWarning};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What can be told apart by its content. Not `PartialEq`: no type that holds what passwords are
/// checked against has an operator that compares it.
pub(crate) trait Content {
    /// Whether both say the same. Contents decide, not times.
    fn is_same(&self, other: &Self) -> bool;
}

/// What was found on reading.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) entries: Entries,
    /// Files of a directory that are no certificates by their names.
    pub(crate) passed_over: Vec<PathBuf>,
    /// Whether what it does not show is absent. A password file with a bad line says nothing of
    /// any user.
    is_whole: bool,
}

pub(crate) type Entries = BTreeMap<Name, Entry>;

/// What an entry is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The directory or password file as a whole: an entry only if something is wrong with it.
    Whole,
    /// A file of the directory.
    File(PathBuf),
    /// What is told of a file that holds a secret key, next to what counts of it.
    Secret(PathBuf),
    /// A user of the password file.
    User(Bytes),
}

/// What changes, and comes into force, by itself.
#[derive(Clone)]
pub(crate) enum Entry {
    Certificate(Box<Certificate>),
    User(Stored),
    Issue(ReloadIssue),
    /// Nothing was loaded yet, so that whatever is read first is a change.
    Unloaded,
}

impl Content for Entry {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(one), Self::Certificate(other)) => {
                one.public_key() == other.public_key()
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
    pub(crate) fn of_directory(report: &Result<DirectoryReport, CertificateError>) -> Self {
        match report {
            Ok(report) => Self::of_report(report),
            Err(error) => Self::of_issue(ReloadIssue::DirectoryGone(error.clone()), true),
        }
    }

    pub(crate) fn of_report(report: &DirectoryReport) -> Self {
        let good = report.certificates.iter().filter_map(|certificate| {
            let entry = Entry::Certificate(Box::new(certificate.clone()));
            Some((Name::File(certificate.file()?.to_owned()), entry))
        });
        let bad = report.problems.iter().map(|(file, error)| {
            let issue = ReloadIssue::Certificate(error.clone());
            (Name::File(file.clone()), Entry::Issue(issue))
        });
        let secrets = report.warnings.iter().filter_map(|warning| match warning {
            CertificateWarning::SecretInPublic { file } => {
                let issue = ReloadIssue::Secret(warning.clone());
                Some((Name::Secret(file.clone()), Entry::Issue(issue)))
            }
            _ => None,
        });
        Self {
            entries: good.chain(bad).chain(secrets).collect(),
            passed_over: report.passed_over.clone(),
            is_whole: true,
        }
    }

    pub(crate) fn of_table(table: &PasswordTable) -> Self {
        let users = table.stored();
        let entries =
            users.map(|(name, stored)| (Name::User(name.clone()), Entry::User(stored.clone())));
        Self {
            entries: entries.collect(),
            passed_over: Vec::new(),
            is_whole: true,
        }
    }

    pub(crate) fn of_passwords(table: &Result<PasswordTable, PasswordFileError>) -> Self {
        match table {
            Ok(table) => Self::of_table(table),
            Err(error) if error.is_gone() => {
                Self::of_issue(ReloadIssue::FileGone(error.clone()), true)
            }
            Err(error) => Self::of_issue(ReloadIssue::FileKept(error.clone()), false),
        }
    }

    fn of_issue(issue: ReloadIssue, is_whole: bool) -> Self {
        Self {
            entries: Entries::from([(Name::Whole, Entry::Issue(issue))]),
            passed_over: Vec::new(),
            is_whole,
        }
    }

    /// Whether an entry of this name that it does not show is absent.
    pub(crate) fn tells_of(&self, name: &Name) -> bool {
        self.is_whole || *name == Name::Whole
    }

    /// Whether both say the same.
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

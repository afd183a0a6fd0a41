//! What is loaded again by itself: how it is read, and what it means for the policy.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::handle::{Authenticator, WeakAuthenticator};
use crate::auth::policy::curve::CurveRule;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::password_file::{PasswordFileError, Passwords};
use crate::auth::policy::plain::{PasswordTable, Stored};
use crate::auth::reload::event::{ReloadEvent, ReloadIssue};
use crate::auth::reload::settling::Content;
use crate::auth::reload::watches::Ruled;
use crate::cert::certificate::Certificate;
use crate::cert::directory::{self, CertificateDirectory, DirectoryReport};
use crate::cert::problem::{CertificateError, CertificateWarning};
use crate::cert::validity::Validity;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// How often a directory is read over if its links were changed meanwhile. 3: after that it is
/// taken as it was read, or links that change all the time would hold back everything.
const TORN: usize = 3;

/// A directory of certificates, or a password file, and the domain that it rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its keys count only within this validity.
    Directory(Domain, CertificateDirectory, Validity),
    PasswordFile(Domain, PathBuf),
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

/// What settles by itself.
#[derive(Clone)]
pub(crate) enum Entry {
    Certificate(Box<Certificate>),
    User(Stored),
    Trouble(ReloadIssue),
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
            (Self::Trouble(one), Self::Trouble(other)) => one == other,
            _ => false,
        }
    }
}

impl Source {
    pub(crate) fn domain(&self) -> &Domain {
        let (Self::Directory(domain, ..) | Self::PasswordFile(domain, _)) = self;
        domain
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(_, directory, _) => directory.path(),
            Self::PasswordFile(_, path) => path,
        }
    }

    /// What it rules.
    pub(crate) fn rules(&self) -> Ruled {
        let mechanism = match self {
            Self::Directory(..) => MechanismKind::Curve,
            Self::PasswordFile(..) => MechanismKind::Plain,
        };
        (mechanism, self.domain().clone())
    }

    /// Reads it, for an Authenticator that is kept by nothing here while the disk takes its time;
    /// `None` if that is gone.
    pub(crate) fn read(&self, auth: &WeakAuthenticator) -> Option<Reading> {
        match self {
            Self::Directory(_, directory, _) => {
                let report = untorn(directory.path(), || directory::read(directory));
                Some(Reading::of_directory(&report))
            }
            Self::PasswordFile(_, path) => {
                let passwords = Passwords::load(path);
                let auth = auth.upgrade()?;
                let table = passwords.and_then(|passwords| auth.password_table(&passwords));
                Some(Reading::of_passwords(&table))
            }
        }
    }

    /// Puts in force what has settled, some of it just now.
    pub(crate) fn install(
        &self,
        policy: &mut Policy,
        entries: &Entries,
        auth: &Authenticator,
    ) -> Change {
        let domain = self.domain().clone();
        match self {
            Self::Directory(.., validity) => {
                let certificates = entries.values().filter_map(Entry::certificate);
                let rule = CurveRule::certificates(certificates).within(validity);
                policy.rule_curve(domain, rule)
            }
            Self::PasswordFile(..) => {
                let users = entries
                    .iter()
                    .filter_map(|(name, entry)| match (name, entry) {
                        (Name::User(name), Entry::User(stored)) => {
                            Some((name.clone(), stored.clone()))
                        }
                        _ => None,
                    });
                policy.rule_plain(domain, auth.settled_users(users.collect()))
            }
        }
    }

    /// What the entries in force amount to.
    pub(crate) fn event(&self, entries: &Entries, passed_over: &[PathBuf]) -> ReloadEvent {
        let troubles = entries.values().filter_map(|entry| match entry {
            Entry::Trouble(trouble) => Some(trouble.clone()),
            _ => None,
        });
        let admits = |entry: &&Entry| matches!(entry, Entry::Certificate(_) | Entry::User(_));
        ReloadEvent {
            domain: self.domain().clone(),
            path: self.path().to_owned(),
            admitted: entries.values().filter(admits).count(),
            troubles: troubles.collect(),
            passed_over: passed_over.to_vec(),
        }
    }
}

impl Entry {
    fn certificate(&self) -> Option<&Certificate> {
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
            Err(error) => Self::of_trouble(ReloadIssue::DirectoryGone(error.clone()), true),
        }
    }

    pub(crate) fn of_report(report: &DirectoryReport) -> Self {
        let good = report.certificates.iter().filter_map(|certificate| {
            let entry = Entry::Certificate(Box::new(certificate.clone()));
            Some((Name::File(certificate.file()?.to_owned()), entry))
        });
        let bad = report.problems.iter().map(|(file, error)| {
            let trouble = ReloadIssue::Certificate(error.clone());
            (Name::File(file.clone()), Entry::Trouble(trouble))
        });
        let secrets = report.warnings.iter().filter_map(|warning| match warning {
            CertificateWarning::SecretInPublic { file } => {
                let trouble = ReloadIssue::Secret(warning.clone());
                Some((Name::Secret(file.clone()), Entry::Trouble(trouble)))
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

    fn of_passwords(table: &Result<PasswordTable, PasswordFileError>) -> Self {
        match table {
            Ok(table) => Self::of_table(table),
            Err(error) if error.is_gone() => {
                Self::of_trouble(ReloadIssue::FileGone(error.clone()), true)
            }
            Err(error) => Self::of_trouble(ReloadIssue::FileKept(error.clone()), false),
        }
    }

    fn of_trouble(trouble: ReloadIssue, is_whole: bool) -> Self {
        Self {
            entries: Entries::from([(Name::Whole, Entry::Trouble(trouble))]),
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

/// Reads a directory that is exchanged whole by its links, as Kubernetes does it, before or after
/// the exchange.
fn untorn<R>(path: &Path, read: impl Fn() -> R) -> R {
    let mut before = links(path);
    let mut reading = read();
    for _ in 1..TORN {
        let after = links(path);
        if before == after {
            break;
        }
        before = after;
        reading = read();
    }
    reading
}

/// Where a directory really lies, and where its links lead.
fn links(path: &Path) -> Option<(PathBuf, BTreeMap<OsString, PathBuf>)> {
    let mut links = BTreeMap::new();
    for entry in fs::read_dir(path).ok()? {
        let entry = entry.ok()?;
        if entry.file_type().ok()?.is_symlink() {
            links.insert(entry.file_name(), fs::read_link(entry.path()).ok()?);
        }
    }
    Some((path.canonicalize().ok()?, links))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_whose_links_change_while_it_is_read_is_read_over_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mount, data) = (dir.path().join("mount"), dir.path().join("mount/..data"));
        fs::create_dir(&mount).unwrap();
        symlink("..0", &data).unwrap();
        for (changes, readings) in [(0, 1), (1, 2), (2, TORN), (9, TORN)] {
            let read = Cell::new(0);
            untorn(&mount, || {
                read.set(read.get() + 1);
                if read.get() <= changes {
                    fs::remove_file(&data).unwrap();
                    symlink(format!("..{changes}{}", read.get()), &data).unwrap();
                }
            });
            assert_eq!(read.get(), readings, "{changes}");
        }
    }

    #[test]
    fn a_directory_that_is_itself_a_link_is_read_over_when_the_link_changes() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
        }
        let current = dir.path().join("current");
        symlink("1", &current).unwrap();
        let read = Cell::new(0);
        untorn(&current, || {
            read.set(read.get() + 1);
            if read.get() == 1 {
                fs::remove_file(&current).unwrap();
                symlink("2", &current).unwrap();
            }
        });
        assert_eq!(read.get(), 2);
    }
}

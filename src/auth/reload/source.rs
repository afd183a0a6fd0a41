//! How a watched source is read, and how its entries come into force.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::{Authenticator, WeakAuthenticator};
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::password_file::Passwords;
use crate::auth::policy::watched::reading::{Entries, Entry, Name, Reading};
use crate::auth::policy::watched::source::Source;
use crate::auth::reload::event::ReloadEvent;
use crate::cert::directory;
use crate::cert::known_files::KnownFiles;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of readings of a directory whose links change while it is read. 3: after that the
/// last reading is used, so that links that change all the time do not delay everything.
const MAX_READINGS: usize = 3;

impl Source {
    /// Reads the source; `None` if the Authenticator is dropped. The Authenticator is not kept alive
    /// while the disk is read.
    ///
    /// Files of a directory that are `known` are not read again.
    pub(crate) fn read(&self, auth: &WeakAuthenticator, known: &mut KnownFiles) -> Option<Reading> {
        match self {
            Self::Directory(_, directory, _) => {
                let read = || directory::read_again(directory, known);
                let report = read_consistently(directory.path(), read);
                Some(Reading::of_directory(&report))
            }
            Self::PasswordFile(_, path) => {
                let passwords = Passwords::load(path);
                let loose_mode = passwords.as_ref().ok().and_then(|read| read.loose_mode);
                let auth = auth.upgrade()?;
                let table = passwords.and_then(|passwords| auth.password_table(&passwords));
                Some(Reading::of_passwords(&table, loose_mode))
            }
        }
    }

    /// Puts the settled entries in force.
    pub(crate) fn install(
        &self,
        policy: &mut Policy,
        entries: &Entries,
        auth: &Authenticator,
    ) -> Made {
        let domain = self.domain().clone();
        match self {
            Self::Directory(_, directory, validity) => {
                let certificates = entries.values().filter_map(Entry::certificate);
                let names = directory.names();
                let rule = CurveRule::certificates(certificates, names).within(validity);
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

    /// The event about the entries in force.
    pub(crate) fn event(&self, entries: &Entries, passed_over: &[PathBuf]) -> ReloadEvent {
        let issues = entries.values().filter_map(|entry| match entry {
            Entry::Issue(issue) => Some(issue.clone()),
            _ => None,
        });
        let admits = |entry: &&Entry| matches!(entry, Entry::Certificate(_) | Entry::User(_));
        ReloadEvent {
            domain: self.domain().clone(),
            path: self.path().to_owned(),
            admitted: entries.values().filter(admits).count(),
            issues: issues.collect(),
            passed_over: passed_over.to_vec(),
        }
    }
}

/// Reads a directory until its links did not change during the reading. Kubernetes replaces the
/// contents of a directory by changing a link, and a reading during the change would be a mixture.
fn read_consistently<R>(path: &Path, mut read: impl FnMut() -> R) -> R {
    let mut before = links(path);
    let mut reading = read();
    for _ in 1..MAX_READINGS {
        let after = links(path);
        if before == after {
            break;
        }
        before = after;
        reading = read();
    }
    reading
}

/// The real path of a directory, and the targets of the links in it.
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
    fn a_directory_whose_links_change_while_it_is_read_is_read_again_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mount, data) = (dir.path().join("mount"), dir.path().join("mount/..data"));
        fs::create_dir(&mount).unwrap();
        symlink("..0", &data).unwrap();
        for (changes, readings) in [(0, 1), (1, 2), (2, MAX_READINGS), (9, MAX_READINGS)] {
            let read = Cell::new(0);
            read_consistently(&mount, || {
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
    fn a_directory_that_is_itself_a_link_is_read_again_when_the_link_changes() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
        }
        let current = dir.path().join("current");
        symlink("1", &current).unwrap();
        let read = Cell::new(0);
        read_consistently(&current, || {
            read.set(read.get() + 1);
            if read.get() == 1 {
                fs::remove_file(&current).unwrap();
                symlink("2", &current).unwrap();
            }
        });
        assert_eq!(read.get(), 2);
    }
}

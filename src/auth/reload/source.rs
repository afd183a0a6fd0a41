//! How a watched source is read, and how its entries come into force.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::auth::authenticator::handle::{Authenticator, WeakAuthenticator};
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::password_file::Passwords;
use crate::auth::policy::watched::reading::{Entries, Entry, Name, Reading, Settled};
use crate::auth::policy::watched::source::Source;
use crate::auth::reload::event::ReloadEvent;
use crate::cert::certificate::Certificate;
use crate::cert::directory;
use crate::cert::known_files::KnownFiles;
use crate::crypto::keys::PublicKey;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
                let read = || directory::read_again(directory, known, SystemTime::now());
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

    /// Puts the settled entries in force. `settled` has the entries before those that have changed since
    /// `entries` were put in force last, if they are in force.
    pub(crate) fn install(
        &self,
        policy: &mut Policy,
        entries: &Entries,
        settled: Option<&Settled>,
        auth: &Authenticator,
    ) -> Made {
        let domain = self.domain().clone();
        match self {
            Self::Directory(_, directory, validity) => {
                let certificates = entries.values().filter_map(Entry::certificate);
                let rule = |certificates: &mut dyn Iterator<Item = &Certificate>| {
                    CurveRule::certificates(certificates, directory.names()).within(validity)
                };
                let fresh = policy.version;
                if let (Some(settled), Some(before)) = (settled, policy.curve.get_mut(&domain)) {
                    // What the rule says of a key depends on the certificates of that key alone.
                    let keys = changed_keys(entries, settled);
                    let of_these = certificates.clone();
                    let mut of_these = of_these.filter(|one| keys.contains(&one.public_key()));
                    if before.replace(&keys, &rule(&mut of_these), fresh) {
                        return Made::Ruled(MechanismKind::Curve, domain);
                    }
                }
                policy.rule_curve(domain, rule(&mut certificates.clone()))
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

/// The keys of the certificates that have changed, before and after.
fn changed_keys(entries: &Entries, settled: &Settled) -> HashSet<PublicKey> {
    let before = settled.values().flatten();
    let after = settled.keys().filter_map(|name| entries.get(name));
    let certificates = before.chain(after).filter_map(Entry::certificate);
    certificates.map(Certificate::public_key).collect()
}

/// Reads a directory until its links did not change during the reading. Kubernetes replaces the
/// contents of a directory by changing a link, and a reading during the change would be a mixture.
fn read_consistently<R>(path: &Path, mut read: impl FnMut() -> R) -> R {
    let mut before = links(path);
    let mut reading = read();
    for _ in 1..MAX_READINGS {
        // Links that come meanwhile make no mixture of what was there.
        let is_same_place = |(real, links): &(PathBuf, BTreeMap<_, _>)| {
            links.is_empty() && path.canonicalize().is_ok_and(|now| now == *real)
        };
        if before.as_ref().is_some_and(is_same_place) {
            break;
        }
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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::access::domain::Domain;
    use crate::auth::policy::curve::entry::KeyEntry;
    use crate::auth::reload::settling::Settling;
    use crate::cert::directory::CertificateDirectory;
    use crate::cert::validity::Validity;
    use crate::wire::metadata::Metadata;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant, UNIX_EPOCH};

    /// With more of them this test takes long.
    fn cases() -> u32 {
        let is_full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
        if is_full { 1000 } else { 24 }
    }

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

    /// What a rule says of a key: the user, the metadata, and the version of the entry.
    type Said = (Option<Bytes>, Metadata, Validity, u64);

    fn said(policy: &Policy) -> BTreeMap<PublicKey, Said> {
        let table = policy.curve[&Domain::ALL].table().unwrap();
        let said = |entry: &KeyEntry| {
            let user = entry.user().cloned();
            (user, entry.metadata(), entry.validity(), entry.version)
        };
        table
            .iter()
            .map(|(key, entry)| (*key, said(entry)))
            .collect()
    }

    /// The text of a certificate file, good or bad.
    fn text() -> impl Strategy<Value = String> {
        let good = (0..4_u8, 0..3_u8, 0..3_u8).prop_map(|(key, name, end)| {
            let key = PublicKey::from_bytes([key + 9; 32]).unwrap();
            let name = match name {
                0 => String::new(),
                name => format!("    name = \"user {name}\"\n"),
            };
            let end = match end {
                0 => String::new(),
                // One of them is no date.
                end => format!("    not-after = \"203{end}-0{end}-{end}1T00:00:00Z\"\n"),
            };
            format!("metadata\n    x = \"y\"\n{name}{end}curve\n    public-key = \"{key}\"\n")
        });
        prop_oneof![9 => good, 1 => Just("curve\n".to_owned())]
    }

    /// Changes of some files of a directory. A file without a text is removed, or becomes a link to another.
    fn edits() -> impl Strategy<Value = Vec<Vec<(u8, Option<String>, bool)>>> {
        let edit = (0..6_u8, proptest::option::of(text()), any::<bool>());
        proptest::collection::vec(proptest::collection::vec(edit, 1..4), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        // Known files and single keys save work, and change nothing.
        #[test]
        fn a_reload_of_what_has_changed_leads_to_what_a_load_of_all_files_leads_to(
            edits in edits(),
            names in any::<bool>(),
            is_limited in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
            let validity = Validity { not_after: is_limited.then_some(end), ..Validity::default() };
            let directory = CertificateDirectory::new(dir.path()).with_names(names);
            let source = Source::Directory(Domain::ALL, directory.clone(), validity);
            let auth = Authenticator::new();
            let mut known = KnownFiles::default();
            let (start, mut seconds) = (Instant::now(), 0);
            let (mut settling, mut policies) = (Settling::new(Entries::new()), [(); 2].map(|()| Policy::default()));
            for policy in &mut policies {
                policy.rule_curve(Domain::ALL, CurveRule::no_keys());
            }
            for edit in edits {
                for (file, text, is_link) in edit {
                    let path = dir.path().join(format!("{file}.key"));
                    let _absent = fs::remove_file(&path);
                    match text {
                        Some(text) => fs::write(&path, text).unwrap(),
                        None if is_link => symlink(format!("{}.key", (file + 1) % 6), &path).unwrap(),
                        None => {}
                    }
                }
                // Long after the change, so that the files count as known.
                let later = SystemTime::now() + Duration::from_secs(60);
                let again = Reading::of_directory(&directory::read_again(&directory, &mut known, later));
                let whole = Reading::of_directory(&directory::read(&directory));
                prop_assert!(again.is_same(&whole));
                // Nothing has changed since, so it need not ask about any file.
                known.ask_about(Some(HashSet::new()));
                let confirming = directory::read_again(&directory, &mut known, later);
                prop_assert!(Reading::of_directory(&confirming).is_same(&whole));
                known.ask_about(None);
                seconds += 60;
                let now = start + Duration::from_secs(seconds);
                let settled = settling.see(&again.entries, |_| true, now, Duration::ZERO);
                for (policy, settled) in policies.iter_mut().zip([Some(&settled), None]) {
                    policy.version += 1;
                    source.install(policy, settling.in_force(), settled, &auth);
                }
                let [incremental, full] = &policies;
                prop_assert_eq!(said(incremental), said(full));
            }
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

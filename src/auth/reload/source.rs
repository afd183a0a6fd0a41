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
use crate::cert::known_files::KnownFiles;
use crate::crypto::keys::PublicKey;
use std::collections::BTreeSet;
use std::path::PathBuf;
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
                let read = read_consistently(|| {
                    known.read(directory, SystemTime::now())?;
                    Ok(known.are_links_changed(directory))
                });
                let report = read.map(|()| known.report(directory));
                Some(Reading::of_directory(report))
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
fn changed_keys(entries: &Entries, settled: &Settled) -> BTreeSet<PublicKey> {
    let before = settled.values().flatten();
    let after = settled.keys().filter_map(|name| entries.get(name));
    let certificates = before.chain(after).filter_map(Entry::certificate);
    certificates.map(Certificate::public_key).collect()
}

/// Reads a directory until `read` says that its links did not change during the reading. Kubernetes replaces
/// the contents of a directory by changing a link, and a reading during the change would be a mixture.
fn read_consistently<E>(mut read: impl FnMut() -> Result<bool, E>) -> Result<(), E> {
    for _ in 0..MAX_READINGS {
        if !read()? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::access::domain::Domain;
    use crate::auth::policy::curve::entry::KeyEntry;
    use crate::auth::policy::watched::reading::Content;
    use crate::auth::reload::settling::Settling;
    use crate::cert::directory::{CertificateDirectory, Layout};
    use crate::cert::known_files::{Report, Scope};
    use crate::cert::load;
    use crate::cert::problem::CertificateError;
    use crate::cert::validity::Validity;
    use crate::wire::metadata::Metadata;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::Path;
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
        let directory = CertificateDirectory::new(mount);
        for (changes, readings) in [(0, 1), (1, 2), (2, MAX_READINGS), (9, MAX_READINGS)] {
            let (mut known, mut count) = (KnownFiles::default(), 0);
            let read = read_consistently(|| {
                known.read(&directory, SystemTime::now())?;
                count += 1;
                if count <= changes {
                    fs::remove_file(&data).unwrap();
                    symlink(format!("..{changes}{count}"), &data).unwrap();
                }
                Ok::<_, CertificateError>(known.are_links_changed(&directory))
            });
            assert_eq!((read, count), (Ok(()), readings), "{changes}");
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
        let secret = include_str!("../../../tests/data/pyzmq/ada.key_secret");
        prop_oneof![9 => good, 1 => Just("curve\n".to_owned()), 1 => Just(secret.to_owned())]
    }

    /// A change of a file. Without a text it is removed, or becomes a link to another.
    type Edit = (u8, Option<String>, bool);

    /// Changes of some files of a directory, and whether the next reading reads all files, and whether it
    /// follows the one before.
    fn edits() -> impl Strategy<Value = Vec<(Vec<Edit>, bool, bool)>> {
        let edit = (0..8_u8, proptest::option::of(text()), any::<bool>());
        let edits = proptest::collection::vec(edit, 1..4);
        let step = (edits, any::<bool>(), proptest::bool::weighted(0.8));
        proptest::collection::vec(step, 1..8)
    }

    /// The path of a file of that number. The last two are no certificates by name.
    fn path_of(directory: &CertificateDirectory, file: u8) -> PathBuf {
        let end = match (directory.layout(), file) {
            (Layout::Pyzmq, 0..6) => ".key",
            (Layout::Czmq, 0..6) => "",
            _ => "_secret",
        };
        directory.path().join(format!("{file}{end}"))
    }

    fn is_same(one: &Entries, other: &Entries) -> bool {
        let is_same = |name| Content::is_same(&one.get(name), &other.get(name));
        one.len() == other.len() && one.keys().all(is_same)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        // Known files, readings about changes, and single keys save work, and change nothing.
        #[test]
        fn a_reload_of_what_has_changed_leads_to_what_a_load_of_all_files_leads_to(
            steps in edits(),
            names in any::<bool>(),
            is_limited in any::<bool>(),
            is_czmq in any::<bool>(),
        ) {
            const DEBOUNCE: Duration = Duration::from_secs(60);
            let dir = tempfile::tempdir().unwrap();
            let end = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
            let validity = Validity { not_after: is_limited.then_some(end), ..Validity::default() };
            let layout = if is_czmq { Layout::Czmq } else { Layout::Pyzmq };
            let directory = CertificateDirectory::new(dir.path()).with_names(names).with_layout(layout);
            let source = Source::Directory(Domain::ALL, directory.clone(), validity);
            let auth = Authenticator::new();
            let mut known = KnownFiles::default();
            let mut now = Instant::now();
            let mut settlings = [(); 2].map(|()| Settling::new(Entries::new()));
            let mut policies = [(); 2].map(|()| Policy::default());
            for policy in &mut policies {
                policy.rule_curve(Domain::ALL, CurveRule::no_keys());
            }
            // Two changes may come within one tick of the kernel's clock.
            let mut times = (0..).map(|second| UNIX_EPOCH + Duration::from_secs(1_000_000_000 + second));
            for (edits, reads_all, follows) in steps {
                for (file, text, is_link) in edits {
                    let path = path_of(&directory, file);
                    let _absent = fs::remove_file(&path);
                    match text {
                        Some(text) => {
                            fs::write(&path, text).unwrap();
                            let file = File::options().write(true).open(&path).unwrap();
                            file.set_modified(times.next().unwrap()).unwrap();
                        }
                        None if is_link => symlink(path_of(&directory, (file + 1) % 8), &path).unwrap(),
                        None => {}
                    }
                }
                // Long after the change, so that the files count as known.
                let later = SystemTime::now() + Duration::from_secs(60);
                let whole = load::read(&directory).unwrap();
                let whole = Reading::of_directory(Ok(Report { report: whole, about: None }));
                // The second reading confirms the first.
                for scope in [Some(if reads_all { Scope::Contents } else { Scope::Stamps }), None] {
                    now += DEBOUNCE;
                    let [partial, full] = &mut settlings;
                    let changing = partial.changing().filter_map(Name::file);
                    let changing = changing.filter_map(|file| Path::new(file).file_name());
                    let confirms = || Scope::Only(changing.map(ToOwned::to_owned).collect());
                    let scope = scope.unwrap_or_else(confirms);
                    known.prepare(scope, follows).read(&directory, later).unwrap();
                    let again = Reading::of_directory(Ok(known.report(&directory)));
                    prop_assert_eq!(&again.passed_over, &whole.passed_over);
                    let about = again.about.as_ref();
                    let settled = partial.see(&again.entries, about, |_| true, now, DEBOUNCE);
                    full.see(&whole.entries, None, |_| true, now, DEBOUNCE);
                    prop_assert!(is_same(partial.in_force(), full.in_force()));
                    for (policy, settled) in policies.iter_mut().zip([Some(&settled), None]) {
                        policy.version += 1;
                        source.install(policy, partial.in_force(), settled, &auth);
                    }
                    let [incremental, full] = &policies;
                    prop_assert_eq!(said(incremental), said(full));
                }
                prop_assert!(is_same(settlings[0].in_force(), &whole.entries));
            }
        }
    }

    #[test]
    fn a_directory_that_is_itself_a_link_is_read_again_when_the_link_changes() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            let path = dir.path().join(version);
            fs::create_dir(&path).unwrap();
            let certificate = Certificate::generate().unwrap();
            certificate.save_public(path, version).unwrap();
        }
        let current = dir.path().join("current");
        symlink("1", &current).unwrap();
        let directory = CertificateDirectory::new(&current);
        // Also a reading that confirms the one before.
        for (scope, target) in [(Scope::Stamps, "2"), (Scope::Only(HashSet::new()), "1")] {
            let (mut known, mut count) = (KnownFiles::default(), 0);
            known.read(&directory, SystemTime::now()).unwrap();
            known.prepare(scope, true);
            let read = read_consistently(|| {
                known.read(&directory, SystemTime::now())?;
                count += 1;
                if count == 1 {
                    fs::remove_file(&current).unwrap();
                    symlink(target, &current).unwrap();
                }
                Ok::<_, CertificateError>(known.are_links_changed(&directory))
            });
            assert_eq!((read, count), (Ok(()), 2));
            let found = known.report(&directory).report.certificates;
            let found: Vec<_> = found.iter().filter_map(Certificate::file).collect();
            assert_eq!(found, [current.join(format!("{target}.key"))]);
        }
    }
}

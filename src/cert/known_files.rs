//! The files of a watched directory as they were read last. A file needs no second reading as long as the
//! system says the same about it, and a report follows what has changed since the one before.
#![forbid(unsafe_code)]

use crate::cert::certificate::Certificate;
use crate::cert::directory::CertificateDirectory;
use crate::cert::listing::{Listed, Listing};
use crate::cert::load::{DirectoryReport, Found, cannot_be_listed, judge};
use crate::cert::problem::CertificateError;
use crate::crypto::keys::PublicKey;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How long ago the last change of a file must be before the system's word is taken for it. 2 s: the
/// coarsest clock of a file system in use, so that a second change has another time than the first.
const SETTLED: Duration = Duration::from_secs(2);

/// The files of one directory, without secret keys.
#[derive(Default)]
pub(crate) struct KnownFiles {
    /// By name.
    files: HashMap<OsString, Known>,
    /// The number of readings of the directory.
    round: u64,
    scope: Scope,
    /// What has changed since the last report.
    changed: Changed,
    /// Whether the next report is compared with the one before.
    follows: bool,
    /// Everything else in the directory, in order.
    others: Vec<PathBuf>,
    links: Links,
    /// The files about whose secret keys the last report has warned.
    secrets: Vec<PathBuf>,
    #[cfg(test)]
    reads: usize,
    /// The files that reports were made about.
    #[cfg(test)]
    judged: usize,
    /// Called between the look at a file and its reading.
    #[cfg(test)]
    looked: Option<Box<dyn Fn() + Send>>,
}

/// Which files a reading looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// It reads all files.
    Contents,
    /// It asks the system about all files, and reads those that have changed.
    #[default]
    Stamps,
    /// As `Stamps`, about the files of these names, since the reading confirms the one before. Other files
    /// count as they are known. Where the directory is listed nevertheless, new files are read too. Files
    /// that are no certificates by name are searched for secret keys as ever.
    Only(HashSet<OsString>),
}

struct Known {
    /// `None` if a change of the file may have no other stamp, or if the file could not be read.
    stamp: Option<Stamp>,
    found: Found,
    /// The last reading of the directory that has found the file.
    round: u64,
}

/// The names of files, and the public keys that they have or had.
#[derive(Default)]
struct Changed {
    names: HashSet<OsString>,
    /// Mostly few, which a tree compares faster than a hash is computed.
    keys: BTreeSet<PublicKey>,
}

/// The real path of a directory, and the targets of the links in it; `None` if the system does not say.
type Links = Option<(PathBuf, BTreeMap<OsString, PathBuf>)>;

/// A report about a directory.
pub(crate) struct Report {
    /// What is in the directory. If the report is about some files, its certificates and problems are those
    /// of these files.
    pub(crate) report: DirectoryReport,
    /// The files that the report is about: all whose part of it may differ from the report before. `None`
    /// if it is about all files.
    pub(crate) about: Option<HashSet<PathBuf>>,
}

/// What changes with the content of a file: the file itself, its length, and the times of its last
/// changes. Programs can set the time of the content, and not the time of the file's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    content: (i64, i64),
    record: (i64, i64),
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.size(),
            content: (metadata.mtime(), metadata.mtime_nsec()),
            record: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Other systems do not tell the time of the record.
    #[cfg(not(unix))]
    const fn of(_: &Metadata) -> Option<Self> {
        None
    }

    /// Whether a change after `now` would have another stamp.
    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.record.0.max(self.content.0)).unwrap_or(u64::MAX);
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let settled = changed.and_then(|changed| changed.checked_add(SETTLED));
        settled.is_some_and(|settled| settled < now)
    }
}

impl KnownFiles {
    /// Sets which files the next readings look at, and whether the next report is compared with the one
    /// before. If it is not, it is about all files.
    pub(crate) fn prepare(&mut self, scope: Scope, follows: bool) -> &mut Self {
        self.scope = scope;
        self.follows &= follows;
        self
    }

    /// Reads the directory at `now`.
    ///
    /// # Errors
    /// Returns [`CertificateError`] if the directory cannot be listed completely. The next report is then
    /// about all files.
    pub(crate) fn read(
        &mut self,
        directory: &CertificateDirectory,
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let scope = std::mem::take(&mut self.scope);
        let is_read = match &scope {
            Scope::Only(names) => self.read_only(names, directory, now),
            Scope::Contents | Scope::Stamps => false,
        };
        if !is_read && let Err(error) = self.read_listed(&scope, directory, now) {
            self.follows = false;
            // The next reading lists again, since what is known of the directory may hold no longer.
            self.links = None;
            return Err(cannot_be_listed(directory, &error));
        }
        self.scope = scope;
        Ok(())
    }

    /// Reads files of these names, without a listing. False if a listing is needed: where there are links, it
    /// shows whether they have changed.
    fn read_only(
        &mut self,
        names: &HashSet<OsString>,
        directory: &CertificateDirectory,
        now: SystemTime,
    ) -> bool {
        let is_same_place = |(place, links): &(PathBuf, BTreeMap<_, _>)| {
            links.is_empty()
                && directory
                    .path()
                    .canonicalize()
                    .is_ok_and(|now| now == *place)
        };
        if !self.links.as_ref().is_some_and(is_same_place) {
            return false;
        }
        for name in names.iter().filter(|name| directory.takes(name)) {
            let path = directory.path().join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let stamp = || Stamp::of(&metadata);
                    let known = self.files.get_mut(name);
                    if !known.is_some_and(|known| known.is_as_before(stamp)) {
                        let file = Listed {
                            path,
                            is_regular: true,
                        };
                        self.read_file(&file, directory, now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(known) = self.files.remove(name) {
                        self.changed.add(name, &known.found);
                    }
                }
                _ => return false,
            }
        }
        true
    }

    /// Lists the directory, and reads files that are new or have changed.
    fn read_listed(
        &mut self,
        scope: &Scope,
        directory: &CertificateDirectory,
        now: SystemTime,
    ) -> io::Result<()> {
        let real = directory.path().canonicalize();
        self.round += 1;
        let (round, files) = (self.round, &mut self.files);
        let mut is_known = |name: &OsStr, stamp: &dyn Fn() -> Option<Stamp>| {
            files.get_mut(name).is_some_and(|known| {
                known.round = round;
                match scope {
                    Scope::Contents => false,
                    Scope::Only(names) if !names.contains(name) => known.stamp.is_some(),
                    Scope::Only(_) | Scope::Stamps => known.is_as_before(stamp),
                }
            })
        };
        let mut listing = Listing::of(directory, |name, entry| {
            is_known(name, &|| Stamp::of(&entry.metadata().ok()?))
        })?;
        listing.files.retain(|file| {
            let stamp = || Stamp::of(&fs::metadata(&file.path).ok()?);
            file.is_regular || !is_known(file.name(), &stamp)
        });
        for file in &listing.files {
            self.read_file(file, directory, now);
        }
        // A listing of a directory that changes meanwhile may name a file twice, so names are not counted.
        let changed = &mut self.changed;
        self.files.retain(|name, known| {
            let is_there = known.round == round;
            if !is_there {
                changed.add(name, &known.found);
            }
            is_there
        });
        self.others = listing.others;
        self.links = real.ok().zip(listing.links);
        Ok(())
    }

    fn read_file(&mut self, file: &Listed, directory: &CertificateDirectory, now: SystemTime) {
        #[cfg(test)]
        {
            self.reads += 1;
            if let Some(looked) = &self.looked {
                looked();
            }
        }
        let read = Certificate::read_file(&file.path, file.is_regular);
        // The stamp of the file that was opened, since the path may have led to another one before. If that
        // file changes while it is read, its next stamp is another.
        let stamp = read.as_ref().ok();
        let stamp = stamp.and_then(|(_, metadata)| Stamp::of(metadata));
        let stamp = stamp.filter(|stamp| stamp.is_settled(now));
        let read = read.map(|(certificate, _)| certificate);
        let found = Found::of(read, &file.path, directory.layout());
        let before = self.files.get_mut(file.name());
        if let Some(known) = before
            && known.found.is_same(&found)
        {
            known.stamp = stamp;
            known.round = self.round;
            return;
        }
        self.changed.add(file.name(), &found);
        let known = Known {
            stamp,
            found,
            round: self.round,
        };
        if let Some(before) = self.files.insert(file.name().to_owned(), known) {
            self.changed.add(file.name(), &before.found);
        }
    }

    /// The report about the directory as it was read last.
    pub(crate) fn report(&mut self, directory: &CertificateDirectory) -> Report {
        let is_whole = !std::mem::replace(&mut self.follows, true);
        let changed = std::mem::take(&mut self.changed);
        // What is said about a file depends on the files with the same key.
        let is_meant = |(name, known): &(&OsString, &Known)| {
            is_whole
                || match known.found.key() {
                    Some(key) => changed.keys.contains(&key),
                    None => changed.names.contains(*name),
                }
        };
        let mut files: Vec<_> = match is_whole || !changed.names.is_empty() {
            true => self.files.iter().filter(is_meant).collect(),
            false => Vec::new(),
        };
        files.sort_unstable_by_key(|(name, _)| *name);
        let in_directory = |name: &OsStr| directory.path().join(name);
        let files = files.into_iter();
        let files = files.map(|(name, known)| (in_directory(name), known.found.clone()));
        let files: Vec<_> = files.collect();
        #[cfg(test)]
        {
            self.judged += files.len();
        }
        let mut about: HashSet<PathBuf> = HashSet::new();
        if !is_whole {
            about.extend(changed.names.iter().map(|name| in_directory(name)));
            about.extend(files.iter().map(|(file, _)| file.clone()));
            about.extend(std::mem::take(&mut self.secrets));
        }
        let mut report = judge(directory, files);
        self.secrets = report.pass_over(self.others.clone());
        if !is_whole {
            about.extend(self.secrets.iter().cloned());
        }
        Report {
            report,
            about: (!is_whole).then_some(about),
        }
    }

    /// Whether links in the directory, or on the way to it, are others than the reading has found before it
    /// looked at anything that they lead to.
    pub(crate) fn are_links_changed(&self, directory: &CertificateDirectory) -> bool {
        let real = directory.path().canonicalize().ok();
        // Links that come meanwhile make no mixture of what was there.
        if let Some((place, links)) = &self.links
            && links.is_empty()
            && real.as_ref() == Some(place)
        {
            return false;
        }
        let listing = Listing::of(directory, |_, _| true);
        let links = listing.ok().and_then(|listing| listing.links);
        real.zip(links) != self.links
    }
}

impl Known {
    /// Whether the file needs no reading, because the system says the same about it as before.
    fn is_as_before(&self, stamp: impl FnOnce() -> Option<Stamp>) -> bool {
        self.stamp.is_some() && stamp() == self.stamp
    }
}

impl Changed {
    /// Adds a file by what it holds, or has held.
    fn add(&mut self, name: &OsStr, found: &Found) {
        self.names.insert(name.to_owned());
        self.keys.extend(found.key());
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::problem::CertificateWarning;
    use allocation_counter::measure;
    use std::fs::File;
    use std::path::Path;

    /// Reads a directory, and returns the number of files that were read for it.
    fn reads(known: &mut KnownFiles, directory: &Path, after: Duration) -> usize {
        let before = known.reads;
        let directory = CertificateDirectory::new(directory);
        known.read(&directory, SystemTime::now() + after).unwrap();
        known.reads - before
    }

    /// The keys in the next report, each as the name of its file.
    fn keys(known: &mut KnownFiles, directory: &Path) -> BTreeMap<String, String> {
        let report = known.report(&CertificateDirectory::new(directory)).report;
        let key = |certificate: &Certificate| {
            let name = certificate.file()?.file_name()?.to_str()?;
            Some((name.to_owned(), certificate.public_key().to_z85()))
        };
        report.certificates.iter().filter_map(key).collect()
    }

    fn text(key: &str) -> String {
        format!("curve\n    public-key = \"{key}\"\n")
    }

    /// The text of a certificate with a key of that number.
    fn numbered(number: u32) -> String {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        text(&PublicKey::from_bytes(key).unwrap().to_z85())
    }

    const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    const OTHER_KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const LATER: Duration = Duration::from_secs(9);

    #[test]
    fn only_files_that_have_changed_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(format!("{number}.key"));
        for number in 0..20 {
            fs::write(path(number), numbered(number as u32)).unwrap();
        }
        let mut known = KnownFiles::default();
        assert_eq!(reads(&mut known, directory.path(), LATER), 20);
        assert_eq!(keys(&mut known, directory.path()).len(), 20);
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        // In place, with the same length and the same time of the content.
        let time = fs::metadata(path(3)).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        fs::write(path(3), text(KEY)).unwrap();
        let file = File::options().write(true).open(path(3)).unwrap();
        file.set_modified(time).unwrap();
        // By rename, and a link that leads elsewhere.
        fs::write(directory.path().join("new"), text(OTHER_KEY)).unwrap();
        fs::rename(directory.path().join("new"), path(4)).unwrap();
        fs::remove_file(path(5)).unwrap();
        std::os::unix::fs::symlink(path(4), path(5)).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 3);
        let changed = [("3.key", KEY), ("5.key", OTHER_KEY)];
        let changed = changed.map(|(name, key)| (name.to_owned(), key.to_owned()));
        assert_eq!(keys(&mut known, directory.path()), changed.into());
        fs::remove_file(path(6)).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        assert_eq!(known.files.len(), 19);
        known.prepare(Scope::Contents, true);
        assert_eq!(reads(&mut known, directory.path(), LATER), 19);
        assert_eq!(keys(&mut known, directory.path()), [].into());
    }

    #[test]
    fn the_work_for_a_change_follows_what_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: u32| directory.path().join(format!("{number}.key"));
        let of = CertificateDirectory::new(directory.path());
        for count in [100, 400] {
            for number in 0..count {
                fs::write(path(number), numbered(number)).unwrap();
            }
            let mut known = KnownFiles::default();
            assert_eq!(reads(&mut known, directory.path(), LATER), count as usize);
            known.report(&of);
            // Three files of one key, and a new one among them.
            std::thread::sleep(Duration::from_millis(30));
            for number in [3, 4, count] {
                fs::write(path(number), text(KEY)).unwrap();
            }
            assert_eq!(reads(&mut known, directory.path(), LATER), 3);
            let judged = known.judged;
            let mut about = None;
            let work = measure(|| about = known.report(&of).about);
            assert_eq!(about.as_ref().map(HashSet::len), Some(3));
            assert_eq!(known.judged - judged, 3);
            assert!(work.count_total < 100, "{}", work.count_total);
            // The reading that confirms it.
            let names = [3, 4, count].map(|number| format!("{number}.key").into());
            known.prepare(Scope::Only(names.into()), true);
            let now = SystemTime::now();
            let work = measure(|| {
                known.read(&of, now).unwrap();
                about = known.report(&of).about;
            });
            assert_eq!(about.as_ref().map(HashSet::len), Some(0));
            assert!(work.count_total < 100, "{}", work.count_total);
        }
    }

    #[test]
    fn a_report_that_follows_another_is_about_the_files_that_have_or_had_the_changed_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let of = CertificateDirectory::new(directory.path());
        for (name, number) in [("a.key", 1), ("b.key", 1), ("c.key", 2), ("d.key", 3)] {
            fs::write(path(name), numbered(number)).unwrap();
        }
        let mut known = KnownFiles::default();
        let about = |known: &mut KnownFiles| {
            known.read(&of, SystemTime::now() + LATER).unwrap();
            let about = known.report(&of).about?;
            let names = about.iter().filter_map(|path| path.file_name()?.to_str());
            let mut names: Vec<_> = names.map(str::to_owned).collect();
            names.sort_unstable();
            Some(names.concat())
        };
        assert_eq!(about(&mut known), None);
        assert_eq!(about(&mut known).as_deref(), Some(""));
        std::thread::sleep(Duration::from_millis(30));
        fs::write(path("b.key"), numbered(2)).unwrap();
        assert_eq!(about(&mut known).as_deref(), Some("a.keyb.keyc.key"));
        fs::remove_file(path("c.key")).unwrap();
        assert_eq!(about(&mut known).as_deref(), Some("b.keyc.key"));
        // The report before was not used.
        known.prepare(Scope::Stamps, false);
        assert_eq!(about(&mut known), None);
        // A directory that could not be listed.
        let hidden = directory.path().with_extension("hidden");
        fs::rename(directory.path(), &hidden).unwrap();
        assert!(known.read(&of, SystemTime::now()).is_err());
        fs::rename(hidden, directory.path()).unwrap();
        assert_eq!(about(&mut known), None);
    }

    #[test]
    fn a_link_that_leads_elsewhere_while_it_is_read_is_known_as_what_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other, link] = ["one", "other", "a.key"].map(|name| directory.path().join(name));
        fs::write(&one, text(KEY)).unwrap();
        fs::write(&other, text(OTHER_KEY)).unwrap();
        let lead_to = |target: &Path| {
            let _absent = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
        };
        let mut known = KnownFiles::default();
        lead_to(&one);
        // At the look it leads to one file, at the reading to the other, and afterwards back.
        let (from, target) = (link.clone(), other.clone());
        known.looked = Some(Box::new(move || {
            fs::remove_file(&from).unwrap();
            std::os::unix::fs::symlink(&target, &from).unwrap();
        }));
        let read = |known: &mut KnownFiles| {
            assert_eq!(reads(known, directory.path(), LATER), 1);
            keys(known, directory.path()).remove("a.key").unwrap()
        };
        assert_eq!(read(&mut known), OTHER_KEY);
        known.looked = None;
        lead_to(&one);
        assert_eq!(read(&mut known), KEY);
    }

    #[test]
    fn a_regular_file_that_becomes_a_link_while_it_is_read_is_known_as_what_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["a.key", "other"].map(|name| directory.path().join(name));
        fs::write(&file, text(KEY)).unwrap();
        fs::write(&other, text(OTHER_KEY)).unwrap();
        let mut known = KnownFiles::default();
        let from = file.clone();
        known.looked = Some(Box::new(move || {
            fs::remove_file(&from).unwrap();
            std::os::unix::fs::symlink(&other, &from).unwrap();
        }));
        assert_eq!(reads(&mut known, directory.path(), LATER), 1);
        assert_eq!(keys(&mut known, directory.path())["a.key"], OTHER_KEY);
        known.looked = None;
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 1);
        assert_eq!(keys(&mut known, directory.path()), [].into());
    }

    #[test]
    fn a_reading_that_confirms_another_looks_only_at_what_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(format!("{number}.key"));
        for number in 0..9 {
            fs::write(path(number), text(KEY)).unwrap();
        }
        let only = |numbers: &[usize]| {
            let names = numbers.iter().map(|number| format!("{number}.key").into());
            Scope::Only(names.collect())
        };
        let mut known = KnownFiles::default();
        assert_eq!(reads(&mut known, directory.path(), LATER), 9);
        let change = || {
            for number in [3, 4] {
                fs::write(path(number), text(OTHER_KEY)).unwrap();
            }
            fs::remove_file(path(5)).unwrap();
            fs::remove_file(path(6)).unwrap();
            fs::write(path(9), text(KEY)).unwrap();
        };
        // Longer than the kernel's clock for files takes to go on.
        std::thread::sleep(Duration::from_millis(30));
        change();
        known.prepare(only(&[3, 5]), true);
        assert_eq!(reads(&mut known, directory.path(), LATER), 1);
        assert_eq!(known.files.len(), 8);
        known.prepare(Scope::Stamps, true);
        assert_eq!(reads(&mut known, directory.path(), LATER), 2);
        assert_eq!(known.files.len(), 8);
        // Where there are links, a listing shows what they lead to, and what is new or gone.
        std::os::unix::fs::symlink(path(0), directory.path().join("link")).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        for number in [5, 6] {
            fs::write(path(number), text(KEY)).unwrap();
        }
        fs::remove_file(path(9)).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 2);
        std::thread::sleep(Duration::from_millis(30));
        change();
        known.prepare(only(&[3]), true);
        assert_eq!(reads(&mut known, directory.path(), LATER), 2);
        assert_eq!(known.files.len(), 8);
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        fs::write(directory.path().join("a.key"), text(KEY)).unwrap();
        let (mut known, of) = (
            KnownFiles::default(),
            CertificateDirectory::new(directory.path()),
        );
        for expected in 1..4 {
            known.read(&of, now).unwrap();
            assert_eq!(known.reads, expected);
        }
        // The clock was set back.
        let file = File::open(directory.path().join("a.key")).unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap()).unwrap();
        assert!(!stamp.is_settled(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn a_directory_that_could_not_be_listed_is_listed_by_the_reading_that_confirms_it() {
        for files in [0, 1] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("keys");
            fs::create_dir(&path).unwrap();
            for number in 0..files {
                fs::write(path.join(format!("{number}.key")), text(KEY)).unwrap();
            }
            let (mut known, of) = (KnownFiles::default(), CertificateDirectory::new(&path));
            known.read(&of, SystemTime::now()).unwrap();
            fs::remove_dir_all(&path).unwrap();
            fs::write(&path, "").unwrap();
            for scope in [Scope::Stamps, Scope::Only(HashSet::new())] {
                known.prepare(scope, true);
                assert!(known.read(&of, SystemTime::now()).is_err());
            }
        }
    }

    #[test]
    fn no_secret_key_is_kept_and_each_report_about_its_file_warns() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::generate().unwrap();
        certificate.save(directory.path(), "a").unwrap();
        let [secret, public] = ["a.key_secret", "a.key"].map(|name| directory.path().join(name));
        fs::rename(secret, &public).unwrap();
        let of = CertificateDirectory::new(directory.path());
        let mut known = KnownFiles::default();
        for _ in 0..2 {
            known.prepare(Scope::Stamps, false);
            reads(&mut known, directory.path(), LATER);
            let report = known.report(&of).report;
            assert!(report.certificates[0].key_pair().is_none());
            let warning = CertificateWarning::SecretInPublic {
                file: public.clone(),
            };
            assert!(report.warnings.contains(&warning), "{:?}", report.warnings);
        }
    }
}

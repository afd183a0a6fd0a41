//! Certificate files that were read before, and need no second reading as long as the system says the
//! same about them.
#![forbid(unsafe_code)]

use crate::cert::certificate::Certificate;
use crate::cert::problem::CertificateError;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long ago the last change of a file must be before the system's word is taken for it. 2 s: the
/// coarsest clock of a file system in use, so that a second change has another time than the first.
const SETTLED: Duration = Duration::from_secs(2);

/// The files of one directory, without secret keys.
#[derive(Default)]
pub(crate) struct KnownFiles {
    /// By path. Its bytes are compared, which takes less time than its parts.
    files: HashMap<OsString, Known>,
    /// The number of readings of the directory.
    round: u64,
    /// What the system is asked about. `None`: every file.
    asked: Option<HashSet<OsString>>,
    #[cfg(test)]
    reads: usize,
    /// Called between the look at a file and its reading.
    #[cfg(test)]
    looked: Option<Box<dyn Fn() + Send>>,
}

struct Known {
    stamp: Stamp,
    certificate: Certificate,
    /// The last reading of the directory that has found the file.
    round: u64,
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
    /// Sets the files about which the next readings ask the system. `None`: all. Other files that are known
    /// count as they are known, so a reading that confirms the one before asks only about what changes.
    pub(crate) fn ask_about(&mut self, asked: Option<HashSet<OsString>>) -> &mut Self {
        self.asked = asked;
        self
    }

    /// Begins a reading of the directory.
    pub(crate) const fn begin(&mut self) {
        self.round += 1;
    }

    /// Forgets the files that the reading has not found.
    pub(crate) fn end(&mut self) {
        self.files.retain(|_, known| known.round == self.round);
    }

    /// As [`Certificate::read`], without reading a file that is known.
    pub(crate) fn read(
        &mut self,
        path: &Path,
        now: SystemTime,
    ) -> Result<Certificate, CertificateError> {
        let name = path.as_os_str();
        let is_asked = self.asked.as_ref().is_none_or(|asked| asked.contains(name));
        if !is_asked && let Some(known) = self.files.get_mut(name) {
            known.round = self.round;
            return Ok(known.certificate.clone());
        }
        let metadata = fs::metadata(path).ok();
        let stamp = metadata.and_then(|metadata| Stamp::of(&metadata));
        if let (Some(known), Some(stamp)) = (self.files.get_mut(name), stamp)
            && known.stamp == stamp
        {
            known.round = self.round;
            return Ok(known.certificate.clone());
        }
        self.files.remove(name);
        #[cfg(test)]
        {
            self.reads += 1;
            if let Some(looked) = &self.looked {
                looked();
            }
        }
        let (certificate, metadata) = Certificate::read_file(path)?;
        // The stamp of the file that was opened, since the path may have led to another one before. If that
        // file changes while it is read, its next stamp is another.
        let stamp = Stamp::of(&metadata);
        // A secret key is never kept.
        if let Some(stamp) = stamp
            && stamp.is_settled(now)
            && certificate.key_pair().is_none()
        {
            let known = Known {
                stamp,
                certificate: certificate.clone(),
                round: self.round,
            };
            self.files.insert(path.into(), known);
        }
        Ok(certificate)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs::File;

    /// Reads a directory, and returns the number of files that were read for it.
    fn reads(known: &mut KnownFiles, directory: &Path, after: Duration) -> usize {
        let before = known.reads;
        known.begin();
        for entry in fs::read_dir(directory).unwrap() {
            let read = known.read(&entry.unwrap().path(), SystemTime::now() + after);
            read.unwrap();
        }
        known.end();
        known.reads - before
    }

    fn text(key: &str) -> String {
        format!("curve\n    public-key = \"{key}\"\n")
    }

    const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    const OTHER_KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const LATER: Duration = Duration::from_secs(9);

    #[test]
    fn only_files_that_have_changed_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(format!("{number}.key"));
        for number in 0..20 {
            fs::write(path(number), text(KEY)).unwrap();
        }
        let mut known = KnownFiles::default();
        assert_eq!(reads(&mut known, directory.path(), LATER), 20);
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        // In place, with the same length and the same time of the content.
        let time = fs::metadata(path(3)).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        fs::write(path(3), text(OTHER_KEY)).unwrap();
        let file = File::options().write(true).open(path(3)).unwrap();
        file.set_modified(time).unwrap();
        // By rename, and a link that leads elsewhere.
        fs::write(directory.path().join("new"), text(OTHER_KEY)).unwrap();
        fs::rename(directory.path().join("new"), path(4)).unwrap();
        fs::remove_file(path(5)).unwrap();
        std::os::unix::fs::symlink(path(4), path(5)).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 3);
        for number in 3..6 {
            let certificate = known.read(&path(number), SystemTime::now()).unwrap();
            assert_eq!(certificate.public_key().to_z85(), OTHER_KEY);
        }
        fs::remove_file(path(6)).unwrap();
        assert_eq!(reads(&mut known, directory.path(), LATER), 0);
        assert_eq!(known.files.len(), 19);
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
        let later = SystemTime::now() + LATER;
        lead_to(&one);
        // At the look it leads to one file, at the reading to the other, and afterwards back.
        let (from, target) = (link.clone(), other.clone());
        known.looked = Some(Box::new(move || {
            fs::remove_file(&from).unwrap();
            std::os::unix::fs::symlink(&target, &from).unwrap();
        }));
        let read = known.read(&link, later).unwrap();
        assert_eq!(read.public_key().to_z85(), OTHER_KEY);
        known.looked = None;
        lead_to(&one);
        let read = known.read(&link, later).unwrap();
        assert_eq!(read.public_key().to_z85(), KEY);
    }

    #[test]
    fn a_reading_that_confirms_another_asks_only_about_what_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(format!("{number}.key"));
        for number in 0..9 {
            fs::write(path(number), text(KEY)).unwrap();
        }
        let mut known = KnownFiles::default();
        assert_eq!(reads(&mut known, directory.path(), LATER), 9);
        for number in [3, 4] {
            fs::write(path(number), text(OTHER_KEY)).unwrap();
        }
        fs::remove_file(path(5)).unwrap();
        fs::write(path(9), text(KEY)).unwrap();
        // A new file is not known, and a file that is gone is not found.
        known.ask_about(Some([path(3).into()].into()));
        assert_eq!(reads(&mut known, directory.path(), LATER), 2);
        assert_eq!(known.files.len(), 9);
        known.ask_about(None);
        assert_eq!(reads(&mut known, directory.path(), LATER), 1);
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.key"), text(KEY)).unwrap();
        let mut known = KnownFiles::default();
        for _ in 0..3 {
            assert_eq!(reads(&mut known, directory.path(), Duration::ZERO), 1);
        }
        // The clock was set back.
        let file = File::open(directory.path().join("a.key")).unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap()).unwrap();
        assert!(!stamp.is_settled(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn a_file_with_a_secret_key_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::generate().unwrap();
        certificate.save(directory.path(), "a").unwrap();
        let mut known = KnownFiles::default();
        for expected in [2, 1] {
            assert_eq!(reads(&mut known, directory.path(), LATER), expected);
        }
    }
}

//! Notifications of the file system, as hints that watched files may have changed.
#![forbid(unsafe_code)]

use crate::auth::policy::watched::source::Source;
use crate::cert::directory::CertificateDirectory;
use crate::lock::lock;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;
use std::time::{Duration, SystemTime};

/// How often a reading tries to lock the file watcher, and the pause between two tries. Together
/// 1 s: another reading that holds the lock for longer hangs, and this one must not wait for it.
const HINT_TRIES: usize = 200;
const HINT_PAUSE: Duration = Duration::from_millis(5);

/// Maximum number of symbolic links that are followed from one path. 40: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Watches the directories around all sources. It gives a hint for changes of the sources alone:
/// a log file in the same directory, for example, must cause no reading, because a reading may write
/// to that log.
pub(crate) struct FileWatcher {
    /// `None` if the system offers no notifications.
    watcher: Mutex<Option<Registered>>,
    relevant: Arc<Mutex<RelevantPaths>>,
}

/// The watcher, and what each of its paths led to when it was registered.
struct Registered {
    watcher: RecommendedWatcher,
    places: BTreeMap<PathBuf, PlaceId>,
}

/// What tells a directory from one that has replaced it, which may have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlaceId {
    device: u64,
    inode: u64,
    created: SystemTime,
}

impl PlaceId {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            created: metadata.created().ok()?,
        })
    }

    /// Other systems do not tell the numbers.
    #[cfg(not(unix))]
    const fn of(_: &Path) -> Option<Self> {
        None
    }
}

/// What is relevant, by the path of the source.
type RelevantPaths = BTreeMap<PathBuf, Relevant>;

impl FileWatcher {
    /// Calls `hint` after each change of a source.
    pub(crate) fn start(hint: impl Fn() + Send + 'static) -> Self {
        let relevant: Arc<Mutex<RelevantPaths>> = Arc::default();
        let told = {
            let relevant = Arc::clone(&relevant);
            move |event: notify::Result<Event>| {
                if event.is_err() || event.is_ok_and(|event| is_relevant(&event, &relevant)) {
                    hint();
                }
            }
        };
        let watcher = notify::recommended_watcher(told).inspect_err(|error| {
            tracing::warn!(%error, "no notifications of file changes; files are polled instead");
        });
        Self {
            watcher: Mutex::new(watcher.ok().map(|watcher| Registered {
                watcher,
                places: BTreeMap::new(),
            })),
            relevant,
        }
    }

    /// Registers the source with the file watcher, because the watcher follows directories and
    /// not paths: a directory that has replaced another one is not watched yet. A directory that is
    /// registered is passed over, unless all are registered `again`, as after a file system was away.
    pub(crate) fn ask_for_hints(&self, source: &Source, again: bool) {
        // Resolved before anything is locked, so that a disk that hangs does not block the others.
        let relevant = Relevant::of(source);
        let places = places(source.path());
        let places: Vec<_> = places
            .into_iter()
            .map(|path| (PlaceId::of(&path), path))
            .collect();
        lock(&self.relevant).insert(source.path().to_owned(), relevant);
        // If another reading hangs while it holds the watcher, changes are noticed by polling.
        let held = (0..HINT_TRIES).find_map(|_| {
            let watcher = match self.watcher.try_lock() {
                Ok(held) => Some(held),
                // A panic under the lock leaves whole entries behind.
                Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if watcher.is_none() {
                thread::sleep(HINT_PAUSE);
            }
            watcher
        });
        let Some(mut watcher) = held else {
            return;
        };
        let Some(Registered {
            watcher,
            places: registered,
        }) = &mut *watcher
        else {
            return;
        };
        for (id, path) in places {
            if !again && id.is_some() && registered.get(&path).copied() == id {
                continue;
            }
            registered.remove(&path);
            let _not_watched = watcher.unwatch(&path);
            // A path that does not exist cannot be watched. Polling notices when it comes to exist.
            let watched = watcher.watch(&path, RecursiveMode::NonRecursive);
            if let (Ok(()), Some(id)) = (watched, id) {
                registered.insert(path, id);
            }
        }
    }
}

/// Whether a source may have changed. Our own readings are accesses too, and must not cause further
/// readings.
fn is_relevant(event: &Event, relevant: &Mutex<RelevantPaths>) -> bool {
    if event.kind.is_access() {
        return false;
    }
    if event.need_rescan() || event.paths.is_empty() {
        return true;
    }
    let relevant = lock(relevant);
    let mut sources = relevant.values();
    sources.any(|source| {
        event
            .paths
            .iter()
            .any(|path| source.includes(event.kind, path))
    })
}

/// The paths whose changes are changes of one source.
struct Relevant {
    /// The names of the source, of each symbolic link on the way to it, and of the directories that
    /// hold these. Names and not paths, because some systems report the real path of a file.
    names: BTreeSet<OsString>,
    /// A directory of certificates, and its paths. Each file that comes or goes matters in it, and
    /// the content of each certificate.
    directory: Option<(CertificateDirectory, Vec<PathBuf>)>,
}

impl Relevant {
    fn of(source: &Source) -> Self {
        let mut paths = steps(source.path());
        paths.extend(source.path().canonicalize());
        let mut names = BTreeSet::new();
        for path in &paths {
            let parent = path.parent().and_then(Path::file_name);
            names.extend(
                path.file_name()
                    .into_iter()
                    .chain(parent)
                    .map(OsString::from),
            );
        }
        let directory = match source {
            Source::Directory(_, directory, _) => Some((directory.clone(), paths)),
            Source::PasswordFile(..) => None,
        };
        Self { names, directory }
    }

    fn includes(&self, kind: EventKind, path: &Path) -> bool {
        let Some(name) = path.file_name() else {
            return true;
        };
        let is_content = matches!(
            kind,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_))
        );
        self.names.contains(name)
            || self.directory.as_ref().is_some_and(|(directory, paths)| {
                paths.iter().any(|within| path.starts_with(within))
                    && (!is_content || directory.takes(name))
            })
    }
}

/// The path, each symbolic link on the way to the file, and the path after each link. Kubernetes
/// mounts a file as a link through a second link, `..data`, and replaces only the latter.
fn steps(path: &Path) -> Vec<PathBuf> {
    let mut steps = vec![path.to_owned()];
    let mut current = path.to_owned();
    for _ in 0..MAX_LINKS {
        let ancestors: Vec<_> = current.ancestors().collect();
        let link = ancestors.into_iter().rev().find_map(|ancestor| {
            let target = fs::read_link(ancestor).ok()?;
            Some((ancestor.to_owned(), target))
        });
        let Some((link, target)) = link else {
            break;
        };
        let rest = current.strip_prefix(&link).unwrap_or(Path::new(""));
        let mut next = link.parent().unwrap_or(Path::new("")).join(target);
        next.extend(rest);
        steps.extend([link, next.clone()]);
        current = next;
    }
    steps
}

/// The paths to watch for changes of `path`: itself, its parent, and the parent of its target if it
/// is a symbolic link.
fn places(path: &Path) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    places.extend(
        path.parent()
            .map(|parent| match parent.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => parent.to_owned(),
            }),
    );
    if let Ok(real) = path.canonicalize() {
        places.extend(real.parent().map(Path::to_owned));
    }
    places
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::access::domain::Domain;
    use crate::cert::validity::Validity;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

    const LONG: Duration = Duration::from_secs(20);
    /// Longer than a notification takes.
    const SHORT: Duration = Duration::from_millis(200);

    /// Waits until no more hints come.
    fn quiet(hints: &Receiver<()>) {
        while hints.recv_timeout(SHORT).is_ok() {}
    }

    fn watched(source: &Source) -> (FileWatcher, Receiver<()>) {
        let (sender, hints) = channel();
        let watcher = FileWatcher::start(move || {
            let _test_has_ended = sender.send(());
        });
        watcher.ask_for_hints(source, false);
        quiet(&hints);
        (watcher, hints)
    }

    fn passwords(path: &Path) -> Source {
        Source::PasswordFile(Domain::ALL, path.to_owned())
    }

    #[test]
    fn a_log_among_certificates_gives_no_hint_and_a_certificate_does() {
        let dir = tempfile::tempdir().unwrap();
        let [key, log, renamed] = ["ada.key", "log", "ada.old"].map(|name| dir.path().join(name));
        fs::write(&key, "").unwrap();
        let mut log = fs::File::create(log).unwrap();
        let directory = CertificateDirectory::new(dir.path());
        let source = Source::Directory(Domain::ALL, directory, Validity::default());
        let (_watcher, hints) = watched(&source);
        for _ in 0..3 {
            writeln!(log, "a warning").unwrap();
        }
        assert_eq!(hints.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        fs::write(&key, "changed").unwrap();
        hints.recv_timeout(LONG).unwrap();
        quiet(&hints);
        fs::rename(key, renamed).unwrap();
        hints.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_log_in_the_directory_of_a_password_file_gives_no_hint_and_the_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let [users, log, new] = ["users", "log", "users.new"].map(|name| dir.path().join(name));
        fs::write(&users, "ada=one\n").unwrap();
        let mut log = fs::File::create(log).unwrap();
        let (_watcher, hints) = watched(&passwords(&users));
        for _ in 0..3 {
            writeln!(log, "a warning").unwrap();
        }
        assert_eq!(hints.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        fs::write(&users, "ada=two\n").unwrap();
        hints.recv_timeout(LONG).unwrap();
        quiet(&hints);
        fs::write(&new, "ada=three\n").unwrap();
        fs::rename(new, &users).unwrap();
        hints.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_link_on_the_way_to_a_password_file_gives_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = |name: &str| dir.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(in_dir(version)).unwrap();
            fs::write(in_dir(version).join("users"), "ada=one\n").unwrap();
        }
        symlink("..1", in_dir("..data")).unwrap();
        symlink("..data/users", in_dir("users")).unwrap();
        let (_watcher, hints) = watched(&passwords(&in_dir("users")));
        symlink("..2", in_dir("..data_tmp")).unwrap();
        fs::rename(in_dir("..data_tmp"), in_dir("..data")).unwrap();
        hints.recv_timeout(LONG).unwrap();
    }
}

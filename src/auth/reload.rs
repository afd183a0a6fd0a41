//! Password files and certificate directories that are loaded again when they change.
#![forbid(unsafe_code)]

use crate::access::request::Domain;
use crate::auth::authenticator::{Authenticator, WeakAuthenticator};
use crate::auth::password_file::PasswordFileError;
use crate::auth::reload_source::{Reading, ReloadEvent, Settling, Source};
use crate::cert::directory::{CertificateDirectory, DirectoryReport};
use crate::cert::problem::CertificateError;
use crate::cert::validity::Validity;
use crate::zap::contain::contain;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How soon a change is noticed and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadSettings {
    /// A change counts once it was read twice, the second time no sooner than this after the
    /// first. 2 s: editors save by rename, and copies take their time.
    pub debounce: Duration,
    /// Everything is read again after this time even if the system has told of no change: file
    /// systems of other machines tell of none. 30 s.
    pub poll: Duration,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            debounce: Duration::from_secs(2),
            poll: Duration::from_secs(30),
        }
    }
}

/// Loads password files and certificate directories again when their content changes, on a thread
/// of its own, until it is dropped. Beside it, the explicit calls of the [`Authenticator`] work as
/// ever.
///
/// | what is found | what it means |
/// |---|---|
/// | a directory that is absent or unreadable | nobody |
/// | a certificate file that is gone or bad | its key is withdrawn |
/// | a password file that is absent or unreadable | nobody |
/// | a password file with a bad line | what it held before stays |
///
/// All of it after the debounce of [`ReloadSettings`]. The system's hints are only hints: what
/// counts is what is read. Of two sources for one domain and mechanism the later one counts.
pub struct Reload {
    auth: Authenticator,
    watch: Watch,
}

/// The thread that reloads, as long as this and the [`Authenticator`] live.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    hint: SyncSender<()>,
}

struct Shared {
    sources: Mutex<Vec<(Source, Settling<Reading>)>>,
}

impl Shared {
    fn sources(&self) -> MutexGuard<'_, Vec<(Source, Settling<Reading>)>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reload {
    /// Starts to watch, nothing yet. `on_event` is told of every change that comes into force,
    /// on the thread that reloads, which waits for it.
    ///
    /// # Errors
    /// As [`thread::Builder::spawn`], if the system has no thread for us. If it gives no hints
    /// of changes, that is a warning in the log, and [`ReloadSettings::poll`] has to do.
    pub fn start(
        auth: &Authenticator,
        settings: ReloadSettings,
        on_event: impl Fn(&ReloadEvent) + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self {
            auth: auth.clone(),
            watch: Watch::start(auth, settings, Box::new(on_event))?,
        })
    }

    /// As [`Authenticator::configure_curve`], and again after each change of the directory: also
    /// if this first load fails.
    ///
    /// # Errors
    /// As [`Authenticator::configure_curve`].
    pub fn curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl Into<CertificateDirectory>,
    ) -> Result<DirectoryReport, CertificateError> {
        let source = Source::Directory(domain.into(), directory.into(), Validity::default());
        match self.add(source) {
            Reading::Directory(reading) => reading.inspect(DirectoryReport::log),
            Reading::PasswordFile(_) => Ok(DirectoryReport::default()),
        }
    }

    /// As [`Authenticator::configure_plain_file`], and again after each change of the file: also
    /// if this first load fails.
    ///
    /// # Errors
    /// As [`Authenticator::configure_plain_file`].
    pub fn plain_file(
        &self,
        domain: impl Into<Domain>,
        file: impl Into<PathBuf>,
    ) -> Result<(), PasswordFileError> {
        let source = Source::PasswordFile(domain.into(), file.into());
        match self.add(source) {
            Reading::PasswordFile(reading) => reading.map(drop),
            Reading::Directory(_) => Ok(()),
        }
    }

    fn add(&self, source: Source) -> Reading {
        source.claim(&self.auth);
        let reading = source.read(&self.auth);
        let mut sources = self.watch.shared.sources();
        sources.retain(|(other, _)| !other.rivals(&source));
        let in_force = reading.is_good().then(|| reading.clone());
        if in_force.is_some() {
            source.apply(&reading, &self.auth);
        }
        sources.push((source, Settling::new(in_force)));
        drop(sources);
        self.watch.hint();
        reading
    }

    /// Watches nothing of `domain` any more. What is in force stays.
    pub fn forget(&self, domain: &Domain) {
        self.watch
            .shared
            .sources()
            .retain(|(source, _)| source.domain() != domain);
    }
}

impl Watch {
    /// Starts the thread, with nothing to watch yet.
    pub(crate) fn start(
        auth: &Authenticator,
        settings: ReloadSettings,
        on_event: Box<dyn Fn(&ReloadEvent) + Send>,
    ) -> io::Result<Self> {
        // One hint says as much as many.
        let (hint, hints) = sync_channel(1);
        let shared = Arc::new(Shared {
            sources: Mutex::new(Vec::new()),
        });
        let reloading = Reloading {
            auth: auth.downgrade(),
            shared: Arc::clone(&shared),
            settings,
            watcher: watcher(hint.clone()),
            on_event,
        };
        // The watcher's own sender keeps the channel open, so the end shows in the sources.
        thread::Builder::new()
            .name("zmtp-auth reload".into())
            .spawn(move || reloading.run(&hints))?;
        Ok(Self { shared, hint })
    }

    /// Watches these, whose readings are in force.
    #[cfg(feature = "policy-file")]
    pub(crate) fn go_on_from(&self, readings: Vec<(Source, Reading)>) {
        let readings = readings.into_iter();
        let settled = readings.map(|(source, reading)| (source, Settling::new(Some(reading))));
        self.shared.sources().extend(settled);
        self.hint();
    }

    fn hint(&self) {
        // Full: the thread has a hint already.
        let _told = self.hint.try_send(());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.sources().clear();
        self.hint();
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.watch.shared.sources();
        let sources = sources.iter().map(|(source, _)| source);
        f.debug_list().entries(sources).finish()
    }
}

fn watcher(hint: SyncSender<()>) -> Option<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading is an access too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // Full: there is a hint already.
            let _told = hint.try_send(());
        }
    };
    notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!("changes of files show only by polling: {error}"))
        .ok()
}

/// What the thread has.
struct Reloading {
    auth: WeakAuthenticator,
    shared: Arc<Shared>,
    settings: ReloadSettings,
    watcher: Option<RecommendedWatcher>,
    on_event: Box<dyn Fn(&ReloadEvent) + Send>,
}

impl Reloading {
    fn run(mut self, hints: &Receiver<()>) {
        // The watch and this thread hold it: alone, this thread has nobody to work for.
        while Arc::strong_count(&self.shared) > 1 {
            self.watch();
            let Some(auth) = self.auth.upgrade() else {
                return;
            };
            let wait = self.read_all(&auth).min(self.settings.poll);
            // If it was the last one, its drop ends the watch.
            drop(auth);
            match hints.recv_timeout(wait) {
                // A change comes in many steps; look once they have had a moment.
                Ok(()) => thread::sleep(self.settings.debounce / 16),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads all sources; gives the time until the next one is due.
    fn read_all(&self, auth: &Authenticator) -> Duration {
        let mut events = Vec::new();
        let mut due = self.settings.poll;
        let count = self.shared.sources().len();
        for index in 0..count {
            // Not under the lock: reading takes its time.
            let Some(source) = self.source(index) else {
                break;
            };
            let reading = source.read(auth);
            let now = Instant::now();
            let debounce = self.settings.debounce;
            let mut sources = self.shared.sources();
            let same = sources.iter_mut().find(|(other, _)| *other == source);
            let Some((_, settling)) = same else {
                continue;
            };
            if let Some(reading) = settling.see(reading, now, debounce) {
                events.push(source.apply(reading, auth));
            }
            due = due.min(settling.due_in(now, debounce).unwrap_or(due));
        }
        for event in events {
            tell(&event);
            let _panicked = contain(|| (self.on_event)(&event));
        }
        due
    }

    fn source(&self, index: usize) -> Option<Source> {
        let sources = self.shared.sources();
        sources.get(index).map(|(source, _)| source.clone())
    }

    /// Asks for hints of what is there now: a directory that took another's place is another.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let sources = self.shared.sources();
        for path in sources.iter().flat_map(|(source, _)| places(source.path())) {
            let _not_watched = watcher.unwatch(&path);
            // What is not there cannot be watched, and the polling finds it when it is.
            let _not_there = watcher.watch(&path, RecursiveMode::NonRecursive);
        }
    }
}

/// Where a change of `path` shows: in itself, where it lies, and where it really lies if it is a
/// symbolic link.
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

fn tell(event: &ReloadEvent) {
    let (domain, path) = (&event.domain, &event.path);
    tracing::info!(%domain, ?path, admitted = event.admitted, "loaded again");
    for trouble in &event.troubles {
        tracing::warn!(%domain, ?path, "loaded again: {trouble}");
    }
}

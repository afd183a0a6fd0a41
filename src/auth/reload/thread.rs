//! The thread that loads files again: it sees when, has each source read on a thread of its own, and
//! puts in force what has settled.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::{Authenticator, WeakAuthenticator};
use crate::auth::policy::watched::issue::ReloadIssue;
use crate::auth::policy::watched::reading::{Entries, Entry, Name, Reading};
use crate::auth::policy::watched::source::{Ruled, Source};
use crate::auth::policy::watched::watches::{WatchId, Watched};
use crate::auth::reload::event::ReloadEvent;
use crate::auth::reload::settings::ReloadSettings;
use crate::auth::reload::settling::Settling;
use crate::auth::reload::turns::{self, Turn};
use crate::zap::contain::contain;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How often, and how far apart, a reading tries to ask for hints while others do. 1 s together: what
/// takes longer hangs, and the reading itself must not wait for it.
const HINT_TRIES: usize = 200;
const HINT_PAUSE: Duration = Duration::from_millis(5);

/// Reads a source; `None` if its Authenticator is gone.
pub(crate) type Read = dyn Fn(&Source, &WeakAuthenticator) -> Option<Reading> + Send + Sync;

/// The thread that reloads, as long as this and the [`Authenticator`] live.
pub(crate) struct Watch {
    pub(crate) id: WatchId,
    hints: Hints,
    ended: Arc<AtomicBool>,
}

impl Watch {
    /// Starts the thread. It follows what the policy says that this watch follows.
    pub(crate) fn start(
        auth: &Authenticator,
        settings: ReloadSettings,
        on_event: Box<dyn Fn(&ReloadEvent) + Send>,
    ) -> io::Result<Self> {
        Self::start_with(auth, settings, on_event, Arc::new(Source::read))
    }

    fn start_with(
        auth: &Authenticator,
        settings: ReloadSettings,
        on_event: Box<dyn Fn(&ReloadEvent) + Send>,
        read: Arc<Read>,
    ) -> io::Result<Self> {
        let (sender, told) = channel();
        let hints = Hints {
            sender,
            is_hinted: Arc::default(),
        };
        let watch = Self {
            id: WatchId::next(),
            hints: hints.clone(),
            ended: Arc::default(),
        };
        let reloading = Reloading {
            auth: auth.downgrade(),
            id: watch.id,
            ended: Arc::clone(&watch.ended),
            settings,
            watcher: Arc::new(Mutex::new(watcher(hints.clone()))),
            on_event,
            read,
            hints,
            followed: 0,
            sources: BTreeMap::new(),
            readers: Arc::default(),
        };
        thread::Builder::new()
            .name("zmtp-auth reload".into())
            .spawn(move || reloading.run(&told))?;
        Ok(watch)
    }

    /// What it follows may have changed.
    pub(crate) fn hint(&self) {
        self.hints.hint();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.hint();
    }
}

/// What the thread is told.
enum Told {
    /// Something may have changed.
    Hint,
    /// What rules this was read, as it was asked for with that base; `None`: it could not be.
    Read(Ruled, u64, Option<Reading>),
}

#[derive(Clone)]
struct Hints {
    sender: Sender<Told>,
    /// One hint says as much as many.
    is_hinted: Arc<AtomicBool>,
}

impl Hints {
    fn hint(&self) {
        if !self.is_hinted.swap(true, Ordering::SeqCst) {
            // Fails if the thread has ended.
            let _told = self.sender.send(Told::Hint);
        }
    }
}

fn watcher(hints: Hints) -> Option<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading is an access too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            hints.hint();
        }
    };
    notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!("changes of files show only by polling: {error}"))
        .ok()
}

/// What the thread has.
struct Reloading {
    auth: WeakAuthenticator,
    id: WatchId,
    ended: Arc<AtomicBool>,
    settings: ReloadSettings,
    watcher: Arc<Mutex<Option<RecommendedWatcher>>>,
    on_event: Box<dyn Fn(&ReloadEvent) + Send>,
    read: Arc<Read>,
    hints: Hints,
    /// The version of the policy that the sources are taken from.
    followed: u64,
    sources: BTreeMap<Ruled, Followed>,
    /// A clone for each reading in progress.
    readers: Arc<()>,
}

/// A source that is followed.
struct Followed {
    source: Source,
    /// See [`Watched::based`].
    based: u64,
    settling: Settling<Name, Entry>,
    turn: Turn,
}

impl Followed {
    fn settling(watched: &Watched) -> Settling<Name, Entry> {
        Settling::new(match &watched.base {
            Some(base) => base.entries.clone(),
            None => [(Name::Whole, Entry::Unloaded)].into(),
        })
    }
}

impl Reloading {
    fn run(mut self, told: &Receiver<Told>) {
        let mut read = None;
        while !self.ended.load(Ordering::SeqCst) {
            let Some(auth) = self.auth.upgrade() else {
                return;
            };
            self.follow(&auth);
            let mut events = Vec::new();
            if let Some((ruled, based, reading)) = read.take() {
                events.extend(self.take(&ruled, based, reading, &auth));
            }
            events.extend(self.hanging());
            for event in events {
                auth.audit_reload(&event);
                let _panicked = contain(|| (self.on_event)(&event));
            }
            // If it was the last one, its drop ends the watch.
            drop(auth);
            let now = Instant::now();
            self.begin_turns(now);
            match told.recv_timeout(self.time_to_next_turn(now)) {
                Ok(Told::Hint) => self.take_hint(),
                Ok(Told::Read(ruled, based, reading)) => read = Some((ruled, based, reading)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes from the policy what is followed.
    fn follow(&mut self, auth: &Authenticator) {
        let policy = auth.policy();
        if std::mem::replace(&mut self.followed, policy.version) == policy.version {
            return;
        }
        let now = Instant::now();
        let id = self.id;
        let ours = |watched: &&Watched| watched.watch == id;
        self.sources.retain(|ruled, followed| {
            let watched = policy.watches.get(ruled).filter(ours);
            watched.is_some_and(|watched| watched.source == followed.source)
        });
        for (ruled, watched) in policy.watches.iter().filter(|(_, watched)| ours(watched)) {
            let followed = self.sources.entry(ruled.clone());
            let followed = followed.or_insert_with(|| Followed {
                source: watched.source.clone(),
                based: watched.based,
                settling: Followed::settling(watched),
                turn: Turn::new(now),
            });
            if followed.based != watched.based {
                followed.based = watched.based;
                followed.settling = Followed::settling(watched);
                followed.turn.is_due_by(now);
            }
        }
    }

    /// Has read whose turn it is.
    fn begin_turns(&mut self, now: Instant) {
        loop {
            let turns = self.sources.values().map(|followed| &followed.turn);
            let in_progress = Arc::strong_count(&self.readers) - 1;
            let Some(next) = turns::next(turns, in_progress, now) else {
                return;
            };
            let Some((ruled, followed)) = self.sources.iter_mut().nth(next) else {
                return;
            };
            followed.turn.begin(now, self.settings.poll);
            let (auth, reader) = (self.auth.clone(), Arc::clone(&self.readers));
            let (read, watcher) = (Arc::clone(&self.read), Arc::clone(&self.watcher));
            let (ruled, based, source) = (ruled.clone(), followed.based, followed.source.clone());
            let sender = self.hints.sender.clone();
            let spawned = thread::Builder::new()
                .name("zmtp-auth reading".into())
                .spawn(move || {
                    let reading = contain(|| {
                        ask_for_hints(&source, &watcher);
                        read(&source, &auth)
                    });
                    drop(reader);
                    // Fails if the thread that has asked has ended.
                    let _told = sender.send(Told::Read(ruled, based, reading.ok().flatten()));
                });
            if let Err(error) = spawned {
                tracing::warn!("no thread to load files again, which is tried later: {error}");
                followed.turn.end();
                return;
            }
        }
    }

    /// How long until a source is to be read or found to hang, or the poll is due.
    fn time_to_next_turn(&self, now: Instant) -> Duration {
        let turns = self.sources.values().map(|followed| &followed.turn);
        let wake = turns::wake(turns, now, self.settings.patience);
        let poll = turns::later(now, self.settings.poll);
        wake.map_or(poll, |wake| wake.min(poll)) - now
    }

    fn take_hint(&mut self) {
        self.hints.is_hinted.store(false, Ordering::SeqCst);
        // A change comes in many steps; look once they have had a moment.
        let soon = turns::later(Instant::now(), self.settings.debounce / 16);
        for followed in self.sources.values_mut() {
            followed.turn.is_due_by(soon);
        }
    }

    /// Takes what was read, and puts in force what has settled by it.
    fn take(
        &mut self,
        ruled: &Ruled,
        based: u64,
        reading: Option<Reading>,
        auth: &Authenticator,
    ) -> Option<ReloadEvent> {
        let followed = self.sources.get_mut(ruled)?;
        let was_told = followed.turn.end();
        let now = Instant::now();
        if followed.based != based {
            // An explicit call has come between, and may have read something later than this.
            followed.turn.is_due_by(now);
            return None;
        }
        let (reading, debounce) = (reading?, self.settings.debounce);
        let is_told = |name: &Name| reading.tells_of(name);
        let settling = &mut followed.settling;
        let settled = settling.see(&reading.entries, is_told, now, debounce);
        if let Some(due) = settling.due_in(now, debounce) {
            followed.turn.is_due_by(turns::later(now, due));
        }
        if settled.is_empty() && !was_told {
            return None;
        }
        let (entries, source) = (followed.settling.in_force(), &followed.source);
        if changes_the_rule(&settled, entries) {
            let applied = auth.try_change(|policy| {
                let watched = policy.watches.get(ruled);
                let is_ours =
                    |watched: &Watched| watched.watch == self.id && watched.based == based;
                match watched.is_some_and(is_ours) {
                    true => Ok(((), source.install(policy, entries, auth))),
                    // Another call rules by now.
                    false => Err(()),
                }
            });
            applied.ok()?;
        }
        Some(source.event(entries, &reading.passed_over))
    }

    /// The sources that have come to hang.
    fn hanging(&mut self) -> Vec<ReloadEvent> {
        let now = Instant::now();
        let patience = self.settings.patience;
        let sources = self.sources.values_mut();
        let hanging = sources.filter_map(|followed| {
            let hangs = followed.turn.comes_to_hang(now, patience);
            hangs.then(|| ReloadEvent {
                issues: vec![ReloadIssue::Hangs],
                ..followed.source.event(followed.settling.in_force(), &[])
            })
        });
        hanging.collect()
    }
}

/// Whether something else than an error has settled that leaves the rule as it is.
fn changes_the_rule(settled: &BTreeSet<Name>, entries: &Entries) -> bool {
    let kept = |entry: &Entry| matches!(entry, Entry::Issue(ReloadIssue::FileKept(_)));
    match entries.get(&Name::Whole) {
        Some(entry) if kept(entry) => settled.iter().any(|name| *name != Name::Whole),
        _ => !settled.is_empty(),
    }
}

/// Asks for hints of what is there now: a directory that took another's place is another.
fn ask_for_hints(source: &Source, watcher: &Mutex<Option<RecommendedWatcher>>) {
    // What hangs had better hang here than in the watcher, which serves all sources.
    let places = places(source.path());
    // Another source has it for a moment, or hangs with it: then the poll has to do.
    let held = (0..HINT_TRIES).find_map(|_| {
        let watcher = watcher.try_lock().ok();
        if watcher.is_none() {
            thread::sleep(HINT_PAUSE);
        }
        watcher
    });
    let Some(mut watcher) = held else {
        return;
    };
    let Some(watcher) = &mut *watcher else {
        return;
    };
    for path in places {
        let _not_watched = watcher.unwatch(&path);
        // What is not there cannot be watched, and the polling finds it when it is.
        let _not_there = watcher.watch(&path, RecursiveMode::NonRecursive);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::credentials::MechanismKind;
    use crate::access::domain::Domain;
    use crate::auth::audit::event::{Audited, Change};
    use crate::cert::certificate::Certificate;
    use crate::cert::validity::Validity;
    use crate::lock::lock;
    use std::sync::Condvar;
    use std::sync::atomic::AtomicUsize;

    /// What hangs until it is let go.
    #[derive(Default)]
    struct Gate {
        is_open: Mutex<bool>,
        opened: Condvar,
        waiting: AtomicUsize,
    }

    impl Gate {
        fn pass(&self) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let is_open = lock(&self.is_open);
            drop(self.opened.wait_while(is_open, |is_open| !*is_open));
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }

        fn open(&self) {
            *self.is_open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    fn save_public(directory: &Path, name: &str) {
        let certificate = Certificate::generate().unwrap();
        certificate.save_public(directory, name).unwrap();
    }

    #[test]
    fn a_source_that_hangs_is_told_of_stops_no_other_and_goes_on_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let [hung, other] = ["hung", "other"].map(|name| dir.path().join(name));
        for path in [&hung, &other] {
            std::fs::create_dir(path).unwrap();
        }
        let auth = Authenticator::new();
        let mut audited = auth.events();
        let gate = Arc::new(Gate::default());
        let read: Arc<Read> = {
            let (gate, hung) = (Arc::clone(&gate), hung.clone());
            Arc::new(move |source, auth| {
                if source.path() == hung {
                    gate.pass();
                }
                source.read(auth)
            })
        };
        let settings = ReloadSettings {
            debounce: Duration::from_millis(20),
            poll: Duration::from_millis(40),
            patience: Duration::from_millis(500),
        };
        let (sender, events) = channel();
        let on_event = Box::new(move |event: &ReloadEvent| sender.send(event.clone()).unwrap());
        let watch = Watch::start_with(&auth, settings, on_event, read).unwrap();
        // More than can be read at once.
        let names = [
            "hung",
            "hung too",
            "hung three",
            "hung four",
            "hung five",
            "other",
        ];
        for name in names {
            let path = if name == "other" { &other } else { &hung };
            let source = Source::Directory(name.into(), path.into(), Validity::default());
            auth.change(|policy| {
                policy.claim(MechanismKind::Curve, source.domain());
                let version = policy.version;
                policy.watches.follow(watch.id, source, None, version);
                Change::Claimed(MechanismKind::Curve, name.into())
            });
        }
        watch.hint();

        let mut expected: BTreeSet<Domain> = names.map(Domain::from).into();
        while !expected.is_empty() {
            let event = events.recv_timeout(LONG).unwrap();
            let hangs = event.issues == [ReloadIssue::Hangs];
            assert_eq!(hangs, event.domain != Domain::from("other"), "{event:?}");
            assert!(expected.remove(&event.domain), "told twice: {event:?}");
        }
        // Others go on, and each has one thread that waits, however often it is due.
        for count in 1..4 {
            save_public(&other, &format!("{count}"));
            let event = events.recv_timeout(LONG).unwrap();
            assert_eq!(
                (event.domain, event.admitted),
                (Domain::from("other"), count)
            );
        }
        assert_eq!(gate.waiting.load(Ordering::SeqCst), 5);
        let told = std::iter::from_fn(|| audited.try_next());
        let told = told.filter(|next| {
            matches!(&next.event.what, Audited::Reloaded(event)
                if event.issues == [ReloadIssue::Hangs])
        });
        assert_eq!(told.count(), 5);

        save_public(&hung, "alice");
        gate.open();
        let mut expected: BTreeSet<Domain> = names.map(Domain::from).into();
        expected.remove(&Domain::from("other"));
        while !expected.is_empty() {
            let event = events.recv_timeout(LONG).unwrap();
            assert_eq!(event.issues, []);
            if event.admitted == 1 {
                expected.remove(&event.domain);
            }
        }
    }

    #[test]
    fn a_reading_that_hangs_does_not_keep_the_authenticator() {
        let gate = Arc::new(Gate::default());
        let read: Arc<Read> = {
            let gate = Arc::clone(&gate);
            Arc::new(move |source, auth| {
                gate.pass();
                source.read(auth)
            })
        };
        let auth = Authenticator::new();
        let watch = Watch::start_with(&auth, ReloadSettings::default(), Box::new(|_| {}), read);
        let watch = watch.unwrap();
        auth.change(|policy| {
            let source = Source::PasswordFile(Domain::ALL, "nowhere".into());
            let version = policy.version;
            policy.watches.follow(watch.id, source, None, version);
            Change::Claimed(MechanismKind::Plain, Domain::ALL)
        });
        watch.hint();
        let end = Instant::now() + LONG;
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
        let weak = auth.downgrade();
        drop(auth);
        while weak.upgrade().is_some() {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
        gate.open();
    }
}

//! The thread that reloads files. It decides when each source is read, has it read on a separate
//! thread, and puts settled changes in force.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::{Authenticator, WeakAuthenticator};
use crate::auth::policy::watched::issue::ReloadIssue;
use crate::auth::policy::watched::reading::{Entries, Entry, Name, Reading, Settled};
use crate::auth::policy::watched::source::{Ruled, Source};
use crate::auth::policy::watched::watches::{WatchId, Watched};
use crate::auth::reload::event::ReloadEvent;
use crate::auth::reload::file_watcher::FileWatcher;
use crate::auth::reload::followed::Followed;
use crate::auth::reload::schedule;
use crate::auth::reload::settings::ReloadSettings;
use crate::cert::known_files::{KnownFiles, Scope};
use crate::lock::lock;
use crate::secret_file::open_to_others;
use crate::zap::contain::contain;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A function that reads a source; it returns `None` if the Authenticator is dropped.
pub(crate) type Read =
    dyn Fn(&Source, &WeakAuthenticator, &mut KnownFiles) -> Option<Reading> + Send + Sync;

/// The thread that reloads. It ends when this handle or the [`Authenticator`] is dropped.
pub(crate) struct Watch {
    pub(crate) id: WatchId,
    hints: Hints,
    ended: Arc<AtomicBool>,
}

impl Watch {
    /// Starts the thread. It reloads the sources that the policy assigns to this watch.
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
            watcher: Arc::new(FileWatcher::start({
                let hints = hints.clone();
                move || hints.hint()
            })),
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

    /// Tells the thread that its sources may have changed.
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

/// A message to the thread.
enum ThreadMessage {
    /// Something may have changed.
    Hint,
    /// The source for this mechanism and domain was read. The number is the base version for which
    /// the reading was started. `None` if the reading panicked or the Authenticator is dropped.
    Read(Ruled, u64, Option<Reading>),
}

#[derive(Clone)]
struct Hints {
    sender: Sender<ThreadMessage>,
    /// Whether a hint is queued already. Several hints mean the same as one.
    is_hinted: Arc<AtomicBool>,
}

impl Hints {
    fn hint(&self) {
        if !self.is_hinted.swap(true, Ordering::SeqCst) {
            // Sending fails if the thread has ended, and then no hint is needed.
            let _sent = self.sender.send(ThreadMessage::Hint);
        }
    }
}

/// The state of the thread.
struct Reloading {
    auth: WeakAuthenticator,
    id: WatchId,
    ended: Arc<AtomicBool>,
    settings: ReloadSettings,
    watcher: Arc<FileWatcher>,
    on_event: Box<dyn Fn(&ReloadEvent) + Send>,
    read: Arc<Read>,
    hints: Hints,
    /// The version of the policy that the sources were last taken from.
    followed: u64,
    sources: BTreeMap<Ruled, Followed>,
    /// Its reference count, less 1, is the number of readings in progress.
    readers: Arc<()>,
}

impl Reloading {
    fn run(mut self, told: &Receiver<ThreadMessage>) {
        let mut read = None;
        while !self.ended.load(Ordering::SeqCst) {
            let Some(auth) = self.auth.upgrade() else {
                return;
            };
            self.follow(&auth);
            let mut events = Vec::new();
            if let Some((ruled, base_version, reading)) = read.take() {
                events.extend(self.take_reading(&ruled, base_version, reading, &auth));
            }
            events.extend(self.hanging());
            for event in events {
                auth.audit_reload(&event);
                let _panicked = contain(|| (self.on_event)(&event));
            }
            // If this is the last handle, its drop ends the watch.
            drop(auth);
            let now = Instant::now();
            self.begin_readings(now);
            match told.recv_timeout(self.time_to_next_reading(now)) {
                Ok(ThreadMessage::Hint) => self.take_hint(),
                Ok(ThreadMessage::Read(ruled, base_version, reading)) => {
                    read = Some((ruled, base_version, reading));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes the sources of this watch from the policy.
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
            let followed = followed.or_insert_with(|| Followed::new(watched, now));
            if followed.base_version != watched.base_version {
                followed.restart(watched, now);
            }
        }
    }

    /// Starts the readings that are due.
    fn begin_readings(&mut self, now: Instant) {
        loop {
            let schedules = self.sources.values().map(|followed| &followed.schedule);
            let in_progress = Arc::strong_count(&self.readers) - 1;
            let Some(next) = schedule::next(schedules, in_progress, now) else {
                return;
            };
            let Some((ruled, followed)) = self.sources.iter_mut().nth(next) else {
                return;
            };
            let (auth, reader) = (self.auth.clone(), Arc::clone(&self.readers));
            let (read, watcher) = (Arc::clone(&self.read), Arc::clone(&self.watcher));
            let (ruled, source) = (ruled.clone(), followed.source.clone());
            let base_version = followed.base_version;
            let scope = followed.begin(now, self.settings.poll);
            let again = scope == Scope::Contents;
            let (known, follows) = (Arc::clone(&followed.known), followed.follows);
            let sender = self.hints.sender.clone();
            let spawned = thread::Builder::new()
                .name("zmtp-auth reading".into())
                .spawn(move || {
                    let reading = contain(|| {
                        watcher.ask_for_hints(&source, again);
                        read(&source, &auth, lock(&known).prepare(scope, follows))
                    });
                    drop(reader);
                    // Sending fails if the reloading thread has ended, and then no result is needed.
                    let reading = reading.ok().flatten();
                    let _sent = sender.send(ThreadMessage::Read(ruled, base_version, reading));
                });
            if let Err(error) = spawned {
                tracing::warn!(%error, "cannot start a thread to reload files; trying again later");
                followed.schedule.end();
                followed.show_nothing(now, self.settings.debounce);
                return;
            }
        }
    }

    /// The time until a source is due, a reading counts as hanging, or the poll is due.
    fn time_to_next_reading(&self, now: Instant) -> Duration {
        let schedules = self.sources.values().map(|followed| &followed.schedule);
        let wake = schedule::next_wakeup(schedules, now, self.settings.read_timeout);
        let poll = schedule::later(now, self.settings.poll);
        wake.map_or(poll, |wake| wake.min(poll)) - now
    }

    fn take_hint(&mut self) {
        self.hints.is_hinted.store(false, Ordering::SeqCst);
        // A change on disk comes as several hints. Wait a moment, so that one reading sees them all.
        let soon = schedule::later(Instant::now(), self.settings.debounce / 16);
        for followed in self.sources.values_mut() {
            followed.schedule.make_due_by(soon);
            followed.has_news = true;
        }
    }

    /// Takes a reading, and puts the changes in force that have settled by it.
    fn take_reading(
        &mut self,
        ruled: &Ruled,
        base_version: u64,
        reading: Option<Reading>,
        auth: &Authenticator,
    ) -> Option<ReloadEvent> {
        let followed = self.sources.get_mut(ruled)?;
        if base_version < followed.first_version {
            return None;
        }
        let was_told = followed.schedule.end();
        let now = Instant::now();
        followed.follows = reading.is_some() && followed.base_version == base_version;
        if reading.is_none() {
            followed.show_nothing(now, self.settings.debounce);
        }
        if followed.base_version != base_version {
            // An explicit call has loaded the files since this reading began, and may have read
            // later contents. The reading is discarded and repeated.
            followed.schedule.make_due_by(now);
            followed.has_news = true;
            return None;
        }
        let (reading, debounce) = (reading?, self.settings.debounce);
        if let Some(mode) = followed.newly_open(&reading) {
            tracing::warn!("{}", open_to_others(followed.source.path(), mode));
        }
        let is_covered = |name: &Name| reading.covers(name);
        let settling = &mut followed.settling;
        let settled = settling.see(
            &reading.entries,
            reading.about.as_ref(),
            is_covered,
            now,
            debounce,
        );
        if let Some(due) = settling.due_in(now, debounce) {
            followed.schedule.make_due_by(schedule::later(now, due));
        }
        if settled.is_empty() && !was_told {
            return None;
        }
        let (entries, source) = (followed.settling.in_force(), &followed.source);
        if changes_the_rule(&settled, entries) {
            let settled = Some(&settled).filter(|_| followed.is_ruling);
            let applied = auth.try_change(|policy| {
                let watched = policy.watches.get(ruled);
                let is_ours = |watched: &Watched| {
                    watched.watch == self.id && watched.base_version == base_version
                };
                match watched.is_some_and(is_ours) {
                    true => Ok(((), source.install(policy, entries, settled, auth))),
                    // Another call has configured the domain meanwhile, and takes precedence.
                    false => Err(()),
                }
            });
            followed.is_ruling = applied.is_ok();
            applied.ok()?;
        }
        Some(source.event(entries, &reading.passed_over))
    }

    /// Events about the readings that newly count as hanging.
    fn hanging(&mut self) -> Vec<ReloadEvent> {
        let now = Instant::now();
        let read_timeout = self.settings.read_timeout;
        let sources = self.sources.values_mut();
        let hanging = sources.filter_map(|followed| {
            let hangs = followed.schedule.newly_hangs(now, read_timeout);
            hangs.then(|| ReloadEvent {
                issues: vec![ReloadIssue::Hangs],
                ..followed.source.event(followed.settling.in_force(), &[])
            })
        });
        hanging.collect()
    }
}

/// Whether the settled entries change the rule. A password file that is not valid does not: its
/// users stay in force.
fn changes_the_rule(settled: &Settled, entries: &Entries) -> bool {
    let kept = |entry: &Entry| matches!(entry, Entry::Issue(ReloadIssue::FileKept(_)));
    match entries.get(&Name::Whole) {
        Some(entry) if kept(entry) => settled.keys().any(|name| *name != Name::Whole),
        _ => !settled.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::credentials::MechanismKind;
    use crate::access::domain::Domain;
    use crate::auth::audit::event::{Audited, Change};
    use crate::cert::certificate::Certificate;
    use crate::cert::validity::Validity;
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Condvar, Mutex};

    /// Blocks callers until it is opened.
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
    fn a_source_that_hangs_is_reported_stops_no_other_and_continues_when_it_answers() {
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
            Arc::new(move |source, auth, known| {
                if source.path() == hung {
                    gate.pass();
                }
                source.read(auth, known)
            })
        };
        let settings = ReloadSettings {
            debounce: Duration::from_millis(20),
            poll: Duration::from_millis(40),
            read_timeout: Duration::from_millis(500),
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
            assert!(expected.remove(&event.domain), "reported twice: {event:?}");
        }
        // The other source continues, and each hanging one keeps only one thread, however often it
        // is due.
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
    fn a_reading_of_a_source_that_was_replaced_is_no_reading_of_its_successor() {
        let gates = [(); 2].map(|()| Arc::new(Gate::default()));
        let [before, after] = gates.clone();
        let read: Arc<Read> = Arc::new(move |source, _, _| {
            if source.path() == Path::new("before") {
                before.pass();
            } else {
                after.pass();
            }
            None
        });
        let auth = Authenticator::new();
        let poll = Duration::from_millis(10);
        let settings = ReloadSettings::default().with_poll(poll);
        let watch = Watch::start_with(&auth, settings, Box::new(|_| {}), read).unwrap();
        for (path, gate) in ["before", "after"].into_iter().zip(&gates) {
            auth.change(|policy| {
                let source = Source::Directory(Domain::ALL, path.into(), Validity::default());
                let version = policy.version;
                policy.watches.follow(watch.id, source, None, version);
                Change::Claimed(MechanismKind::Curve, Domain::ALL)
            });
            watch.hint();
            let end = Instant::now() + LONG;
            while gate.waiting.load(Ordering::SeqCst) == 0 {
                assert!(Instant::now() < end);
                thread::yield_now();
            }
        }
        gates[0].open();
        thread::sleep(poll * 20);
        assert_eq!(gates[1].waiting.load(Ordering::SeqCst), 1);
        gates[1].open();
    }

    #[test]
    fn a_reading_that_hangs_does_not_keep_the_authenticator_alive() {
        let gate = Arc::new(Gate::default());
        let read: Arc<Read> = {
            let gate = Arc::clone(&gate);
            Arc::new(move |source, auth, known| {
                gate.pass();
                source.read(auth, known)
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

//! What background tasks tell a socket: peers that come and go, and peers that can go on.
//!
//! A socket belongs to the task that calls it, so it needs no lock of its own for a message. Tasks that accept and
//! dial leave their news here, under a lock that is taken for each change and not for each message.
//! The socket looks at one atomic flag, and takes the news when there are some.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// Names one peer of a socket for as long as the peer is the same to the socket: a dialled peer
/// keeps its pipe when it reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PipeId(pub(crate) u64);

/// The socket's end. `T` is what a new peer brings.
pub(crate) struct News<T>(Arc<Shared<T>>);

/// The tasks' end.
pub(crate) struct Reporter<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Whether the state has something to take.
    has_news: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// New peers in the order of their arrival. A peer may bring several items, one after another.
    added: BTreeMap<PipeId, Vec<T>>,
    /// Peers that the socket has and shall drop.
    removed: BTreeSet<PipeId>,
    /// Peers that the socket has, and whose admissions it shall look at.
    withdrawn: BTreeSet<PipeId>,
    /// The latest pipe that the socket has taken. Later ones are unknown to it.
    latest_taken: Option<PipeId>,
    /// Peers that the socket shall drop once it has taken what has arrived from them.
    finishing: BTreeSet<PipeId>,
    /// Places of peers that can go on.
    ready: Vec<usize>,
    /// The task that waits for news.
    waiting: Option<Waker>,
    /// Whether the socket is gone. What peers bring then is dropped, which closes their connections.
    is_closed: bool,
}

/// The news that were taken.
pub(crate) struct Taken<T> {
    pub(crate) removed: BTreeSet<PipeId>,
    pub(crate) withdrawn: BTreeSet<PipeId>,
    pub(crate) finishing: BTreeSet<PipeId>,
    pub(crate) added: BTreeMap<PipeId, Vec<T>>,
    pub(crate) ready: Vec<usize>,
}

/// Makes both ends.
pub(crate) fn news<T>() -> (Reporter<T>, News<T>) {
    let shared = Arc::new(Shared {
        has_news: AtomicBool::new(false),
        state: Mutex::new(State {
            added: BTreeMap::new(),
            removed: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            latest_taken: None,
            finishing: BTreeSet::new(),
            ready: Vec::new(),
            waiting: None,
            is_closed: false,
        }),
    });
    (Reporter(Arc::clone(&shared)), News(shared))
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic under the lock leaves whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state. `change` returns what it has taken out.
    fn tell(&self, change: impl FnOnce(&mut State<T>) -> Option<Vec<T>>) -> Told<T> {
        let mut state = self.lock();
        let dropped = change(&mut state);
        self.has_news.store(true, Ordering::Release);
        let waiting = state.waiting.take();
        Told {
            waiting,
            _dropped: dropped,
        }
    }
}

/// News that were told. The drop wakes the socket's task, and drops what the socket shall not get. A
/// caller that holds a lock keeps this until the lock is released, because both are foreign code.
pub(crate) struct Told<T> {
    waiting: Option<Waker>,
    _dropped: Option<Vec<T>>,
}

impl<T> Drop for Told<T> {
    fn drop(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl<T> State<T> {
    /// Takes out what a peer has brought and is not to be kept.
    fn take_unless(&mut self, pipe: PipeId, keep: impl Fn(&T) -> bool) -> Option<Vec<T>> {
        let items = self.added.get_mut(&pipe)?;
        let (kept, dropped): (Vec<T>, Vec<T>) = std::mem::take(items)
            .into_iter()
            .partition(|item| keep(item));
        *items = kept;
        if items.is_empty() {
            self.added.remove(&pipe);
            self.finishing.remove(&pipe);
        }
        Some(dropped)
    }
}

impl<T> Clone for Reporter<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Reporter<T> {
    /// A peer is there, or a peer that is known brings something more.
    pub(crate) fn add(&self, pipe: PipeId, item: T) -> Told<T> {
        self.0.tell(|state| {
            if state.is_closed {
                return Some(vec![item]);
            }
            state.added.entry(pipe).or_default().push(item);
            None
        })
    }

    /// Wakes the socket's task for news that it gets in another way.
    pub(crate) fn nudge(&self) {
        drop(self.0.tell(|_| None));
    }

    /// A peer is gone. What it has brought and was not taken is dropped.
    pub(crate) fn remove(&self, pipe: PipeId) -> Told<T> {
        self.0.tell(|state| {
            // Peers that come and go while the socket is idle leave nothing behind.
            if Some(pipe) <= state.latest_taken {
                state.removed.insert(pipe);
            }
            state.added.remove(&pipe)
        })
    }

    /// An admission of a peer is withdrawn. What is not admitted and was not taken is dropped, and the
    /// socket looks at the rest: a peer may have come back under another name.
    pub(crate) fn withdraw(&self, pipe: PipeId, is_admitted: impl Fn(&T) -> bool) -> Told<T> {
        self.0.tell(|state| {
            if Some(pipe) <= state.latest_taken {
                state.withdrawn.insert(pipe);
            }
            state.take_unless(pipe, is_admitted)
        })
    }

    /// As [`Reporter::remove`], for a peer that brings one item and no more.
    pub(crate) fn lost(&self, pipe: PipeId) -> Told<T> {
        self.0.tell(|state| {
            let dropped = state.added.remove(&pipe);
            if dropped.is_some() {
                state.finishing.remove(&pipe);
            } else if Some(pipe) <= state.latest_taken {
                state.removed.insert(pipe);
            }
            dropped
        })
    }

    /// A peer is to be dropped once the socket has taken what has arrived from it.
    pub(crate) fn finish(&self, pipe: PipeId) -> Told<T> {
        self.0.tell(|state| {
            state.finishing.insert(pipe);
            None
        })
    }

    /// Drops what a peer has brought, was not taken and is not to be kept. Returns whether there was
    /// any.
    pub(crate) fn retain(&self, pipe: PipeId, keep: impl Fn(&T) -> bool) -> bool {
        let dropped = self.0.lock().take_unless(pipe, keep);
        let has_dropped = dropped.as_ref().is_some_and(|it| !it.is_empty());
        // The drop is foreign code, so the lock is free.
        drop(dropped);
        has_dropped
    }
}

impl<T> Drop for News<T> {
    fn drop(&mut self) {
        let added = {
            let mut state = self.0.lock();
            state.is_closed = true;
            std::mem::take(&mut state.added)
        };
        drop(added);
    }
}

impl<T> News<T> {
    /// Whether there is something to take.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.0.has_news.load(Ordering::Acquire)
    }

    /// Takes the news, if there are some. Without news it costs one load.
    pub(crate) fn take(&self) -> Option<Taken<T>> {
        if !self.has_some() {
            return None;
        }
        let mut state = self.0.lock();
        self.0.has_news.store(false, Ordering::Relaxed);
        let latest = state.added.last_key_value().map(|(pipe, _)| *pipe);
        state.latest_taken = state.latest_taken.max(latest);
        Some(Taken {
            removed: std::mem::take(&mut state.removed),
            withdrawn: std::mem::take(&mut state.withdrawn),
            finishing: std::mem::take(&mut state.finishing),
            added: std::mem::take(&mut state.added),
            ready: std::mem::take(&mut state.ready),
        })
    }

    /// Registers the task that is woken by the next news. Returns `false` if there are some already.
    /// The task of the last call is woken.
    pub(crate) fn wait(&self, context: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        if self.0.has_news.load(Ordering::Relaxed) {
            return false;
        }
        state.waiting = Some(context.waker().clone());
        true
    }
}

impl<T: Send + 'static> News<T> {
    /// A waker for the peer in `place`.
    pub(crate) fn bell(&self, place: usize) -> Bell {
        let ringer = Arc::new(Ringer {
            place,
            is_rung: AtomicBool::new(false),
            shared: Arc::clone(&self.0),
        });
        Bell {
            waker: Waker::from(Arc::clone(&ringer)),
            ringer,
        }
    }
}

/// The waker of one peer: it puts the peer's place on the list of those that can go on.
pub(crate) struct Bell {
    pub(crate) waker: Waker,
    ringer: Arc<dyn Silence>,
}

impl Bell {
    /// Lets the next wake-up count. To be called before the peer is polled.
    pub(crate) fn silence(&self) {
        self.ringer.silence();
    }
}

trait Silence: Send + Sync {
    fn silence(&self);
}

struct Ringer<T> {
    place: usize,
    /// Whether the place is on the list already.
    is_rung: AtomicBool,
    shared: Arc<Shared<T>>,
}

impl<T: Send> Silence for Ringer<T> {
    fn silence(&self) {
        self.is_rung.store(false, Ordering::SeqCst);
    }
}

impl<T: Send + 'static> Wake for Ringer<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_rung.swap(true, Ordering::SeqCst) {
            self.shared.tell(|state| {
                state.ready.push(self.place);
                None
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn news_are_taken_once_and_wake_the_task_that_waits() {
        let (reporter, news) = news::<&str>();
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&counter));
        let context = Context::from_waker(&waker);
        assert!(news.take().is_none());
        assert!(news.wait(&context));
        reporter.add(PipeId(1), "one");
        reporter.add(PipeId(2), "two");
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert!(!news.wait(&context));
        reporter.remove(PipeId(1));
        let taken = news.take().unwrap();
        assert_eq!(
            taken.added.into_iter().collect::<Vec<_>>(),
            [(PipeId(2), vec!["two"])]
        );
        assert!(news.take().is_none());
        reporter.remove(PipeId(2));
        let taken = news.take().unwrap();
        assert_eq!(taken.removed.into_iter().collect::<Vec<_>>(), [PipeId(2)]);
    }

    #[test]
    fn peers_that_come_and_go_while_the_socket_is_idle_leave_nothing_behind() {
        let (reporter, news) = news();
        reporter.add(PipeId(1), "taken");
        news.take().unwrap();
        for number in 1..1000 {
            reporter.remove(PipeId(number));
            reporter.add(PipeId(number + 1), "not taken");
        }
        let taken = news.take().unwrap();
        assert_eq!(taken.removed.into_iter().collect::<Vec<_>>(), [PipeId(1)]);
        assert_eq!(
            taken.added.into_iter().collect::<Vec<_>>(),
            [(PipeId(1000), vec!["not taken"])]
        );
    }

    #[test]
    fn peers_that_come_and_go_unseen_leave_nothing() {
        let (reporter, news) = news();
        let item = Arc::new(());
        for number in 0..100 {
            let pipe = PipeId(number);
            reporter.add(pipe, Arc::clone(&item));
            reporter.finish(pipe);
            if number % 2 == 0 {
                reporter.lost(pipe);
            } else {
                reporter.retain(pipe, |_| false);
            }
        }
        assert_eq!(Arc::strong_count(&item), 1);
        let taken = news.take().unwrap();
        assert!(taken.added.is_empty() && taken.removed.is_empty() && taken.finishing.is_empty());
    }

    #[test]
    fn without_a_socket_nothing_is_kept() {
        let (reporter, news) = news();
        let items = [Arc::new(()), Arc::new(())];
        reporter.add(PipeId(1), Arc::clone(&items[0]));
        drop(news);
        reporter.add(PipeId(2), Arc::clone(&items[1]));
        assert!(items.iter().all(|item| Arc::strong_count(item) == 1));
    }

    #[test]
    fn a_place_is_listed_once_until_its_bell_is_silenced() {
        let (_reporter, news) = news::<()>();
        let bell = news.bell(7);
        for _ in 0..3 {
            bell.waker.wake_by_ref();
        }
        assert_eq!(news.take().unwrap().ready, [7]);
        bell.waker.wake_by_ref();
        assert!(news.take().is_none());
        bell.silence();
        bell.waker.wake_by_ref();
        assert_eq!(news.take().unwrap().ready, [7]);
    }
}

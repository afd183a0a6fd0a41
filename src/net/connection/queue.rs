//! A queue between one producer and one consumer, bounded by bytes instead of by items.
//!
//! The producer waits for room and then pushes, so that an item is never inside a future that
//! may be dropped; the consumer waits and then takes. Both waits are cancel-safe.
//!
//! The consumer fetches everything that is there at once, so that the two meet at the lock once
//! for many items, and nobody ever holds it for long. What it has fetched counts as waiting until
//! it is taken. (A list without a lock was measured in its place: twice the time on one thread,
//! three times on two, since each item is passed on by itself.)
//!
//! A consumer is woken by the first item, or, if it is patient, once much waits or the producer's
//! task has had its turn: see [`Waiting`](crate::net::connection::wake::Waiting).
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::net::connection::wake::{Waiting, Wake};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

/// The part of a queue's limit that a patient consumer is woken for at once.
const MUCH: usize = 2;

/// Makes a queue that has room while fewer than `limit` bytes wait in it. One item may be
/// larger than all of `limit`: it passes alone.
pub(crate) fn queue<T>(limit: usize) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            spare: VecDeque::new(),
            is_at_rest: true,
            producer_gone: false,
            consumer_gone: false,
            waiting_producer: None,
            waiting_consumer: Waiting::No,
        }),
        limit,
        discarded: AtomicBool::new(false),
    });
    let consumer = Consumer {
        shared: Arc::clone(&shared),
        fetched: VecDeque::new(),
        taken: 0,
    };
    (Producer(shared), consumer)
}

struct Shared<T> {
    state: Mutex<State<T>>,
    limit: usize,
    /// Whether what has been fetched is not to be taken any more.
    discarded: AtomicBool,
}

struct State<T> {
    /// Each item with what it costs.
    items: VecDeque<(T, usize)>,
    /// What they cost together, and what the consumer has fetched and not said it took.
    bytes: usize,
    /// Empty memory for `items`.
    spare: VecDeque<(T, usize)>,
    /// Whether memory that becomes free is given back instead of being kept.
    is_at_rest: bool,
    producer_gone: bool,
    consumer_gone: bool,
    waiting_producer: Option<Blocked>,
    waiting_consumer: Waiting,
}

/// A producer that waits.
struct Blocked {
    waker: Waker,
    /// For fewer bytes than this; without it, only for the end.
    level: Option<usize>,
}

impl<T> State<T> {
    fn add(&mut self, item: T, cost: usize) {
        // Nothing that waits is free, or it would count as nothing waiting.
        let cost = cost.max(1);
        self.bytes = self.bytes.saturating_add(cost);
        self.items.push_back((item, cost));
    }

    /// Whom to wake after something was added.
    fn after_adding(&mut self, limit: usize, more_follows: bool) -> Wake {
        self.is_at_rest = false;
        if more_follows && self.bytes < limit / MUCH {
            self.waiting_consumer.call()
        } else {
            self.waiting_consumer.call_at_once()
        }
    }

    /// Whom to wake after something was taken. There is no haste: what the consumer takes in the
    /// same turn makes more room.
    fn after_taking(&mut self) -> Wake {
        let bytes = self.bytes;
        let may_go_on =
            |blocked: &mut Blocked| blocked.level.is_some_and(|level| is_below(bytes, level));
        match self.waiting_producer.take_if(may_go_on) {
            Some(blocked) => Wake::AfterTurn(blocked.waker),
            None => Wake::Nobody,
        }
    }

    /// Takes `memory`, which is empty, for later items.
    fn keep(&mut self, memory: VecDeque<(T, usize)>) {
        if !self.is_at_rest && memory.capacity() > self.spare.capacity() {
            self.spare = memory;
        }
    }

    /// Gives back what an idle queue does not hold.
    fn release(&mut self) {
        self.is_at_rest = true;
        self.spare = VecDeque::new();
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }
}

/// Whether so few bytes wait; none at all are below everything.
const fn is_below(bytes: usize, level: usize) -> bool {
    bytes == 0 || bytes < level
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

/// The end that pushes; dropped, it lets the consumer take what is left and then end.
pub(crate) struct Producer<T>(Arc<Shared<T>>);

/// The end that takes; dropped, it discards what is left.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    fetched: VecDeque<(T, usize)>,
    /// Bytes of fetched items that are taken and still count.
    taken: usize,
}

/// The consumer is gone: nothing pushed would ever be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl<T> Producer<T> {
    /// Bytes that wait to be taken.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// How many bytes may wait.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Whether nobody will take anything any more.
    pub(crate) fn is_unheard(&self) -> bool {
        self.0.lock().consumer_gone
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        self.below(Some(self.0.limit)).await
    }

    /// Waits until fewer than `level` bytes, or no items, wait in the queue; without a level,
    /// only until the consumer is gone.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn below(&self, level: Option<usize>) -> Result<(), Gone> {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.consumer_gone {
                return Poll::Ready(Err(Gone));
            }
            if level.is_some_and(|level| is_below(state.bytes, level)) {
                return Poll::Ready(Ok(()));
            }
            let waker = context.waker().clone();
            state.waiting_producer = Some(Blocked { waker, level });
            Poll::Pending
        })
        .await
    }

    /// Adds an item that costs `cost` bytes, if there is room.
    ///
    /// # Errors
    /// The item, if there is none, or if the consumer is gone; [`Producer::room`] tells which.
    pub(crate) fn push_into_room(&self, item: T, cost: usize) -> Result<(), T> {
        let wake = {
            let mut state = self.0.lock();
            if state.consumer_gone || !is_below(state.bytes, self.0.limit) {
                return Err(item);
            }
            state.add(item, cost);
            state.after_adding(self.0.limit, true)
        };
        wake.wake();
        Ok(())
    }

    /// Adds an item that costs `cost` bytes, room or not: callers ask for room first.
    ///
    /// # Errors
    /// The item, if the consumer is gone.
    pub(crate) fn push(&self, item: T, cost: usize) -> Result<(), T> {
        let wake = {
            let mut state = self.0.lock();
            if state.consumer_gone {
                return Err(item);
            }
            state.add(item, cost);
            state.after_adding(self.0.limit, true)
        };
        wake.wake();
        Ok(())
    }

    /// Adds all of `items`, each with its cost, room or not, and leaves none: those that nobody
    /// would take are dropped. Unless `more_follows` in this turn, even a patient consumer is
    /// woken at once.
    pub(crate) fn push_all(&self, items: &mut VecDeque<(T, usize)>, more_follows: bool) {
        let wake = {
            let mut state = self.0.lock();
            if state.consumer_gone || items.is_empty() {
                Wake::Nobody
            } else {
                state.items.reserve(items.len());
                for (item, cost) in items.drain(..) {
                    state.add(item, cost);
                }
                state.after_adding(self.0.limit, more_follows)
            }
        };
        items.clear();
        wake.wake();
    }

    /// Gives back memory until something is pushed, if nothing waits.
    pub(crate) fn release(&self) {
        self.0.lock().release();
    }

    /// Takes back everything that has not been taken, also what the consumer has fetched.
    /// Nothing may be pushed after it.
    pub(crate) fn discard(&self) {
        let discarded = {
            let mut state = self.0.lock();
            self.0.discarded.store(true, Ordering::Release);
            state.bytes = 0;
            std::mem::take(&mut state.items)
        };
        drop(discarded);
    }
}

impl<T> Consumer<T> {
    /// Waits until an item can be taken, or the producer is gone; a patient consumer until many
    /// can, or the producer's task has had its turn.
    pub(crate) async fn ready(&mut self, is_deferred: bool) {
        poll_fn(|context| {
            if self.fetch() {
                return Poll::Ready(());
            }
            let mut state = self.shared.lock();
            if !state.items.is_empty() || state.producer_gone {
                return Poll::Ready(());
            }
            state.waiting_consumer = Waiting::new(context.waker(), is_deferred);
            Poll::Pending
        })
        .await;
    }

    /// Takes the oldest item, if there is one.
    pub(crate) fn take(&mut self) -> Option<T> {
        if !self.fetch() {
            return None;
        }
        let (item, cost) = self.fetched.pop_front()?;
        self.taken += cost;
        // The producer hears of it when it matters: when nothing is left, or when there is
        // room for it to go on.
        if self.fetched.is_empty() || self.taken >= self.shared.limit / 4 {
            self.confirm_fetched();
        }
        Some(item)
    }

    /// Waits for the oldest item; `None` once the producer is gone and everything is taken.
    pub(crate) async fn next(&mut self) -> Option<T> {
        if let Some(item) = self.take() {
            return Some(item);
        }
        self.ready(true).await;
        self.take()
    }

    /// Takes nothing more: what waits is discarded, and so is what would be pushed. Gives whether
    /// nothing waited.
    pub(crate) fn refuse(&mut self) -> bool {
        let (discarded, waiting) = {
            let mut state = self.shared.lock();
            state.consumer_gone = true;
            state.bytes = 0;
            let discarded = std::mem::take(&mut state.items);
            (discarded, state.waiting_producer.take())
        };
        let was_empty = discarded.is_empty() && self.fetched.is_empty();
        drop(discarded);
        self.fetched = VecDeque::new();
        if let Some(blocked) = waiting {
            blocked.waker.wake();
        }
        was_empty
    }

    /// Whether the producer is gone and everything is taken.
    pub(crate) fn is_finished(&self) -> bool {
        if !self.fetched.is_empty() {
            return false;
        }
        let state = self.shared.lock();
        state.producer_gone && state.items.is_empty()
    }

    /// Whether the producer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().producer_gone
    }

    /// Gives back memory until something is pushed, if nothing waits.
    pub(crate) fn release(&mut self) {
        if self.fetched.is_empty() {
            self.fetched = VecDeque::new();
        }
        self.shared.lock().release();
    }

    /// Whether something is fetched, after an attempt to have it so.
    fn fetch(&mut self) -> bool {
        if self.shared.discarded.load(Ordering::Acquire) {
            self.fetched = VecDeque::new();
        }
        if self.fetched.is_empty() {
            let mut state = self.shared.lock();
            if !state.items.is_empty() {
                let room = std::mem::take(&mut state.spare);
                let fetched = std::mem::replace(&mut state.items, room);
                state.keep(std::mem::replace(&mut self.fetched, fetched));
            }
        }
        !self.fetched.is_empty()
    }

    /// Says what has been taken.
    fn confirm_fetched(&mut self) {
        let wake = {
            let mut state = self.shared.lock();
            state.bytes -= self.taken.min(state.bytes);
            if self.fetched.is_empty() {
                state.keep(std::mem::take(&mut self.fetched));
            }
            state.after_taking()
        };
        self.taken = 0;
        wake.wake();
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        let wake = {
            let mut state = self.0.lock();
            state.producer_gone = true;
            state.waiting_consumer.call_at_once()
        };
        wake.wake();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.refuse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::connection::wake::tests::Counted;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_ready(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    #[test]
    fn room_is_counted_in_bytes_and_one_item_of_any_size_passes() {
        let (producer, mut consumer) = queue(10);
        assert!(is_ready(producer.room()));
        producer.push('a', 1000).unwrap();
        assert!(!is_ready(producer.room()));
        assert_eq!(consumer.take(), Some('a'));
        producer.push('b', 9).unwrap();
        assert!(is_ready(producer.room()));
        producer.push('c', 1).unwrap();
        assert!(!is_ready(producer.room()));
        assert_eq!(producer.bytes(), 10);
        assert_eq!((consumer.take(), consumer.take()), (Some('b'), Some('c')));
        assert_eq!((consumer.take(), producer.bytes()), (None, 0));
    }

    #[test]
    fn what_was_pushed_is_taken_after_the_producer_is_gone() {
        let (producer, mut consumer) = queue(10);
        producer.push(1, 1).unwrap();
        drop(producer);
        assert!(!consumer.is_finished());
        assert!(is_ready(consumer.ready(false)));
        assert_eq!(consumer.take(), Some(1));
        assert!(is_ready(consumer.ready(false)));
        assert!(consumer.is_finished());
    }

    #[test]
    fn a_consumer_that_is_gone_frees_everything_and_refuses_more() {
        let (producer, consumer) = queue(10);
        let item = Arc::new(());
        producer.push(Arc::clone(&item), 10).unwrap();
        drop(consumer);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.push(item, 1).is_err());
        assert!(producer.is_unheard());
        assert!(is_ready(producer.room()));
    }

    #[test]
    fn a_producer_is_woken_when_what_it_waits_for_is_there() {
        let wakes = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (producer, mut consumer) = queue(100);
        for _ in 0..4 {
            producer.push((), 25).unwrap();
        }
        let wait = |level| {
            let waiting = pin!(producer.below(level));
            assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
        };
        // It waits for the end alone, and hears of nothing else.
        wait(None);
        consumer.take();
        assert_eq!(wakes.count(), 0);
        wait(Some(50));
        consumer.take();
        assert_eq!(wakes.count(), 0);
        consumer.take();
        assert_eq!(wakes.count(), 1);
        wait(Some(0));
        consumer.take();
        assert_eq!(wakes.count(), 2);
        wait(None);
        drop(consumer);
        assert_eq!(wakes.count(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_patient_consumer_is_woken_at_once_by_much_or_if_nothing_follows() {
        let turn = async {
            let wakes = Arc::new(Counted::default());
            let waker = Waker::from(Arc::clone(&wakes));
            let (producer, mut consumer) = queue(100);
            let wait = |consumer: &mut Consumer<()>| {
                while consumer.take().is_some() {}
                let waiting = pin!(consumer.ready(true));
                assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
            };
            wait(&mut consumer);
            producer.push((), 49).unwrap();
            assert_eq!(wakes.count(), 0);
            producer.push((), 1).unwrap();
            assert_eq!(wakes.count(), 1);
            wait(&mut consumer);
            producer.push_all(&mut VecDeque::from([((), 1)]), true);
            assert_eq!(wakes.count(), 1);
            producer.push_all(&mut VecDeque::from([((), 1)]), false);
            assert_eq!(wakes.count(), 2);
        };
        tokio::spawn(turn).await.unwrap();
    }

    #[test]
    fn a_queue_that_is_refused_discards_and_takes_nothing_more() {
        let (producer, mut consumer) = queue(10);
        let item = Arc::new(());
        for _ in 0..2 {
            producer.push(Arc::clone(&item), 1).unwrap();
        }
        consumer.take();
        consumer.refuse();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.push_into_room(item, 1).is_err());
        assert_eq!(consumer.take(), None);
        assert!(!consumer.is_finished());
        drop(producer);
        assert!(consumer.is_finished());
    }

    #[tokio::test]
    async fn both_ends_wake_each_other() {
        let (producer, mut consumer) = queue(1);
        let pushing = tokio::spawn(async move {
            for number in 0..1000 {
                producer.room().await.unwrap();
                producer.push(number, 1).unwrap();
            }
            producer.below(Some(0)).await.unwrap();
            producer.bytes()
        });
        for number in 0..1000 {
            assert_eq!(consumer.next().await, Some(number));
        }
        assert_eq!(pushing.await.unwrap(), 0);
        assert_eq!(consumer.next().await, None);
    }
}

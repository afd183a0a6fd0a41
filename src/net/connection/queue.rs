//! A queue between one producer and one consumer, bounded by bytes instead of by items.
//!
//! The producer waits for room and then pushes, and the consumer waits and then takes. So an item
//! is never inside a future that may be dropped, and both waits are cancel-safe.
//!
//! # One lock for many items
//!
//! The consumer swaps the whole list of items for an empty one and takes them from its own copy.
//! The two sides meet at the lock once for many items, and hold it for a few instructions. Fetched
//! items count against the limit until they are taken. A lock-free list was measured instead: it
//! takes twice the time on one thread and three times on two, since it passes each item on alone.
//!
//! # Wake-ups
//!
//! Each side registers its waker under the lock, in the same critical section that finds nothing
//! to do. The other side changes the state under the lock and takes the waker there, so no change
//! can fall between a check and the registration. It calls the waker after the lock is released,
//! because a waker is foreign code.
//!
//! Waking for every item would cost more than the item. So both sides delay wake-ups:
//!
//! - A deferred consumer is woken at the end of the producer's turn, or at once when half of the
//!   limit waits ([`Waiting`]).
//! - A producer that waits for room learns of taken items only when the consumer has emptied its
//!   copy, or has taken a quarter of the limit.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::net::connection::wake::{Waiting, Wake};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

/// A deferred consumer is woken at once when this part of the limit waits: one half. The producer
/// can then fill the other half while the consumer wakes up.
const WAKE_PART: usize = 2;

/// The consumer confirms what it has taken at the latest after this part of the limit: a quarter.
/// A waiting producer then goes on while three quarters are still to be taken.
const CONFIRM_PART: usize = 4;

/// Makes a queue that has room while fewer than `limit` bytes wait in it. One item may be
/// larger than all of `limit`: it passes alone.
pub(crate) fn queue<T>(limit: usize) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            spare: VecDeque::new(),
            is_at_rest: true,
            is_done: true,
            producer_gone: false,
            consumer_gone: false,
            waiting_producer: None,
            waiting_flush: None,
            waiting_consumer: Waiting::No,
        }),
        limit,
        discarded: AtomicBool::new(false),
    });
    let consumer = Consumer {
        shared: Arc::clone(&shared),
        fetched: VecDeque::new(),
        taken: 0,
        has_undone: false,
    };
    (Producer(shared), consumer)
}

struct Shared<T> {
    state: Mutex<State<T>>,
    limit: usize,
    /// Whether fetched items must not be taken: [`Producer::discard`].
    discarded: AtomicBool,
}

struct State<T> {
    /// Each item with its cost in bytes.
    items: VecDeque<(T, usize)>,
    /// The cost of `items`, and of fetched items that the consumer has not confirmed as taken.
    bytes: usize,
    /// An empty list whose memory `items` uses next.
    spare: VecDeque<(T, usize)>,
    /// Whether the memory of an emptied list is freed instead of kept as `spare`.
    is_at_rest: bool,
    /// Whether the consumer is done with everything that was pushed: [`Consumer::confirm_done`].
    is_done: bool,
    /// The producer is dropped or has closed the queue.
    producer_gone: bool,
    /// The consumer is dropped or has refused the queue.
    consumer_gone: bool,
    waiting_producer: Option<Blocked>,
    /// A producer that waits until the consumer is done with everything.
    waiting_flush: Option<Waker>,
    waiting_consumer: Waiting,
}

/// A producer that waits.
struct Blocked {
    waker: Waker,
    /// It waits for fewer bytes than this in the queue. Without a level it waits only for the
    /// consumer's end.
    level: Option<usize>,
}

impl<T> State<T> {
    fn add(&mut self, item: T, cost: usize) {
        // Every item costs at least 1, so `bytes == 0` means empty.
        let cost = cost.max(1);
        self.is_done = false;
        self.bytes = self.bytes.saturating_add(cost);
        self.items.push_back((item, cost));
    }

    /// Whether nothing that is pushed would be taken.
    const fn is_closed(&self) -> bool {
        self.producer_gone || self.consumer_gone
    }

    /// The wake-up that is due after something was added.
    fn after_adding(&mut self, limit: usize, more_follows: bool) -> Wake {
        self.is_at_rest = false;
        if more_follows && self.bytes < limit / WAKE_PART {
            self.waiting_consumer.wake_soon()
        } else {
            self.waiting_consumer.wake_now()
        }
    }

    /// The wake-up that is due after something was taken. It can wait for the end of the consumer's
    /// turn: what the consumer takes until then makes more room.
    fn after_taking(&mut self) -> Wake {
        let bytes = self.bytes;
        let may_go_on =
            |blocked: &mut Blocked| blocked.level.is_some_and(|level| is_below(bytes, level));
        match self.waiting_producer.take_if(may_go_on) {
            Some(blocked) => Wake::AfterTurn(blocked.waker),
            None => Wake::None,
        }
    }

    /// Keeps `memory`, an empty list, for later items.
    fn keep(&mut self, memory: VecDeque<(T, usize)>) {
        if !self.is_at_rest && memory.capacity() > self.spare.capacity() {
            self.spare = memory;
        }
    }

    /// Frees the memory of empty lists until something is pushed.
    fn release(&mut self) {
        self.is_at_rest = true;
        self.spare = VecDeque::new();
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }
}

/// Whether fewer than `level` bytes wait. An empty queue is below every level, also below 0.
const fn is_below(bytes: usize, level: usize) -> bool {
    bytes == 0 || bytes < level
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// The producer adds nothing more.
    fn close(&self) {
        let wake = {
            let mut state = self.lock();
            state.producer_gone = true;
            state.waiting_consumer.wake_now()
        };
        wake.wake();
    }
}

/// The end that pushes. After it is dropped, the consumer takes what is left and then ends.
pub(crate) struct Producer<T>(Arc<Shared<T>>);

/// The end that takes. When it is dropped, what is left is discarded.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    fetched: VecDeque<(T, usize)>,
    /// Bytes of taken items that still count in [`State::bytes`].
    taken: usize,
    /// Whether something was taken since [`Consumer::confirm_done`].
    has_undone: bool,
}

/// One of the two sides is gone, so nothing that is pushed would ever be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// An item was not added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected<T> {
    /// There is no room.
    Full(T),
    /// One of the two sides is gone.
    Gone(T),
}

impl<T> Producer<T> {
    /// Bytes that wait to be taken.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// How many bytes may wait in the queue.
    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// Whether the consumer is gone.
    pub(crate) fn has_no_consumer(&self) -> bool {
        self.0.lock().consumer_gone
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// Returns [`Gone`] if one of the two sides is gone.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        poll_fn(|context| self.poll_room(context)).await
    }

    /// As [`Producer::room`]. The last waker is woken.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_below(Some(self.0.limit), context)
    }

    /// Waits until the queue is empty or fewer than `level` bytes wait in it. Without a level it
    /// waits only until the consumer is gone.
    ///
    /// # Errors
    /// Returns [`Gone`] if one of the two sides is gone.
    pub(crate) async fn below(&self, level: Option<usize>) -> Result<(), Gone> {
        poll_fn(|context| self.poll_below(level, context)).await
    }

    fn poll_below(&self, level: Option<usize>, context: &Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = self.0.lock();
        if state.is_closed() {
            return Poll::Ready(Err(Gone));
        }
        if level.is_some_and(|level| is_below(state.bytes, level)) {
            return Poll::Ready(Ok(()));
        }
        let waker = context.waker().clone();
        state.waiting_producer = Some(Blocked { waker, level });
        Poll::Pending
    }

    /// Waits until the consumer is done with everything that was pushed. The last waker is woken.
    ///
    /// # Errors
    /// Returns [`Gone`] if the consumer is gone and was not done.
    pub(crate) fn poll_done(&self, context: &Context<'_>) -> Poll<Result<(), Gone>> {
        let wake = {
            let mut state = self.0.lock();
            if state.is_done {
                return Poll::Ready(Ok(()));
            }
            if state.consumer_gone {
                return Poll::Ready(Err(Gone));
            }
            state.waiting_flush = Some(context.waker().clone());
            if state.items.is_empty() {
                Wake::None
            } else {
                // The producer waits now, so no more items follow that a deferred consumer could
                // take together with these.
                state.waiting_consumer.wake_now()
            }
        };
        wake.wake();
        Poll::Pending
    }

    /// Adds nothing more. The consumer takes what is left and then ends.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Whether [`Producer::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().producer_gone
    }

    /// Adds an item that costs `cost` bytes, if there is room.
    ///
    /// # Errors
    /// Returns the item if there is no room, or one of the two sides is gone.
    pub(crate) fn push_into_room<I: Into<T>>(
        &self,
        item: I,
        cost: usize,
    ) -> Result<(), Rejected<I>> {
        let wake = {
            let mut state = self.0.lock();
            if state.is_closed() {
                return Err(Rejected::Gone(item));
            }
            if !is_below(state.bytes, self.0.limit) {
                return Err(Rejected::Full(item));
            }
            state.add(item.into(), cost);
            state.after_adding(self.0.limit, true)
        };
        wake.wake();
        Ok(())
    }

    /// Adds an item that costs `cost` bytes, also without room. Callers wait for room first.
    ///
    /// # Errors
    /// Returns the item if one of the two sides is gone.
    pub(crate) fn push(&self, item: T, cost: usize) -> Result<(), T> {
        let wake = {
            let mut state = self.0.lock();
            if state.is_closed() {
                return Err(item);
            }
            state.add(item, cost);
            state.after_adding(self.0.limit, true)
        };
        wake.wake();
        Ok(())
    }

    /// Moves all of `items`, each with its cost, to the queue, also without room. If the consumer
    /// is gone they are dropped. Unless `more_follows` in this turn, a deferred consumer is woken
    /// at once too.
    pub(crate) fn push_all(&self, items: &mut VecDeque<(T, usize)>, more_follows: bool) {
        let wake = {
            let mut state = self.0.lock();
            if state.consumer_gone || items.is_empty() {
                Wake::None
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

    /// Frees the memory of an empty queue until something is pushed.
    pub(crate) fn release(&self) {
        self.0.lock().release();
    }

    /// Withdraws everything that has not been taken, also what the consumer has fetched already.
    /// Nothing may be pushed afterwards.
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
    /// Waits until an item can be taken or the producer is gone. A deferred consumer waits on
    /// until many items can be taken, or the producer's task has had its turn.
    pub(crate) async fn ready(&mut self, is_deferred: bool) {
        poll_fn(|context| self.poll_ready(is_deferred, context)).await;
    }

    fn poll_ready(&mut self, is_deferred: bool, context: &Context<'_>) -> Poll<()> {
        if self.fetch() {
            return Poll::Ready(());
        }
        let mut state = self.shared.lock();
        if !state.items.is_empty() || state.producer_gone {
            return Poll::Ready(());
        }
        state.waiting_consumer = Waiting::new(context.waker(), is_deferred);
        Poll::Pending
    }

    /// Takes the oldest item, if there is one.
    pub(crate) fn take(&mut self) -> Option<T> {
        if !self.fetch() {
            return None;
        }
        let (item, cost) = self.fetched.pop_front()?;
        self.taken += cost;
        self.has_undone = true;
        if self.fetched.is_empty() || self.taken >= self.shared.limit / CONFIRM_PART {
            self.confirm_taken();
        }
        Some(item)
    }

    /// Waits for the oldest item, as a deferred consumer. Returns `None` once the producer is gone
    /// and everything is taken. The last waker is woken.
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.take() {
                return Poll::Ready(Some(item));
            }
            ready!(self.poll_ready(true, context));
            // Items may have been withdrawn in between. Then the producer is still there, and the
            // next round waits for it.
            if self.is_finished() {
                return Poll::Ready(None);
            }
        }
    }

    /// Notes that the consumer is done with everything that it has taken. If nothing waits in the
    /// queue, a producer that waits in [`Producer::poll_done`] is woken.
    pub(crate) fn confirm_done(&mut self) {
        if !self.has_undone || !self.fetched.is_empty() {
            return;
        }
        let waiting = {
            let mut state = self.shared.lock();
            if !state.items.is_empty() {
                return;
            }
            state.is_done = true;
            state.waiting_flush.take()
        };
        self.has_undone = false;
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Discards what waits and refuses what is pushed from now on. Returns whether nothing waited.
    pub(crate) fn refuse(&mut self) -> bool {
        let (discarded, waiting) = {
            let mut state = self.shared.lock();
            state.consumer_gone = true;
            state.bytes = 0;
            let discarded = std::mem::take(&mut state.items);
            let blocked = state.waiting_producer.take().map(|blocked| blocked.waker);
            (discarded, [blocked, state.waiting_flush.take()])
        };
        let was_empty = discarded.is_empty() && self.fetched.is_empty();
        drop(discarded);
        self.fetched = VecDeque::new();
        for waker in waiting.into_iter().flatten() {
            waker.wake();
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

    /// Frees the memory of an empty queue until something is pushed.
    pub(crate) fn release(&mut self) {
        if self.fetched.is_empty() {
            self.fetched = VecDeque::new();
        }
        self.shared.lock().release();
    }

    /// Fetches what waits unless something is fetched already. Returns whether something is
    /// fetched now.
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

    /// Tells the producer how much has been taken, and wakes it if it can go on.
    fn confirm_taken(&mut self) {
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
        self.0.close();
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
    use crate::net::connection::wake::tests::Counter;
    use std::future::Future;
    use std::pin::pin;

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
    fn a_dropped_consumer_frees_everything_and_refuses_more() {
        let (producer, consumer) = queue(10);
        let item = Arc::new(());
        producer.push(Arc::clone(&item), 10).unwrap();
        drop(consumer);
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(producer.push(item, 1).is_err());
        assert!(producer.has_no_consumer());
        assert!(is_ready(producer.room()));
    }

    #[test]
    fn a_producer_is_woken_when_its_level_is_reached() {
        let wakes = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (producer, mut consumer) = queue(100);
        for _ in 0..4 {
            producer.push((), 25).unwrap();
        }
        let wait = |level| {
            let waiting = pin!(producer.below(level));
            assert!(waiting.poll(&mut Context::from_waker(&waker)).is_pending());
        };
        // Without a level it waits for the consumer's end alone.
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
    async fn a_deferred_consumer_is_woken_at_once_by_half_the_limit_or_if_nothing_follows() {
        let turn = async {
            let wakes = Arc::new(Counter::default());
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

    /// What one poll with `wakes` as waker returns.
    fn poll<T>(wakes: &Arc<Counter>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let waker = Waker::from(Arc::clone(wakes));
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_producer_learns_when_the_consumer_is_done_with_everything() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = queue(100);
        let done = || poll(&wakes, |context| producer.poll_done(context));
        assert_eq!(done(), Some(Ok(())));
        for _ in 0..2 {
            producer.push((), 1).unwrap();
        }
        assert_eq!(done(), None);
        // Neither what waits nor what is taken is done.
        consumer.take();
        consumer.confirm_done();
        consumer.take();
        assert_eq!((done(), wakes.count()), (None, 0));
        consumer.confirm_done();
        assert_eq!((done(), wakes.count()), (Some(Ok(())), 1));
        // The end of the consumer takes back nothing that was done.
        producer.push((), 1).unwrap();
        assert_eq!(done(), None);
        consumer.take();
        consumer.confirm_done();
        drop(consumer);
        assert_eq!((done(), wakes.count()), (Some(Ok(())), 2));
    }

    #[test]
    fn a_producer_learns_that_the_consumer_will_never_be_done() {
        let wakes = Arc::new(Counter::default());
        let (producer, consumer) = queue(100);
        producer.push((), 1).unwrap();
        let done = || poll(&wakes, |context| producer.poll_done(context));
        assert_eq!(done(), None);
        drop(consumer);
        assert_eq!((done(), wakes.count()), (Some(Err(Gone)), 1));
    }

    #[test]
    fn a_closed_queue_takes_nothing_more_and_gives_what_is_left() {
        let (producer, mut consumer) = queue(100);
        producer.push(1, 1).unwrap();
        producer.close();
        assert_eq!(producer.push(2, 1), Err(2));
        assert_eq!(producer.push_into_room(2, 1), Err(Rejected::Gone(2)));
        assert!(is_ready(producer.room()));
        assert!(!consumer.is_finished());
        assert_eq!(consumer.take(), Some(1));
        assert!(consumer.is_finished());
    }

    #[test]
    fn the_last_waker_of_each_side_is_woken() {
        let [first, last] = [(); 2].map(|()| Arc::new(Counter::default()));
        let (producer, mut consumer) = queue(10);
        for wakes in [&first, &last] {
            assert_eq!(poll(wakes, |context| consumer.poll_next(context)), None);
        }
        producer.push((), 10).unwrap();
        assert_eq!((first.count(), last.count()), (0, 1));
        for wakes in [&first, &last] {
            assert_eq!(poll(wakes, |context| producer.poll_room(context)), None);
            assert_eq!(poll(wakes, |context| producer.poll_done(context)), None);
        }
        consumer.take();
        assert_eq!((first.count(), last.count()), (0, 2));
        consumer.confirm_done();
        assert_eq!((first.count(), last.count()), (0, 3));
    }

    #[test]
    fn a_consumer_whose_items_are_withdrawn_waits_for_the_end() {
        let wakes = Arc::new(Counter::default());
        let (producer, mut consumer) = queue(10);
        producer.push((), 1).unwrap();
        producer.discard();
        assert_eq!(poll(&wakes, |context| consumer.poll_next(context)), None);
        drop(producer);
        let end = poll(&wakes, |context| consumer.poll_next(context));
        assert_eq!((end, wakes.count()), (Some(None), 1));
    }

    #[test]
    fn a_refused_queue_discards_its_items_and_refuses_more() {
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
            let next = poll_fn(|context| consumer.poll_next(context)).await;
            assert_eq!(next, Some(number));
        }
        assert_eq!(pushing.await.unwrap(), 0);
        let end = poll_fn(|context| consumer.poll_next(context)).await;
        assert_eq!(end, None);
    }
}

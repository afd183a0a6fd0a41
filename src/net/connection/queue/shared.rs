//! The state of a queue that its two sides share.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::net::connection::queue::item::Item;
use crate::net::connection::wake::{Waiting, Wake};
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

/// A deferred consumer is woken at once when this part of the limit waits: one half. The producer
/// can then fill the other half while the consumer wakes up.
const WAKE_PART: usize = 2;

/// Which items of a queue are replaced: one that waits in the last place is dropped when another such
/// item is added. `None` if every item is kept.
pub(crate) type Conflated<T> = Option<fn(&T) -> bool>;

/// What both sides share.
///
/// Each push to a queue that another processor has used last moves cache lines between the two. So what
/// a push looks at lies together, here and in [`State`].
#[repr(C)]
pub(crate) struct Shared<T> {
    /// How many bytes may wait.
    pub(crate) limit: usize,
    /// How many items may wait.
    pub(crate) max_items: usize,
    /// Which items are replaced by a later one of the kind, if any are.
    pub(crate) conflated: Conflated<T>,
    /// Whether the queue outlives its consumers. What one of them leaves, the next one takes.
    pub(crate) is_kept: bool,
    /// Whether fetched items must not be taken: [`Producer::discard`].
    pub(crate) discarded: AtomicBool,
    state: Mutex<State<T>>,
}

/// The part of it that is locked.
#[repr(C)]
pub(crate) struct State<T> {
    /// Each item with its cost in bytes.
    pub(crate) items: VecDeque<(T, usize)>,
    /// The cost of `items`, but for what the last one has grown by, and of fetched items that the consumer
    /// has not confirmed as taken.
    pub(crate) bytes: usize,
    /// The number of their parts.
    pub(crate) count: usize,
    /// Whether the last item may have grown since it was added.
    pub(crate) last_grows: bool,
    /// Whether the memory of an emptied list is freed instead of kept as `spare`.
    is_at_rest: bool,
    /// Whether the consumer is done with everything that was pushed: [`Consumer::confirm_done`].
    pub(crate) is_done: bool,
    /// The producer is dropped or has closed the queue.
    pub(crate) producer_gone: bool,
    /// The consumer is dropped or has refused the queue. A kept queue has no such end.
    pub(crate) consumer_gone: bool,
    /// Whether a kept queue has a consumer.
    pub(crate) is_attached: bool,
    /// Whether the consumer of a kept queue is to take nothing more than it has fetched.
    pub(crate) is_detaching: bool,
    pub(crate) waiting_consumer: Waiting,
    /// An empty list whose memory `items` uses next.
    pub(crate) spare: VecDeque<(T, usize)>,
    pub(crate) waiting_producer: Option<Blocked>,
    /// A producer that waits until the consumer is done with everything.
    pub(crate) waiting_flush: Option<Waker>,
    /// A consumer that takes nothing now, and waits for the producer's end.
    pub(crate) waiting_close: Option<Waker>,
    /// Someone who waits until a kept queue is closed and everything has left it.
    pub(crate) waiting_finish: Option<Waker>,
}

/// A producer that waits.
pub(crate) struct Blocked {
    pub(crate) waker: Waker,
    /// It waits for fewer bytes than this in the queue. Without a level it waits only for the
    /// consumer's end.
    pub(crate) level: Option<usize>,
}

impl<T: Item> State<T> {
    /// Ends the growth of the last item, and counts what it has grown by.
    pub(crate) fn settle(&mut self) {
        if !std::mem::take(&mut self.last_grows) {
            return;
        }
        let Some((item, cost)) = self.items.back_mut() else {
            return;
        };
        let Some(whole) = item.end_growth().filter(|whole| *whole > *cost) else {
            return;
        };
        self.bytes = self.bytes.saturating_add(whole - *cost);
        self.count += item.parts().len() - 1;
        *cost = whole;
    }

    fn remove_last(&mut self) -> Option<T> {
        let (item, cost) = self.items.pop_back()?;
        self.bytes -= cost.min(self.bytes);
        self.count -= 1;
        Some(item)
    }

    pub(crate) fn add(&mut self, item: T, cost: usize) {
        // Every item costs at least 1, so `bytes == 0` means empty.
        let cost = cost.max(1);
        self.settle();
        self.is_done = false;
        self.bytes = self.bytes.saturating_add(cost);
        self.count += 1;
        self.items.push_back((item, cost));
    }

    /// Adds all of `items`, none of which grows. While nothing waits, the two lists change places, so that no
    /// item is moved.
    pub(crate) fn add_all(&mut self, items: &mut VecDeque<(T, usize)>) {
        self.settle();
        // Every item costs at least 1, as in `add`.
        let cost = items.iter().map(|(_, cost)| (*cost).max(1));
        self.bytes = cost.fold(self.bytes, usize::saturating_add);
        self.count += items.len();
        self.is_done = false;
        if !self.items.is_empty() {
            self.items.append(items);
            return;
        }
        std::mem::swap(&mut self.items, items);
        if items.capacity() < self.spare.capacity() {
            std::mem::swap(&mut self.spare, items);
        }
    }

    /// Whether nothing that is pushed would be taken.
    pub(crate) const fn is_closed(&self) -> bool {
        self.producer_gone || self.consumer_gone
    }

    /// Whether a kept queue is closed and nothing is left to be sent.
    pub(crate) fn is_finished(&self) -> bool {
        self.producer_gone && self.items.is_empty() && !self.is_attached
    }

    /// Who waits until a kept queue is finished, if it is.
    pub(crate) fn take_finished(&mut self) -> Option<Waker> {
        let is_finished = self.is_finished();
        self.waiting_finish.take_if(|_| is_finished)
    }

    /// The wake-ups that are due when the consumer is to take nothing more than there is.
    fn wake_closed(&mut self) -> [Wake; 2] {
        let closed = self.waiting_close.take().map_or(Wake::None, Wake::Now);
        [self.waiting_consumer.wake_now(), closed]
    }

    /// The wake-up that is due after something was added.
    pub(crate) fn after_adding(
        &mut self,
        limit: usize,
        max_items: usize,
        more_follows: bool,
    ) -> Wake {
        self.is_at_rest = false;
        let is_half_full = self.bytes >= limit / WAKE_PART || self.count >= max_items / WAKE_PART;
        if more_follows && !is_half_full {
            self.waiting_consumer.wake_soon()
        } else {
            self.waiting_consumer.wake_now()
        }
    }

    /// The wake-up that is due after something was taken. It can wait for the end of the consumer's
    /// turn: what the consumer takes until then makes more room.
    pub(crate) fn after_taking(&mut self, max_items: usize) -> Wake {
        let (bytes, has_place) = (self.bytes, self.count < max_items);
        let may_go_on = |blocked: &mut Blocked| {
            has_place && blocked.level.is_some_and(|level| is_below(bytes, level))
        };
        match self.waiting_producer.take_if(may_go_on) {
            Some(blocked) => Wake::AfterTurn(blocked.waker),
            None => Wake::None,
        }
    }

    /// Keeps `memory`, an empty list, for later items.
    pub(crate) fn keep(&mut self, memory: VecDeque<(T, usize)>) {
        if !self.is_at_rest && memory.capacity() > self.spare.capacity() {
            self.spare = memory;
        }
    }

    /// Frees the memory of empty lists until something is pushed.
    pub(crate) fn release(&mut self) {
        self.is_at_rest = true;
        self.spare = VecDeque::new();
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }
}

/// Whether fewer than `level` bytes wait. An empty queue is below every level, also below 0.
pub(crate) const fn is_below(bytes: usize, level: usize) -> bool {
    bytes == 0 || bytes < level
}

impl<T: Item> Shared<T> {
    pub(crate) fn new(
        limit: usize,
        max_items: usize,
        conflated: Conflated<T>,
        is_kept: bool,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                count: 0,
                last_grows: false,
                spare: VecDeque::new(),
                is_at_rest: true,
                is_done: true,
                producer_gone: false,
                consumer_gone: false,
                is_attached: false,
                is_detaching: false,
                waiting_producer: None,
                waiting_flush: None,
                waiting_consumer: Waiting::No,
                waiting_close: None,
                waiting_finish: None,
            }),
            limit,
            max_items,
            conflated,
            is_kept,
            discarded: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Whether there is room for one more item. An empty queue takes an item of any size, and so does
    /// one whose last item is replaced.
    pub(crate) fn has_room(&self, state: &State<T>) -> bool {
        self.replaces_last(state)
            || (is_below(state.bytes, self.limit) && state.count < self.max_items)
    }

    /// Whether the last item makes room for the next one of the kind.
    pub(crate) fn replaces_last(&self, state: &State<T>) -> bool {
        let last = state.items.back();
        self.conflated
            .is_some_and(|is_conflated| last.is_some_and(|(item, _)| is_conflated(item)))
    }

    /// Adds an item. Returns the one that it replaces, to be dropped without the lock.
    pub(crate) fn add(&self, state: &mut State<T>, item: T, cost: usize) -> Option<T> {
        let is_conflated = self.conflated.is_some_and(|it| it(&item));
        let replaced = if is_conflated && self.replaces_last(state) {
            state.remove_last()
        } else {
            None
        };
        state.add(item, cost);
        replaced
    }

    /// The producer adds nothing more.
    pub(crate) fn close(&self) {
        let (wake, finished) = {
            let mut state = self.lock();
            state.producer_gone = true;
            (state.wake_closed(), state.take_finished())
        };
        wake.into_iter().for_each(Wake::wake);
        if let Some(waker) = finished {
            waker.wake();
        }
    }

    /// The consumer of a kept queue takes nothing more than it has fetched.
    pub(crate) fn detach(&self) {
        let wake = {
            let mut state = self.lock();
            state.is_detaching = true;
            state.wake_closed()
        };
        wake.into_iter().for_each(Wake::wake);
    }
}

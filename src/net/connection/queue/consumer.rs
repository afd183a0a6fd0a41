//! The side of a queue that takes.
#![forbid(unsafe_code)]

use crate::net::connection::queue::item::{Item, Parts};
use crate::net::connection::queue::refused::Refused;
use crate::net::connection::queue::shared::Shared;
use crate::net::connection::wake::Waiting;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// The consumer confirms what it has taken at the latest after this part of the limit: a quarter.
/// A waiting producer then goes on while three quarters are still to be taken.
const CONFIRM_PART: usize = 4;

/// The same for the number of items: one half. Messages that are let in together share the buffer that they
/// were read into, if they fill half of it, and are copied otherwise. So more of them are let in at once.
const CONFIRM_ITEMS_PART: usize = 2;

/// The end that takes. When it is dropped, what is left is discarded.
pub(crate) struct Consumer<T: Item> {
    shared: Arc<Shared<T>>,
    fetched: VecDeque<(T, usize)>,
    /// How many parts of the first item in it were taken.
    used: usize,
    /// How many parts of all items in it were not taken.
    left: usize,
    /// Whether something was fetched since [`Consumer::look`].
    has_news: bool,
    /// Bytes of taken items that still count in [`State::bytes`].
    taken: usize,
    /// The number of their parts.
    taken_items: usize,
    /// Whether something was taken since [`Consumer::confirm_done`].
    has_undone: bool,
    /// Whether it has left a kept queue, which may have another consumer now.
    has_left: bool,
}

impl<T: Item> Consumer<T> {
    pub(crate) const fn new(shared: Arc<Shared<T>>) -> Self {
        Self {
            shared,
            fetched: VecDeque::new(),
            used: 0,
            left: 0,
            has_news: false,
            taken: 0,
            taken_items: 0,
            has_undone: false,
            has_left: false,
        }
    }

    /// Waits until an item can be taken or the producer is gone. A deferred consumer waits on
    /// until many items can be taken, or the producer's task has had its turn.
    pub(crate) async fn ready(&mut self, is_deferred: bool) {
        poll_fn(|context| self.poll_ready(is_deferred, context)).await;
    }

    fn poll_ready(&mut self, is_deferred: bool, context: &Context<'_>) -> Poll<()> {
        // What waits may still be replaced. It is fetched when it is taken.
        if self.shared.conflated.is_none() && self.fetch() {
            return Poll::Ready(());
        }
        let mut state = self.shared.lock();
        if !state.items.is_empty() || state.producer_gone || state.is_detaching {
            return Poll::Ready(());
        }
        state.waiting_consumer = Waiting::new(context.waker(), is_deferred);
        Poll::Pending
    }

    /// As [`Consumer::ready`] if `may_take`. Else waits for the producer's end alone.
    pub(crate) async fn ready_if(&mut self, may_take: bool, is_deferred: bool) {
        if may_take {
            self.ready(is_deferred).await;
        } else {
            poll_fn(|context| self.poll_closed(context)).await;
        }
    }

    fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.producer_gone || state.is_detaching {
            return Poll::Ready(());
        }
        state.waiting_close = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether the next item was fetched since the last call. It was pushed before this call in any case.
    /// `None` if there is no item.
    pub(crate) fn look(&mut self) -> Option<bool> {
        self.fetch().then(|| std::mem::take(&mut self.has_news))
    }

    /// Takes the oldest part, if there is one. Inlined with all that is on the way to the application, since
    /// moves of small messages cost much.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<T::Part> {
        if !self.fetch() {
            return None;
        }
        let parts = self.fetched.front()?.0.parts();
        if parts.len() > 1 {
            let part = parts.get(self.used).cloned();
            self.use_up(1);
            return part;
        }
        let (item, cost) = self.fetched.pop_front()?;
        self.left -= 1;
        self.note_taken(1, cost);
        item.into_part()
    }

    /// Gives `use_up` the oldest parts, and drops those that it has used up: the number that it
    /// returns. Returns that number, and what the items cost that are used up with them. No part is moved,
    /// which costs much for many small ones.
    ///
    /// # Errors
    /// Returns the error of `use_up`.
    pub(crate) fn take_some<E>(
        &mut self,
        use_up: impl FnOnce(Parts<'_, T>) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        if !self.fetch() {
            return Ok((0, 0));
        }
        let count = use_up(Parts::new(self.fetched.iter(), self.used, self.left))?;
        Ok((count, self.use_up(count)))
    }

    /// Drops the oldest parts. Returns what the items cost whose last part is among them.
    fn use_up(&mut self, count: usize) -> usize {
        let (mut items, mut parts, mut cost) = (0, 0, 0);
        let mut used = self.used + count;
        for (item, of_item) in &self.fetched {
            let all = item.parts().len();
            if used < all {
                break;
            }
            used -= all;
            items += 1;
            parts += all;
            cost += of_item;
        }
        self.used = used;
        self.left -= count;
        self.has_undone |= count > 0;
        if items > 0 {
            drop(self.fetched.drain(..items));
            self.note_taken(parts, cost);
        }
        cost
    }

    /// Notes that so many parts were taken, with the last parts of items.
    #[inline]
    fn note_taken(&mut self, count: usize, cost: usize) {
        self.taken += cost;
        self.taken_items += count;
        self.has_undone = true;
        let is_much = self.taken >= self.shared.limit / CONFIRM_PART
            || self.taken_items >= self.shared.max_items / CONFIRM_ITEMS_PART;
        if is_much || self.fetched.is_empty() {
            self.confirm_taken();
        }
    }

    /// Waits for the oldest item, as a deferred consumer. Returns `None` once the producer is gone
    /// and everything is taken. The last waker is woken.
    #[inline]
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<T::Part>> {
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

    /// Discards what waits and refuses what is pushed from now on. A kept queue keeps what waits
    /// for its next consumer, and goes on to take what is pushed. Returns whether nothing waited.
    pub(crate) fn refuse(&mut self) -> bool {
        let (was_empty, waiting) = self.refuse_without_waking();
        waiting.wake();
        was_empty
    }

    /// As [`Consumer::refuse`], for a caller that holds a lock. The caller wakes the producer after
    /// it.
    pub(crate) fn refuse_without_waking(&mut self) -> (bool, Refused<T>) {
        if self.shared.is_kept {
            return self.leave();
        }
        let (discarded, waiting) = {
            let mut state = self.shared.lock();
            state.consumer_gone = true;
            (state.bytes, state.count) = (0, 0);
            let discarded = std::mem::take(&mut state.items);
            let blocked = state.waiting_producer.take().map(|blocked| blocked.waker);
            (discarded, [blocked, state.waiting_flush.take(), None])
        };
        let was_empty = discarded.is_empty() && self.fetched.is_empty();
        let fetched = std::mem::take(&mut self.fetched);
        (
            was_empty,
            Refused {
                items: [discarded, fetched],
                waiting,
            },
        )
    }

    /// Leaves a kept queue. Another queue is not touched.
    pub(crate) fn leave_kept(&mut self) {
        if self.shared.is_kept {
            let (_, refused) = self.leave();
            refused.wake();
        }
    }

    /// Leaves what was not taken to the next consumer of a kept queue. What was taken counts as
    /// done, because no other consumer will see it.
    fn leave(&mut self) -> (bool, Refused<T>) {
        if std::mem::replace(&mut self.has_left, true) {
            return (true, Refused::default());
        }
        let mut state = self.shared.lock();
        self.fetched.append(&mut state.items);
        state.items = std::mem::take(&mut self.fetched);
        state.bytes -= std::mem::take(&mut self.taken).min(state.bytes);
        state.count -= std::mem::take(&mut self.taken_items).min(state.count);
        (state.is_attached, state.is_detaching) = (false, false);
        (state.waiting_consumer, state.waiting_close) = (Waiting::No, None);
        let was_empty = state.items.is_empty();
        let flushed = if was_empty {
            state.is_done = true;
            state.waiting_flush.take()
        } else {
            None
        };
        let has_room = self.shared.has_room(&state);
        let waiting = state.waiting_producer.take_if(|_| has_room);
        let refused = Refused {
            waiting: [
                flushed,
                waiting.map(|blocked| blocked.waker),
                state.take_finished(),
            ],
            ..Refused::default()
        };
        (was_empty, refused)
    }

    /// Whether the producer is gone and everything is taken.
    pub(crate) fn is_finished(&self) -> bool {
        if !self.fetched.is_empty() {
            return false;
        }
        let state = self.shared.lock();
        state.is_detaching || (state.producer_gone && state.items.is_empty())
    }

    /// Tells whether something waits to be taken, also after the consumer is elsewhere.
    pub(crate) fn watch(&self) -> Watch<T> {
        Watch(Arc::clone(&self.shared))
    }

    /// Whether the producer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.shared.lock();
        state.producer_gone || state.is_detaching
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
    #[inline]
    fn fetch(&mut self) -> bool {
        if self.has_left {
            return false;
        }
        if self.shared.discarded.load(Ordering::Acquire) {
            self.fetched = VecDeque::new();
            (self.used, self.left) = (0, 0);
        }
        if self.fetched.is_empty() {
            self.fetch_waiting();
        }
        !self.fetched.is_empty()
    }

    fn fetch_waiting(&mut self) {
        let mut state = self.shared.lock();
        if state.is_detaching {
            return;
        }
        self.has_news = true;
        state.settle();
        if self.shared.conflated.is_some() {
            // One alone, since the others may still be replaced.
            self.fetched.extend(state.items.pop_front());
        } else if !state.items.is_empty() {
            let room = std::mem::take(&mut state.spare);
            let fetched = std::mem::replace(&mut state.items, room);
            state.keep(std::mem::replace(&mut self.fetched, fetched));
        }
        self.left = self
            .fetched
            .iter()
            .map(|(item, _)| item.parts().len())
            .sum();
    }

    /// Tells the producer how much has been taken, and wakes it if it can go on.
    fn confirm_taken(&mut self) {
        let wake = {
            let mut state = self.shared.lock();
            state.bytes -= self.taken.min(state.bytes);
            state.count -= self.taken_items.min(state.count);
            if self.fetched.is_empty() {
                state.keep(std::mem::take(&mut self.fetched));
            }
            state.after_taking(self.shared.max_items)
        };
        (self.taken, self.taken_items) = (0, 0);
        wake.wake();
    }
}

/// Looks at a queue from outside.
pub(crate) struct Watch<T>(Arc<Shared<T>>);

impl<T: Item> Watch<T> {
    /// Whether nothing waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().bytes == 0
    }
}

impl<T: Item> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.refuse();
    }
}

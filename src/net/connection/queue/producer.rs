//! The side of a queue that pushes.
#![forbid(unsafe_code)]

use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::item::Item;
use crate::net::connection::queue::shared::{Blocked, Shared, State, is_below};
use crate::net::connection::wake::Wake;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// The end that pushes. After it is dropped, the consumer takes what is left and then ends.
pub(crate) struct Producer<T: Item> {
    shared: Arc<Shared<T>>,
    /// Whether its end is that of one consumer of a kept queue, and not of the queue.
    is_guest: bool,
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

/// Makes the consumers of a kept queue, one after another. It does not keep the queue open.
pub(crate) struct KeptQueue<T: Item>(Arc<Shared<T>>);

impl<T: Item> KeptQueue<T> {
    /// A consumer, and a second producer that ends with it. `None` if the queue has a consumer.
    pub(crate) fn attach(&self) -> Option<(Producer<T>, Consumer<T>)> {
        {
            let mut state = self.0.lock();
            if !self.0.is_kept || std::mem::replace(&mut state.is_attached, true) {
                return None;
            }
            state.is_detaching = false;
        }
        let guest = Producer {
            shared: Arc::clone(&self.0),
            is_guest: true,
        };
        Some((guest, Consumer::new(Arc::clone(&self.0))))
    }

    /// Whether the producer is gone and nothing waits.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.lock().is_finished()
    }

    /// Waits until the producer is gone and nothing waits. The last waker is woken.
    pub(crate) fn poll_finished(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.is_finished() {
            return Poll::Ready(());
        }
        state.waiting_finish = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T: Item> Clone for KeptQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item> Producer<T> {
    pub(crate) const fn new(shared: Arc<Shared<T>>) -> Self {
        let is_guest = false;
        Self { shared, is_guest }
    }

    /// Where consumers of a kept queue come from.
    pub(crate) fn source(&self) -> KeptQueue<T> {
        KeptQueue(Arc::clone(&self.shared))
    }

    /// Bytes that wait to be taken.
    pub(crate) fn bytes(&self) -> usize {
        let mut state = self.shared.lock();
        state.settle();
        state.bytes
    }

    /// Bytes that the next item has to share the limit with: those that wait, or none if it replaces
    /// what waits.
    pub(crate) fn occupied(&self) -> usize {
        let state = self.shared.lock();
        if self.shared.replaces_last(&state) {
            return 0;
        }
        state.bytes
    }

    /// How many more items may be added.
    pub(crate) fn places(&self) -> usize {
        let state = self.shared.lock();
        let free = self.shared.max_items.saturating_sub(state.count);
        free.max(usize::from(self.shared.replaces_last(&state)))
    }

    /// How many bytes may wait in the queue.
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Whether the consumer is gone.
    pub(crate) fn has_no_consumer(&self) -> bool {
        self.shared.lock().consumer_gone
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
        self.poll_below(Some(self.shared.limit), context)
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
        let mut state = self.shared.lock();
        if state.is_closed() {
            return Poll::Ready(Err(Gone));
        }
        if level.is_some() && self.shared.replaces_last(&state) {
            return Poll::Ready(Ok(()));
        }
        let has_room = |state: &State<T>, (parts, bytes)| {
            let bytes = state.bytes.saturating_add(bytes);
            state.count.saturating_add(parts) < self.shared.max_items
                && level.is_some_and(|level| is_below(bytes, level))
        };
        // The last item goes on growing if there is room even when it has grown by the most. Otherwise its
        // growth ends, and what it has grown by decides.
        if state.last_grows && !has_room(&state, T::MOST) {
            state.settle();
        }
        if has_room(&state, (0, 0)) {
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
            let mut state = self.shared.lock();
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

    /// Adds nothing more. The consumer takes what is left and then ends. The guest of a kept queue
    /// ends only its consumer, and what is left waits for the next one.
    pub(crate) fn close(&self) {
        if self.is_guest {
            self.shared.detach();
        } else {
            self.shared.close();
        }
    }

    /// Whether [`Producer::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.shared.lock();
        state.producer_gone || (self.is_guest && state.is_detaching)
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
        let mut _replaced = None;
        let wake = {
            let mut state = self.shared.lock();
            if state.is_closed() {
                return Err(Rejected::Gone(item));
            }
            state.settle();
            if !self.shared.has_room(&state) {
                return Err(Rejected::Full(item));
            }
            if self.shared.conflated.is_some() {
                _replaced = self.shared.add(&mut state, item.into(), cost);
            } else {
                state.add(item.into(), cost);
            }
            state.after_adding(self.shared.limit, self.shared.max_items, true)
        };
        wake.wake();
        Ok(())
    }

    /// Adds an item that costs `cost` bytes and grows, if there is room for what it may grow to: [`Item::MOST`].
    ///
    /// # Errors
    /// Returns the item if there is less room, or one of the two sides is gone. A queue that conflates, or
    /// outlives its consumers, has no room for what grows.
    pub(crate) fn push_growing(&self, item: T, cost: usize) -> Result<(), Rejected<T>> {
        let shared = &*self.shared;
        let (most_parts, most_bytes) = T::MOST;
        let wake = {
            let mut state = shared.lock();
            if state.is_closed() {
                return Err(Rejected::Gone(item));
            }
            state.settle();
            let has_room = shared.max_items.saturating_sub(state.count) >= most_parts
                && shared.limit.saturating_sub(state.bytes) >= most_bytes;
            if shared.is_kept || shared.conflated.is_some() || !has_room {
                return Err(Rejected::Full(item));
            }
            state.add(item, cost);
            state.last_grows = true;
            state.after_adding(shared.limit, shared.max_items, true)
        };
        wake.wake();
        Ok(())
    }

    /// Adds an item that costs `cost` bytes, also without room. Callers wait for room first.
    ///
    /// # Errors
    /// Returns the item if one of the two sides is gone.
    pub(crate) fn push(&self, item: T, cost: usize) -> Result<(), T> {
        let (_replaced, wake) = {
            let mut state = self.shared.lock();
            if state.is_closed() {
                return Err(item);
            }
            let replaced = self.shared.add(&mut state, item, cost);
            let wake = state.after_adding(self.shared.limit, self.shared.max_items, true);
            (replaced, wake)
        };
        wake.wake();
        Ok(())
    }

    /// Moves all of `items`, each with its cost, to the queue, also without room. If the consumer
    /// is gone they are dropped. Unless `more_follows` in this turn, a deferred consumer is woken
    /// at once too.
    pub(crate) fn push_all(&self, items: &mut VecDeque<(T, usize)>, more_follows: bool) {
        if let Some(is_conflated) = self.shared.conflated {
            conflate(items, is_conflated);
        }
        let mut replaced = None;
        let wake = {
            let mut state = self.shared.lock();
            if state.consumer_gone || items.is_empty() {
                Wake::None
            } else {
                if state.items.is_empty() || self.shared.conflated.is_none() {
                    state.add_all(items);
                }
                for (item, cost) in items.drain(..) {
                    // Only the first one can replace something, since nothing is conflated among them.
                    replaced = self.shared.add(&mut state, item, cost).or(replaced);
                }
                state.after_adding(self.shared.limit, self.shared.max_items, more_follows)
            }
        };
        items.clear();
        drop(replaced);
        wake.wake();
    }

    /// Frees the memory of an empty queue until something is pushed.
    pub(crate) fn release(&self) {
        self.shared.lock().release();
    }

    /// Withdraws everything that has not been taken, also what the consumer has fetched already.
    /// Nothing may be pushed afterwards.
    pub(crate) fn discard(&self) {
        let discarded = {
            let mut state = self.shared.lock();
            self.shared.discarded.store(true, Ordering::Release);
            (state.bytes, state.count) = (0, 0);
            std::mem::take(&mut state.items)
        };
        drop(discarded);
    }
}

/// Drops the items that the item behind them would replace.
fn conflate<T>(items: &mut VecDeque<(T, usize)>, is_conflated: fn(&T) -> bool) {
    let mut follower_is = false;
    let mut kept = VecDeque::new();
    for (item, cost) in items.drain(..).rev() {
        let is = is_conflated(&item);
        if !(is && follower_is) {
            kept.push_front((item, cost));
        }
        follower_is = is;
    }
    items.append(&mut kept);
}

impl<T: Item> Drop for Producer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

//! A queue between one producer and one consumer, bounded by bytes instead of by items.
//!
//! The producer waits for room and then pushes, so that an item is never inside a future that
//! may be dropped; the consumer waits and then takes. Both waits are cancel-safe.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Makes a queue that has room while fewer than `limit` bytes wait in it. One item may be
/// larger than all of `limit`: it passes alone.
pub(crate) fn queue<T>(limit: usize) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            producer_gone: false,
            consumer_gone: false,
        }),
        limit,
        pushed: Notify::new(),
        taken: Notify::new(),
    });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    limit: usize,
    pushed: Notify,
    taken: Notify,
}

struct State<T> {
    /// Each item with what it costs.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    producer_gone: bool,
    consumer_gone: bool,
}

impl<T> State<T> {
    fn is_below(&self, level: usize) -> bool {
        self.items.is_empty() || self.bytes < level
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that pushes; dropped, it lets the consumer take what is left and then end.
pub(crate) struct Producer<T>(Arc<Shared<T>>);

/// The end that takes; dropped, it discards what is left.
pub(crate) struct Consumer<T>(Arc<Shared<T>>);

/// The consumer is gone: nothing pushed would ever be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl<T> Producer<T> {
    /// Bytes that wait to be taken.
    pub(crate) fn bytes(&self) -> usize {
        self.0.lock().bytes
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

    /// Whether there is room.
    pub(crate) fn has_room(&self) -> bool {
        self.0.lock().is_below(self.0.limit)
    }

    /// Waits until fewer than `level` bytes, or no items, wait in the queue; without a level,
    /// only until the consumer is gone.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn below(&self, level: Option<usize>) -> Result<(), Gone> {
        loop {
            {
                let state = self.0.lock();
                if state.consumer_gone {
                    return Err(Gone);
                }
                if level.is_some_and(|level| state.is_below(level)) {
                    return Ok(());
                }
            }
            self.0.taken.notified().await;
        }
    }

    /// Adds an item that costs `cost` bytes, room or not: callers ask for room first.
    ///
    /// # Errors
    /// The item, if the consumer is gone.
    pub(crate) fn push(&self, item: T, cost: usize) -> Result<(), T> {
        {
            let mut state = self.0.lock();
            if state.consumer_gone {
                return Err(item);
            }
            state.bytes = state.bytes.saturating_add(cost);
            state.items.push_back((item, cost));
        }
        self.0.pushed.notify_one();
        Ok(())
    }

    /// Takes back everything that has not been taken.
    pub(crate) fn discard(&self) {
        let discarded = {
            let mut state = self.0.lock();
            state.bytes = 0;
            std::mem::take(&mut state.items)
        };
        drop(discarded);
    }
}

impl<T> Consumer<T> {
    /// Waits until an item can be taken, or the producer is gone.
    pub(crate) async fn ready(&self) {
        loop {
            {
                let state = self.0.lock();
                if !state.items.is_empty() || state.producer_gone {
                    return;
                }
            }
            self.0.pushed.notified().await;
        }
    }

    /// Takes the oldest item, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let item = {
            let mut state = self.0.lock();
            let (item, cost) = state.items.pop_front()?;
            state.bytes -= cost.min(state.bytes);
            item
        };
        self.0.taken.notify_one();
        Some(item)
    }

    /// Waits for the oldest item; `None` once the producer is gone and everything is taken.
    pub(crate) async fn next(&self) -> Option<T> {
        self.ready().await;
        self.take()
    }

    /// Whether the producer is gone and everything is taken.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.0.lock();
        state.producer_gone && state.items.is_empty()
    }

    /// Whether the producer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().producer_gone
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.0.lock().producer_gone = true;
        self.0.pushed.notify_one();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        let discarded = {
            let mut state = self.0.lock();
            state.consumer_gone = true;
            state.bytes = 0;
            std::mem::take(&mut state.items)
        };
        drop(discarded);
        self.0.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_ready(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    #[test]
    fn room_is_counted_in_bytes_and_one_item_of_any_size_passes() {
        let (producer, consumer) = queue(10);
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
        let (producer, consumer) = queue(10);
        producer.push(1, 1).unwrap();
        drop(producer);
        assert!(!consumer.is_finished());
        assert!(is_ready(consumer.ready()));
        assert_eq!(consumer.take(), Some(1));
        assert!(is_ready(consumer.ready()));
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

    #[tokio::test]
    async fn both_ends_wake_each_other() {
        let (producer, consumer) = queue(1);
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

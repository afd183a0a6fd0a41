//! When the consumer of a queue is woken.
//!
//! Suppose that producer and consumer run on two threads, and each item wakes the consumer at once.
//! Then the consumer takes one item, finds nothing more and sleeps again, and both spend their time
//! on waking and sleeping. A consumer that expects many items therefore waits *deferred*: its waker
//! is called when the producer's task returns to the runtime. By then the task has pushed all that
//! it had, and the consumer takes it in one go.
//!
//! tokio calls wakers that were given to [`yield_now`](tokio::task::yield_now) after it has polled
//! the task. [`Wake::wake`] uses that: it polls such a future once, with the consumer's waker in
//! place of the producer's.
#![forbid(unsafe_code)]

use std::future::Future;
use std::mem;
use std::pin::pin;
use std::task::{Context, Waker};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How a consumer waits.
#[derive(Default)]
pub(crate) enum Waiting {
    /// It does not wait.
    #[default]
    No,
    /// It is to be woken by the first item.
    Immediate(Waker),
    /// It is to be woken at the end of the producer's turn, or at once when many items wait.
    Deferred(Waker),
    /// It waits deferred, an item has come, and the end of the turn will wake it. It keeps its waker
    /// in case that many more items come before.
    Scheduled(Waker),
}

/// A wake-up that is due. It is made under the queue's lock and carried out after it.
#[must_use]
pub(crate) enum Wake {
    None,
    Now(Waker),
    /// When the running task returns to the runtime.
    AfterTurn(Waker),
}

impl Waiting {
    pub(crate) fn new(waker: &Waker, is_deferred: bool) -> Self {
        if is_deferred {
            Self::Deferred(waker.clone())
        } else {
            Self::Immediate(waker.clone())
        }
    }

    /// An item has come, and more may follow in this turn.
    pub(crate) fn wake_soon(&mut self) -> Wake {
        match self {
            Self::No | Self::Scheduled(_) => Wake::None,
            Self::Immediate(_) => self.wake_now(),
            Self::Deferred(waker) => {
                let waker = waker.clone();
                *self = Self::Scheduled(waker.clone());
                Wake::AfterTurn(waker)
            }
        }
    }

    /// Many items wait, or nothing more will come.
    pub(crate) fn wake_now(&mut self) -> Wake {
        match mem::take(self) {
            Self::No => Wake::None,
            Self::Immediate(waker) | Self::Deferred(waker) | Self::Scheduled(waker) => {
                Wake::Now(waker)
            }
        }
    }
}

impl Wake {
    /// Carries it out. A waker is foreign code, so the caller holds no lock.
    pub(crate) fn wake(self) {
        match self {
            Self::None => {}
            Self::Now(waker) => waker.wake(),
            // On a single-threaded runtime the consumer runs after this task anyway. And a deferred
            // waker is lost there if `block_on` returns before the runtime calls it.
            Self::AfterTurn(waker) if is_single_thread() => waker.wake(),
            Self::AfterTurn(waker) => {
                // `yield_now` asks the runtime to call the given waker once the running task has
                // returned. The future has done its work with this one poll and is dropped. Outside
                // of a runtime it calls the waker at once.
                let turn = pin!(tokio::task::yield_now());
                let _pending = turn.poll(&mut Context::from_waker(&waker));
            }
        }
    }
}

fn is_single_thread() -> bool {
    Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake as Woken;

    /// Counts how often it is woken.
    #[derive(Default)]
    pub(crate) struct Counter(AtomicUsize);

    impl Woken for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counter {
        pub(crate) fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn waiting(is_deferred: bool) -> (Arc<Counter>, Waiting) {
        let wakes = Arc::new(Counter::default());
        let waiting = Waiting::new(&Waker::from(Arc::clone(&wakes)), is_deferred);
        (wakes, waiting)
    }

    #[test]
    fn an_immediate_consumer_is_woken_once_by_the_first_item() {
        let (wakes, mut waiting) = waiting(false);
        waiting.wake_soon().wake();
        assert_eq!(wakes.count(), 1);
        waiting.wake_soon().wake();
        waiting.wake_now().wake();
        assert_eq!(wakes.count(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_deferred_consumer_is_woken_when_the_turn_is_over() {
        let turn = async {
            let (wakes, mut waiting) = waiting(true);
            for _ in 0..3 {
                waiting.wake_soon().wake();
            }
            assert_eq!(wakes.count(), 0);
            while wakes.count() == 0 {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            assert_eq!(wakes.count(), 1);
        };
        tokio::spawn(turn).await.unwrap();
    }

    #[tokio::test]
    async fn on_a_single_thread_a_deferred_consumer_is_woken_before_block_on_can_return() {
        let (wakes, mut waiting) = waiting(true);
        waiting.wake_soon().wake();
        assert_eq!(wakes.count(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_deferred_consumer_is_woken_at_once_when_many_items_wait() {
        let turn = async {
            let (wakes, mut waiting) = waiting(true);
            waiting.wake_soon().wake();
            waiting.wake_now().wake();
            assert_eq!(wakes.count(), 1);
        };
        tokio::spawn(turn).await.unwrap();
    }

    #[test]
    fn outside_of_a_runtime_a_deferred_consumer_is_woken_at_once() {
        let (wakes, mut waiting) = waiting(true);
        waiting.wake_soon().wake();
        assert_eq!(wakes.count(), 1);
    }
}

//! When the one that takes from a queue is woken.
//!
//! Two tasks on two threads, of which one takes whatever the other has just put down, do little but
//! wake each other. A taker that expects more is patient instead: the other's turn comes first.
#![forbid(unsafe_code)]

use std::future::Future;
use std::mem;
use std::pin::pin;
use std::task::{Context, Waker};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How the one that takes waits.
#[derive(Default)]
pub(crate) enum Waiting {
    /// It does not.
    #[default]
    No,
    /// For the first item.
    Immediate(Waker),
    /// For the end of the other task's turn, or for much.
    Deferred(Waker),
    /// As a patient one, and the end of the turn will wake it.
    Scheduled(Waker),
}

/// Whom to wake, and when.
#[must_use]
pub(crate) enum Wake {
    Nobody,
    Now(Waker),
    /// When the task that runs has had its turn.
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

    /// Something is there.
    pub(crate) fn call(&mut self) -> Wake {
        match mem::take(self) {
            Self::No => Wake::Nobody,
            Self::Immediate(waker) => Wake::Now(waker),
            Self::Deferred(waker) => {
                *self = Self::Scheduled(waker.clone());
                Wake::AfterTurn(waker)
            }
            called @ Self::Scheduled(_) => {
                *self = called;
                Wake::Nobody
            }
        }
    }

    /// Much is there, or nothing more will be.
    pub(crate) fn call_at_once(&mut self) -> Wake {
        match mem::take(self) {
            Self::No => Wake::Nobody,
            Self::Immediate(waker) | Self::Deferred(waker) | Self::Scheduled(waker) => {
                Wake::Now(waker)
            }
        }
    }
}

impl Wake {
    /// Does it. A waker is foreign code: no lock may be held.
    pub(crate) fn wake(self) {
        match self {
            Self::Nobody => {}
            Self::Now(waker) => waker.wake(),
            // On a single thread the other's turn comes after this one anyway. What is put off there
            // is lost if `block_on` returns first.
            Self::AfterTurn(waker) if is_single_thread() => waker.wake(),
            Self::AfterTurn(waker) => {
                // The turn that ends is this task's; what goes on after it is the waker's. Where
                // there are no turns, outside of a runtime, the waker is called at once.
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
    pub(crate) struct Counted(AtomicUsize);

    impl Woken for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counted {
        pub(crate) fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn waiting(is_deferred: bool) -> (Arc<Counted>, Waiting) {
        let counted = Arc::new(Counted::default());
        let waiting = Waiting::new(&Waker::from(Arc::clone(&counted)), is_deferred);
        (counted, waiting)
    }

    #[test]
    fn who_is_in_a_hurry_is_woken_by_the_first_item_and_once() {
        let (counted, mut waiting) = waiting(false);
        waiting.call().wake();
        assert_eq!(counted.count(), 1);
        waiting.call().wake();
        waiting.call_at_once().wake();
        assert_eq!(counted.count(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_is_patient_is_woken_when_the_turn_is_over() {
        let turn = async {
            let (counted, mut waiting) = waiting(true);
            for _ in 0..3 {
                waiting.call().wake();
            }
            assert_eq!(counted.count(), 0);
            while counted.count() == 0 {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            assert_eq!(counted.count(), 1);
        };
        tokio::spawn(turn).await.unwrap();
    }

    #[tokio::test]
    async fn on_a_single_thread_who_is_patient_is_woken_before_block_on_can_return() {
        let (counted, mut waiting) = waiting(true);
        waiting.call().wake();
        assert_eq!(counted.count(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_is_patient_is_woken_at_once_by_much() {
        let turn = async {
            let (counted, mut waiting) = waiting(true);
            waiting.call().wake();
            waiting.call_at_once().wake();
            assert_eq!(counted.count(), 1);
        };
        tokio::spawn(turn).await.unwrap();
    }

    #[test]
    fn outside_of_a_runtime_there_is_no_turn_to_wait_for() {
        let (counted, mut waiting) = waiting(true);
        waiting.call().wake();
        assert_eq!(counted.count(), 1);
    }
}

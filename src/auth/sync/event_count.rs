//! A bell that any number of tasks and threads wait for.
#![forbid(unsafe_code)]

use crate::zap::contain::contain;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Counts how often it was rung, and wakes who waits. Whoever reads the count, then looks at what
/// the bell is for, then waits for a higher count, misses nothing.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    next_waiter: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was rung.
    pub(crate) fn count(&self) -> u64 {
        self.state().count
    }

    /// Wakes everybody who waits. Call it without any lock held: a waker is foreign code.
    pub(crate) fn ring(&self) {
        let waiters = {
            let mut state = self.state();
            state.count += 1;
            std::mem::take(&mut state.waiters)
        };
        self.rung.notify_all();
        for waker in waiters.into_values() {
            // One waker that panics must not keep the others asleep.
            let _panicked = contain(|| waker.wake());
        }
    }

    /// Resolves once the bell was rung more often than `heard` times.
    pub(crate) const fn rung_after(&self, heard: u64) -> RungAfter<'_> {
        RungAfter {
            bell: self,
            heard,
            waiter: None,
        }
    }

    /// Blocks the thread until the bell was rung more often than `heard` times, but no longer
    /// than `time`.
    pub(crate) fn wait(&self, heard: u64, time: Duration) {
        let state = self.state();
        // Whether it was rung shows in the count; a poisoned lock changes nothing.
        let _waited = self
            .rung
            .wait_timeout_while(state, time, |state| state.count <= heard);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bell({})", self.count())
    }
}

/// Waits for a [`Bell`].
#[must_use]
pub(crate) struct RungAfter<'a> {
    bell: &'a Bell,
    heard: u64,
    waiter: Option<u64>,
}

impl Future for RungAfter<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.bell.state();
        if state.count > self.heard {
            return Poll::Ready(());
        }
        let waiter = self.waiter.unwrap_or(state.next_waiter);
        if waiter == state.next_waiter {
            state.next_waiter += 1;
        }
        let before = state.waiters.insert(waiter, context.waker().clone());
        drop(state);
        // The drop of a waker is foreign code.
        drop(before);
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for RungAfter<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            let before = self.bell.state().waiters.remove(&waiter);
            drop(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Wake;
    use std::thread;

    fn poll(future: Pin<&mut RungAfter<'_>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_ring_between_count_and_wait_is_not_missed() {
        let bell = Bell::default();
        let heard = bell.count();
        bell.ring();
        assert!(poll(pin!(bell.rung_after(heard))).is_ready());
        bell.wait(heard, Duration::MAX);
        assert!(poll(pin!(bell.rung_after(bell.count()))).is_pending());
    }

    #[test]
    fn all_who_wait_are_woken_and_nobody_is_kept_who_has_left() {
        let bell = Bell::default();
        let mut first = pin!(bell.rung_after(0));
        let mut second = pin!(bell.rung_after(0));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(pin!(bell.rung_after(0))).is_pending());
        assert_eq!(bell.state().waiters.len(), 2);
        bell.ring();
        assert!(bell.state().waiters.is_empty());
        assert!(poll(first).is_ready() && poll(second).is_ready());
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_asleep() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("in wake");
            }
        }
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::new(Panics));
        let mut foreign = pin!(bell.rung_after(0));
        let _ = foreign.as_mut().poll(&mut Context::from_waker(&waker));
        let blocked = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.wait(0, Duration::MAX))
        };
        bell.ring();
        blocked.join().unwrap();
    }

    #[test]
    fn a_thread_waits_no_longer_than_it_said() {
        Bell::default().wait(0, Duration::from_millis(1));
    }
}

//! A count that any number of tasks and threads wait for.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::zap::contain::contain;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Counts how often it was notified, and wakes what waits. Read the count, then look at what the
/// count is for, then wait for a higher count: no notification is missed.
#[derive(Default)]
pub(crate) struct EventCount {
    state: Mutex<State>,
    notified: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    next_waiter: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl EventCount {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How often it was notified.
    pub(crate) fn count(&self) -> u64 {
        self.state().count
    }

    /// Wakes everything that waits. Call it without any lock held: a waker is foreign code.
    pub(crate) fn notify_all(&self) {
        let waiters = {
            let mut state = self.state();
            state.count += 1;
            std::mem::take(&mut state.waiters)
        };
        self.notified.notify_all();
        for waker in waiters.into_values() {
            // One waker that panics must not keep the others asleep.
            let _panicked = contain(|| waker.wake());
        }
    }

    /// Resolves once the count was notified more often than `heard` times.
    pub(crate) const fn notified_after(&self, heard: u64) -> NotifiedAfter<'_> {
        NotifiedAfter {
            changed: self,
            heard,
            waiter: None,
        }
    }

    /// Blocks the thread until the count was notified more often than `heard` times, but no longer
    /// than `time`.
    pub(crate) fn wait(&self, heard: u64, time: Duration) {
        let state = self.state();
        // Whether it was notified shows in the count; a poisoned lock changes nothing.
        let _waited = self
            .notified
            .wait_timeout_while(state, time, |state| state.count <= heard);
    }
}

impl fmt::Debug for EventCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventCount({})", self.count())
    }
}

/// Waits for an [`EventCount`].
#[must_use]
pub(crate) struct NotifiedAfter<'a> {
    changed: &'a EventCount,
    heard: u64,
    waiter: Option<u64>,
}

impl Future for NotifiedAfter<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.changed.state();
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

impl Drop for NotifiedAfter<'_> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            let before = self.changed.state().waiters.remove(&waiter);
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

    fn poll(future: Pin<&mut NotifiedAfter<'_>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_notification_between_count_and_wait_is_not_missed() {
        let changed = EventCount::default();
        let heard = changed.count();
        changed.notify_all();
        assert!(poll(pin!(changed.notified_after(heard))).is_ready());
        changed.wait(heard, Duration::MAX);
        assert!(poll(pin!(changed.notified_after(changed.count()))).is_pending());
    }

    #[test]
    fn all_who_wait_are_woken_and_nobody_is_kept_who_has_left() {
        let changed = EventCount::default();
        let mut first = pin!(changed.notified_after(0));
        let mut second = pin!(changed.notified_after(0));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(pin!(changed.notified_after(0))).is_pending());
        assert_eq!(changed.state().waiters.len(), 2);
        changed.notify_all();
        assert!(changed.state().waiters.is_empty());
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
        let changed = Arc::new(EventCount::default());
        let waker = Waker::from(Arc::new(Panics));
        let mut foreign = pin!(changed.notified_after(0));
        let _ = foreign.as_mut().poll(&mut Context::from_waker(&waker));
        let blocked = {
            let changed = Arc::clone(&changed);
            thread::spawn(move || changed.wait(0, Duration::MAX))
        };
        changed.notify_all();
        blocked.join().unwrap();
    }

    #[test]
    fn a_thread_waits_no_longer_than_it_said() {
        EventCount::default().wait(0, Duration::from_millis(1));
    }
}

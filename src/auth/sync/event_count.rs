//! An event count, on which any number of tasks and threads can wait.
#![forbid(unsafe_code)]

use crate::lock::lock;
use crate::zap::contain::contain;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Counts notifications, and wakes tasks and threads that wait for them.
///
/// It is used like a condition variable without a lock around the condition. First read the count,
/// then check the condition, then wait for a higher count. If the condition changes between the
/// check and the wait, the notification has raised the count and the wait returns at once, so no
/// change is missed.
#[derive(Default)]
pub(crate) struct EventCount {
    state: Mutex<State>,
    notified: Condvar,
}

#[derive(Default)]
struct State {
    count: u64,
    next_waiter: u64,
    /// One or two, mostly. A map of this kind is the smallest then.
    waiters: HashMap<u64, Waker>,
}

impl EventCount {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The number of notifications so far.
    pub(crate) fn count(&self) -> u64 {
        self.state().count
    }

    /// Wakes all waiting tasks and threads. No lock may be held, because wakers are foreign code.
    pub(crate) fn notify_all(&self) {
        let waiters = {
            let mut state = self.state();
            state.count += 1;
            std::mem::take(&mut state.waiters)
        };
        self.notified.notify_all();
        for waker in waiters.into_values() {
            // A waker that panics must not keep the others from being woken.
            let _panicked = contain(|| waker.wake());
        }
    }

    /// Resolves once there were more than `heard` notifications.
    pub(crate) const fn notified_after(&self, heard: u64) -> NotifiedAfter<'_> {
        NotifiedAfter {
            changed: self,
            heard,
            waiter: None,
        }
    }

    /// Blocks the thread until there were more than `heard` notifications, for at most `time`.
    pub(crate) fn wait(&self, heard: u64, time: Duration) {
        let state = self.state();
        // The caller checks its condition again, so neither a time-out nor a poisoned lock matters.
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

/// The future of [`EventCount::notified_after`].
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
        // Dropping a waker runs foreign code, so the lock is released first.
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
    fn all_waiters_are_woken_and_dropped_waiters_are_forgotten() {
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
    fn a_waker_that_panics_does_not_keep_others_from_waking() {
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
    fn a_thread_waits_for_at_most_the_given_time() {
        EventCount::default().wait(0, Duration::from_millis(1));
    }
}

//! The log of audit events. It is bounded, and decisions never wait for its readers.
#![forbid(unsafe_code)]

use crate::auth::audit::event::{AuditEvent, Audited};
use crate::auth::sync::event_count::EventCount;
use crate::lock::lock;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Maximum weight of the events that are kept for slow readers. Each event weighs 1, and 1 more for
/// each entry that a change lists. 4096: one or two megabytes.
const MAX_KEPT: usize = 4096;

/// The latest events, for any number of readers.
#[derive(Default)]
pub(crate) struct EventLog {
    state: Mutex<State>,
    /// The number of readers. Without readers nothing is kept.
    readers: AtomicUsize,
    /// Notified with each event, and at the end.
    changed: EventCount,
}

#[derive(Default)]
struct State {
    /// The sequence number of the first event that is kept.
    first: u64,
    weight: usize,
    events: VecDeque<Arc<AuditEvent>>,
    closed: bool,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn forget_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.first += 1;
            self.weight -= event.what.weight();
        }
    }
}

impl EventLog {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::SeqCst) != 0
    }

    /// Appends an event, if there are readers. Must be called without locks, because it wakes
    /// readers.
    pub(crate) fn tell(&self, policy_version: u64, what: impl FnOnce() -> Audited) {
        if !self.has_readers() {
            return;
        }
        let event = AuditEvent {
            at: SystemTime::now(),
            policy_version,
            what: what(),
        };
        {
            let mut state = self.state();
            state.weight += event.what.weight();
            state.events.push_back(Arc::new(event));
            // The latest event is kept even if it alone weighs more than the maximum.
            while state.weight > MAX_KEPT && state.events.len() > 1 {
                state.forget_first();
            }
        }
        self.changed.notify_all();
    }

    /// Closes the log: no event follows.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

/// A reader of the audit events of an [`Authenticator`](crate::auth::Authenticator). It gets all
/// events since its creation, in order.
///
/// Decisions never wait for a reader. About 4096 events are kept for it. A reader that falls
/// further behind loses the oldest events, and [`Delivery::lost`] says how many. Reading needs no
/// async runtime.
///
/// ```
/// use zmtp_auth::auth::{Audited, Authenticator};
///
/// let auth = Authenticator::new();
/// let mut events = auth.events();
/// auth.configure_curve_any("open");
/// let next = events.try_next().ok_or("nothing has happened")?;
/// assert_eq!(next.lost, 0);
/// assert!(matches!(next.event.what, Audited::Change(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AuditEvents {
    log: Arc<EventLog>,
    next: u64,
}

/// An event, and the number of events lost before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The number of events before this one that the reader was too slow to get.
    pub lost: u64,
    /// The event.
    pub event: Arc<AuditEvent>,
}

impl AuditEvents {
    /// A reader of the events from now on.
    pub(crate) fn of(log: &Arc<EventLog>) -> Self {
        let state = log.state();
        log.readers.fetch_add(1, Ordering::SeqCst);
        Self {
            log: Arc::clone(log),
            next: state.end(),
        }
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        let state = self.log.state();
        let lost = state.first.saturating_sub(self.next);
        let at = self.next.max(state.first);
        let place = usize::try_from(at - state.first).ok()?;
        let event = Arc::clone(state.events.get(place)?);
        self.next = at + 1;
        Some(Delivery { lost, event })
    }

    /// Waits for the next event; `None` if there will be none, because the Authenticator and all
    /// its grants are dropped.
    ///
    /// Cancel-safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let heard = self.log.changed.count();
            let closed = self.is_closed();
            if let Some(next) = self.try_next() {
                return Some(next);
            }
            if closed {
                return None;
            }
            self.log.changed.notified_after(heard).await;
        }
    }

    /// Blocks the thread until the next event, for at most `time`. `None` if there is no event by
    /// then, or there will be none.
    pub fn next_timeout(&mut self, time: Duration) -> Option<Delivery> {
        let heard = self.log.changed.count();
        let closed = self.is_closed();
        if let Some(next) = self.try_next() {
            return Some(next);
        }
        if !closed {
            self.log.changed.wait(heard, time);
        }
        self.try_next()
    }

    /// Whether no event will follow. Earlier events may still wait to be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.log.state().closed
    }
}

impl Drop for AuditEvents {
    fn drop(&mut self) {
        let mut state = self.log.state();
        if self.log.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            while !state.events.is_empty() {
                state.forget_first();
            }
        }
    }
}

impl fmt::Debug for AuditEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEvents")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

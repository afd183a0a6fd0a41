//! The clock of a connection, and its next alarm.
#![forbid(unsafe_code)]

use crate::host::clock::Clock;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A [`Clock`] whose type is erased.
pub(crate) trait AnyClock: Send + Sync {
    fn now(&self) -> Instant;
    fn sleep_until(&self, deadline: Instant) -> Sleep;
}

impl<C> AnyClock for C
where
    C: Clock<Sleep: Send + 'static> + Send + Sync,
{
    fn now(&self) -> Instant {
        Clock::now(self)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(Clock::sleep_until(self, deadline))
    }
}

pub(crate) struct Alarm {
    clock: Arc<dyn AnyClock>,
    /// When it goes off, and the wait for that. The lock is never taken: it makes a stream `Sync`
    /// whose clock's waits are not.
    set: Option<(Instant, Mutex<Sleep>)>,
}

impl From<Arc<dyn AnyClock>> for Alarm {
    fn from(clock: Arc<dyn AnyClock>) -> Self {
        Self { clock, set: None }
    }
}

impl Alarm {
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn new(clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static) -> Self {
        Self::from(Arc::new(clock) as Arc<dyn AnyClock>)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Waits until `due`, or until an earlier time for which the alarm was set before. To leave that
    /// as it is costs less than to set it for each later time.
    pub(crate) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let clock = &self.clock;
        let (_, sleep) = match &mut self.set {
            Some(set) if set.0 <= due => set,
            set => set.insert((due, Mutex::new(clock.sleep_until(due)))),
        };
        let sleep = sleep.get_mut().unwrap_or_else(PoisonError::into_inner);
        let rang = sleep.as_mut().poll(cx);
        if rang.is_ready() {
            self.set = None;
        }
        rang
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.set.as_ref().map(|(due, _)| due);
        f.debug_struct("Alarm")
            .field("set", &set)
            .finish_non_exhaustive()
    }
}

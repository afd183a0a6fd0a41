//! Bounds on requests to foreign code: how many at a time, and for how long.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use crate::lock::lock;
use crate::status::Status;
use crate::zap::failures::{Asker, Failures, Priority};
use crate::zap::fair_permits::{Acquired, FairPermits};
use crate::zap::oneshot::{Receiver, Sender, channel};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Permits for requests that wait, shared fairly among addresses: see [`FairPermits`].
pub(crate) struct Permits(Mutex<State>);

struct State {
    permits: FairPermits<Sender<()>>,
    failures: Failures,
}

/// A permit in use. Dropping it releases it.
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    id: u64,
    /// Resolves once the permit is taken away for another request.
    lost: Receiver<()>,
}

impl Permits {
    /// Creates [`Limits::max_pending_verdicts`] permits and a record of failures with
    /// [`Limits::max_remembered_failures`] entries.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Mutex::new(State {
            permits: FairPermits::new(limits.max_pending_verdicts),
            failures: Failures::new(limits.max_remembered_failures),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, and no update panics half way.
        lock(&self.0)
    }

    pub(crate) fn taken(&self) -> usize {
        self.state().permits.taken()
    }

    /// The origin of a request and the failures that count against it now.
    pub(crate) fn priority(&self, asker: &Asker) -> Priority {
        self.state().failures.priority(asker, Instant::now())
    }

    /// Records the outcome of a request.
    pub(crate) fn note(&self, asker: &Asker, status: Status) {
        self.state().failures.note(asker, status, Instant::now());
    }

    /// Takes a permit; `None` if all are in use and no other request has to give its permit up.
    pub(crate) fn acquire(&self, priority: Priority) -> Option<Permit<'_>> {
        let (tell, lost) = channel();
        let (id, evicted) = match self.state().permits.acquire(priority, tell) {
            Acquired::Free(id) => (id, None),
            Acquired::Evicted(id, evicted) => (id, Some(evicted)),
            Acquired::Full => return None,
        };
        // After the lock is released, because this wakes a task.
        if let Some(evicted) = evicted {
            evicted.send(());
        }
        let permits = self;
        Some(Permit { permits, id, lost })
    }

    /// Awaits `question`. It needs a permit only if it is not ready at the first poll. `None` if
    /// it gets no permit, or loses it to another request.
    pub(crate) async fn wait<T>(
        &self,
        priority: impl FnOnce() -> Priority,
        question: impl Future<Output = T>,
    ) -> Option<T> {
        let mut question = pin!(question);
        if let Poll::Ready(answer) = first_poll(question.as_mut()).await {
            return Some(answer);
        }
        self.acquire(priority())?.hold(question).await
    }
}

impl Permit<'_> {
    /// Awaits `question` with this permit. `None` if it loses the permit to another request.
    pub(crate) async fn hold<T>(mut self, question: impl Future<Output = T>) -> Option<T> {
        let mut question = pin!(question);
        poll_fn(|context| match question.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Pin::new(&mut self.lost).poll(context).map(|_| None),
        })
        .await
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let released = self.permits.state().permits.release(self.id);
        // After the lock is released, because dropping a waker runs foreign code.
        drop(released);
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permits({})", self.taken())
    }
}

/// Polls once. A future that is ready at once needs neither permit nor timer.
pub(crate) async fn first_poll<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Whether [`within`] has a timer here.
pub(crate) fn has_timers() -> bool {
    #[cfg(feature = "tokio")]
    return tokio::runtime::Handle::try_current().is_ok();
    #[cfg(not(feature = "tokio"))]
    false
}

/// Awaits `future` for at most `time`, counted from the end of its first poll; `None` if it takes
/// longer. Without feature `tokio`, or outside tokio's runtime, there is no timer, and the caller
/// has to drop a future that takes too long.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    if let Poll::Ready(value) = first_poll(future.as_mut()).await {
        return Some(value);
    }
    #[cfg(feature = "tokio")]
    if has_timers() {
        return tokio::time::timeout(time, future).await.ok();
    }
    #[cfg(not(feature = "tokio"))]
    let _no_clock = time;
    Some(future.await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::credentials::Credential;
    use std::future::{pending, ready};
    use std::task::{Context, Waker};

    fn permits(count: usize) -> Permits {
        let limits = Limits {
            max_pending_verdicts: count,
            ..Limits::default()
        };
        Permits::new(&limits)
    }

    fn priority(permits: &Permits, address: &str) -> Priority {
        let address = PeerAddress::from_zap(address.as_bytes());
        permits.priority(&Asker::new(&address, Credential::Null))
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_permit_is_free_again_once_it_is_dropped() {
        let permits = permits(2);
        let local = priority(&permits, "::1");
        let (first, second) = (permits.acquire(local), permits.acquire(local));
        assert!(first.is_some() && second.is_some());
        assert!(permits.acquire(local).is_none());
        drop(first);
        assert_eq!(permits.taken(), 1);
        assert!(permits.acquire(local).is_some());
    }

    #[test]
    fn a_future_that_is_ready_at_once_needs_no_permit() {
        let permits = permits(0);
        let priority = || priority(&permits, "::1");
        assert_eq!(
            poll(pin!(permits.wait(priority, ready(7)))),
            Poll::Ready(Some(7))
        );
        assert_eq!(
            poll(pin!(permits.wait(priority, pending::<u8>()))),
            Poll::Ready(None)
        );
    }

    #[test]
    fn a_request_that_loses_its_permit_ends_and_does_not_release_the_new_owners() {
        let permits = permits(2);
        let priority = |address| priority(&permits, address);
        let mut first = pin!(permits.wait(|| priority("192.0.2.1"), pending::<u8>()));
        let mut second = pin!(permits.wait(|| priority("192.0.2.1"), pending::<u8>()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let mut other = pin!(permits.wait(|| priority("192.0.2.2"), pending::<u8>()));
        assert!(poll(other.as_mut()).is_pending());
        assert_eq!(poll(second), Poll::Ready(None));
        assert_eq!(permits.taken(), 2);
        assert!(poll(first).is_pending() && poll(other).is_pending());
    }
}

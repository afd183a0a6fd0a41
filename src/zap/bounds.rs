//! Bounds on questions to foreign code: how many at once, and for how long.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use crate::lock::lock;
use crate::status::Status;
use crate::zap::failures::{Asker, Failures, Turn};
use crate::zap::fair_permits::{Acquired, FairPermits};
use crate::zap::oneshot::{Receiver, Sender, channel};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Permits for questions that pause, shared fairly among the addresses that ask: see [`FairPermits`].
pub(crate) struct Permits(Mutex<State>);

struct State {
    permits: FairPermits<Sender<()>>,
    failures: Failures,
}

/// A permit that is taken; dropping it frees it.
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    id: u64,
    /// Completes once the permit belongs to another question.
    lost: Receiver<()>,
}

impl Permits {
    /// As many as [`Limits::max_pending_verdicts`] says, and a memory of failures as large as
    /// [`Limits::max_remembered_failures`] says.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Mutex::new(State {
            permits: FairPermits::new(limits.max_pending_verdicts),
            failures: Failures::new(limits.max_remembered_failures),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, and nothing in there panics half-way.
        lock(&self.0)
    }

    pub(crate) fn taken(&self) -> usize {
        self.state().permits.taken()
    }

    /// The origin of a question and the failures that count against it now.
    pub(crate) fn turn(&self, asker: &Asker) -> Turn {
        self.state().failures.turn(asker, Instant::now())
    }

    /// Takes note of what came of a question.
    pub(crate) fn note(&self, asker: &Asker, status: Status) {
        self.state().failures.note(asker, status, Instant::now());
    }

    /// Takes a permit; `None` if all are taken and no question must make room.
    pub(crate) fn acquire(&self, turn: Turn) -> Option<Permit<'_>> {
        let (tell, lost) = channel();
        let (id, evicted) = match self.state().permits.acquire(turn, tell) {
            Acquired::Free(id) => (id, None),
            Acquired::Evicted(id, evicted) => (id, Some(evicted)),
            Acquired::Full => return None,
        };
        // Outside the lock: it wakes a task.
        if let Some(evicted) = evicted {
            evicted.send(());
        }
        let permits = self;
        Some(Permit { permits, id, lost })
    }

    /// Waits for `question`, which takes a permit if it pauses. `None` if it gets no permit,
    /// or has to make room for another.
    pub(crate) async fn wait<T>(
        &self,
        turn: impl FnOnce() -> Turn,
        question: impl Future<Output = T>,
    ) -> Option<T> {
        let mut question = pin!(question);
        if let Poll::Ready(answer) = first_poll(question.as_mut()).await {
            return Some(answer);
        }
        self.acquire(turn())?.hold(question).await
    }
}

impl Permit<'_> {
    /// Waits for `question` under this permit. `None` if it has to make room for another.
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
        // Outside the lock: it holds a waker.
        drop(released);
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permits({})", self.taken())
    }
}

/// What comes of the first poll: what does not pause needs neither permit nor timer.
pub(crate) async fn first_poll<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Awaits `future` for at most `time` from its first pause on; `None` if it took longer. Without
/// feature `tokio`, or outside tokio's runtime, there is no clock, and the caller drops what takes
/// too long.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    // What does not pause needs no timer.
    if let Poll::Ready(value) = first_poll(future.as_mut()).await {
        return Some(value);
    }
    #[cfg(feature = "tokio")]
    if tokio::runtime::Handle::try_current().is_ok() {
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

    fn turn(permits: &Permits, address: &str) -> Turn {
        let address = PeerAddress::from_zap(address.as_bytes());
        permits.turn(&Asker::new(&address, Credential::Null))
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let permits = permits(2);
        let local = turn(&permits, "::1");
        let (first, second) = (permits.acquire(local), permits.acquire(local));
        assert!(first.is_some() && second.is_some());
        assert!(permits.acquire(local).is_none());
        drop(first);
        assert_eq!(permits.taken(), 1);
        assert!(permits.acquire(local).is_some());
    }

    #[test]
    fn what_does_not_pause_needs_no_place() {
        let permits = permits(0);
        let turn = || turn(&permits, "::1");
        assert_eq!(
            poll(pin!(permits.wait(turn, ready(7)))),
            Poll::Ready(Some(7))
        );
        assert_eq!(
            poll(pin!(permits.wait(turn, pending::<u8>()))),
            Poll::Ready(None)
        );
    }

    #[test]
    fn a_question_that_must_make_room_ends_and_gives_back_no_place_that_is_not_its_own() {
        let permits = permits(2);
        let turn = |address| turn(&permits, address);
        let mut first = pin!(permits.wait(|| turn("192.0.2.1"), pending::<u8>()));
        let mut second = pin!(permits.wait(|| turn("192.0.2.1"), pending::<u8>()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let mut other = pin!(permits.wait(|| turn("192.0.2.2"), pending::<u8>()));
        assert!(poll(other.as_mut()).is_pending());
        assert_eq!(poll(second), Poll::Ready(None));
        assert_eq!(permits.taken(), 2);
        assert!(poll(first).is_pending() && poll(other).is_pending());
    }
}

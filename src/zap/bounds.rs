//! Bounds on questions to foreign code: how many at once, and for how long.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use crate::lock::lock;
use crate::status::Status;
use crate::zap::failures::{Asker, Failures, Turn};
use crate::zap::oneshot::{Receiver, Sender, channel};
use crate::zap::seats::{FairPermits, Seated};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Permits for questions that pause, shared fairly among the addresses that ask: see [`FairPermits`].
pub(crate) struct Permits(Mutex<State>);

struct State {
    seats: FairPermits<Sender<()>>,
    failures: Failures,
}

/// A taken place; dropping it frees the place.
pub(crate) struct Permit<'a> {
    places: &'a Permits,
    id: u64,
    /// Kept once the place is another's.
    lost: Receiver<()>,
}

impl Permits {
    /// As many as [`Limits::max_pending_verdicts`] says, and a memory of failures as large as
    /// [`Limits::max_remembered_failures`] says.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Mutex::new(State {
            seats: FairPermits::new(limits.max_pending_verdicts),
            failures: Failures::new(limits.max_remembered_failures),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, and nothing in there panics half-way.
        lock(&self.0)
    }

    pub(crate) fn taken(&self) -> usize {
        self.state().seats.taken()
    }

    /// Where a question stands now.
    pub(crate) fn turn(&self, asker: &Asker) -> Turn {
        self.state().failures.turn(asker, Instant::now())
    }

    /// Takes note of what came of a question.
    pub(crate) fn note(&self, asker: &Asker, status: Status) {
        self.state().failures.note(asker, status, Instant::now());
    }

    /// Takes a place; `None` if all are taken and no question must make room.
    pub(crate) fn take(&self, turn: Turn) -> Option<Permit<'_>> {
        let (tell, lost) = channel();
        let (id, cleared) = match self.state().seats.take(turn, tell) {
            Seated::Free(id) => (id, None),
            Seated::Cleared(id, loser) => (id, Some(loser)),
            Seated::Full => return None,
        };
        // Outside the lock: it wakes a task.
        if let Some(loser) = cleared {
            loser.send(());
        }
        let places = self;
        Some(Permit { places, id, lost })
    }

    /// Waits for `question`, which takes a place if it pauses. `None` if it gets no place,
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
        self.take(turn())?.hold(question).await
    }
}

impl Permit<'_> {
    /// Waits for `question` in this place. `None` if it has to make room for another.
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
        let left = self.places.state().seats.leave(self.id);
        // Outside the lock: it holds a waker.
        drop(left);
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permits({})", self.taken())
    }
}

/// What comes of the first poll: what does not pause needs neither place nor timer.
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

    fn places(count: usize) -> Permits {
        let limits = Limits {
            max_pending_verdicts: count,
            ..Limits::default()
        };
        Permits::new(&limits)
    }

    fn turn(places: &Permits, address: &str) -> Turn {
        let address = PeerAddress::from_zap(address.as_bytes());
        places.turn(&Asker::new(&address, Credential::Null))
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = places(2);
        let local = turn(&places, "::1");
        let (first, second) = (places.take(local), places.take(local));
        assert!(first.is_some() && second.is_some());
        assert!(places.take(local).is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take(local).is_some());
    }

    #[test]
    fn what_does_not_pause_needs_no_place() {
        let places = places(0);
        let turn = || turn(&places, "::1");
        assert_eq!(
            poll(pin!(places.wait(turn, ready(7)))),
            Poll::Ready(Some(7))
        );
        assert_eq!(
            poll(pin!(places.wait(turn, pending::<u8>()))),
            Poll::Ready(None)
        );
    }

    #[test]
    fn a_question_that_must_make_room_ends_and_gives_back_no_place_that_is_not_its_own() {
        let places = places(2);
        let turn = |address| turn(&places, address);
        let mut first = pin!(places.wait(|| turn("192.0.2.1"), pending::<u8>()));
        let mut second = pin!(places.wait(|| turn("192.0.2.1"), pending::<u8>()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let mut other = pin!(places.wait(|| turn("192.0.2.2"), pending::<u8>()));
        assert!(poll(other.as_mut()).is_pending());
        assert_eq!(poll(second), Poll::Ready(None));
        assert_eq!(places.taken(), 2);
        assert!(poll(first).is_pending() && poll(other).is_pending());
    }
}

//! The time of any runtime.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

/// A clock with alarms. `TokioClock` (feature `tokio`) is the one of tokio. Implement the trait for
/// the timers of another runtime.
pub trait Clock {
    /// A future that waits. It may be dropped at any time.
    type Sleep: Future<Output = ()>;

    /// The time.
    fn now(&self) -> Instant;

    /// Waits until `deadline`, which is at most 30 years away.
    fn sleep_until(&self, deadline: Instant) -> Self::Sleep;
}

/// The clock of tokio's runtime, which a test may pause.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state")]
pub struct TokioClock;

#[cfg(feature = "tokio")]
impl Clock for TokioClock {
    /// A task that has used up its turn still hears the alarm, or work that always uses it up would
    /// know no time-out.
    type Sleep = tokio::task::coop::Unconstrained<tokio::time::Sleep>;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        tokio::task::coop::unconstrained(tokio::time::sleep_until(deadline.into()))
    }
}

/// Bounds a duration before it is added to an instant. 30 years, which no program outlives.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The instant `duration` after `from`, at most 30 years later.
pub(crate) fn deadline(from: Instant, duration: Duration) -> Instant {
    from + duration.min(FAR)
}

/// Awaits `work` until `deadline`; `None` if it takes longer. Work that does not pause needs no timer.
///
/// The caller pins `work`: a future that is passed by value would take its room twice, as argument and
/// as pinned local, and each handshake in progress holds it.
pub(crate) async fn in_time<T>(
    clock: &impl Clock,
    deadline: Instant,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let mut sleep = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if sleep.is_none() {
            sleep.set(Some(clock.sleep_until(deadline)));
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

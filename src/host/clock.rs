//! The time of any runtime.
#![forbid(unsafe_code)]

use std::future::Future;
use std::time::Instant;

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
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline.into())
    }
}

//! Deadlines that cannot overflow, even for `Duration::MAX`.
#![forbid(unsafe_code)]

use std::time::Duration;
use tokio::time::Instant;

/// Bounds a duration before it is added to an instant. 30 years, which no program outlives.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The instant `patience` after `from`, at most 30 years later.
pub(crate) fn deadline(from: Instant, patience: Duration) -> Instant {
    from + patience.min(FAR)
}

/// Sleeps until `deadline`, or for ever without one. Cancel-safe.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

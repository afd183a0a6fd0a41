//! Deadlines that cannot overflow, even for `Duration::MAX`.
#![forbid(unsafe_code)]

use crate::host::clock;
use std::time::Duration;
use tokio::time::Instant;

/// The instant `duration` after `from`, at most 30 years later.
pub(crate) fn deadline(from: Instant, duration: Duration) -> Instant {
    clock::deadline(from.into_std(), duration).into()
}

/// Sleeps until `deadline`, or for ever without one. Cancel-safe.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

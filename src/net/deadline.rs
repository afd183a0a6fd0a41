//! Deadlines that an endless duration cannot overflow.
#![forbid(unsafe_code)]

use std::time::Duration;
use tokio::time::Instant;

/// As good as never: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The instant `patience` after `from`, or one that no program lives to see.
pub(crate) fn deadline(from: Instant, patience: Duration) -> Instant {
    from + patience.min(FAR)
}

/// Sleeps until then; for ever without a deadline. Cancel-safe.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

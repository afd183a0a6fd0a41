//! Log lines that an event may cause only so often, whatever its peers do.
#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time in which one line is enough. A minute: a person sees that it goes on, and a day of it is
/// still short.
const INTERVAL: Duration = Duration::from_secs(60);

/// Lets one line through in each interval, and counts the others.
#[derive(Debug, Default)]
pub(super) struct SparseLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    unlogged: u64,
}

impl SparseLog {
    /// Whether to write a line now, and how many were not written since the last.
    pub(super) fn admit(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            state.unlogged = state.unlogged.saturating_add(1);
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_says_how_many_there_would_have_been() {
        let log = SparseLog::default();
        let mut lines = Vec::new();
        for _ in 0..130 {
            lines.extend(log.admit());
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines, [0, 59, 59]);
    }
}

//! How busy a connection is.
//!
//! A connection is busy if it has carried many messages fast between two waits. It keeps its buffers for
//! [`SLACK`]: a stream of bursts would free and allocate them for each burst. Another one frees its buffers
//! when it waits. They would leave the processor's caches before they are used next. Memory that some
//! connection has just freed is still there.
//!
//! A busy connection also waits deferred for what the application sends: it takes many messages at once, at
//! the end of the application's turn. Another one takes each message at once, since the peer's answer, and
//! with it the next message, depends on this one.
//!
//! The driver counts messages and reports its waits. After [`SLACK`], [`Activity::idle`] ends. If there
//! were such waits in the meantime, the connection stays busy for as long once more.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// This many messages between two waits are many. A request and its reply are two, so that a dialogue,
/// in which each side waits for the other, does not count.
const MANY: usize = 4;

/// This many bytes count as one more message, so that a few large messages suffice.
const PER_MESSAGE: usize = 16 * 1024;

/// Many messages come fast if there is at most this time between two waits for each of them: 20,000
/// messages a second.
const FAST: Duration = Duration::from_micros(50);

/// How long a connection counts as busy after it was found so.
const SLACK: Duration = Duration::from_millis(100);

/// Decides whether a connection is busy, from what its driver reports.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Messages since the last wait, in both directions.
    messages: usize,
    last_wait: Option<Instant>,
    /// Whether there were many messages at once, and fast, since `slack` began.
    goes_on: bool,
    /// Runs while the connection is busy.
    slack: Option<Pin<Box<Sleep>>>,
}

impl Activity {
    /// Counts messages, of `bytes` bytes together, that were received or are to be sent.
    pub(crate) const fn count(&mut self, messages: usize, bytes: usize) {
        self.messages += messages + bytes / PER_MESSAGE;
    }

    /// Notes that the driver is about to wait.
    pub(crate) fn before_wait(&mut self) {
        let messages = std::mem::take(&mut self.messages);
        let now = Instant::now();
        let last = self.last_wait.replace(now);
        let span = FAST.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX));
        let is_fast = last.is_some_and(|last| now.duration_since(last) < span);
        if messages < MANY || !is_fast {
            return;
        }
        if self.slack.is_none() {
            self.slack = Some(Box::pin(sleep(SLACK)));
        } else {
            self.goes_on = true;
        }
    }

    /// Whether the connection is busy.
    pub(crate) const fn is_busy(&self) -> bool {
        self.slack.is_some()
    }

    /// Waits until the time is over for which the connection is busy. Then it stays so if there were many
    /// messages at once, and fast, in the meantime. Waits for ever while it is not busy. Cancel-safe.
    pub(crate) async fn idle(&mut self) {
        match &mut self.slack {
            Some(slack) => slack.as_mut().await,
            None => std::future::pending().await,
        }
        let goes_on = std::mem::take(&mut self.goes_on);
        self.slack = goes_on.then(|| Box::pin(sleep(SLACK)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const SHORTLY: Duration = Duration::from_micros(10);

    /// Counts `messages`, and waits. Returns whether the connection is busy.
    async fn step(activity: &mut Activity, messages: usize, after: Duration) -> bool {
        advance(after).await;
        activity.count(messages, 64 * messages);
        activity.before_wait();
        activity.is_busy()
    }

    async fn after_slack(activity: &mut Activity) -> bool {
        timeout(2 * SLACK, activity.idle()).await.unwrap();
        activity.before_wait();
        activity.is_busy()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_replies_do_not_make_a_connection_busy() {
        let mut activity = Activity::default();
        for _ in 0..100 {
            assert!(!step(&mut activity, 1, SHORTLY).await);
        }
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_make_a_connection_busy_only_if_they_come_fast() {
        for many in [MANY, 100] {
            let mut activity = Activity::default();
            let slowly = FAST * (many as u32 + 1);
            for _ in 0..3 {
                assert!(!step(&mut activity, many, slowly).await);
            }
            assert!(step(&mut activity, many, SHORTLY).await);
            // Slow ones do not keep it so.
            assert!(step(&mut activity, many, slowly).await);
            assert!(!after_slack(&mut activity).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_busy_until_it_has_stopped() {
        let mut activity = Activity::default();
        step(&mut activity, MANY, SHORTLY).await;
        assert!(step(&mut activity, MANY, SHORTLY).await);
        for _ in 0..10 {
            assert!(step(&mut activity, MANY, SHORTLY).await);
            assert!(after_slack(&mut activity).await);
        }
        assert!(!after_slack(&mut activity).await);
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }
}

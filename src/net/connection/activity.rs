//! How busy a connection is.
//!
//! A busy connection keeps its buffers, and waits deferred for what the application sends: it takes
//! many messages at once, at the end of the application's turn. A quiet one frees its buffers and
//! takes each message at once, since the peer's answer, and with it the next message, depends on
//! this one.
//!
//! The driver counts messages and reports its waits. Two waits in short order with enough messages
//! between them make the connection busy, for [`SLACK`]. Then [`Activity::idle`] ends. If there were
//! two such waits in the meantime, the connection stays busy for as long once more.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// A connection is busy if at least this many messages pass between two waits. A request and its
/// reply are two, so that a dialogue, in which each side waits for the other, does not count.
const MANY: usize = 4;

/// This many bytes count as one more message, so that a few large messages suffice.
const PER_MESSAGE: usize = 16 * 1024;

/// A connection is busy only if its waits follow each other within this time. At four messages in
/// each that is at least 20,000 messages a second.
const BUSY: Duration = Duration::from_micros(200);

/// How long a connection counts as busy after it was found so. A stream with shorter gaps keeps its
/// buffers.
const SLACK: Duration = Duration::from_millis(1);

/// Decides whether a connection is busy, from what its driver reports.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Messages since the last wait, in both directions.
    messages: usize,
    last_wait: Option<Instant>,
    /// Whether the connection was found busy since `slack` began.
    was_busy: bool,
    /// Runs while the connection counts as busy.
    slack: Option<Pin<Box<Sleep>>>,
}

impl Activity {
    /// Counts messages, of `bytes` bytes together, that were received or are to be sent.
    pub(crate) const fn count(&mut self, messages: usize, bytes: usize) {
        self.messages += messages + bytes / PER_MESSAGE;
    }

    /// Notes that the driver is about to wait. Returns whether the connection is busy.
    pub(crate) fn before_wait(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last_wait.replace(now);
        let are_many = std::mem::take(&mut self.messages) >= MANY;
        self.was_busy |= are_many && last.is_some_and(|last| now < last + BUSY);
        if self.slack.is_none() && std::mem::take(&mut self.was_busy) {
            self.slack = Some(Box::pin(sleep(SLACK)));
        }
        self.is_busy()
    }

    /// Whether the connection counts as busy.
    pub(crate) const fn is_busy(&self) -> bool {
        self.slack.is_some()
    }

    /// Waits until the time of a busy connection is over. It is busy again if
    /// [`Activity::before_wait`] finds it so. Waits for ever while it is not busy. Cancel-safe.
    pub(crate) async fn idle(&mut self) {
        match &mut self.slack {
            Some(slack) => slack.as_mut().await,
            None => std::future::pending().await,
        }
        self.slack = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const SHORTLY: Duration = Duration::from_micros(10);

    /// Counts `messages`, and waits.
    async fn step(activity: &mut Activity, messages: usize) -> bool {
        advance(SHORTLY).await;
        activity.count(messages, 64 * messages);
        activity.before_wait()
    }

    /// Waits until its time as a busy connection is over. Returns whether it is still busy.
    async fn after_slack(activity: &mut Activity) -> bool {
        timeout(2 * SLACK, activity.idle()).await.unwrap();
        activity.before_wait()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_replies_do_not_make_a_connection_busy() {
        let mut activity = Activity::default();
        for _ in 0..100 {
            assert!(!step(&mut activity, 1).await);
        }
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_make_a_connection_busy_only_if_the_waits_between_them_are_short() {
        let mut activity = Activity::default();
        for _ in 0..10 {
            advance(2 * BUSY).await;
            assert!(!step(&mut activity, 1000).await);
        }
        assert!(step(&mut activity, MANY).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_busy_until_it_has_stopped() {
        let mut activity = Activity::default();
        step(&mut activity, MANY).await;
        assert!(step(&mut activity, MANY).await);
        for _ in 0..10 {
            assert!(step(&mut activity, MANY).await);
            assert!(after_slack(&mut activity).await);
        }
        assert!(!after_slack(&mut activity).await);
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }
}

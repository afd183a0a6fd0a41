//! How busy a connection is: whether it keeps its buffers, and whether it lets the application go
//! on for a while before it takes what is to be sent.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// A connection is busy when so many messages pass between two waits, and the waits are no further
/// apart. Question and answer are fewer: there the next one waits for this one.
const MANY: usize = 4;
/// Bytes that count as another message, so that large ones are many sooner.
const PER_MESSAGE: usize = 16 * 1024;
const BUSY: Duration = Duration::from_micros(200);

/// Time without business after which a connection gives its buffers up.
const SLACK: Duration = Duration::from_millis(1);

/// Watches the waits of a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Messages since the last wait, either way.
    passed: usize,
    last_wait: Option<Instant>,
    /// Whether the connection was found busy since `slack` began.
    was_busy: bool,
    /// Runs while the connection counts as busy.
    slack: Option<Pin<Box<Sleep>>>,
}

impl Activity {
    /// Notes messages, of `bytes` in all, that have been received or are to be sent.
    pub(crate) const fn passed(&mut self, messages: usize, bytes: usize) {
        self.passed += messages + bytes / PER_MESSAGE;
    }

    /// The task is about to wait; whether the connection is busy.
    pub(crate) fn waits(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last_wait.replace(now);
        let are_many = std::mem::take(&mut self.passed) >= MANY;
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

    /// Waits until it is time to see whether the connection is still busy; for ever while it is
    /// not. Cancel-safe.
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

    /// Lets `messages` pass, and waits.
    async fn step(activity: &mut Activity, messages: usize) -> bool {
        advance(SHORTLY).await;
        activity.passed(messages, 64 * messages);
        activity.waits()
    }

    /// Waits as long as the connection may; whether it is still busy then.
    async fn slacken(activity: &mut Activity) -> bool {
        timeout(2 * SLACK, activity.idle()).await.unwrap();
        activity.waits()
    }

    #[tokio::test(start_paused = true)]
    async fn question_and_answer_make_no_connection_busy() {
        let mut activity = Activity::default();
        for _ in 0..100 {
            assert!(!step(&mut activity, 1).await);
        }
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_make_busy_only_if_the_waits_between_them_are_short() {
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
            assert!(slacken(&mut activity).await);
        }
        assert!(!slacken(&mut activity).await);
        assert!(timeout(10 * SLACK, activity.idle()).await.is_err());
    }
}

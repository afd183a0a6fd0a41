//! How busy a connection is: whether it keeps its buffers, and whether it lets the application go
//! on for a while before it takes what is to be sent.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// A connection is busy when something moves and it has waited so shortly before.
const BUSY: Duration = Duration::from_micros(200);

/// A connection on which nothing has moved for so long is not busy any more.
const SLACK: Duration = Duration::from_millis(1);

/// Watches the waits of a connection's task.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Whether something has moved since the last wait.
    moved: bool,
    last_wait: Option<Instant>,
    /// Whether the connection was found busy since `slack` began.
    is_brisk: bool,
    /// Runs while the connection counts as busy.
    slack: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Something has been received, or is to be sent.
    pub(crate) const fn moved(&mut self) {
        self.moved = true;
    }

    /// The task is about to wait; whether the connection is busy.
    pub(crate) fn waits(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last_wait.replace(now);
        let has_moved = std::mem::take(&mut self.moved);
        self.is_brisk |= has_moved && last.is_some_and(|last| now < last + BUSY);
        if self.slack.is_none() && std::mem::take(&mut self.is_brisk) {
            self.slack = Some(Box::pin(sleep(SLACK)));
        }
        self.slack.is_some()
    }

    /// Waits until it is time to see whether the connection is still busy; for ever while it is
    /// not. Cancel-safe.
    pub(crate) async fn slackens(&mut self) {
        match &mut self.slack {
            Some(slack) => slack.as_mut().await,
            None => std::future::pending().await,
        }
        self.slack = None;
    }
}

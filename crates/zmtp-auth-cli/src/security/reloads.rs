//! Counts reloads of a policy in progress, since the disk may never answer.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// A reload that takes longer is reported as hanging, and another may begin. 10 s, as for files that
/// the library reloads by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The most reloads at once. 4, since each one that hangs costs a thread.
pub(crate) const MAX_LOADS: usize = 4;

/// The reloads in progress, the oldest first.
pub(crate) struct Reloads<T> {
    running: Vec<Running<T>>,
    /// Another reload was asked for that could not begin yet.
    again: bool,
}

struct Running<T> {
    outcome: oneshot::Receiver<T>,
    /// `None` once the reload was reported as hanging.
    patience: Option<Pin<Box<Sleep>>>,
}

/// A change of a reload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came<T> {
    /// A reload has ended, or its thread was lost (`None`).
    Outcome(Option<T>),
    /// A reload takes longer than [`PATIENCE`].
    Hangs,
}

impl<T> Reloads<T> {
    pub(crate) const fn new() -> Self {
        Self {
            running: Vec::new(),
            again: false,
        }
    }

    /// Asks for a reload. Returns the sender for its outcome if it may begin now. Otherwise
    /// [`Reloads::is_asked_again`] returns true once.
    pub(crate) fn ask(&mut self) -> Option<oneshot::Sender<T>> {
        let all_hang = self.running.iter().all(|load| load.patience.is_none());
        if !all_hang || self.running.len() >= MAX_LOADS {
            self.again = true;
            return None;
        }
        let (tell, outcome) = oneshot::channel();
        self.running.push(Running {
            outcome,
            patience: Some(Box::pin(sleep(PATIENCE))),
        });
        Some(tell)
    }

    /// Whether a reload was asked for that could not begin. Resets the answer.
    pub(crate) fn is_asked_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    pub(crate) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether as many reloads hang as may run, so that none can begin.
    pub(crate) fn all_hang(&self) -> bool {
        self.running.len() >= MAX_LOADS && self.running.iter().all(|load| load.patience.is_none())
    }

    /// The next change. Never completes while nothing runs. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Came<T> {
        poll_fn(|context| {
            for (index, load) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(outcome) = Pin::new(&mut load.outcome).poll(context) {
                    self.running.remove(index);
                    return Poll::Ready(Came::Outcome(outcome.ok()));
                }
                if let Some(patience) = &mut load.patience
                    && patience.as_mut().poll(context).is_ready()
                {
                    load.patience = None;
                    return Poll::Ready(Came::Hangs);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_load_that_hangs_is_told_once_and_holds_up_no_other() {
        let mut reloads = Reloads::new();
        let mut hanging = Vec::new();
        for _ in 0..MAX_LOADS {
            hanging.push(reloads.ask().unwrap());
            // Another reload waits while this one may still end in time.
            assert!(reloads.ask().is_none());
            assert!(reloads.is_asked_again() && !reloads.is_asked_again());
            assert_eq!(reloads.next().await, Came::Hangs);
        }
        // No further reload begins, but it is remembered.
        assert!(reloads.ask().is_none() && reloads.all_hang());
        let silent = tokio::time::timeout(PATIENCE * 2, reloads.next()).await;
        assert!(silent.is_err());
        hanging.remove(1).send("late").unwrap();
        assert_eq!(reloads.next().await, Came::Outcome(Some("late")));
        assert!(reloads.is_asked_again());
        let newer = reloads.ask().unwrap();
        newer.send("newer").unwrap();
        assert_eq!(reloads.next().await, Came::Outcome(Some("newer")));
        drop(hanging);
        for _ in 1..MAX_LOADS {
            assert_eq!(reloads.next().await, Came::Outcome(None));
        }
        assert!(!reloads.are_running());
    }
}

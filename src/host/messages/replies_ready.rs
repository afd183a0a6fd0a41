//! Waiting for the heartbeat and the revocation of a connection.
#![forbid(unsafe_code)]

use crate::access::revoked::Revoked;
use crate::host::alarm::Alarm;
use crate::host::messages::shared::{Place, Shared};
use crate::host::traffic_error::TrafficError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Resolves when answers to PINGs or a PING of our own wait to be written, once for each time that
/// something is added, and with the reason when the connection has to end: policy has revoked the
/// admission of the peer, or the heartbeat finds that the peer is gone.
///
/// It is `Send`, `Sync` and `'static`, for a loop whose reader and writer are inside another value, or for
/// a task that watches the connection. The writer's own wait goes on as before.
/// Await it again after each `Ok`, whether
/// [`MessageWriter::write_replies`](crate::host::MessageWriter::write_replies) was called or not.
///
/// [`MessageWriter::replies_ready_owned`](crate::host::MessageWriter::replies_ready_owned) makes one. The
/// default never resolves: it is what a field holds before the handshake.
#[derive(Default)]
pub struct RepliesReady(Option<Waiting>);

/// What both waits of a connection do.
pub(crate) struct Waiting {
    revoked: Revoked,
    /// Goes off when a heartbeat is due.
    alarm: Option<Alarm>,
    /// What has been told already.
    told: u64,
    place: Place,
    shared: Arc<Shared>,
}

impl RepliesReady {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Some(Waiting::new(Place::Owned, shared)))
    }

    /// As [`Future::poll`], without the pinning. If a connection has several such values, the task of the last
    /// call is woken.
    ///
    /// # Errors
    /// Returns [`TrafficError::Revoked`] and [`TrafficError::Silent`], at every later call too.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TrafficError>> {
        match &mut self.0 {
            Some(waiting) => {
                let added = ready!(waiting.poll(cx, Some(waiting.told)))?;
                waiting.told = added;
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }

    /// Waits until the connection has to end, and returns why. It also ends a connection whose write loop is
    /// stuck, because the peer takes nothing.
    pub async fn ended(mut self) -> TrafficError {
        loop {
            if let Err(ended) = poll_fn(|cx| self.poll_ready(cx)).await {
                return ended;
            }
        }
    }
}

impl Waiting {
    pub(crate) fn new(place: Place, shared: Arc<Shared>) -> Self {
        Self {
            place,
            revoked: shared.peer.revoked_owned(),
            alarm: shared.alarm(),
            told: 0,
            shared,
        }
    }

    /// Ready if replies wait, except those that were told, with the number of all that were ever added.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        told: Option<u64>,
    ) -> Poll<Result<u64, TrafficError>> {
        if self.revoked.poll_revoked(cx).is_ready() {
            return Poll::Ready(Err(TrafficError::Revoked));
        }
        loop {
            let mut replies = self.shared.replies();
            if let Some(alarm) = &self.alarm {
                replies.beat(alarm.now())?;
            }
            let added = replies.added();
            if replies.pings.are_waiting() && told != Some(added) {
                return Poll::Ready(Ok(added));
            }
            let due = replies.due();
            let before = replies.wait(self.place, cx.waker().clone());
            drop(replies);
            // The drop of a waker is foreign code, so the lock is free.
            drop(before);
            let (Some(due), Some(alarm)) = (due, &mut self.alarm) else {
                return Poll::Pending;
            };
            ready!(alarm.poll(due, cx));
        }
    }
}

impl Future for RepliesReady {
    type Output = Result<(), TrafficError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_ready(cx)
    }
}

impl fmt::Debug for RepliesReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "RepliesReady(waiting)",
            None => "RepliesReady(never)",
        })
    }
}

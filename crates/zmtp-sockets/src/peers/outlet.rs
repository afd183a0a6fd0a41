//! Where messages to one peer go.
#![forbid(unsafe_code)]

use crate::peers::admission::is_admitted;
use std::future::poll_fn;
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError, SendHalf, SendQueue, TrySendError};

/// The queue of one peer.
#[derive(Debug)]
pub(crate) enum Outlet {
    /// The queue of one connection. What is queued dies with it.
    Connection(SendHalf),
    /// The queue of a dialled peer. It outlives the connections.
    Dialled(SendQueue),
}

impl Outlet {
    /// Whether the peer is still admitted. A dialled peer is asked about when it connects.
    pub(crate) fn is_admitted(&self) -> bool {
        match self {
            Self::Connection(half) => is_admitted(half.peer()),
            Self::Dialled(_) => true,
        }
    }

    pub(crate) fn try_send(&mut self, message: Message) -> Result<(), TrySendError> {
        match self {
            Self::Connection(half) => half.try_send(message),
            Self::Dialled(queue) => queue.try_send(message),
        }
    }

    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        match self {
            Self::Connection(half) => half.poll_ready(context),
            Self::Dialled(queue) => queue.poll_ready(context),
        }
    }

    /// Waits until everything that is queued has left, or can no longer leave. It stays open.
    pub(crate) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Connection(half) => half.poll_flush(context).map(drop),
            Self::Dialled(queue) => queue.poll_flush(context),
        }
    }

    /// Waits until everything that is queued has left, or can no longer leave.
    pub(crate) async fn finish(mut self) {
        match &mut self {
            Self::Connection(half) => {
                // A connection that has ended has dropped what it had, which the rules allow.
                let _ = poll_fn(|context| half.poll_close(context)).await;
            }
            Self::Dialled(queue) => poll_fn(|context| queue.poll_close(context)).await,
        }
    }
}

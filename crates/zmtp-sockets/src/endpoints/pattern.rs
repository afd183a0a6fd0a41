//! What a pattern does about peers that come and go.
#![forbid(unsafe_code)]

use crate::event::TurnedAway;
use crate::peers::held::Held;
use crate::peers::news::PipeId;
use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::{SendHalf, SendQueue};

/// A connection to an admitted peer.
pub(crate) struct NewPeer {
    pub(crate) pipe: PipeId,
    pub(crate) peer: Arc<Peer>,
    /// Absent if the pipe has a queue that outlives its connections.
    pub(crate) sender: Option<SendHalf>,
    pub(crate) receiver: Held,
}

/// The part of a socket that its tasks call. It passes peers on to the socket.
pub(crate) trait Pattern: Send + Sync + 'static {
    /// Whether a dialled peer has a queue that outlives its connections. If not, the pattern sends to
    /// connected peers alone.
    fn queues_for_dialled(&self) -> bool {
        false
    }

    /// Keeps the socket's end of the queue of a dialled peer.
    fn keep(&self, _pipe: PipeId, _queue: SendQueue) {}

    /// Notes a dialled peer that has no such queue. Returns whether all its connections have this pipe. If
    /// not, each is a peer of its own.
    fn dial(&self, _pipe: PipeId) -> bool {
        false
    }

    /// Takes a peer.
    ///
    /// # Errors
    /// Returns the reason if the socket cannot take it. Its connection is then closed.
    fn add(&self, peer: NewPeer) -> Result<(), TurnedAway>;

    /// The routing id by which the socket addresses a peer, if it does.
    fn routing_id(&self, _pipe: PipeId) -> Option<Bytes> {
        None
    }

    /// Whether the pattern is told of changes of what the policy lets peers subscribe to.
    fn judges_topics(&self) -> bool {
        false
    }

    /// What the policy lets the peer of a pipe subscribe to has changed.
    fn topics_changed(&self, _pipe: PipeId) {}

    /// Whether the pattern holds messages for the peer of a pipe that its connection has not taken.
    /// Asked before [`Pattern::lost`].
    fn has_unsent(&self, _pipe: PipeId) -> bool {
        false
    }

    /// The connection of a pipe has ended. What has arrived on it is still to be received. The pipe
    /// itself goes on if it `has_queue`.
    fn lost(&self, pipe: PipeId, has_queue: bool);

    /// Nothing more arrives on the connection of a pipe that was lost. Returns whether the socket had
    /// not noticed the connection yet and never will.
    fn drained(&self, _pipe: PipeId) -> bool {
        false
    }

    /// The admission of the peer of a pipe is withdrawn: that of its connection, or of an earlier one whose
    /// messages wait. What has arrived from it is dropped at once. The pipe itself goes on if all its
    /// connections are one peer to the socket, with what it has queued.
    fn revoked(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.remove(pipe);
        }
    }

    /// The endpoint of a pipe is given up. Everything of it is dropped.
    fn remove(&self, pipe: PipeId);
}

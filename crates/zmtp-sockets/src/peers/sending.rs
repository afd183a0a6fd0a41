//! What a sink sends to.
#![forbid(unsafe_code)]

use std::task::{Context, Poll};

/// The peers that a socket sends to.
pub(crate) trait Sending {
    /// Waits until a message can be given away. Where sending never waits, it is ready.
    fn poll_room(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Waits until every message that was given away has its place in the queue of a peer.
    fn poll_queued(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Waits until the system has taken everything that is queued.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

//! PUSH: sends to many peers in turn (RFC 30).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::news::{PipeId, Reporter, news};
use crate::peers::outlet::Outlet;
use crate::peers::round_robin::RoundRobin;
use std::task::{Context, Poll};
use zmtp_auth::SocketType;
use zmtp_auth::net::{Message, NetError, SendQueue};

/// A PUSH socket: it sends to PULL sockets, each message to the next peer that has room.
///
/// No message is dropped for want of room or of peers: sending waits. A message that a lost
/// connection had taken may be lost with it, because ZMTP has no acknowledgements.
pub struct Push {
    endpoints: Endpoints,
    peers: RoundRobin,
}

endpoint_methods!(Push);
sending_methods!(Push, peers);

/// Gives every peer to the round-robin.
struct Sending {
    reporter: Reporter<Outlet>,
    immediate: bool,
}

impl Pattern for Sending {
    fn queues_for_dialled(&self) -> bool {
        !self.immediate
    }

    fn keep(&self, pipe: PipeId, queue: SendQueue) {
        self.reporter.add(pipe, Outlet::Dialled(queue));
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        // Nothing is received: without a receiver, what arrives is discarded.
        if let Some(sender) = new.sender {
            self.reporter.add(new.pipe, Outlet::Connection(sender));
        }
        Ok(())
    }

    fn lost(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.reporter.lost(pipe);
        }
    }

    fn remove(&self, pipe: PipeId) {
        self.reporter.remove(pipe);
    }
}

impl Push {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (reporter, news) = news();
        let immediate = options.immediate;
        let pattern = Sending {
            reporter,
            immediate,
        };
        Self {
            endpoints: Endpoints::new(SocketType::Push, options, pattern),
            peers: RoundRobin::new(news),
        }
    }

    pub(crate) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.peers.poll_send(message, context).map(drop)
    }

    fn settle(&mut self) {
        self.peers.take_news();
    }

    /// Sends what is queued, then closes.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        let outlets = self.peers.drain();
        close(self.endpoints, outlets).await
    }
}

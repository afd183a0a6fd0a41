//! PULL: receives from many peers in turn (RFC 30).
#![forbid(unsafe_code)]

use crate::endpoints::handle::Endpoints;
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::admission::TopicFrame;
use crate::peers::fair_queue::FairQueue;
use crate::peers::fair_queue::told::Told;
use crate::peers::held::Inlet;
use crate::peers::news::{PipeId, Reporter, news};
use std::sync::Arc;
use zmtp_auth::{Peer, SocketType};

/// A PULL socket: it receives from PUSH sockets, one message of each peer in turn.
///
/// A peer that sends faster than it is received from has to wait, and no other peer with it.
pub struct Pull {
    endpoints: Endpoints,
    queue: FairQueue<Arc<Peer>>,
}

endpoint_methods!(Pull);
receiving_methods!(Pull, queue);
topic_methods!(Pull, queue);

/// Gives every connection to the fair queue.
struct Receiving(Reporter<Inlet<Arc<Peer>>>);

impl Pattern for Receiving {
    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer,
            receiver,
            ..
        } = new;
        let data = peer;
        self.0.add(pipe, Inlet { receiver, data });
        Ok(())
    }

    fn lost(&self, _pipe: PipeId, _has_queue: bool) {
        // What has arrived is still received, and the end of the connection shows there.
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.0.retain(pipe, Inlet::is_open)
    }

    fn remove(&self, pipe: PipeId) {
        self.0.remove(pipe);
    }
}

impl Pull {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (reporter, news) = news();
        let endpoints = Endpoints::new(SocketType::Pull, options, Receiving(reporter));
        let events = endpoints.teller();
        Self {
            endpoints,
            queue: FairQueue::new(news)
                .with_topic_permissions(TopicFrame::First)
                .with_events(Told::new(events, |peer| peer)),
        }
    }

    fn settle(&mut self) {
        self.queue.take_news();
    }

    /// Frees the bound endpoints and closes all connections. What was not received is dropped.
    /// Cancel-safe: dropping the future does the same in the background.
    pub async fn close(mut self) {
        self.endpoints.stop_listening().await;
    }
}

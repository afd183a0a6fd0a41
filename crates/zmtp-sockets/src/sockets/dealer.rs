//! DEALER: sends to many peers in turn, and receives from them in turn (RFC 28).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::error::SendError;
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::fair_queue::{FairQueue, Inlet};
use crate::peers::news::{PipeId, Reporter, news};
use crate::peers::outlet::Outlet;
use crate::peers::round_robin::RoundRobin;
use crate::received::Received;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError, SendQueue};
use zmtp_auth::{Peer, SocketType};

/// A DEALER socket: it sends each message to the next peer that has room, and receives one message of
/// each peer in turn. It talks to ROUTER, DEALER and REP sockets.
///
/// Messages pass as they are. For a REP, an empty frame comes before the body (RFC 28).
pub struct Dealer {
    endpoints: Endpoints,
    sender: RoundRobin,
    receiver: FairQueue<Arc<Peer>>,
}

endpoint_methods!(Dealer);
topic_methods!(Dealer, receiver);

/// The sending half of a [`Dealer`].
pub struct DealerSender {
    sender: RoundRobin,
    _endpoints: Arc<Endpoints>,
}

/// The receiving half of a [`Dealer`].
pub struct DealerReceiver {
    receiver: FairQueue<Arc<Peer>>,
    _endpoints: Arc<Endpoints>,
}

/// Gives every peer to the round-robin and to the fair queue.
pub(crate) struct BothWays {
    pub(crate) sending: Reporter<Outlet>,
    pub(crate) receiving: Reporter<Inlet<Arc<Peer>>>,
    pub(crate) immediate: bool,
}

impl Pattern for BothWays {
    fn queues_for_dialled(&self) -> bool {
        !self.immediate
    }

    fn keep(&self, pipe: PipeId, queue: SendQueue) {
        self.sending.add(pipe, Outlet::Dialled(queue));
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        let NewPeer {
            pipe,
            peer: data,
            sender,
            receiver,
        } = new;
        // In this order, so that a REQ knows the peers it asks.
        self.receiving.add(pipe, Inlet { receiver, data });
        if let Some(sender) = sender {
            self.sending.add(pipe, Outlet::Connection(sender));
        }
        Ok(())
    }

    fn lost(&self, pipe: PipeId, has_queue: bool) {
        // What has arrived is still received.
        if !has_queue {
            self.sending.lost(pipe);
        }
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.receiving.retain(pipe, Inlet::is_open)
    }

    fn revoked(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.sending.lost(pipe);
        }
        self.receiving.remove(pipe);
    }

    fn remove(&self, pipe: PipeId) {
        self.sending.remove(pipe);
        self.receiving.remove(pipe);
    }
}

impl Dealer {
    /// A socket with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(SocketOptions::default())
    }

    /// A socket with `options`.
    #[must_use]
    pub fn with_options(options: SocketOptions) -> Self {
        let (sending, sent) = news();
        let (receiving, received) = news();
        let pattern = BothWays {
            sending,
            receiving,
            immediate: options.immediate,
        };
        let endpoints = Endpoints::new(SocketType::Dealer, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            sender: RoundRobin::new(sent),
            receiver: FairQueue::new(received)
                .with_topic_permissions()
                .with_events(events, |peer| peer),
        }
    }

    /// Queues a message for the next peer that has room. Waits while no peer has room.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.sender.send(message.into()).await;
    }

    /// Queues a message if a peer has room, and does not wait.
    ///
    /// # Errors
    /// Returns the message with [`SendReason::Full`](crate::SendReason::Full) if no peer has room.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let sent = self.sender.try_send(message.into());
        sent.map(drop).map_err(SendError::full)
    }

    /// Waits until a peer has room: [`Dealer::try_send`] then succeeds, unless the peer goes away in
    /// between. For a task that sends and receives at once. The task of the last call is woken.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.sender.poll_ready(context)
    }

    /// Receives the next message. Waits until there is one, also while there is no peer.
    ///
    /// Cancel-safe: a message stays queued until it is returned.
    pub async fn recv(&mut self) -> Received {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Receives a message if one has arrived, and does not wait.
    pub fn try_recv(&mut self) -> Option<Received> {
        self.receiver.try_pick(Received::of)
    }

    /// As [`Dealer::recv`]. The task of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        self.receiver.poll_pick(context, Received::of)
    }

    /// Splits the socket into two halves for two tasks. The endpoints are given up when both are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (DealerSender, DealerReceiver) {
        let endpoints = Arc::new(self.endpoints);
        let sender = DealerSender {
            sender: self.sender,
            _endpoints: Arc::clone(&endpoints),
        };
        let receiver = DealerReceiver {
            receiver: self.receiver,
            _endpoints: endpoints,
        };
        (sender, receiver)
    }

    /// Sends what is queued, then closes. What was not received is dropped.
    ///
    /// Cancel-safe: dropping the future does the same in the background.
    ///
    /// # Errors
    /// Returns [`NetError::Unsent`] if not everything had left within the linger time.
    pub async fn close(mut self) -> Result<(), NetError> {
        drop(self.receiver);
        let outlets = self.sender.drain();
        close(self.endpoints, outlets).await
    }

    pub(crate) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.sender.poll_send(message, context).map(drop)
    }

    fn settle(&mut self) {
        self.sender.take_news();
        self.receiver.take_news();
    }
}

impl DealerSender {
    /// As [`Dealer::send`].
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.sender.send(message.into()).await;
    }

    /// As [`Dealer::try_send`].
    ///
    /// # Errors
    /// As [`Dealer::try_send`].
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let sent = self.sender.try_send(message.into());
        sent.map(drop).map_err(SendError::full)
    }
}

impl DealerReceiver {
    /// As [`Dealer::recv`].
    pub async fn recv(&mut self) -> Received {
        poll_fn(|context| self.receiver.poll_pick(context, Received::of)).await
    }

    /// As [`Dealer::try_recv`].
    pub fn try_recv(&mut self) -> Option<Received> {
        self.receiver.try_pick(Received::of)
    }
}

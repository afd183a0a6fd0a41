//! PAIR: one peer, both ways (RFC 31).
#![forbid(unsafe_code)]

use crate::endpoints::handle::{Endpoints, close};
use crate::endpoints::pattern::{NewPeer, Pattern};
use crate::error::SendError;
use crate::event::TurnedAway;
use crate::options::SocketOptions;
use crate::peers::fair_queue::FairQueue;
use crate::peers::news::{PipeId, news};
use crate::peers::round_robin::RoundRobin;
use crate::received::Received;
use crate::sockets::dealer::BothWays;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use zmtp_auth::net::{Message, NetError, SendQueue};
use zmtp_auth::{Peer, SocketType};

/// A PAIR socket: it talks to one other PAIR.
///
/// While a peer is connected, or an endpoint is dialled, another peer is turned away, which is an
/// event.
pub struct Pair {
    endpoints: Endpoints,
    sender: RoundRobin,
    receiver: FairQueue<Arc<Peer>>,
}

endpoint_methods!(Pair);
topic_methods!(Pair, receiver);

/// Gives the one peer to the socket, and turns others away.
struct OnePeer {
    both_ways: BothWays,
    /// The pipe of the peer.
    holder: Mutex<Option<PipeId>>,
}

impl OnePeer {
    fn holder(&self) -> MutexGuard<'_, Option<PipeId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place for `pipe`. Returns whether it has it.
    fn hold(&self, pipe: PipeId) -> bool {
        *self.holder().get_or_insert(pipe) == pipe
    }

    fn release(&self, pipe: PipeId) {
        self.holder().take_if(|holder| *holder == pipe);
    }
}

impl Pattern for OnePeer {
    fn queues_for_dialled(&self) -> bool {
        self.both_ways.queues_for_dialled()
    }

    fn keep(&self, pipe: PipeId, queue: SendQueue) {
        // Without the place the queue is dropped, and the peer is turned away once it is connected.
        if self.hold(pipe) {
            self.both_ways.keep(pipe, queue);
        }
    }

    fn add(&self, new: NewPeer) -> Result<(), TurnedAway> {
        if !self.hold(new.pipe) {
            return Err(TurnedAway::PairHasPeer);
        }
        self.both_ways.add(new)
    }

    fn lost(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.release(pipe);
        }
        self.both_ways.lost(pipe, has_queue);
    }

    fn drained(&self, pipe: PipeId) -> bool {
        self.both_ways.drained(pipe)
    }

    fn revoked(&self, pipe: PipeId, has_queue: bool) {
        if !has_queue {
            self.release(pipe);
        }
        self.both_ways.revoked(pipe, has_queue);
    }

    fn remove(&self, pipe: PipeId) {
        self.release(pipe);
        self.both_ways.remove(pipe);
    }
}

impl Pair {
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
        let both_ways = BothWays {
            sending,
            receiving,
            immediate: options.immediate,
        };
        let pattern = OnePeer {
            both_ways,
            holder: Mutex::new(None),
        };
        let endpoints = Endpoints::new(SocketType::Pair, options, pattern);
        let events = endpoints.teller();
        Self {
            endpoints,
            sender: RoundRobin::new(sent),
            receiver: FairQueue::new(received)
                .with_topic_permissions()
                .with_events(events, |peer| peer),
        }
    }

    /// Queues a message for the peer. Waits while there is no peer, or no room.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.sender.send(message.into()).await;
    }

    /// Queues a message if there is room, and does not wait.
    ///
    /// # Errors
    /// Returns the message with [`SendReason::Full`](crate::SendReason::Full) if there is no peer, or
    /// no room.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let sent = self.sender.try_send(message.into());
        sent.map(drop).map_err(SendError::full)
    }

    /// Waits until there is a peer with room: [`Pair::try_send`] then succeeds, unless the peer goes away in
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

    /// As [`Pair::recv`]. The task of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        self.receiver.poll_pick(context, Received::of)
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

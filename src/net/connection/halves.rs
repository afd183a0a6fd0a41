//! The application's ends of the queues between it and the driver of its connection.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::net::connection::driver::State;
use crate::net::connection::queue::{Consumer, Producer};
use crate::net::connection::sendable::require_sendable;
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use crate::traffic::outgoing::Outgoing;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// The sending half of a [`Connection`](crate::net::Connection).
pub struct SendHalf {
    queue: Producer<Outgoing>,
    link: Link,
}

/// The receiving half of a [`Connection`](crate::net::Connection).
///
/// Once it is dropped, what arrives is discarded.
pub struct RecvHalf {
    queue: Consumer<Incoming>,
    link: Link,
}

/// What both halves share.
#[derive(Clone)]
pub(crate) struct Link {
    peer: Arc<Peer>,
    ours: SocketType,
    state: watch::Receiver<State>,
}

impl Link {
    pub(crate) fn new(peer: Peer, ours: SocketType, state: watch::Receiver<State>) -> Self {
        let peer = Arc::new(peer);
        Self { peer, ours, state }
    }

    /// Why the connection ended. Without a reason from the driver, the runtime has dropped it.
    fn reason(&self) -> NetError {
        self.end().unwrap_or(NetError::Aborted)
    }

    /// How the connection ended, if it has.
    fn end(&self) -> Option<NetError> {
        match &*self.state.borrow() {
            State::Ending(loss) | State::Ended(Err(loss)) => Some(loss.reason.clone()),
            // Only both halves together can close it without an error.
            State::Ended(Ok(())) => Some(NetError::Closed),
            State::Open | State::Sent => None,
        }
    }

    /// Waits for a state. Returns the reason of the connection's end if not everything was sent.
    async fn reached(mut self, is_reached: impl FnMut(&State) -> bool) -> Result<(), NetError> {
        match self.state.wait_for(is_reached).await {
            Ok(state) => match &*state {
                State::Ending(loss) | State::Ended(Err(loss)) if !loss.all_sent => {
                    Err(loss.reason.clone())
                }
                _ => Ok(()),
            },
            Err(_) => Err(NetError::Aborted),
        }
    }

    async fn ended(self) -> Result<(), NetError> {
        self.reached(|state| matches!(state, State::Ending(_) | State::Ended(_)))
            .await
    }
}

impl SendHalf {
    pub(crate) const fn new(queue: Producer<Outgoing>, link: Link) -> Self {
        Self { queue, link }
    }

    /// Queues a message. Waits while
    /// [`Options::send_ahead`](crate::net::Options::send_ahead) bytes are queued already.
    ///
    /// `Ok` means that the message is queued. ZMTP has no acknowledgements, so if the connection
    /// fails later, the message may be lost without notice.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    ///
    /// # Errors
    /// Returns [`NetError::CannotSend`] if our socket type only receives,
    /// [`NetError::Delimiter`] if a message of a REQ or REP has no delimiter frame, and the reason
    /// if the connection has ended.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        let message = message.into();
        require_sendable(self.link.ours, &message)
            .map_err(|refused| self.link.end().unwrap_or(refused))?;
        let mut outgoing = Outgoing::Message(message);
        let cost = outgoing.cost();
        loop {
            outgoing = match self.queue.push_into_room(outgoing, cost) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            self.ready().await?;
        }
    }

    /// Asks a publisher for messages that begin with `topic` (RFC 29), in the form that the peer's
    /// version of ZMTP knows. For SUB and XSUB only. Cancel-safe, as [`SendHalf::send`].
    ///
    /// # Errors
    /// Returns [`NetError::CannotSubscribe`] for another socket type, and the reason if the
    /// connection has ended.
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Subscribe(topic)).await
    }

    /// Takes back one subscription to `topic`. For SUB and XSUB only. Cancel-safe, as
    /// [`SendHalf::send`].
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn unsubscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Unsubscribe(topic)).await
    }

    async fn subscription(&mut self, outgoing: Outgoing) -> Result<(), NetError> {
        if !self.link.ours.subscribes() {
            return Err(NetError::CannotSubscribe(self.link.ours));
        }
        self.ready().await?;
        self.push(outgoing)
    }

    /// Waits until there is room for something to send. Cancel-safe.
    pub(crate) async fn ready(&mut self) -> Result<(), NetError> {
        let room = self.queue.room().await;
        room.map_err(|_| self.link.reason())
    }

    /// Queues without waiting, for callers that have waited for [`SendHalf::ready`].
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> Result<(), NetError> {
        let cost = outgoing.cost();
        let pushed = self.queue.push(outgoing, cost);
        pushed.map_err(|_| self.link.reason())
    }

    /// The peer: its authenticated identity and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }

    /// Waits until the connection has ended by itself, and returns the reason. From then on nothing
    /// can be sent. What has arrived can still be received. Cancel-safe.
    pub async fn closed(&self) -> NetError {
        let _ = self.link.clone().ended().await;
        self.link.reason()
    }

    /// Sends what is queued and waits until the system has taken it. The [`RecvHalf`] goes on.
    /// Once it is dropped too, the connection is closed.
    ///
    /// If the future is dropped early, what is queued is still sent in the background.
    ///
    /// # Errors
    /// Returns what ended the connection if not everything was sent.
    pub async fn finish(self) -> Result<(), NetError> {
        let Self { queue, link } = self;
        drop(queue);
        link.reached(|state| !matches!(state, State::Open)).await
    }

    /// The rest of [`Connection::close`](crate::net::Connection::close), after the other half was
    /// dropped.
    pub(crate) async fn close(self) -> Result<(), NetError> {
        let Self { queue, link } = self;
        drop(queue);
        link.ended().await
    }

    pub(crate) fn is_of_one_connection(&self, receiver: &RecvHalf) -> bool {
        self.link.state.same_channel(&receiver.link.state)
    }
}

impl RecvHalf {
    pub(crate) const fn new(queue: Consumer<Incoming>, link: Link) -> Self {
        Self { queue, link }
    }

    /// Receives the next message or subscription.
    ///
    /// What had arrived completely before the connection ended is still received, however late,
    /// except after [`NetError::Revoked`].
    ///
    /// Cancel-safe: a message stays queued until it is returned.
    ///
    /// # Errors
    /// Returns the reason once the connection has ended and everything is received.
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        let next = self.queue.next().await;
        next.ok_or_else(|| self.link.reason())
    }

    /// Receives the next message, and skips subscriptions before it. For every socket type but PUB
    /// and XPUB. Cancel-safe, as [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    pub async fn recv_message(&mut self) -> Result<Message, NetError> {
        loop {
            if let Some(message) = self.recv().await?.into_message() {
                return Ok(message);
            }
        }
    }

    /// The peer: its authenticated identity and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf")
            .field("peer", &self.link.peer)
            .field("queued", &self.queue.bytes())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf")
            .field("peer", &self.link.peer)
            .finish_non_exhaustive()
    }
}

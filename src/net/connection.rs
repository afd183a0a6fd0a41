//! An authenticated connection, as the application holds it.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::config::settings::Config;
use crate::frames::{FrameReader, FrameWriter};
use crate::heartbeat::Heartbeat;
use crate::net::asks::Access;
use crate::net::dial::dial;
use crate::net::driver::{Driver, End, Pings, READ_QUIET};
use crate::net::endpoint::Endpoint;
use crate::net::error::NetError;
use crate::net::inbox::{Inbox, Incoming};
use crate::net::message::Message;
use crate::net::negotiate::Agreed;
use crate::net::options::Options;
use crate::net::outbox::{Outbox, Outgoing};
use crate::net::queue::{Consumer, Producer, queue};
use crate::net::transport::Stream;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// The wire of one authenticated peer: messages of one or more frames, in both directions.
///
/// A task of its own drives it, so that PINGs are answered also while nothing is received. It
/// reads at most [`Limits::read_ahead`](crate::Limits) bytes, or one message, ahead of
/// [`recv`](Self::recv); a peer that sends more waits, and so do its PINGs. So receive, even on
/// a socket that has nothing to receive but subscriptions, or drop the [`RecvHalf`]: then what
/// arrives is discarded.
///
/// It is one wire and no socket: what a pattern does above it is the application's. That is the
/// empty delimiter frame between REQ and REP (RFC 28), the choice among several peers of PUSH
/// or DEALER (RFC 28, 30), and sending to a SUB only what it has subscribed to (RFC 29).
///
/// [`close`](Self::close) sends what is queued and waits for that. Dropping it sends what is
/// queued too, but in the background, for [`Options::linger`] at most and as long as the runtime
/// lives.
#[derive(Debug)]
pub struct Connection {
    sender: SendHalf,
    receiver: RecvHalf,
}

/// The sending half of a [`Connection`].
pub struct SendHalf {
    queue: Producer<Outgoing>,
    link: Link,
}

/// The receiving half of a [`Connection`]. Once it is dropped, what arrives is discarded.
pub struct RecvHalf {
    queue: Consumer<Incoming>,
    link: Link,
}

/// What both halves know.
#[derive(Clone)]
struct Link {
    peer: Arc<Peer>,
    ours: SocketType,
    end: watch::Receiver<End>,
}

impl Link {
    /// Why there is no more connection.
    fn reason(&self) -> NetError {
        match &*self.end.borrow() {
            Some(Err(reason)) => reason.clone(),
            // Only both halves together can close it without an error.
            Some(Ok(())) => NetError::Closed,
            None => NetError::Aborted,
        }
    }

    async fn ended(mut self) -> Result<(), NetError> {
        match self.end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(Err(NetError::Aborted)),
            Err(_) => Err(NetError::Aborted),
        }
    }
}

impl Connection {
    /// Connects once, and shakes hands, with default [`Options`]. [`Connector`] does it again
    /// and again.
    ///
    /// `router` is `()` for a configuration that asks nobody, which is every client of PLAIN and
    /// CURVE.
    ///
    /// # Errors
    /// Precisely why not: see [`NetError`]. Nothing is left behind.
    ///
    /// [`Connector`]: crate::net::Connector
    pub async fn connect<A, E>(
        endpoint: E,
        config: Config<A>,
        router: A::Router,
    ) -> Result<Self, NetError>
    where
        A: Access,
        E: TryInto<Endpoint>,
        NetError: From<E::Error>,
    {
        Self::connect_with(endpoint, config, router, &Options::default()).await
    }

    /// As [`Connection::connect`], with `options`.
    ///
    /// # Errors
    /// As [`Connection::connect`].
    pub async fn connect_with<A, E>(
        endpoint: E,
        config: Config<A>,
        router: A::Router,
        options: &Options,
    ) -> Result<Self, NetError>
    where
        A: Access,
        E: TryInto<Endpoint>,
        NetError: From<E::Error>,
    {
        dial(&endpoint.try_into()?, &config, &router, options).await
    }

    /// Starts the task that drives an agreed connection.
    pub(crate) fn start<A>(
        stream: Stream,
        agreed: Agreed,
        config: &Config<A>,
        options: &Options,
    ) -> Self {
        let Agreed { established, input } = agreed;
        let established = *established;
        let limits = config.limits().clone();
        let ours = config.socket_type();
        let (outgoing, to_send) = queue(options.send_ahead);
        let (received, incoming) = queue(limits.read_ahead);
        let (end, ended) = watch::channel(None);
        let authenticated = established.peer.authenticated.as_ref();
        let driver = Driver {
            stream,
            input,
            inbox: Inbox::new(FrameReader::new(established.opener, &limits), ours),
            outbox: Outbox::new(FrameWriter::new(established.sealer), established.zmtp_3_0),
            received,
            to_send,
            heartbeat: Heartbeat::new(
                options.heartbeat,
                established.zmtp_3_0,
                Instant::now().into_std(),
            ),
            grant: authenticated.and_then(|authenticated| authenticated.grant.clone()),
            limits,
            linger: options.linger,
            end,
            pings: Pings::default(),
            read_size: READ_QUIET,
        };
        tokio::spawn(driver.run());
        let link = Link {
            peer: Arc::new(established.peer),
            ours,
            end: ended,
        };
        Self {
            sender: SendHalf {
                queue: outgoing,
                link: link.clone(),
            },
            receiver: RecvHalf {
                queue: incoming,
                link,
            },
        }
    }

    /// Who the peer is, and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.sender.peer()
    }

    /// As [`SendHalf::send`].
    ///
    /// # Errors
    /// As [`SendHalf::send`].
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        self.sender.send(message).await
    }

    /// As [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        self.receiver.recv().await
    }

    /// As [`RecvHalf::recv_message`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    pub async fn recv_message(&mut self) -> Result<Message, NetError> {
        self.receiver.recv_message().await
    }

    /// As [`SendHalf::subscribe`].
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        self.sender.subscribe(topic).await
    }

    /// As [`SendHalf::cancel`].
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn cancel(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        self.sender.cancel(topic).await
    }

    /// Two halves for two tasks.
    #[must_use]
    pub fn split(self) -> (SendHalf, RecvHalf) {
        (self.sender, self.receiver)
    }

    /// The two halves for a moment, such as for the branches of one `select!`.
    pub const fn halves(&mut self) -> (&mut SendHalf, &mut RecvHalf) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Waits until the connection has ended by itself, and says why. What it has received can
    /// still be received. Cancel-safe.
    pub async fn closed(&self) -> NetError {
        self.sender.closed().await
    }

    /// Sends what is queued, then closes; what arrives meanwhile is discarded. When this returns
    /// `Ok`, everything was handed to the system, and the peer has had
    /// [`Limits::linger_timeout`](crate::Limits) to read it.
    ///
    /// # Errors
    /// Why not everything was sent: [`NetError::Unsent`] after [`Options::linger`], or whatever
    /// ended the connection before.
    pub async fn close(self) -> Result<(), NetError> {
        drop(self.receiver);
        self.sender.close().await
    }

    /// For a reconnecting client, which must not lose a message in a failed attempt.
    pub(crate) const fn sender(&mut self) -> &mut SendHalf {
        &mut self.sender
    }
}

impl SendHalf {
    /// Queues a message; waits while [`Options::send_ahead`] bytes are queued already. `Ok`
    /// means queued: what is lost when the connection fails, the protocol does not tell.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        let message = message.into();
        self.ready().await?;
        self.push(Outgoing::Message(message))
    }

    /// Asks a publisher for messages that begin with `topic` (RFC 29), in the form that its
    /// version knows. SUB and XSUB only. Cancel-safe as [`SendHalf::send`].
    ///
    /// # Errors
    /// [`NetError::CannotSubscribe`] for another type of socket; why the connection ended.
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Subscribe(topic)).await
    }

    /// Takes one subscription to `topic` back. SUB and XSUB only.
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn cancel(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Cancel(topic)).await
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

    /// Queues; after [`SendHalf::ready`].
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> Result<(), NetError> {
        let cost = outgoing.cost();
        let pushed = self.queue.push(outgoing, cost);
        pushed.map_err(|_| self.link.reason())
    }

    /// Who the peer is, and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.link.peer
    }

    /// Waits until the connection has ended by itself, and says why. Cancel-safe.
    pub async fn closed(&self) -> NetError {
        match self.link.clone().ended().await {
            Err(reason) => reason,
            Ok(()) => NetError::Closed,
        }
    }

    /// Sends what is queued and, if the [`RecvHalf`] is dropped, closes as
    /// [`Connection::close`] does. As long as the other half lives, so does the connection, and
    /// this waits for its end.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub async fn close(self) -> Result<(), NetError> {
        let Self { queue, link } = self;
        drop(queue);
        link.ended().await
    }

    /// Puts the halves of one connection together again.
    ///
    /// # Errors
    /// Both, if they do not belong together.
    pub fn reunite(self, receiver: RecvHalf) -> Result<Connection, (Self, RecvHalf)> {
        if self.link.end.same_channel(&receiver.link.end) {
            Ok(Connection {
                sender: self,
                receiver,
            })
        } else {
            Err((self, receiver))
        }
    }
}

impl RecvHalf {
    /// The next message or subscription. Cancel-safe: what arrives stays queued until it is
    /// returned. What had arrived before the connection ended still comes, except after
    /// [`NetError::Revoked`].
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        let next = self.queue.next().await;
        next.ok_or_else(|| self.link.reason())
    }

    /// The next message; subscriptions before it are skipped. For every type of socket but PUB
    /// and XPUB. Cancel-safe as [`RecvHalf::recv`].
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

    /// Who the peer is, and what it claims.
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

//! An authenticated connection, as the application holds it.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::access::peer::Peer;
use crate::host::conduct::Agreed;
use crate::mechanism::session::PeerContext;
use crate::net::accept::connection_limit::Permit;
use crate::net::connection::activity::Activity;
use crate::net::connection::driver::{Driver, Exchange, State};
use crate::net::connection::halves::{RecvHalf, SendHalf};
use crate::net::connection::link::{Ends, Link};
use crate::net::connection::queue::producer::KeptQueue;
use crate::net::connection::queue::run::Queued;
use crate::net::connection::queues::{ToSend, own_queue, received_queue};
use crate::net::connection::try_error::{TryRecvError, TrySendError};
use crate::net::endpoint::{Endpoint, IntoEndpoint};
use crate::net::error::NetError;
use crate::net::negotiate::{Failed, Negotiation, typed, warn_of_plain};
use crate::net::options::Options;
use crate::net::socket::stream::{self, Stream};
use crate::net::span::connection_span;
use crate::security::Security;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use bytes::Bytes;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// A connection to one authenticated peer: messages of one or more frames, in both directions.
///
/// A task drives the connection, so that PINGs are answered also while the application does not
/// receive. The task reads at most [`Limits::read_ahead`](crate::Limits) bytes, or one message,
/// ahead of [`recv`](Self::recv). A peer that sends more has to wait, and its PINGs with it. So
/// always receive, even on a PUB, which receives only subscriptions. Or drop the [`RecvHalf`]: then
/// what arrives is discarded.
///
/// A connection is not a ZeroMQ socket. What a socket does above single connections is left to the
/// application: the empty delimiter frame between REQ and REP (RFC 28), the choice among several
/// peers of PUSH or DEALER (RFC 28, 30), and sending to a SUB only what it has subscribed to
/// (RFC 29). A message that no peer would accept is refused: one of a PULL or SUB, and one of a REQ
/// or REP without its delimiter. Messages that arrive for a PUB or PUSH are dropped.
///
/// [`close`](Self::close) sends what is queued and waits for that. Dropping the connection also
/// sends what is queued, but in the background, for at most [`Options::linger`] and only as long as
/// the runtime lives.
///
/// A connection is a [`Stream`](futures_core::Stream) of what is received and a
/// [`Sink`](futures_sink::Sink) of messages, and so are its halves. The methods of the connection hide
/// those of `SinkExt` that have the same name: `connection.send(..)` and `connection.close()` are the
/// ones here. Write `SinkExt::send(&mut connection, ..)` for the others.
pub struct Connection {
    sender: SendHalf,
    receiver: RecvHalf,
    /// Waits for the end of the connection after [`Connection::poll_close`].
    closing: Option<Closing>,
}

type Closing = Pin<Box<dyn Future<Output = Result<(), NetError>> + Send + Sync>>;

impl Connection {
    /// Connects and performs the handshake, with default [`Options`]. It tries once;
    /// [`Connector`] tries again.
    ///
    /// `security` is a `Config<NoPolicy>`, which is every client of PLAIN and CURVE, or
    /// `(config, router)` for a configuration that authorizes peers.
    ///
    /// Cancel-safe: dropping the future closes the socket.
    ///
    /// # Errors
    /// Returns the reason why there is no connection, as [`NetError`] lists them.
    ///
    /// [`Connector`]: crate::net::Connector
    pub async fn connect(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
    ) -> Result<Self, NetError> {
        Self::connect_with(endpoint, security, &Options::default()).await
    }

    /// As [`Connection::connect`], with `options`. Cancel-safe.
    ///
    /// # Errors
    /// As [`Connection::connect`].
    pub async fn connect_with(
        endpoint: impl IntoEndpoint,
        security: impl Into<Security>,
        options: &Options,
    ) -> Result<Self, NetError> {
        Self::dial(&endpoint.into_endpoint()?, &typed(security)?, options, None).await
    }

    /// Connects and performs the handshake, once. `queue` is present if the connection sends from a
    /// queue that outlives it.
    pub(crate) async fn dial(
        endpoint: &Endpoint,
        security: &Security,
        options: &Options,
        queue: Option<&KeptQueue<Queued>>,
    ) -> Result<Self, NetError> {
        warn_of_plain(endpoint, security);
        let stream = stream::connect(endpoint, options).await?;
        let context = stream.peer().map_err(NetError::io("connect"))?;
        let span = connection_span(&context);
        let connection =
            Self::establish(stream, (context, &span), security, options, queue).await?;
        span.in_scope(|| tracing::debug!(%endpoint, "connected"));
        Ok(connection)
    }

    /// Performs the handshake over a stream that is connected.
    pub(crate) async fn establish(
        stream: Stream,
        (context, span): (PeerContext, &Span),
        security: &Security,
        options: &Options,
        queue: Option<&KeptQueue<Queued>>,
    ) -> Result<Self, NetError> {
        let agreed = Negotiation::new(&stream, security, span, None)
            .run(context)
            .instrument(span.clone())
            .await;
        match agreed {
            Ok(agreed) => {
                let to_send = match queue {
                    Some(queue) => queue.attach().ok_or(NetError::QueueInUse)?,
                    None => own_queue(options, agreed.established.socket_type),
                };
                let (connection, driver) =
                    Self::with_driver(stream, agreed, security, options, to_send, None);
                tokio::spawn(driver.run().instrument(span.clone()));
                // The policy may have changed during the handshake.
                let is_admitted = connection.is_admitted();
                is_admitted.then_some(connection).ok_or(NetError::Revoked)
            }
            Err(Failed {
                error, error_frame, ..
            }) => {
                if !error_frame.is_empty() {
                    let limits = security.limits().clone();
                    let closing =
                        async move { stream.close_gracefully(error_frame, &limits).await };
                    tokio::spawn(closing.instrument(span.clone()));
                }
                Err(error)
            }
        }
    }

    /// Makes a connection after its handshake, and the driver that the caller runs in a task. It
    /// sends from the queue `to_send`. `permit` is the connection's share of a listener's limit.
    pub(crate) fn with_driver(
        stream: Stream,
        agreed: Agreed,
        security: &Security,
        options: &Options,
        (outgoing, to_send): ToSend,
        permit: Option<Permit>,
    ) -> (Self, Driver) {
        let Agreed { established, input } = agreed;
        let limits = security.limits();
        let ours = established.socket_type;
        let (received, incoming) = received_queue(limits, options, ours);
        let (state_at, state) = watch::channel(State::Open);
        let now = Instant::now().into_std();
        let (peer, mut channel) = established.into_channel(ours, limits, options.heartbeat, now);
        if options.probes(ours) {
            // A new channel has room, and its counters are far from their ends.
            let _ = channel.queue(Message::from(""));
        }
        let exchange = Exchange {
            channel: channel.with_input(input),
            received,
            to_send,
            grant: peer.grant().cloned(),
            read_ahead: limits.read_ahead,
            linger_timeout: limits.linger_timeout,
            linger: options.linger,
            state: state_at,
            activity: Activity::default(),
        };
        let driver = Driver {
            stream,
            exchange,
            _permit: permit,
        };
        let link = Link::new(Arc::new(peer), ours, state);
        let sender = SendHalf::new(outgoing, link.clone());
        let connection = Self::of(sender, RecvHalf::new(incoming, link));
        (connection, driver)
    }

    /// Puts both halves together.
    pub(crate) const fn of(sender: SendHalf, receiver: RecvHalf) -> Self {
        Self {
            sender,
            receiver,
            closing: None,
        }
    }

    /// The peer: its authenticated identity and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.sender.peer()
    }

    /// The same, for one who keeps it longer than the connection lives.
    #[must_use]
    pub fn shared_peer(&self) -> Arc<Peer> {
        self.sender.shared_peer()
    }

    /// As [`SendHalf::send`].
    ///
    /// # Errors
    /// As [`SendHalf::send`].
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        self.sender.send(message).await
    }

    /// As [`SendHalf::try_send`].
    ///
    /// # Errors
    /// As [`SendHalf::try_send`].
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.sender.try_send(message)
    }

    /// As [`SendHalf::poll_ready`].
    ///
    /// # Errors
    /// As [`SendHalf::poll_ready`].
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.sender.poll_ready(context)
    }

    /// As [`SendHalf::poll_flush`].
    ///
    /// # Errors
    /// As [`SendHalf::poll_flush`].
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.sender.poll_flush(context)
    }

    /// As [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        self.receiver.recv().await
    }

    /// As [`RecvHalf::try_recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::try_recv`].
    pub fn try_recv(&mut self) -> Result<Incoming, TryRecvError> {
        self.receiver.try_recv()
    }

    /// As [`RecvHalf::poll_recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::poll_recv`].
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Incoming, NetError>> {
        self.receiver.poll_recv(context)
    }

    /// As [`RecvHalf::recv_message`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    #[inline]
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

    /// As [`SendHalf::unsubscribe`].
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn unsubscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        self.sender.unsubscribe(topic).await
    }

    /// Splits the connection into two halves for two tasks.
    #[must_use]
    pub fn split(self) -> (SendHalf, RecvHalf) {
        (self.sender, self.receiver)
    }

    /// Borrows the two halves, for the branches of one `select!` for example.
    pub const fn halves(&mut self) -> (&mut SendHalf, &mut RecvHalf) {
        (&mut self.sender, &mut self.receiver)
    }

    /// As [`SendHalf::closed`].
    pub async fn closed(&self) -> NetError {
        self.sender.closed().await
    }

    /// How the connection ends, for a task that watches a connection whose halves are elsewhere.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.receiver.ends()
    }

    /// Sends what is queued, then closes. What arrives meanwhile is discarded. When this returns
    /// `Ok`, the system has taken everything, and the peer has closed its side or has had
    /// [`Limits::linger_timeout`](crate::Limits) to read.
    ///
    /// If the future is dropped early, the connection is closed in the background, as if it had been
    /// dropped.
    ///
    /// # Errors
    /// Returns the reason if not everything was sent: [`NetError::Unsent`] after
    /// [`Options::linger`], or what ended the connection before.
    pub async fn close(mut self) -> Result<(), NetError> {
        poll_fn(|context| self.poll_close(context)).await
    }

    /// As [`Connection::close`]. From the first call on, sending fails with
    /// [`NetError::SendClosed`], and what arrives is discarded.
    ///
    /// Cancel-safe: the connection closes also if this is not polled again. The waker of the last
    /// call is woken.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let Self {
            sender, receiver, ..
        } = self;
        let closing = self
            .closing
            .get_or_insert_with(|| Box::pin(sender.close_with(receiver)));
        let closed = ready!(closing.as_mut().poll(context));
        // A finished future must not be polled again. Another one finishes at once.
        self.closing = None;
        Poll::Ready(closed)
    }

    /// Whether the peer's grant, if it has one, is still valid.
    pub(crate) fn is_admitted(&self) -> bool {
        self.peer().grant().is_none_or(Grant::still_valid)
    }

    /// The sending half, for a reconnecting client. It checks for room before it gives a message
    /// away, so that no message is lost in a failed attempt.
    pub(crate) const fn sender(&mut self) -> &mut SendHalf {
        &mut self.sender
    }

    pub(crate) const fn receiver(&self) -> &RecvHalf {
        &self.receiver
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl SendHalf {
    /// Puts the halves of one connection together again.
    ///
    /// # Errors
    /// Returns both halves if they are not of one connection.
    #[expect(
        clippy::result_large_err,
        reason = "it is called once for a connection, and both halves come back"
    )]
    pub fn reunite(self, receiver: RecvHalf) -> Result<Connection, (Self, RecvHalf)> {
        if self.is_of_one_connection(&receiver) {
            Ok(Connection::of(self, receiver))
        } else {
            Err((self, receiver))
        }
    }
}

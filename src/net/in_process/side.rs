//! Connects two sockets of one process.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::peer::{Claims, Peer};
use crate::config::config_error::ConfigError;
use crate::config::own_metadata::own_metadata;
use crate::error::Incompatible;
use crate::limits::Limits;
use crate::mechanism::session::{PeerContext, checked_socket};
use crate::net::connection::driver::State;
use crate::net::connection::halves::{RecvHalf, SendHalf};
use crate::net::connection::handle::Connection;
use crate::net::connection::link::Link;
use crate::net::connection::queue::producer::KeptQueue;
use crate::net::connection::queue::run::Queued;
use crate::net::connection::queues::{own_queue, received_queue};
use crate::net::connection::send_queue::SendQueue;
use crate::net::error::NetError;
use crate::net::in_process::passing::{Passing, PassingSide};
use crate::net::options::Options;
use crate::net::span::connection_span;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use crate::wire::metadata::Metadata;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::Instrument;

/// One of two sockets of this process that are connected without a wire.
///
/// Messages pass from queue to queue as they are: not encoded, not encrypted, and their frames not
/// copied. A side holds what [`Options::send_ahead`], [`Options::send_ahead_messages`] and
/// [`Options::read_ahead_messages`] allow and 256 KiB that wait to be received, or one message if it is
/// longer. [`Limits::max_message`](crate::Limits) does not hold, because what sends is our own program.
///
/// Nothing is authenticated. The [`Peer`](crate::Peer) has the address [`PeerAddress::InProcess`], which
/// no other peer has, its claims, and no user id, key or grant. So no policy decides about it, and no
/// change of one revokes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_auth::net::InProcess;
/// use zmtp_auth::{PeerAddress, SocketType};
///
/// let (push, pull) = (
///     InProcess::new(SocketType::Push, "")?,
///     InProcess::new(SocketType::Pull, "")?,
/// );
/// let (mut push, mut pull, passing) = push.connect(&pull)?;
/// tokio::spawn(passing);
/// push.send("hello").await?;
/// assert_eq!(pull.recv_message().await?.frames(), ["hello"]);
/// assert_eq!(pull.peer().address, PeerAddress::InProcess);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct InProcess {
    socket_type: SocketType,
    identity: Bytes,
    options: Options,
    /// What its connections send from, if they share a queue.
    queue: Option<KeptQueue<Queued>>,
}

impl InProcess {
    /// A socket of type `socket_type` with default [`Options`], which claims `identity` as its routing
    /// id if it is not empty and the type sends one.
    ///
    /// # Errors
    /// Returns [`ConfigError::RelayMetadata`] for [`SocketType::Relay`], and
    /// [`ConfigError::IdentityTooLong`] for more than 255 bytes.
    pub fn new(socket_type: SocketType, identity: impl Into<Bytes>) -> Result<Self, ConfigError> {
        let (socket_type, identity) = checked_socket(socket_type, identity.into())?;
        Ok(Self {
            socket_type,
            identity,
            options: Options::default(),
            queue: None,
        })
    }

    /// Sets the options. The queues, [`Options::probe_router`] and [`Options::linger`] concern it.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Lets its connections send from `queue`, one after another, as
    /// [`Connector::with_queue`](crate::net::Connector::with_queue) does.
    #[must_use]
    pub fn with_queue(mut self, queue: &SendQueue) -> Self {
        self.queue = Some(queue.source());
        self
    }

    /// The type of the socket.
    #[must_use]
    pub const fn socket_type(&self) -> SocketType {
        self.socket_type
    }

    /// Connects it to `other`. Returns our connection, that of the other, and the future that passes
    /// messages between them, to be spawned on a tokio runtime. It ends with the connections. If it is
    /// dropped before, they end with [`NetError::Aborted`].
    ///
    /// When one side is closed, what it has sent is still received by the other, whose connection ends
    /// with [`NetError::Closed`]. What the other has queued is not sent.
    ///
    /// # Errors
    /// Returns [`NetError::Handshake`] with [`Incompatible::SocketType`] if sockets of these types do not
    /// talk to each other (RFC 37), and [`NetError::QueueInUse`] if another connection sends from the
    /// queue of a side.
    pub fn connect(
        &self,
        other: &Self,
    ) -> Result<
        (
            Connection,
            Connection,
            impl Future<Output = ()> + Send + use<>,
        ),
        NetError,
    > {
        // RFC 37, "Socket-Type": each type talks to some types alone.
        if !self.socket_type.accepts(other.socket_type) {
            let incompatible = Incompatible::SocketType {
                peer: other.socket_type.name().to_owned(),
                ours: self.socket_type.name(),
            };
            return Err(NetError::Handshake(incompatible.into()));
        }
        let (ours, our_side) = self.open(other)?;
        let (theirs, their_side) = other.open(self)?;
        let span = connection_span(&PeerContext::new(PeerAddress::InProcess));
        let passing = Passing::new(our_side, their_side).run().instrument(span);
        Ok((ours, theirs, passing))
    }

    /// Our end of a connection to `other`, and what the task gets of it.
    fn open(&self, other: &Self) -> Result<(Connection, PassingSide), NetError> {
        let (outgoing, to_send) = match &self.queue {
            Some(queue) => queue.attach().ok_or(NetError::QueueInUse)?,
            None => own_queue(&self.options, self.socket_type),
        };
        let limits = Limits::default();
        let (received, incoming) = received_queue(&limits, &self.options, self.socket_type);
        if other.options.probes(other.socket_type) {
            let probe = Incoming::Message(Message::from(""));
            let cost = probe.cost();
            // An open queue takes it.
            let _ = received.push(probe, cost);
        }
        let (state_at, state) = watch::channel(State::Open);
        let link = Link::new(Arc::new(other.as_peer()), self.socket_type, state);
        let side = PassingSide {
            ours: self.socket_type,
            linger: self.options.linger,
            received,
            to_send,
            state: state_at,
            closing_until: None,
        };
        let sender = SendHalf::new(outgoing, link.clone());
        let connection = Connection::of(sender, RecvHalf::new(incoming, link));
        Ok((connection, side))
    }

    /// What the other side sees.
    fn as_peer(&self) -> Peer {
        let sends_identity = self.socket_type.sends_identity();
        let identity = sends_identity.then(|| self.identity.clone());
        // Its only errors are about identities that `new` has refused, and other properties.
        let properties = own_metadata(self.socket_type, identity.clone(), &[])
            .unwrap_or_else(|_| Metadata::new());
        let claims = Claims {
            socket_type: Some(self.socket_type),
            identity,
            properties,
        };
        Peer::new(None, None, claims, (PeerAddress::InProcess, None))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess")
            .field("socket_type", &self.socket_type)
            .field(
                "identity",
                &format_args!("\"{}\"", self.identity.escape_ascii()),
            )
            .finish_non_exhaustive()
    }
}

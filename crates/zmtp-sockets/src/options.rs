//! Options of sockets.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::time::Duration;
use zmtp_auth::net::{self, Message};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;

/// Messages that may wait for each peer, in each direction: 1,000, as libzmq's `ZMQ_SNDHWM` and
/// `ZMQ_RCVHWM`.
const HIGH_WATER_MARK: usize = 1000;

/// Subscriptions of each peer: 131,072. A program with 100,000 topics has room, and a peer takes at
/// most some 30 MB for them.
const MAX_SUBSCRIPTIONS: usize = 128 * 1024;

/// The length of all subscriptions of each peer: 8 MiB, 64 bytes for each of the most.
const MAX_SUBSCRIPTION_BYTES: usize = 8 * 1024 * 1024;

/// What one subscriber may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) subscriptions: usize,
    pub(crate) bytes: usize,
}

/// Options of one socket. A type of socket uses those that concern it.
///
/// What a peer may cost before and after its handshake belongs to the configuration of an endpoint and not
/// to the socket: [`Limits::handshake_timeout`](zmtp_auth::Limits::handshake_timeout) (`ZMQ_HANDSHAKE_IVL`)
/// and [`Limits::max_message`](zmtp_auth::Limits::max_message) (`ZMQ_MAXMSGSIZE`).
///
/// ```
/// use std::time::Duration;
/// use zmtp_sockets::{Dealer, SocketOptions};
///
/// let options = SocketOptions::default()
///     .with_routing_id("worker-1")
///     .with_linger(Duration::from_secs(5));
/// let dealer = Dealer::with_options(options);
/// # let _ = dealer;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// The routing id that we claim (libzmq's `ZMQ_ROUTING_ID`), at most 255 bytes. REQ, DEALER and
    /// ROUTER send it. Empty by default: the peer then makes one up.
    pub routing_id: Bytes,
    /// What a ROUTER takes as the routing id of a peer. [`RouteBy::Claim`] by default.
    pub route_by: RouteBy,
    /// Whether a dialled peer gets messages only while it is connected (`ZMQ_IMMEDIATE`). If not,
    /// messages for it are queued from the call of `connect` on. No by default.
    pub immediate: bool,
    /// Whether a REQ numbers its requests, and drops replies with another number
    /// (`ZMQ_REQ_CORRELATE`). Every REP returns the number; a program behind a ROUTER must return all
    /// frames before the body. No by default.
    pub correlate: bool,
    /// To how many topics each peer of a PUB or XPUB may subscribe. More are refused, which is an event,
    /// and the peer stays. 131,072, so that 100,000 topics have room and a peer's memory is bounded.
    pub max_subscriptions: usize,
    /// The length of all those topics together, in bytes. 8 MiB, which is 64 bytes for each.
    pub max_subscription_bytes: usize,
    /// Whether an XPUB receives every subscription, and not only the first to a topic
    /// (`ZMQ_XPUB_VERBOSE`). No by default.
    ///
    /// Not for the XPUB of a [`proxy`](crate::proxy): it still receives the end of a topic once, so the XSUB
    /// behind, which counts, would keep for ever what a peer has subscribed to twice.
    pub xpub_verbose: bool,
    /// Whether an XPUB receives every subscription and every end of one (`ZMQ_XPUB_VERBOSER`). No by
    /// default. Not for the XPUB of a proxy either.
    pub xpub_verboser: bool,
    /// Whether the program decides, by [`Xpub::subscribe`](crate::Xpub::subscribe), what a peer of an
    /// XPUB gets (`ZMQ_XPUB_MANUAL`). It receives every subscription and every end of one. No by
    /// default.
    pub xpub_manual: bool,
    /// The first message of an XPUB to each peer (`ZMQ_XPUB_WELCOME_MSG`) that may subscribe to the
    /// beginning of it by the topic permissions of the policy. A SUB receives it if it does. None by
    /// default.
    pub xpub_welcome: Option<Message>,
    /// Options of the connections: queues, heartbeats, keepalive, reconnecting, linger. The marks of
    /// the queues are 1,000 messages by default, and 256 KiB for sending. The bytes that may wait to
    /// be received are [`Limits::read_ahead`](zmtp_auth::Limits::read_ahead), which belongs to the
    /// configuration.
    pub connection: net::Options,
}

/// What a ROUTER takes as the routing id of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RouteBy {
    /// What the peer claims, bound to its user while it is connected. Else five bytes that begin
    /// with 0.
    #[default]
    Claim,
    /// The user id that policy gives the peer. What the peer claims is ignored.
    ///
    /// Such a socket binds and connects only with a security that gives every peer a user id of its
    /// own: the server of PLAIN or CURVE, with a router that decides. Another connection of the same
    /// user takes the id over. Turned away are a user with the same user id from another mechanism or
    /// domain, and a user id that is empty or begins with 0. ZAP refuses a user id of more than 255
    /// bytes.
    UserId,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            routing_id: Bytes::new(),
            route_by: RouteBy::default(),
            immediate: false,
            correlate: false,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_subscription_bytes: MAX_SUBSCRIPTION_BYTES,
            xpub_verbose: false,
            xpub_verboser: false,
            xpub_manual: false,
            xpub_welcome: None,
            connection: net::Options::default()
                .with_send_ahead_messages(HIGH_WATER_MARK)
                .with_read_ahead_messages(HIGH_WATER_MARK),
        }
    }
}

impl SocketOptions {
    /// Sets [`routing_id`](Self::routing_id).
    #[must_use]
    pub fn with_routing_id(mut self, routing_id: impl Into<Bytes>) -> Self {
        self.routing_id = routing_id.into();
        self
    }

    /// Sets [`route_by`](Self::route_by).
    #[must_use]
    pub const fn with_route_by(mut self, route_by: RouteBy) -> Self {
        self.route_by = route_by;
        self
    }

    /// Sets [`immediate`](Self::immediate).
    #[must_use]
    pub const fn with_immediate(mut self, immediate: bool) -> Self {
        self.immediate = immediate;
        self
    }

    /// Sets [`correlate`](Self::correlate).
    #[must_use]
    pub const fn with_correlate(mut self, correlate: bool) -> Self {
        self.correlate = correlate;
        self
    }

    /// Sets [`max_subscriptions`](Self::max_subscriptions).
    #[must_use]
    pub const fn with_max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.max_subscriptions = subscriptions;
        self
    }

    /// Sets [`max_subscription_bytes`](Self::max_subscription_bytes).
    #[must_use]
    pub const fn with_max_subscription_bytes(mut self, bytes: usize) -> Self {
        self.max_subscription_bytes = bytes;
        self
    }

    /// Sets [`xpub_verbose`](Self::xpub_verbose).
    #[must_use]
    pub const fn with_xpub_verbose(mut self, verbose: bool) -> Self {
        self.xpub_verbose = verbose;
        self
    }

    /// Sets [`xpub_verboser`](Self::xpub_verboser).
    #[must_use]
    pub const fn with_xpub_verboser(mut self, verboser: bool) -> Self {
        self.xpub_verboser = verboser;
        self
    }

    /// Sets [`xpub_manual`](Self::xpub_manual).
    #[must_use]
    pub const fn with_xpub_manual(mut self, manual: bool) -> Self {
        self.xpub_manual = manual;
        self
    }

    /// Sets [`xpub_welcome`](Self::xpub_welcome).
    #[must_use]
    pub fn with_xpub_welcome(mut self, welcome: impl Into<Message>) -> Self {
        self.xpub_welcome = Some(welcome.into());
        self
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        Bounds {
            subscriptions: self.max_subscriptions,
            bytes: self.max_subscription_bytes,
        }
    }

    /// Sets the messages that may be queued for each peer (`ZMQ_SNDHWM`).
    #[must_use]
    pub fn with_send_high_water_mark(mut self, messages: usize) -> Self {
        self.connection = self.connection.with_send_ahead_messages(messages);
        self
    }

    /// Sets the messages of each peer that may wait to be received (`ZMQ_RCVHWM`).
    #[must_use]
    pub fn with_receive_high_water_mark(mut self, messages: usize) -> Self {
        self.connection = self.connection.with_read_ahead_messages(messages);
        self
    }

    /// Sets whether only the last message that waits is kept, in each direction of each connection, for
    /// PUSH, PULL, PUB, SUB and DEALER (`ZMQ_CONFLATE`). See [`net::Options::conflate`].
    ///
    /// Sending then never waits while there is a peer, and no peer of a PUB misses the latest message. A
    /// message is replaced whatever its topic.
    #[must_use]
    pub fn with_conflate(mut self, conflate: bool) -> Self {
        self.connection = self.connection.with_conflate(conflate);
        self
    }

    /// Sets whether a REQ, DEALER or ROUTER sends an empty message first on each new connection
    /// (`ZMQ_PROBE_ROUTER`), which tells a ROUTER at the other end our routing id. Sockets of other types
    /// at the other end may receive it as a message. libzmq sends it once for each endpoint that it
    /// connects to. Here a peer that comes back gets it again.
    #[must_use]
    pub fn with_probe_router(mut self, probe_router: bool) -> Self {
        self.connection = self.connection.with_probe_router(probe_router);
        self
    }

    /// Sets the longest delay before the first attempt to connect again (`ZMQ_RECONNECT_IVL`), and after
    /// many failures (`ZMQ_RECONNECT_IVL_MAX`). 100 ms, as in libzmq, and 30 s. The other delays
    /// are in [`net::Options::reconnect`].
    #[must_use]
    pub fn with_reconnect_delays(mut self, first: Duration, longest: Duration) -> Self {
        let reconnect = self.connection.reconnect;
        self.connection.reconnect = reconnect.with_first_delay(first).with_max_delay(longest);
        self
    }

    /// Sets the time to resolve a name, and then again for each address tried (`ZMQ_CONNECT_TIMEOUT`).
    /// 10 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connection = self.connection.with_connect_timeout(timeout);
        self
    }

    /// Sets the PINGs that we send: how often, and for how long a peer may be silent after one
    /// (`ZMQ_HEARTBEAT_IVL`, `ZMQ_HEARTBEAT_TIMEOUT`, `ZMQ_HEARTBEAT_TTL`). None by default.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: impl Into<Option<HeartbeatSettings>>) -> Self {
        self.connection = self.connection.with_heartbeat(heartbeat);
        self
    }

    /// Sets how long queued messages may take to leave after a close or a drop (`ZMQ_LINGER`).
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.connection = self.connection.with_linger(linger);
        self
    }

    /// Sets [`connection`](Self::connection).
    #[must_use]
    pub fn with_connection(mut self, connection: net::Options) -> Self {
        self.connection = connection;
        self
    }
}

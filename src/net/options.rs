//! Options of sockets and queues. The bounds on what a peer may cost are
//! [`Limits`](crate::Limits), which belong to the `Config`.
#![forbid(unsafe_code)]

use crate::traffic::heartbeat::HeartbeatSettings;
use crate::wire::socket_type::SocketType;
use std::time::Duration;

/// TCP keepalive, by which the system detects that the machine of a silent peer is gone. It sends a
/// probe after `idle`, then every `interval`, and closes the connection after `retries` probes
/// without an answer. Heartbeats detect it sooner if the peer answers them. Keepalive works with
/// every peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// Silence before the first probe. 60 s, which is less than the time for which home routers
    /// remember an idle connection; one packet a minute costs nothing.
    pub idle: Duration,
    /// Time between probes. 15 s.
    pub interval: Duration,
    /// Probes without an answer after which the connection is closed. 4, so that a peer that
    /// vanishes holds its connection for two minutes, and a network that fails for one minute loses
    /// none.
    pub retries: u32,
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            retries: 4,
        }
    }
}

impl TcpKeepalive {
    /// Sets [`idle`](Self::idle).
    #[must_use]
    pub const fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`interval`](Self::interval).
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`retries`](Self::retries).
    #[must_use]
    pub const fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// When a reconnecting client tries again.
///
/// Delays double with each failure, from [`first_delay`](Self::first_delay) to
/// [`max_delay`](Self::max_delay). Each is shortened at random by up to a half, so that the clients
/// of a server that comes back do not all arrive at once. After a failure that a retry is unlikely
/// to mend, the delay is [`slow_delay`](Self::slow_delay).
///
/// | failure | what follows |
/// |---|---|
/// | cannot resolve or connect, time-out, closed, refused with 300 | try again after growing delays |
/// | refused with 400, 500 or another reason | [`AfterRefusal`] |
/// | another protocol, mechanism or socket type; protocol violations; our own policy's denial | try again slowly |
/// | a failure on our own side, such as of the random source | stop |
///
/// With [`once`](Self::once) all of them are followed by nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconnectPolicy {
    /// Longest delay after the first failure. 100 ms, as in libzmq.
    pub first_delay: Duration,
    /// Longest delay after many failures. 30 s.
    pub max_delay: Duration,
    /// Longest delay after a failure that a retry is unlikely to mend. 60 s.
    pub slow_delay: Duration,
    /// How long a connection must last to count as a success, after which the delays start over. 5
    /// s.
    pub stable_after: Duration,
    /// What to do when the peer refuses us.
    pub after_refusal: AfterRefusal,
    /// Whether only one attempt is made: neither a failure nor the loss of the connection is followed
    /// by another, as with libzmq's `ZMQ_RECONNECT_IVL` of -1. No by default.
    pub once: bool,
}

/// What to do after an ERROR with status 400, 500, or a reason of the peer's own.
///
/// A wrong server key is not such a refusal: the server cannot read our HELLO and closes, so the
/// client tries again whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AfterRefusal {
    /// Stop under NULL and PLAIN. Try again slowly under CURVE, where an attacker on the path could
    /// forge an ERROR, which is not authenticated, and so stop the client for good.
    #[default]
    ByMechanism,
    /// Stop.
    Stop,
    /// Try again slowly.
    Retry,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            slow_delay: Duration::from_secs(60),
            stable_after: Duration::from_secs(5),
            after_refusal: AfterRefusal::ByMechanism,
            once: false,
        }
    }
}

impl ReconnectPolicy {
    /// Sets [`first_delay`](Self::first_delay).
    #[must_use]
    pub const fn with_first_delay(mut self, first_delay: Duration) -> Self {
        self.first_delay = first_delay;
        self
    }

    /// Sets [`max_delay`](Self::max_delay).
    #[must_use]
    pub const fn with_max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Sets [`slow_delay`](Self::slow_delay).
    #[must_use]
    pub const fn with_slow_delay(mut self, slow_delay: Duration) -> Self {
        self.slow_delay = slow_delay;
        self
    }

    /// Sets [`stable_after`](Self::stable_after).
    #[must_use]
    pub const fn with_stable_after(mut self, stable_after: Duration) -> Self {
        self.stable_after = stable_after;
        self
    }

    /// Sets [`after_refusal`](Self::after_refusal).
    #[must_use]
    pub const fn with_after_refusal(mut self, after_refusal: AfterRefusal) -> Self {
        self.after_refusal = after_refusal;
        self
    }

    /// Sets [`once`](Self::once).
    #[must_use]
    pub const fn with_once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }
}

/// Options of a listener, a connection, or a reconnecting client. Each uses the fields that concern
/// it.
///
/// ```
/// use std::time::Duration;
/// use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
/// use zmtp_auth::net::Options;
///
/// let options = Options::default()
///     .with_heartbeat(HeartbeatSettings::every(Duration::from_secs(10)))
///     .with_linger(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The PINGs that we send; none by default. The peer's PINGs are always answered.
    pub heartbeat: Option<HeartbeatSettings>,
    /// Bytes of queued messages up to which `send` does not wait for the network. One message of
    /// any size is always taken. 256 KiB.
    pub send_ahead: usize,
    /// Queued messages up to which `send` does not wait, whatever their size. Not bounded by default:
    /// a message counts for at least 64 bytes of `send_ahead`.
    pub send_ahead_messages: usize,
    /// Messages that may wait to be received. The connection reads no more from the peer when that
    /// many wait, but processes up to 32 frames that it has read. Not bounded by default: a message
    /// counts for at least 64 bytes of [`Limits::read_ahead`](crate::Limits::read_ahead).
    pub read_ahead_messages: usize,
    /// Whether only the last message that waits is kept, in each direction of each connection (libzmq's
    /// `ZMQ_CONFLATE`). A message then takes the place of the one that waits, so sending does not wait, and
    /// the bounds above matter to subscriptions alone. In libzmq a message must have one frame. Here it
    /// may have several, and is replaced as a whole. Messages that are being encoded or decoded, up
    /// to 256 KiB or one message when sending and [`Limits::read_ahead`](crate::Limits::read_ahead) when
    /// receiving, do not wait and are not replaced. For PUSH, PULL, PUB, SUB and DEALER; other types keep
    /// all messages. No by default.
    pub conflate: bool,
    /// Whether an empty message is the first of each new connection (`ZMQ_PROBE_ROUTER`), so that a
    /// ROUTER at the other end learns our identity before we send something. For REQ, DEALER and ROUTER. No
    /// by default.
    pub probe_router: bool,
    /// How long queued messages may take to leave after a close or a drop, and how long the peer
    /// may then take to close its side. The socket is held until then. 30 s.
    /// [`Connection::close`](crate::net::Connection::close) waits for the peer only for
    /// [`Limits::linger_timeout`](crate::Limits::linger_timeout).
    pub linger: Duration,
    /// Keepalive on accepted and outgoing TCP connections, which detects a peer that vanished
    /// without a close. `None` leaves it to the system, which then sends no probes. On by default.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Time to resolve a name, and then again for each address tried. 10 s.
    pub connect_timeout: Duration,
    /// Mode of an ipc socket's file. Users who may write to the file may connect. 0600, the owner
    /// alone.
    pub ipc_mode: u32,
    /// Connections that the system queues until they are accepted (`listen`'s backlog). 4096, which
    /// is the most that Linux allows by default: when 5,000 clients connect at once, some wait for a
    /// second or more behind 1024. The system lowers a greater value to what it allows.
    pub backlog: u32,
    /// Authenticated peers that may wait for `accept`. When that many wait, the listener accepts no
    /// connections from the system, and only handshakes in progress can add to them. 64.
    pub accept_ahead: usize,
    /// Refusals kept for [`Listener::next_event`](crate::net::Listener::next_event). Beyond that,
    /// the oldest are dropped and counted. 64.
    pub refusals_kept: usize,
    /// When a reconnecting client tries again, and when a client's tunnel dials its far side again.
    pub reconnect: ReconnectPolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: None,
            send_ahead: 256 * 1024,
            send_ahead_messages: usize::MAX,
            read_ahead_messages: usize::MAX,
            conflate: false,
            probe_router: false,
            linger: Duration::from_secs(30),
            tcp_keepalive: Some(TcpKeepalive::default()),
            connect_timeout: Duration::from_secs(10),
            ipc_mode: 0o600,
            backlog: 4096,
            accept_ahead: 64,
            refusals_kept: 64,
            reconnect: ReconnectPolicy::default(),
        }
    }
}

impl Options {
    /// Sets [`heartbeat`](Self::heartbeat).
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: impl Into<Option<HeartbeatSettings>>) -> Self {
        self.heartbeat = heartbeat.into();
        self
    }

    /// Sets [`send_ahead`](Self::send_ahead).
    #[must_use]
    pub const fn with_send_ahead(mut self, send_ahead: usize) -> Self {
        self.send_ahead = send_ahead;
        self
    }

    /// Sets [`send_ahead_messages`](Self::send_ahead_messages).
    #[must_use]
    pub const fn with_send_ahead_messages(mut self, send_ahead_messages: usize) -> Self {
        self.send_ahead_messages = send_ahead_messages;
        self
    }

    /// Sets [`read_ahead_messages`](Self::read_ahead_messages).
    #[must_use]
    pub const fn with_read_ahead_messages(mut self, read_ahead_messages: usize) -> Self {
        self.read_ahead_messages = read_ahead_messages;
        self
    }

    /// Sets [`conflate`](Self::conflate).
    #[must_use]
    pub const fn with_conflate(mut self, conflate: bool) -> Self {
        self.conflate = conflate;
        self
    }

    /// Whether a socket of type `ours` keeps only the last message.
    pub(crate) const fn conflates(&self, ours: SocketType) -> bool {
        use SocketType::{Dealer, Pub, Pull, Push, Sub};
        self.conflate && matches!(ours, Push | Pull | Pub | Sub | Dealer)
    }

    /// Sets [`probe_router`](Self::probe_router).
    #[must_use]
    pub const fn with_probe_router(mut self, probe_router: bool) -> Self {
        self.probe_router = probe_router;
        self
    }

    /// Whether a socket of type `ours` sends an empty message first.
    pub(crate) const fn probes(&self, ours: SocketType) -> bool {
        use SocketType::{Dealer, Req, Router};
        self.probe_router && matches!(ours, Req | Dealer | Router)
    }

    /// Sets [`linger`](Self::linger).
    #[must_use]
    pub const fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets [`tcp_keepalive`](Self::tcp_keepalive).
    #[must_use]
    pub fn with_tcp_keepalive(mut self, tcp_keepalive: impl Into<Option<TcpKeepalive>>) -> Self {
        self.tcp_keepalive = tcp_keepalive.into();
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub const fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets [`ipc_mode`](Self::ipc_mode).
    #[must_use]
    pub const fn with_ipc_mode(mut self, ipc_mode: u32) -> Self {
        self.ipc_mode = ipc_mode;
        self
    }

    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub const fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets [`accept_ahead`](Self::accept_ahead).
    #[must_use]
    pub const fn with_accept_ahead(mut self, accept_ahead: usize) -> Self {
        self.accept_ahead = accept_ahead;
        self
    }

    /// Sets [`refusals_kept`](Self::refusals_kept).
    #[must_use]
    pub const fn with_refusals_kept(mut self, refusals_kept: usize) -> Self {
        self.refusals_kept = refusals_kept;
        self
    }

    /// Sets [`reconnect`](Self::reconnect).
    #[must_use]
    pub fn with_reconnect(mut self, reconnect: ReconnectPolicy) -> Self {
        self.reconnect = reconnect;
        self
    }
}

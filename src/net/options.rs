//! What an application may choose about sockets and queues. Bounds on what a peer may cost are
//! [`Limits`](crate::Limits), and belong to the `Config`.
#![forbid(unsafe_code)]

use crate::traffic::heartbeat::HeartbeatSettings;
use std::time::Duration;

/// How the system finds out that the machine of a silent TCP peer is gone: it asks after `idle`,
/// then every `interval`, and closes the connection after `retries` questions without an answer.
/// Heartbeats find it out sooner, if the peer answers them; this works with every peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// Silence before the first question. 60 s: shorter than what home routers remember an idle
    /// connection for, and one packet a minute costs nothing.
    pub idle: Duration,
    /// Time between questions. 15 s.
    pub interval: Duration,
    /// Questions without an answer after which the peer is gone. 4, so that a peer that vanishes
    /// holds its connection for two minutes, and a network that fails for one minute loses none.
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

/// When a reconnecting client tries again.
///
/// Delays double from [`first_delay`](Self::first_delay) to [`max_delay`](Self::max_delay) with
/// each failure, and each is shortened at random by up to a half, so that the clients of a
/// server that comes back do not all arrive at once. What no retry is likely to mend waits
/// [`slow_delay`](Self::slow_delay).
///
/// | failure | what follows |
/// |---|---|
/// | cannot resolve or connect, time-out, closed, refused with 300 | try again, ever slower |
/// | refused with 400, 500 or another reason | [`AfterRefusal`] |
/// | another protocol, mechanism or socket type; protocol violations; our own policy's denial | try again slowly |
/// | a failure on our own side, such as of the random source | stop |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconnectPolicy {
    /// Longest delay after the first failure. 100 ms, as in libzmq.
    pub first_delay: Duration,
    /// Longest delay after many. 30 s.
    pub max_delay: Duration,
    /// Longest delay after a failure that no retry is likely to mend. 60 s.
    pub slow_delay: Duration,
    /// A connection that lasted so long has worked: the delays start over. 5 s.
    pub stable_after: Duration,
    /// What to do when the peer refuses us.
    pub after_refusal: AfterRefusal,
}

/// What to do after an ERROR with 400, 500, or a reason of the peer's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AfterRefusal {
    /// Stop under NULL and PLAIN. Try again slowly under CURVE: ERROR is not authenticated, so an
    /// attacker on the path could forge one and silence the client for good.
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
        }
    }
}

/// Choices for a listener, a connection, or a reconnecting client; each uses what concerns it.
///
/// ```
/// use std::time::Duration;
/// use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
/// use zmtp_auth::net::Options;
///
/// let mut options = Options::default();
/// options.heartbeat = Some(HeartbeatSettings::every(Duration::from_secs(10)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Our own PINGs; none by default. The peer's are always answered.
    pub heartbeat: Option<HeartbeatSettings>,
    /// Bytes of messages that `send` may run ahead of the network, or one message: 256 KiB.
    pub send_ahead: usize,
    /// Time that queued messages have to leave after a close or a drop, and that the peer has to
    /// close its side then. 30 s.
    pub linger: Duration,
    /// How a TCP peer is found to be gone that neither closes nor answers, on connections that
    /// were accepted and on those that were made; `None` leaves it to the system, which never
    /// asks. On by default.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Time to resolve a name, and then again for each address tried. 10 s.
    pub connect_timeout: Duration,
    /// Mode of an ipc socket's file: who may write to it may connect. 0600, the owner alone.
    pub ipc_mode: u32,
    /// Connections that the system keeps for us until we look. 1024.
    pub backlog: i32,
    /// Authenticated peers that may wait for `accept`. When that many wait, no new connections are
    /// taken from the system, and only handshakes in progress can still add to them. 64.
    pub accept_ahead: usize,
    /// Refusals kept for [`Listener::next_event`](crate::net::Listener::next_event). If there are
    /// more, the oldest are dropped and counted. 64.
    pub refusals_kept: usize,
    /// When a reconnecting client tries again, and the far side of a client's tunnel is asked again.
    pub reconnect: ReconnectPolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: None,
            send_ahead: 256 * 1024,
            linger: Duration::from_secs(30),
            tcp_keepalive: Some(TcpKeepalive::default()),
            connect_timeout: Duration::from_secs(10),
            ipc_mode: 0o600,
            backlog: 1024,
            accept_ahead: 64,
            refusals_kept: 64,
            reconnect: ReconnectPolicy::default(),
        }
    }
}

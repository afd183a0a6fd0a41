//! Options of sockets and queues. The bounds on what a peer may cost are
//! [`Limits`](crate::Limits), which belong to the `Config`.
#![forbid(unsafe_code)]

use crate::traffic::heartbeat::HeartbeatSettings;
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
}

/// What to do after an ERROR with status 400, 500, or a reason of the peer's own.
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
        }
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
/// let mut options = Options::default();
/// options.heartbeat = Some(HeartbeatSettings::every(Duration::from_secs(10)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The PINGs that we send; none by default. The peer's PINGs are always answered.
    pub heartbeat: Option<HeartbeatSettings>,
    /// Bytes of queued messages up to which `send` does not wait for the network. One message of
    /// any size is always taken. 256 KiB.
    pub send_ahead: usize,
    /// How long queued messages may take to leave after a close or a drop, and how long the peer
    /// may then take to close its side. 30 s.
    pub linger: Duration,
    /// Keepalive on accepted and outgoing TCP connections, which detects a peer that vanished
    /// without a close. `None` leaves it to the system, which then sends no probes. On by default.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Time to resolve a name, and then again for each address tried. 10 s.
    pub connect_timeout: Duration,
    /// Mode of an ipc socket's file. Users who may write to the file may connect. 0600, the owner
    /// alone.
    pub ipc_mode: u32,
    /// Connections that the system queues until they are accepted (`listen`'s backlog). 1024.
    pub backlog: i32,
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

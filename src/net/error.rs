//! What can go wrong with a listener, a connection or a tunnel.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::net::endpoint::{Endpoint, EndpointError};
use crate::traffic::heartbeat::HeartbeatExpired;
use crate::wire::socket_type::SocketType;
use std::io;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why a listener, connection or tunnel could not be made, or has ended.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum NetError {
    /// The text is no endpoint, or not one that can be used like this.
    #[error("bad endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: Arc<io::Error>,
    },
    /// A call of the operating system failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// The operation that failed, such as `connect`.
        doing: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The handshake failed. The error says why, and whose fault it is.
    #[error("handshake failed: {0}")]
    Handshake(Error),
    /// An established connection failed because the peer broke the protocol or exceeded a limit.
    #[error("connection failed: {0}")]
    Traffic(Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Policy revoked the admission of the peer, so we closed the connection.
    #[error("the peer's admission was revoked")]
    Revoked,
    /// The peer was silent for longer than the heartbeat allows.
    #[error("heartbeat time-out: {}", match .0 {
        HeartbeatExpired::NoAnswer => "the peer did not answer a PING",
        HeartbeatExpired::TtlExpired => "the peer was silent for longer than it had announced",
    })]
    Heartbeat(HeartbeatExpired),
    /// Messages were still unsent when [`Options::linger`](crate::net::Options::linger) ended.
    #[error("closed before everything was sent")]
    Unsent,
    /// The type of socket only receives, such as PULL.
    #[error("a {0} socket does not send messages")]
    CannotSend(SocketType),
    /// The message lacks its empty delimiter frame. The message of a REQ begins with one, and that
    /// of a REP has one before its body (RFC 28). The peer would drop the message, and both sides
    /// would wait for ever.
    #[error("a message of a {0} socket needs an empty delimiter frame before its body")]
    Delimiter(SocketType),
    /// The type of socket does not subscribe. Only SUB and XSUB do.
    #[error("a {0} socket does not subscribe")]
    CannotSubscribe(SocketType),
    /// The tunnel's configuration is wrong or not safe.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The runtime that drove the listener or connection is gone.
    #[error("the runtime was shut down")]
    Aborted,
}

/// Why a tunnel is refused.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TunnelError {
    /// The configuration is of another socket type than RELAY.
    #[error("a tunnel's configuration is of type RELAY, not {0}")]
    SocketType(SocketType),
    /// A server's tunnel has the configuration of a client, or of NULL.
    #[error("the network side of a server's tunnel is a PLAIN or CURVE server")]
    NotAServer,
    /// A client's tunnel has the configuration of a server, or of NULL.
    #[error("the network side of a client's tunnel is a PLAIN or CURVE client")]
    NotAClient,
    /// A server's tunnel has a configuration that accepts any peer. To admit every peer, bind a
    /// handler that does.
    #[error("a server's tunnel needs a configuration that authorizes peers, and its router")]
    NotAuthorizing,
    /// The clear side is neither loopback nor ipc, and
    /// [`TunnelOptions::allow_cleartext`](crate::net::TunnelOptions::allow_cleartext) is not set.
    #[error("the clear side, {0}, is neither loopback nor ipc")]
    Cleartext(Endpoint),
    /// The program at the ipc endpoint that the tunnel forwards to belongs to another user than
    /// expected.
    #[error("{endpoint} belongs to a program of user {uid}, which `forward_uid` does not allow")]
    ForeignUser {
        /// The endpoint of the program.
        endpoint: Endpoint,
        /// The id of the user that the program belongs to.
        uid: u32,
    },
}

impl NetError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            source: Arc::new(source),
        }
    }

    /// The protocol error within, if there is one.
    #[must_use]
    pub const fn protocol(&self) -> Option<&Error> {
        match self {
            Self::Handshake(error) | Self::Traffic(error) => Some(error),
            _ => None,
        }
    }
}

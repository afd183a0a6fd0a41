//! What can go wrong with a listener, a connection or a tunnel.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::net::endpoint::{Endpoint, EndpointError};
use crate::traffic::heartbeat::HeartbeatExpired;
use crate::wire::socket_type::SocketType;
use std::io;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why there is no connection, or no more of it.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum NetError {
    /// The text is no endpoint, or not one for this purpose.
    #[error("bad endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        source: Arc<io::Error>,
    },
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What we were about to do, such as `connect`.
        doing: &'static str,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The handshake failed: the error says why, and by whose fault.
    #[error("handshake failed: {0}")]
    Handshake(Error),
    /// An established connection failed: the peer broke the protocol or a limit.
    #[error("connection failed: {0}")]
    Traffic(Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Policy withdrew what had admitted the peer, so we closed.
    #[error("the peer's admission was revoked")]
    Revoked,
    /// The peer was silent for too long.
    #[error("heartbeat time-out: {}", match .0 {
        HeartbeatExpired::NoAnswer => "the peer did not answer a PING",
        HeartbeatExpired::TtlExpired => "the peer was silent for longer than it had announced",
    })]
    Heartbeat(HeartbeatExpired),
    /// Messages were still unsent at the end of [`Options::linger`](crate::net::Options::linger).
    #[error("closed before everything was sent")]
    Unsent,
    /// A PULL, for instance, only receives.
    #[error("a {0} socket does not send messages")]
    CannotSend(SocketType),
    /// A REQ's message begins with an empty delimiter frame, a REP's has one before its body
    /// (RFC 28). The peer would drop it, and both would wait for ever.
    #[error("a message of a {0} socket needs an empty delimiter frame before its body")]
    Delimiter(SocketType),
    /// Only SUB and XSUB subscribe.
    #[error("a {0} socket does not subscribe")]
    CannotSubscribe(SocketType),
    /// What was asked for is no tunnel, or not a safe one.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The runtime that drove the listener or the connection is gone.
    #[error("the runtime was shut down")]
    Aborted,
}

/// Why there is no such tunnel.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TunnelError {
    /// The configuration names a type of socket; a tunnel is of type RELAY.
    #[error("a tunnel's configuration is of type RELAY, not {0}")]
    SocketType(SocketType),
    /// A server's tunnel with the configuration of a client, or of NULL.
    #[error("the network side of a server's tunnel is a PLAIN or CURVE server")]
    NotAServer,
    /// A client's tunnel with the configuration of a server, or of NULL.
    #[error("the network side of a client's tunnel is a PLAIN or CURVE client")]
    NotAClient,
    /// A server's tunnel whose configuration accepts any peer. To admit every peer, bind a handler
    /// that does.
    #[error("a server's tunnel needs a configuration that authorizes peers, and its router")]
    NotAuthorizing,
    /// The side in clear is neither loopback nor ipc, and that was not allowed.
    #[error("the clear side, {0}, is neither loopback nor ipc")]
    Cleartext(Endpoint),
    /// Another user than expected listens at the ipc endpoint that the tunnel forwards to.
    #[error("{endpoint} belongs to a program of user {uid}, which `forward_uid` does not allow")]
    ForeignUser {
        /// Where the program was to listen.
        endpoint: Endpoint,
        /// The user who listens there.
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

    /// The protocol's view of what happened, if it has one.
    #[must_use]
    pub const fn protocol(&self) -> Option<&Error> {
        match self {
            Self::Handshake(error) | Self::Traffic(error) => Some(error),
            _ => None,
        }
    }
}

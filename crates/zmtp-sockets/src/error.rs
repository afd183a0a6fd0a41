//! Errors of sockets.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;
use thiserror::Error as ThisError;
use zmtp_auth::net::{Endpoint, EndpointError, Message, NetError};
use zmtp_auth::{ConfigError, SocketType};

/// An endpoint could not be bound, connected or given up.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum AttachError {
    /// The text is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The system refuses, or the endpoint cannot be used so.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The configuration was made for another type of socket. Make it with
    /// [`Config::untyped_builder`](zmtp_auth::Config::untyped_builder).
    #[error("the configuration is for a {configured} socket, and this is a {socket}")]
    SocketType {
        /// The type of the configuration.
        configured: SocketType,
        /// The type of this socket.
        socket: SocketType,
    },
    /// The routing id cannot be claimed.
    #[error("the routing id cannot be claimed")]
    RoutingId(#[source] ConfigError),
    /// The socket routes by user id ([`RouteBy::UserId`](crate::RouteBy::UserId)), and this security
    /// may admit a peer without a user id of its own: it is not the server of PLAIN or CURVE, or it
    /// admits any peer. Or the endpoint is inproc, whose peers have none.
    #[error("the socket routes by user id, and its peers may have none of their own here")]
    NoUserId,
    /// The name of an inproc endpoint is empty or too long.
    #[error("an inproc name has 1 to 256 bytes, and this one {0}")]
    InprocName(usize),
    /// Another socket is bound to the inproc endpoint.
    #[error("a socket is bound to {0} already")]
    NameInUse(Endpoint),
    /// The socket is neither bound nor connected to this endpoint.
    #[error("the socket has no endpoint {0}")]
    NoSuchEndpoint(Endpoint),
}

/// A request was not answered.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection to the peer that was asked has ended. The peer may or may not have acted on the
    /// request.
    #[error("the connection to the peer that was asked has ended")]
    PeerLost(#[source] NetError),
    /// The peer that was asked has replied, and the policy does not permit it to publish the topic of its
    /// reply: the first frame. The reply was dropped.
    #[error("the peer that was asked may not publish the topic of its reply")]
    NotPermitted,
}

/// A message was not sent. It is given back.
#[derive(Clone, ThisError)]
#[error("the message was not sent")]
#[non_exhaustive]
pub struct SendError {
    /// The message.
    pub message: Message,
    /// Why it was not sent.
    #[source]
    pub reason: SendReason,
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum SendReason {
    /// No peer has room now, or there are no peers.
    #[error("there is no peer, or none has room for the message")]
    Full,
    /// There is no peer with this routing id.
    #[error("there is no peer with the routing id \"{}\"", .0.escape_ascii())]
    NoRoute(Bytes),
}

/// Shows the length of the message and not its contents.
impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("message", &format_args!("{} bytes", self.message.size()))
            .field("reason", &self.reason)
            .finish()
    }
}

impl SendError {
    pub(crate) const fn full(message: Message) -> Self {
        let reason = SendReason::Full;
        Self { message, reason }
    }
}

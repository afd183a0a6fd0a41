//! What can go wrong with a listener, a connection or a tunnel.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::fault::LikelyCause;
use crate::host::failed::io_kind;
use crate::net::endpoint::{Endpoint, EndpointError};
use crate::traffic::heartbeat::HeartbeatExpired;
use crate::wire::socket_type::SocketType;
use std::io;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why a listener, connection or tunnel could not be made, or has ended.
///
/// Converts into an [`io::Error`] whose kind fits the failure and from which
/// [`get_ref`](io::Error::get_ref) returns this error.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum NetError {
    /// The text is no endpoint, or not one that can be used like this.
    #[error("bad endpoint")]
    Endpoint(#[from] EndpointError),
    /// The host name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: Arc<io::Error>,
    },
    /// The system does not let us bind the endpoint.
    #[error("cannot bind {}", .endpoint.to_string().escape_debug())]
    Bind {
        /// The endpoint.
        endpoint: Endpoint,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A call of the operating system failed.
    #[error("cannot {doing}")]
    Io {
        /// The operation that failed, such as `connect`.
        doing: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The handshake failed. The error says why, and whose fault it is.
    #[error("handshake failed")]
    Handshake(#[source] Error),
    /// An established connection failed: the peer broke the protocol or exceeded a limit, or our own
    /// side cannot continue. [`Error::fault`] tells which.
    #[error("connection failed")]
    Traffic(#[source] Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Policy revoked the admission of the peer, so we closed the connection.
    #[error("the peer's admission was revoked")]
    Revoked,
    /// The peer was silent for longer than the heartbeat allows.
    #[error("heartbeat time-out")]
    Heartbeat(#[source] HeartbeatExpired),
    /// Messages were still unsent when [`Options::linger`](crate::net::Options::linger) ended.
    #[error("closed before everything was sent")]
    Unsent,
    /// The configuration does not say the type of the socket, which a listener or a connection needs
    /// before its first handshake.
    #[error("the configuration does not say the type of the socket: make it with Config::builder")]
    SocketTypeMissing,
    /// The type of socket only receives, such as PULL.
    #[error("a {0} socket does not send messages")]
    CannotSend(SocketType),
    /// The message lacks its empty delimiter frame. The message of a REQ begins with one, and that
    /// of a REP has one before its body (RFC 28). The peer would drop the message, and both sides
    /// would wait for ever.
    #[error("a message of a {0} socket needs an empty delimiter frame before its body")]
    Delimiter(SocketType),
    /// We have closed the connection or its sending half, with
    /// [`SendHalf::poll_close`](crate::net::SendHalf::poll_close) for example.
    #[error("our side of the connection is closed already")]
    SendClosed,
    /// Another connection sends from the queue of the
    /// [`Connector`](crate::net::Connector::with_queue). It is free once that connection has ended.
    #[error("another connection sends from this queue")]
    QueueInUse,
    /// Messages of too many lost connections of a [`Reconnecting`](crate::net::Reconnecting) wait to
    /// be received. It makes another connection after [`recv`](crate::net::Reconnecting::recv).
    #[error("messages of lost connections wait to be received")]
    NotReceived,
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
    #[error("a tunnel's configuration is of type RELAY, not {}", .0.map_or("untyped", SocketType::name))]
    SocketType(Option<SocketType>),
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
    #[error(
        "the clear side, {0}, is neither loopback nor ipc, and TunnelOptions::allow_cleartext is not set"
    )]
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
    pub(crate) fn bind(endpoint: &Endpoint) -> impl FnOnce(io::Error) -> Self {
        let endpoint = endpoint.clone();
        |source| Self::Bind {
            endpoint,
            source: Arc::new(source),
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            source: Arc::new(source),
        }
    }

    /// The probable cause of this error: [`Error::likely_cause`] of [`protocol`](Self::protocol).
    #[must_use]
    pub fn likely_cause(&self) -> Option<LikelyCause> {
        self.protocol()?.likely_cause()
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

impl From<NetError> for io::Error {
    fn from(error: NetError) -> Self {
        Self::new(error.io_kind(), error)
    }
}

impl NetError {
    fn io_kind(&self) -> io::ErrorKind {
        use io::ErrorKind;
        match self {
            Self::Resolve { source, .. } | Self::Bind { source, .. } | Self::Io { source, .. } => {
                source.kind()
            }
            Self::Handshake(error) | Self::Traffic(error) => io_kind(error),
            Self::Closed => ErrorKind::ConnectionAborted,
            Self::SendClosed => ErrorKind::BrokenPipe,
            Self::Revoked | Self::Tunnel(TunnelError::ForeignUser { .. }) => {
                ErrorKind::PermissionDenied
            }
            Self::Heartbeat(_) | Self::Unsent => ErrorKind::TimedOut,
            Self::Endpoint(_)
            | Self::SocketTypeMissing
            | Self::CannotSend(_)
            | Self::Delimiter(_)
            | Self::CannotSubscribe(_)
            | Self::Tunnel(_) => ErrorKind::InvalidInput,
            Self::NotReceived => ErrorKind::WouldBlock,
            Self::QueueInUse => ErrorKind::ResourceBusy,
            Self::Aborted => ErrorKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CryptoError, LimitExceeded, LocalError, Stage};
    use crate::status::{DenialStatus, Denied, PeerRefusal};
    use crate::with_causes::WithCauses;
    use std::error::Error as _;

    #[test]
    fn an_io_error_has_the_fitting_kind_and_keeps_the_cause() {
        use io::ErrorKind as Kind;
        let refused = || Arc::new(io::Error::from(Kind::ConnectionRefused));
        let denied = Denied {
            status: DenialStatus::Failure,
            reason: String::new(),
            by: None,
        };
        let refusal = PeerRefusal {
            status: None,
            reason: String::new(),
        };
        let foreign = TunnelError::ForeignUser {
            endpoint: Endpoint::IpcPath("x".into()),
            uid: 7,
        };
        let handshake = NetError::Handshake;
        for (error, kind) in [
            (EndpointError::Inproc.into(), Kind::InvalidInput),
            (
                NetError::io("connect")(Kind::ConnectionRefused.into()),
                Kind::ConnectionRefused,
            ),
            (
                NetError::bind(&Endpoint::IpcPath("x".into()))(Kind::AddrInUse.into()),
                Kind::AddrInUse,
            ),
            (
                NetError::Resolve {
                    host: "x".into(),
                    source: refused(),
                },
                Kind::ConnectionRefused,
            ),
            (handshake(Error::Denied(denied)), Kind::PermissionDenied),
            (
                handshake(Error::RefusedByPeer(refusal)),
                Kind::PermissionDenied,
            ),
            (
                handshake(Error::ClosedByPeer(Stage::Greeting)),
                Kind::UnexpectedEof,
            ),
            (handshake(Error::Timeout(Stage::Greeting)), Kind::TimedOut),
            (handshake(LocalError::Random.into()), Kind::Other),
            (
                NetError::Traffic(CryptoError::ReplayedNonce.into()),
                Kind::InvalidData,
            ),
            (
                NetError::Traffic(LimitExceeded::Evicted.into()),
                Kind::InvalidData,
            ),
            (NetError::Closed, Kind::ConnectionAborted),
            (NetError::SendClosed, Kind::BrokenPipe),
            (NetError::Revoked, Kind::PermissionDenied),
            (
                NetError::Heartbeat(HeartbeatExpired::NoAnswer),
                Kind::TimedOut,
            ),
            (NetError::Unsent, Kind::TimedOut),
            (NetError::NotReceived, Kind::WouldBlock),
            (NetError::QueueInUse, Kind::ResourceBusy),
            (NetError::CannotSend(SocketType::Pull), Kind::InvalidInput),
            (NetError::Delimiter(SocketType::Req), Kind::InvalidInput),
            (
                NetError::CannotSubscribe(SocketType::Pub),
                Kind::InvalidInput,
            ),
            (TunnelError::NotAServer.into(), Kind::InvalidInput),
            (foreign.into(), Kind::PermissionDenied),
            (NetError::Aborted, Kind::Other),
        ] {
            let (text, cause) = (error.to_string(), error.source().map(ToString::to_string));
            let io = io::Error::from(error);
            assert_eq!(io.kind(), kind, "{text}");
            let kept = io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<NetError>());
            assert_eq!(kept.map(ToString::to_string), Some(text));
            assert_eq!(io.source().map(ToString::to_string), cause);
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_bound_is_named_printably() {
        for (endpoint, shown) in [
            (
                Endpoint::IpcPath("/run/a\u{1b}[m".into()),
                "ipc:///run/a\\u{1b}[m",
            ),
            ("tcp://*:80".parse().unwrap(), "tcp://*:80"),
        ] {
            let error = NetError::bind(&endpoint)(io::ErrorKind::AddrInUse.into());
            let shown = format!("cannot bind {shown}: address in use");
            assert_eq!(WithCauses(&error).to_string(), shown);
        }
    }

    #[test]
    fn no_cause_is_shown_twice() {
        let cause = io::Error::from(io::ErrorKind::ConnectionRefused);
        let text = cause.to_string();
        let error = NetError::io("connect")(cause);
        assert_eq!(
            WithCauses(&error).to_string(),
            format!("cannot connect: {text}")
        );
        let error = NetError::from(EndpointError::Inproc);
        let shown = WithCauses(&error).to_string();
        assert_eq!(shown, format!("bad endpoint: {}", EndpointError::Inproc));
    }
}

//! What may be chosen about a tunnel, and what may not.
#![forbid(unsafe_code)]

use crate::access::address::{IpcPeer, PeerAddress};
use crate::access::credentials::MechanismKind;
use crate::net::endpoint::Endpoint;
use crate::net::error::{NetError, TunnelError};
use crate::net::options::Options;
use crate::net::socket::stream::own_uid;
use crate::relay::handoff::IdentityRule;
use crate::security::Security;
use crate::traffic::heartbeat::{Expiry, HeartbeatSettings};
use crate::wire::socket_type::SocketType;
use std::time::Duration;

/// How often a tunnel asks across the network whether its peer lives, if nothing else is said.
/// A dead peer is found within a minute, and a PING costs less than a byte a second.
const HEARTBEAT: HeartbeatSettings = HeartbeatSettings {
    interval: Duration::from_secs(20),
    timeout: Duration::from_secs(40),
    ttl: Duration::ZERO,
    expiry: Expiry::OnceAnswered,
};

/// The user who can read everything in any case.
const ROOT: u32 = 0;

/// Choices for a [`Tunnel`](crate::net::Tunnel).
///
/// ```
/// use zmtp_auth::net::TunnelOptions;
/// use zmtp_auth::relay::IdentityRule;
///
/// let mut options = TunnelOptions::default();
/// options.identity = IdentityRule::UserId;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelOptions {
    /// The sockets. `linger` is how long a connection whose other side is closed may stand still
    /// before it is closed too. `reconnect` is for the far side of a client's tunnel. What concerns
    /// queues is not used.
    ///
    /// Heartbeats are sent across the network alone. A program's PINGs are answered by the tunnel,
    /// which must find out by itself that the far side is dead, so it sends some by default, unlike
    /// a [`Connection`](crate::net::Connection): every 20 s, with 40 s for the answer, and
    /// [`Expiry::OnceAnswered`]. `None` sends none.
    pub sockets: Options,
    /// What a server's tunnel does with the identities that its peers claim.
    pub identity: IdentityRule,
    /// Lets the clear side leave this machine. Every machine on the way can then read and change
    /// everything, and every peer that reaches the clear side speaks with the tunnel's rights.
    pub allow_cleartext: bool,
    /// The user, by id, whose program a server's tunnel may forward to over ipc. Without it that is
    /// our own user or root. Another user who has bound the path, or the abstract name, would read
    /// and answer in clear what was sent to the program.
    pub forward_uid: Option<u32>,
}

impl Default for TunnelOptions {
    fn default() -> Self {
        Self {
            sockets: Options {
                heartbeat: Some(HEARTBEAT),
                ..Options::default()
            },
            identity: IdentityRule::default(),
            allow_cleartext: false,
            forward_uid: None,
        }
    }
}

impl TunnelOptions {
    /// Demands that what crosses `endpoint` in clear stays on this machine, as far as its text
    /// tells.
    pub(crate) fn require_local(&self, endpoint: &Endpoint) -> Result<(), TunnelError> {
        if self.allow_cleartext || endpoint.is_local() {
            return Ok(());
        }
        Err(TunnelError::Cleartext(endpoint.clone()))
    }

    /// Demands that the program reached at `endpoint` in clear is one that may be: on this machine,
    /// since a name may have been resolved to anything, and over ipc of the right user.
    pub(crate) fn require_trusted(
        &self,
        endpoint: &Endpoint,
        peer: &PeerAddress,
    ) -> Result<(), NetError> {
        if !peer.is_local() && !self.allow_cleartext {
            return Err(TunnelError::Cleartext(endpoint.clone()).into());
        }
        let PeerAddress::Ipc(IpcPeer { uid, .. }) = *peer else {
            return Ok(());
        };
        let is_trusted = match self.forward_uid {
            Some(expected) => uid == expected,
            None => uid == ROOT || uid == own_uid().map_err(NetError::io("connect"))?,
        };
        if is_trusted {
            return Ok(());
        }
        let endpoint = endpoint.clone();
        Err(TunnelError::ForeignUser { endpoint, uid }.into())
    }
}

/// Demands a configuration for the network side of a server's tunnel.
pub(crate) fn require_server(security: &Security) -> Result<(), TunnelError> {
    require_relay(security)?;
    if !security.is_server() {
        return Err(TunnelError::NotAServer);
    }
    if !security.asks_router() {
        return Err(TunnelError::NotAuthorizing);
    }
    Ok(())
}

/// Demands a configuration for the network side of a client's tunnel.
pub(crate) fn require_client(security: &Security) -> Result<(), TunnelError> {
    require_relay(security)?;
    if security.is_server() || security.mechanism() == MechanismKind::Null {
        return Err(TunnelError::NotAClient);
    }
    Ok(())
}

fn require_relay(security: &Security) -> Result<(), TunnelError> {
    match security.socket_type() {
        SocketType::Relay => Ok(()),
        other => Err(TunnelError::SocketType(other)),
    }
}

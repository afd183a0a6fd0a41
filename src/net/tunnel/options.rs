//! The options of a tunnel, and the checks of what a tunnel may do.
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

/// The default heartbeat of a tunnel on the network side. It finds a dead peer within a minute, and
/// a PING every 20 s costs less than a byte a second.
const HEARTBEAT: HeartbeatSettings = HeartbeatSettings {
    interval: Duration::from_secs(20),
    timeout: Duration::from_secs(40),
    ttl: Duration::ZERO,
    expiry: Expiry::OnceAnswered,
};

/// The user id of root, who can read everything in any case.
const ROOT: u32 = 0;

/// Options of a [`Tunnel`](crate::net::Tunnel).
///
/// ```
/// use zmtp_auth::net::TunnelOptions;
/// use zmtp_auth::relay::IdentityRule;
///
/// let options = TunnelOptions::default().with_identity(IdentityRule::UserId);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelOptions {
    /// Options of the sockets. `linger` is how long a connection may make no progress after its
    /// other side has closed, before it is closed too. `reconnect` is for the far side of a
    /// client's tunnel. The fields about queues are not used.
    ///
    /// Heartbeats are sent on the network side only. The tunnel answers the PINGs of a program, so
    /// it must detect by itself that the far side is dead. Unlike a
    /// [`Connection`](crate::net::Connection) it therefore sends PINGs by default: every 20 s, with
    /// 40 s for the answer, and [`Expiry::OnceAnswered`]. `None` sends none.
    pub sockets: Options,
    /// What a server's tunnel does with the identities that its peers claim.
    pub identity: IdentityRule,
    /// Allows a clear side that is not on this machine. Every machine on the way can then read and
    /// change everything, and every peer that reaches the clear side acts with the tunnel's rights.
    pub allow_cleartext: bool,
    /// The id of the user whose program a server's tunnel may forward to over ipc. `None` stands
    /// for our own user or root. Another user who had bound the path or the abstract name could
    /// read and answer in clear what peers send to the program.
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
    /// Sets [`sockets`](Self::sockets).
    #[must_use]
    pub fn with_sockets(mut self, sockets: Options) -> Self {
        self.sockets = sockets;
        self
    }

    /// Sets [`identity`](Self::identity).
    #[must_use]
    pub const fn with_identity(mut self, identity: IdentityRule) -> Self {
        self.identity = identity;
        self
    }

    /// Sets [`allow_cleartext`](Self::allow_cleartext).
    #[must_use]
    pub const fn with_allow_cleartext(mut self, allow_cleartext: bool) -> Self {
        self.allow_cleartext = allow_cleartext;
        self
    }

    /// Sets [`forward_uid`](Self::forward_uid).
    #[must_use]
    pub fn with_forward_uid(mut self, forward_uid: impl Into<Option<u32>>) -> Self {
        self.forward_uid = forward_uid.into();
        self
    }

    /// Checks that what crosses `endpoint` in clear stays on this machine, judged by the text of
    /// the endpoint.
    pub(crate) fn require_local(&self, endpoint: &Endpoint) -> Result<(), TunnelError> {
        if self.allow_cleartext || endpoint.is_local() {
            return Ok(());
        }
        Err(TunnelError::Cleartext(endpoint.clone()))
    }

    /// Checks the program that was reached at `endpoint` in clear. It must be on this machine,
    /// because a name can resolve to any address, and over ipc it must belong to the right user.
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

/// Checks the configuration of the network side of a server's tunnel.
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

/// Checks the configuration of the network side of a client's tunnel.
pub(crate) fn require_client(security: &Security) -> Result<(), TunnelError> {
    require_relay(security)?;
    if security.is_server() || security.mechanism() == MechanismKind::Null {
        return Err(TunnelError::NotAClient);
    }
    Ok(())
}

fn require_relay(security: &Security) -> Result<(), TunnelError> {
    match security.socket_type() {
        Some(SocketType::Relay) => Ok(()),
        other => Err(TunnelError::SocketType(other)),
    }
}

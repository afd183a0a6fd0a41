//! What every state of a handshake carries: the configuration, the peer's origin, and our metadata.
#![forbid(unsafe_code)]

use crate::access::address::{IpcPeer, PeerAddress};
use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use crate::access::request::AccessRequest;
use crate::config::config_error::ConfigError;
use crate::config::own_metadata::own_metadata;
use crate::config::settings::Settings;
use crate::crypto::keys::PublicKey;
use crate::crypto::random::RandomSource;
use crate::error::{Error, Incompatible, LimitExceeded, LocalError};
use crate::printable::printable;
use crate::wire::metadata::{MAX_IDENTITY_LEN, Metadata, MetadataError, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// What the host knows about one connection before the handshake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerContext {
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port, for logs and audits. ZAP addresses have no port (RFC 27).
    pub port: Option<u16>,
    /// Metadata to send instead of the configured metadata. A relay that knows it at the start does
    /// not pause for it later.
    pub local_metadata: Option<Metadata>,
    /// Our type of socket and identity on this connection, if they are not the configuration's.
    pub(crate) socket: Option<(SocketType, Bytes)>,
    /// Where a CURVE server records the key that the peer has proven to hold, so that a refusal
    /// names the key.
    pub(crate) proven_key: Option<Arc<OnceLock<PublicKey>>>,
    /// Whether a relay with NULL pauses for its metadata before the peer has sent its own. Otherwise
    /// two relays that wait for each other's READY would wait for ever.
    pub(crate) sends_first: bool,
}

impl PeerContext {
    /// A connection with the configuration's own metadata.
    #[must_use]
    pub const fn new(address: PeerAddress) -> Self {
        Self {
            address,
            port: None,
            local_metadata: None,
            socket: None,
            proven_key: None,
            sends_first: false,
        }
    }

    /// Our type of socket, if the connection says it.
    pub(crate) fn socket_type(&self) -> Option<SocketType> {
        self.socket.as_ref().map(|(socket_type, _)| *socket_type)
    }

    /// Says which of our sockets the connection belongs to: its type, and its identity (routing id),
    /// which may be empty. Both replace those of the configuration. The properties of the configuration
    /// are sent as well. As with libzmq, only REQ, DEALER and ROUTER send an identity, and it is ignored
    /// for other types.
    ///
    /// # Errors
    /// Returns [`ConfigError::IdentityTooLong`] for more than 255 bytes, and
    /// [`ConfigError::RelayMetadata`] for [`SocketType::Relay`], which has no metadata of its own.
    pub fn for_socket(
        mut self,
        socket_type: SocketType,
        identity: impl Into<Bytes>,
    ) -> Result<Self, ConfigError> {
        self.socket = Some(checked_socket(socket_type, identity.into())?);
        Ok(self)
    }

    /// Sets the peer's TCP port.
    #[must_use]
    pub const fn with_port(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// Replaces the configured metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.local_metadata = Some(metadata);
        self
    }
}

/// Checks what [`PeerContext::for_socket`] takes.
pub(crate) fn checked_socket(
    socket_type: SocketType,
    identity: Bytes,
) -> Result<(SocketType, Bytes), ConfigError> {
    if socket_type == SocketType::Relay {
        return Err(ConfigError::RelayMetadata);
    }
    if identity.len() > MAX_IDENTITY_LEN {
        return Err(ConfigError::IdentityTooLong(identity.len()));
    }
    Ok((socket_type, identity))
}

impl From<PeerAddress> for PeerContext {
    fn from(address: PeerAddress) -> Self {
        Self::new(address)
    }
}

impl From<IpcPeer> for PeerContext {
    fn from(peer: IpcPeer) -> Self {
        Self::new(peer.into())
    }
}

/// The peer of a Unix socket, as the kernel reports it: `PeerContext::from(stream.peer_cred()?)`.
#[cfg(all(unix, feature = "tokio"))]
impl From<tokio::net::unix::UCred> for PeerContext {
    fn from(peer: tokio::net::unix::UCred) -> Self {
        Self::new(peer.into())
    }
}

impl From<SocketAddr> for PeerContext {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.into()).with_port(Some(address.port()))
    }
}

/// Carried from state to state.
pub(super) struct Session {
    pub(super) settings: Arc<Settings>,
    pub(super) address: PeerAddress,
    port: Option<u16>,
    /// Our type of socket. [`Session::require_socket_type`] refuses to go on without.
    ours: Option<SocketType>,
    local_metadata: Option<Metadata>,
    proven_key: Option<Arc<OnceLock<PublicKey>>>,
    /// See [`PeerContext::sends_first`].
    pub(super) sends_first: bool,
}

impl Session {
    pub(super) fn new(settings: Arc<Settings>, context: PeerContext) -> Self {
        let (ours, own) = match context.socket {
            None => (settings.socket_type, None),
            Some((socket_type, identity)) => {
                let identity = socket_type.sends_identity().then_some(identity);
                match own_metadata(socket_type, identity, &settings.properties) {
                    Ok(metadata) => (Some(socket_type), Some(metadata)),
                    // The builder and `for_socket` have checked everything.
                    Err(_) => (None, None),
                }
            }
        };
        Self {
            settings,
            address: context.address,
            port: context.port,
            ours,
            local_metadata: context.local_metadata.or(own),
            proven_key: context.proven_key,
            sends_first: context.sends_first,
        }
    }

    /// Our type of socket on this connection.
    pub(super) fn require_socket_type(&self) -> Result<SocketType, LocalError> {
        self.ours.ok_or(LocalError::SocketTypeMissing)
    }

    /// The metadata that we send. `None` for a relay that learns it later.
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.local_metadata
            .as_ref()
            .or(self.settings.metadata.as_ref())
    }

    /// Records the key that the peer has proven to hold.
    pub(super) fn note_proven_key(&self, key: PublicKey) {
        if let Some(noted) = &self.proven_key {
            // A key is proven once, so the cell is empty.
            let _ = noted.set(key);
        }
    }

    /// The peer's address and port.
    pub(super) fn into_origin(self) -> (PeerAddress, Option<u16>) {
        (self.address, self.port)
    }

    pub(super) fn random(&self) -> &dyn RandomSource {
        &*self.settings.random
    }

    /// The question that policy is asked about this peer.
    pub(super) fn request(&self, domain: &Domain, credentials: Credentials) -> AccessRequest {
        AccessRequest::new(domain.clone(), self.address.clone(), credentials).with_port(self.port)
    }

    /// Checks the length of a command body that may hold much. A codec has checked it on the frame's
    /// header, but a host with a codec of its own may have forgotten to.
    pub(super) fn require_len(&self, body: &[u8]) -> Result<(), LimitExceeded> {
        let limit = self.settings.limits.max_handshake_command;
        if body.len() <= limit {
            return Ok(());
        }
        let size = body.len() as u64;
        Err(LimitExceeded::HandshakeCommand { size, limit })
    }

    /// Parses the metadata of `command` and checks the peer's socket type against ours.
    pub(super) fn claims(&self, bytes: &[u8], command: &'static str) -> Result<Claims, Error> {
        let limits = &self.settings.limits;
        let properties = Metadata::parse(bytes, command, limits.max_properties).map_err(
            |error| match error {
                MetadataError::Protocol(error) => Error::Protocol(error),
                MetadataError::Limit(error) => Error::Limit(error),
            },
        )?;
        let claims = Claims::from_metadata(properties, command, limits)?;
        // RFC 37, "The Socket-Type Property": a peer with an incompatible type is refused.
        let ours = self.require_socket_type()?;
        let fits = ours == SocketType::Relay
            || claims
                .socket_type
                .is_some_and(|theirs| ours.accepts(theirs));
        if fits {
            return Ok(claims);
        }
        let peer = claims
            .properties
            .get(SOCKET_TYPE)
            .map(|name| printable(name));
        Err(Incompatible::SocketType {
            peer: peer.unwrap_or_default(),
            ours: ours.name(),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use crate::access::address::PeerAddress;
    use crate::config::settings::Config;
    use crate::error::{Error, LimitExceeded};
    use crate::limits::Limits;
    use crate::mechanism::machine::{Mechanism, Next};
    use crate::mechanism::session::PeerContext;
    use crate::wire::greeting::{Greeting, mechanism_name};
    use crate::wire::socket_type::SocketType;

    /// A host with a codec of its own may forget to look at the header.
    #[test]
    fn a_body_over_the_limit_is_refused_without_the_help_of_a_codec() {
        let limits = Limits::default().with_max_handshake_command(300);
        let config = Config::builder(SocketType::Pull).limits(limits).null();
        let config = config.accept_any_peer().finish().unwrap();
        let greeting = Greeting::encode(mechanism_name("NULL"), false);
        let greeting = Greeting::parse(&greeting).unwrap().unwrap();
        for (len, is_over) in [(300, false), (301, true), (1 << 20, true)] {
            let context = PeerContext::new(PeerAddress::from_zap(b"192.0.2.1"));
            let start = Mechanism::start(&config, context);
            let Next::Wait(mechanism) = start.on_peer_greeting(&greeting).unwrap().next else {
                panic!("READY is next");
            };
            let refused = mechanism.on_command(&vec![7; len]).unwrap_err();
            let limit = Error::Limit(LimitExceeded::HandshakeCommand {
                size: len as u64,
                limit: 300,
            });
            assert_eq!(refused.error == limit, is_over, "{len}: {refused}");
        }
    }
}

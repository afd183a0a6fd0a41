//! What every state of a handshake carries: the configuration, the peer's origin, and our metadata.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use crate::access::request::AccessRequest;
use crate::config::settings::Settings;
use crate::crypto::keys::PublicKey;
use crate::crypto::random::RandomSource;
use crate::error::{Error, Incompatible};
use crate::printable::printable;
use crate::wire::metadata::{Metadata, MetadataError, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
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
            proven_key: None,
            sends_first: false,
        }
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

impl From<PeerAddress> for PeerContext {
    fn from(address: PeerAddress) -> Self {
        Self::new(address)
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
    local_metadata: Option<Metadata>,
    proven_key: Option<Arc<OnceLock<PublicKey>>>,
    /// See [`PeerContext::sends_first`].
    pub(super) sends_first: bool,
}

impl Session {
    pub(super) fn new(settings: Arc<Settings>, conn: PeerContext) -> Self {
        Self {
            settings,
            address: conn.address,
            port: conn.port,
            local_metadata: conn.local_metadata,
            proven_key: conn.proven_key,
            sends_first: conn.sends_first,
        }
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
        let ours = self.settings.socket_type;
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

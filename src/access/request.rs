//! The access request: what a policy decides before a peer is admitted (RFC 27, "The Request").
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use bytes::Bytes;

/// Whether a NULL socket or a CURVE server asks a ZAP handler before it admits a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a socket asks about its peers or does not"
)]
pub enum AccessPolicy {
    /// No handler is asked, and every peer with a valid handshake is admitted. CURVE connections
    /// are still encrypted, and the peer has proven that it holds the key it shows.
    Anyone,
    /// The ZAP handler of this domain is asked.
    Ask(Domain),
}

/// The request to admit a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessRequest {
    /// The socket's domain.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port, if the host gave it. ZAP has no frame for it (RFC 27).
    pub port: Option<u16>,
    /// The peer's credentials. They determine the mechanism.
    pub credentials: Credentials,
    /// What the peer says about itself. It is not proven, and known under CURVE only: under NULL
    /// and PLAIN the peer sends it after the verdict.
    pub claims: Option<Claims>,
}

impl AccessRequest {
    /// A request without port and claims.
    #[must_use]
    pub fn new(
        domain: impl Into<Domain>,
        address: impl Into<PeerAddress>,
        credentials: Credentials,
    ) -> Self {
        Self {
            domain: domain.into(),
            address: address.into(),
            port: None,
            credentials,
            claims: None,
        }
    }

    /// Adds the peer's TCP port, for logs and audits.
    #[must_use]
    pub const fn with_port(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// Adds what the peer says about itself.
    #[must_use]
    pub fn with_claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// The peer's identity for the identity frame of a ZAP request (RFC 27); `None` if it is not
    /// known or empty.
    #[must_use]
    pub fn identity(&self) -> Option<&Bytes> {
        self.claims
            .as_ref()?
            .identity
            .as_ref()
            .filter(|identity| !identity.is_empty())
    }
}

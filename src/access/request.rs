//! What is asked of policy before a peer is admitted (RFC 27, "The Request").
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::Credentials;
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use bytes::Bytes;

/// Whether a NULL socket or a CURVE server asks before it admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessPolicy {
    /// No handler is asked; every peer with a valid handshake gets in. For CURVE that still means
    /// encryption, and that the peer holds the key it shows.
    Anyone,
    /// The ZAP handler is asked, under this domain.
    Ask(Domain),
}

/// The whole question: may this peer come in?
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessRequest {
    /// The socket's domain.
    pub domain: Domain,
    /// Where the peer comes from.
    pub address: PeerAddress,
    /// Its TCP port, where the host has told it. ZAP has no frame for it (RFC 27).
    pub port: Option<u16>,
    /// What it proves itself by. The mechanism follows from it.
    pub credentials: Credentials,
    /// What it says of itself: known under CURVE only, since under NULL and PLAIN the peer
    /// sends it after the verdict. A claim proves nothing.
    pub claims: Option<Claims>,
}

impl AccessRequest {
    /// A question without claims.
    #[must_use]
    pub const fn new(domain: Domain, address: PeerAddress, credentials: Credentials) -> Self {
        Self {
            domain,
            address,
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

    /// Adds what the peer says of itself.
    #[must_use]
    pub fn with_claims(mut self, claims: Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// The peer's identity, where it is known and not empty; the identity frame of a ZAP
    /// request (RFC 27).
    #[must_use]
    pub fn identity(&self) -> Option<&Bytes> {
        self.claims
            .as_ref()?
            .identity
            .as_ref()
            .filter(|identity| !identity.is_empty())
    }
}

//! What is asked of policy before a peer is admitted (RFC 27, "The Request").
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::peer::Claims;
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use bytes::Bytes;
use std::fmt;

/// A ZAP domain: the name under which a socket's policy is looked up (RFC 27). It may be empty.
/// Compared as bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Bytes);

impl Domain {
    /// The empty domain, which libzmq asks for when none is set.
    pub const EMPTY: Self = Self(Bytes::new());

    /// `*`: in tables of handlers and policies, whatever has no entry of its own.
    pub const ALL: Self = Self(Bytes::from_static(b"*"));

    /// Takes the name's bytes.
    #[must_use]
    pub fn new(name: impl Into<Bytes>) -> Self {
        Self(name.into())
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name's bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl From<&'static str> for Domain {
    fn from(name: &'static str) -> Self {
        Self(Bytes::from_static(name.as_bytes()))
    }
}

impl From<String> for Domain {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::printable(&self.0))
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain(\"{self}\")")
    }
}

/// Whether a NULL socket or a CURVE server asks before it admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessPolicy {
    /// Nobody is asked; every peer with a valid handshake gets in. For CURVE that still means
    /// encryption, and that the peer holds the key it shows.
    Anyone,
    /// The ZAP handler is asked, under this domain.
    Ask(Domain),
}

/// What a peer proves itself by, as its mechanism carries it (RFC 27, credentials frames).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// NULL: nothing.
    Null,
    /// PLAIN: a name and a password.
    Plain {
        /// User name, 0 to 255 bytes.
        username: Bytes,
        /// Password, 0 to 255 bytes, wiped on drop.
        password: Password,
    },
    /// CURVE: the long-term public key that the peer has proven to hold.
    Curve {
        /// The key.
        key: PublicKey,
    },
    /// GSSAPI: a principal. No socket of this crate speaks GSSAPI (RFC 38); a ZAP handler may
    /// be asked about it by others.
    Gssapi {
        /// The principal, as bytes.
        principal: Bytes,
    },
}

/// A security mechanism by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MechanismKind {
    /// RFC 37, "The NULL Security Mechanism".
    Null,
    /// RFC 24.
    Plain,
    /// RFC 25 and 26.
    Curve,
    /// RFC 38.
    Gssapi,
}

impl MechanismKind {
    /// The name as greeting and ZAP carry it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
            Self::Gssapi => "GSSAPI",
        }
    }
}

impl fmt::Display for MechanismKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Credentials {
    /// The mechanism these credentials belong to.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        match self {
            Self::Null => MechanismKind::Null,
            Self::Plain { .. } => MechanismKind::Plain,
            Self::Curve { .. } => MechanismKind::Curve,
            Self::Gssapi { .. } => MechanismKind::Gssapi,
        }
    }
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

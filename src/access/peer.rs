//! What is known about a peer. What was proven and what the peer merely claims have separate
//! types.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::access::grant::Grant;
use crate::access::revoked::Revoked;
use crate::access::topics::Topics;
use crate::crypto::keys::PublicKey;
use crate::error::{Error, Malformation, ProtocolError};
use crate::limits::Limits;
use crate::wire::metadata::{IDENTITY, MAX_IDENTITY_LEN, Metadata, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::borrow::Cow;

/// The peer of a completed handshake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The identity that our ZAP handler gave the peer. `None` if no handler was asked: on a
    /// client, under `accept_any_peer`, or for a socket of this process.
    pub authenticated: Option<Authenticated>,
    /// CURVE, in both roles: the long-term key that the peer has proven to hold.
    pub proven_key: Option<PublicKey>,
    /// What the peer says about itself. It is not proven.
    pub claims: Claims,
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port, if the host gave it.
    pub port: Option<u16>,
}

impl Peer {
    pub(crate) fn new(
        authenticated: Option<Authenticated>,
        proven_key: Option<PublicKey>,
        claims: Claims,
        (address, port): (PeerAddress, Option<u16>),
    ) -> Self {
        Self {
            authenticated,
            proven_key,
            claims,
            address,
            port,
        }
    }

    /// The user id that our ZAP handler gave the peer; `None` if no handler was asked.
    #[must_use]
    pub fn user_id(&self) -> Option<&Bytes> {
        self.authenticated
            .as_ref()
            .map(|authenticated| &authenticated.user_id)
    }

    /// [`Peer::user_id`] as text, for display. Bytes that are not UTF-8 become U+FFFD, so two user ids
    /// may have the same text. Compare the bytes.
    #[must_use]
    pub fn user_id_str(&self) -> Option<Cow<'_, str>> {
        self.user_id()
            .map(|user_id| String::from_utf8_lossy(user_id))
    }

    /// The revocable admission of the peer; `None` if no handler was asked, or it issues no grants.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        self.authenticated.as_ref()?.grant.as_ref()
    }

    /// The topics that the peer may use, as the policy says them at each moment. Every topic is
    /// allowed for a peer without a grant.
    #[must_use]
    pub fn topics(&self) -> Topics {
        self.grant().map_or_else(Topics::all, Grant::topics)
    }

    /// Resolves once the admission is withdrawn; never for a peer without a grant. Close the
    /// connection then.
    #[must_use]
    pub fn revoked_owned(&self) -> Revoked {
        self.grant()
            .map_or_else(Revoked::default, Grant::revoked_owned)
    }
}

/// The identity of a peer that a ZAP handler has admitted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Authenticated {
    /// The user id from the handler. It is unique only within one mechanism and domain.
    pub user_id: Bytes,
    /// The domain of the request.
    pub domain: Domain,
    /// The public part of the credentials that the handler accepted.
    pub credential: Credential,
    /// The handler's metadata. It is for the local application and is not sent to the peer.
    pub zap_metadata: Metadata,
    /// The revocable admission, if the handler issues grants.
    pub grant: Option<Grant>,
}

impl Authenticated {
    pub(crate) const fn new(
        user_id: Bytes,
        domain: Domain,
        credential: Credential,
        zap_metadata: Metadata,
        grant: Option<Grant>,
    ) -> Self {
        Self {
            user_id,
            domain,
            credential,
            zap_metadata,
            grant,
        }
    }

    /// The mechanism that carried the credential.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        self.credential.mechanism()
    }
}

/// What a peer says about itself in READY or INITIATE.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// Its socket type. `None` for an unknown type, which only a relay accepts.
    pub socket_type: Option<SocketType>,
    /// Its identity (routing id), at most 255 bytes; `None` if it sent none.
    pub identity: Option<Bytes>,
    /// All properties as received, including the two above.
    pub properties: Metadata,
}

impl Claims {
    /// Reads the claims from parsed metadata. `what` names the command in errors.
    ///
    /// # Errors
    /// Returns [`Malformation::NoSocketType`] if there is no socket type,
    /// [`Malformation::IdentityLength`] if the identity is longer than 255 bytes, and
    /// [`Malformation::ReservedIdentity`] if it starts with a zero byte and `limits` refuse that.
    pub(crate) fn from_metadata(
        properties: Metadata,
        what: &'static str,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let malformed = |problem| {
            Error::from(ProtocolError::Malformed {
                what,
                at: 0,
                problem,
            })
        };
        // RFC 37, "The NULL Security Mechanism": Socket-Type is required.
        let Some(name) = properties.get(SOCKET_TYPE) else {
            return Err(malformed(Malformation::NoSocketType));
        };
        let socket_type = SocketType::from_name(name);
        let identity = properties.get(IDENTITY).cloned();
        // RFC 37: an identity has at most 255 bytes, and the first is not zero.
        if let Some(identity) = &identity {
            if identity.len() > MAX_IDENTITY_LEN {
                return Err(malformed(Malformation::IdentityLength));
            }
            if limits.refuse_reserved_identity && identity.first() == Some(&0) {
                return Err(malformed(Malformation::ReservedIdentity));
            }
        }
        Ok(Self {
            socket_type,
            identity,
            properties,
        })
    }

    /// Whether the identity starts with a zero byte, which RFC 37 reserves.
    #[must_use]
    pub fn identity_is_reserved(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.first() == Some(&0))
    }
}

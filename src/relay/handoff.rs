//! What the peer on each side of a tunnel is told about the other.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use crate::access::peer::Peer;
use crate::access::peer::{Authenticated, Claims};
use crate::error::{Error, LocalError};
use crate::handshake::{Established, Handshake, NeedsMetadata};
use crate::mechanism::session::PeerContext;
use crate::wire::metadata::{IDENTITY, MAX_IDENTITY_LEN, Metadata, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
use bytes::{Bytes, BytesMut};

/// The property in which a program behind a tunnel finds the authenticated user id of its peer.
const USER_ID: &str = "User-Id";
/// The property in which libzmq gives a program the address of its peer.
const PEER_ADDRESS: &str = "Peer-Address";
/// Another name under which libzmq gives a program the identity of its peer.
const ROUTING_ID: &str = "Routing-Id";

/// What a tunnel does with the identity that a peer claims.
///
/// A ROUTER addresses its peers by identity, and believes what they claim. Behind a tunnel the
/// identity can come from the authenticated user id instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityRule {
    /// The tunnel passes it on as claimed.
    #[default]
    Pass,
    /// The tunnel replaces it by the authenticated user id, so that a ROUTER addresses users. A ROUTER
    /// then cannot tell two connections of one user apart.
    UserId,
    /// The tunnel passes on an empty identity, so that a ROUTER makes up one of its own.
    Drop,
}

/// The paused handshake of the front, and the metadata that the back is told about its peer.
///
/// The tunnel passes on what a peer claims, except properties that say who the peer is. It removes
/// `User-Id`, `Peer-Address` and every property that the ZAP handler has set for this peer, in upper
/// or lower case, and adds the `User-Id` that the policy has assigned. So a program behind a tunnel
/// can trust `User-Id`, and nothing else in the metadata. The metadata of the ZAP handler itself is
/// not passed on.
#[derive(Debug)]
#[must_use]
pub struct PeerHandoff {
    pause: NeedsMetadata,
    metadata: Metadata,
}

impl PeerHandoff {
    /// Takes the paused handshake of the front.
    ///
    /// # Errors
    /// Returns [`LocalError::UserIdTooLong`] if the user id does not fit, and
    /// [`LocalError::MetadataMissing`] if this is the handshake of a PLAIN or CURVE client. A client
    /// pauses before it knows anything of its peer, so it can only be the back.
    pub fn new(pause: NeedsMetadata, identity: IdentityRule) -> Result<Self, Error> {
        let claims = pause.claims().ok_or(LocalError::MetadataMissing)?;
        let metadata = passed_on(claims, pause.authenticated(), identity)?;
        Ok(Self { pause, metadata })
    }

    /// What the front's peer claims.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.pause.claims()
    }

    /// The authenticated identity of the front's peer. `None` if no policy was asked.
    #[must_use]
    pub fn authenticated(&self) -> Option<&Authenticated> {
        self.pause.authenticated()
    }

    /// The context to start the back's handshake with. `address` is that of the back's peer. The
    /// handshake will not pause.
    #[must_use]
    pub fn peer_context(&self, address: PeerAddress) -> PeerContext {
        PeerContext::new(address).with_metadata(self.metadata.clone())
    }

    /// What the back's peer is told.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Tells the front's peer what the back's peer claims, which completes the front's handshake. The
    /// bytes to send are appended to `out`, also after an error.
    ///
    /// # Errors
    /// Returns those of [`NeedsMetadata::resume`].
    pub fn complete(self, back: &Claims, out: &mut BytesMut) -> Result<Box<Established>, Error> {
        let metadata = passed_on(back, None, IdentityRule::Pass)?;
        self.resume(&metadata, out)
    }

    /// As [`PeerHandoff::complete`], with what our own policy says about the back's peer, if it was
    /// asked. Only then does `identity` matter.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn complete_with(
        self,
        back: &Peer,
        identity: IdentityRule,
        out: &mut BytesMut,
    ) -> Result<Box<Established>, Error> {
        let Some(authenticated) = &back.authenticated else {
            return self.complete(&back.claims, out);
        };
        let metadata = passed_on(&back.claims, Some(authenticated), identity)?;
        self.resume(&metadata, out)
    }

    fn resume(self, metadata: &Metadata, out: &mut BytesMut) -> Result<Box<Established>, Error> {
        match self.pause.resume(metadata, out)? {
            Handshake::Complete(front) => Ok(front),
            // Only a client's handshake would go on, and `new` refuses those.
            _ => Err(LocalError::MetadataMissing.into()),
        }
    }
}

/// The metadata that one side is told about the peer of the other. `Socket-Type` comes first, as peers
/// expect it. It and `Identity` are in their canonical case.
fn passed_on(
    claims: &Claims,
    authenticated: Option<&Authenticated>,
    rule: IdentityRule,
) -> Result<Metadata, LocalError> {
    let mut rest = claims.properties.clone();
    let mut told = Metadata::new();
    if let Some(socket_type) = rest.remove(SOCKET_TYPE) {
        put(&mut told, SOCKET_TYPE, socket_type)?;
    }
    let claimed = rest.remove(IDENTITY);
    if rule != IdentityRule::Pass {
        rest.remove(ROUTING_ID);
    }
    let sends_one = claimed.is_some() || claims.socket_type.is_some_and(SocketType::sends_identity);
    if sends_one && let Some(identity) = identity(claimed, authenticated, rule)? {
        put(&mut told, IDENTITY, identity)?;
    }
    for name in [USER_ID, PEER_ADDRESS] {
        rest.remove(name);
    }
    for (name, value) in rest.iter() {
        let is_the_handlers = authenticated
            .is_some_and(|authenticated| authenticated.zap_metadata.get(name).is_some());
        if !is_the_handlers {
            put(&mut told, name, value.clone())?;
        }
    }
    if let Some(authenticated) = authenticated {
        put(&mut told, USER_ID, authenticated.user_id.clone())?;
    }
    Ok(told)
}

fn identity(
    claimed: Option<Bytes>,
    authenticated: Option<&Authenticated>,
    rule: IdentityRule,
) -> Result<Option<Bytes>, LocalError> {
    match rule {
        IdentityRule::Pass => Ok(claimed),
        IdentityRule::Drop => Ok(Some(Bytes::new())),
        IdentityRule::UserId => {
            let user_id = authenticated.map(|authenticated| authenticated.user_id.clone());
            let user_id = user_id.unwrap_or_default();
            // RFC 37, "The Identity Property": 0 to 255 bytes. If it were truncated, one user could
            // pass for another.
            if user_id.len() > MAX_IDENTITY_LEN {
                return Err(LocalError::UserIdTooLong);
            }
            Ok(Some(user_id))
        }
    }
}

/// Adds a property. Claims that have come over the wire are valid, so only a user id can be too long.
fn put(metadata: &mut Metadata, name: &str, value: Bytes) -> Result<(), LocalError> {
    metadata
        .push(name, value)
        .map_err(|_| LocalError::UserIdTooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::credentials::Credential;
    use crate::access::domain::Domain;
    use crate::limits::Limits;

    fn metadata(properties: &[(&str, &'static str)]) -> Metadata {
        let mut metadata = Metadata::new();
        for (name, value) in properties {
            metadata.push(name, *value).unwrap();
        }
        metadata
    }

    fn claims(properties: &[(&str, &'static str)]) -> Claims {
        Claims::from_metadata(metadata(properties), "READY", &Limits::default()).unwrap()
    }

    fn authenticated(user_id: &str, zap_metadata: &[(&str, &'static str)]) -> Authenticated {
        Authenticated::new(
            Bytes::copy_from_slice(user_id.as_bytes()),
            Domain::EMPTY,
            Credential::Null,
            metadata(zap_metadata),
            None,
        )
    }

    #[track_caller]
    fn told(
        claimed: &[(&str, &'static str)],
        by: Option<&Authenticated>,
        rule: IdentityRule,
        expected: &[(&str, &str)],
    ) {
        let told = passed_on(&claims(claimed), by, rule).unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|(name, value)| (name, std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn user_ids_come_from_policy_alone_in_whatever_case_a_peer_claims_one() {
        let alice = authenticated("alice", &[("X-Role", "clerk")]);
        told(
            &[
                ("uSER-iD", "root"),
                ("X-Colour", "green"),
                ("PEER-ADDRESS", "192.0.2.1"),
                ("x-role", "admin"),
                ("Socket-Type", "PUSH"),
            ],
            Some(&alice),
            IdentityRule::Pass,
            &[
                ("Socket-Type", "PUSH"),
                ("X-Colour", "green"),
                ("User-Id", "alice"),
            ],
        );
    }

    #[test]
    fn without_a_policy_there_is_no_user_id_at_all() {
        told(
            &[("Socket-Type", "PULL"), ("User-Id", "root")],
            None,
            IdentityRule::Pass,
            &[("Socket-Type", "PULL")],
        );
    }

    #[test]
    fn an_empty_user_id_is_passed_on_too() {
        told(
            &[("Socket-Type", "PULL")],
            Some(&authenticated("", &[])),
            IdentityRule::Pass,
            &[("Socket-Type", "PULL"), ("User-Id", "")],
        );
    }

    #[test]
    fn names_come_in_their_canonical_order_and_case() {
        told(
            &[
                ("X-b", "1"),
                ("identity", "me"),
                ("socket-type", "DEALER"),
                ("X-a", "2"),
            ],
            None,
            IdentityRule::Pass,
            &[
                ("Socket-Type", "DEALER"),
                ("Identity", "me"),
                ("X-b", "1"),
                ("X-a", "2"),
            ],
        );
    }

    #[test]
    fn an_identity_can_be_made_the_user_id_or_be_emptied() {
        let alice = authenticated("alice", &[]);
        let claimed = [
            ("Socket-Type", "DEALER"),
            ("Identity", "bob"),
            ("routing-id", "bob"),
        ];
        for (rule, identity) in [(IdentityRule::UserId, "alice"), (IdentityRule::Drop, "")] {
            told(
                &claimed,
                Some(&alice),
                rule,
                &[
                    ("Socket-Type", "DEALER"),
                    ("Identity", identity),
                    ("User-Id", "alice"),
                ],
            );
        }
        // A type that has no identity gets none.
        told(
            &[("Socket-Type", "PUSH")],
            Some(&alice),
            IdentityRule::UserId,
            &[("Socket-Type", "PUSH"), ("User-Id", "alice")],
        );
        // A type that should have sent an identity, and did not, gets one.
        told(
            &[("Socket-Type", "REQ")],
            Some(&alice),
            IdentityRule::UserId,
            &[
                ("Socket-Type", "REQ"),
                ("Identity", "alice"),
                ("User-Id", "alice"),
            ],
        );
    }

    #[test]
    fn a_user_id_that_is_too_long_for_an_identity_is_not_truncated() {
        let long = authenticated(&"a".repeat(256), &[]);
        let claims = claims(&[("Socket-Type", "DEALER"), ("Identity", "")]);
        assert_eq!(
            passed_on(&claims, Some(&long), IdentityRule::UserId),
            Err(LocalError::UserIdTooLong)
        );
        assert!(passed_on(&claims, Some(&long), IdentityRule::Pass).is_ok());
    }
}

//! What each side of a tunnel is told about the other.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::peer::{Authenticated, Claims};
use crate::error::{Error, LocalError};
use crate::handshake::{Established, Handshake, NeedsMetadata, PeerContext};
use crate::wire::metadata::{IDENTITY, MAX_IDENTITY_LEN, Metadata, SOCKET_TYPE};
use crate::wire::socket_type::SocketType;
use bytes::{Bytes, BytesMut};

/// The property in which a program behind a tunnel finds who its peer is.
const USER_ID: &str = "User-Id";
/// Where libzmq tells a program the address of its peer.
const PEER_ADDRESS: &str = "Peer-Address";
/// Another name under which libzmq tells a program the identity of its peer.
const ROUTING_ID: &str = "Routing-Id";

/// What becomes of the identity that a peer claims, on its way to the program behind a tunnel.
///
/// A ROUTER addresses its peers by identity, and takes anybody's word for his. Whoever is behind
/// a tunnel can do better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityRule {
    /// It is passed on as claimed.
    #[default]
    Pass,
    /// The authenticated user id takes its place, so that a ROUTER addresses users. Two
    /// connections of one user are then told apart no more than two peers of one identity are.
    UserId,
    /// It is emptied, so that a ROUTER makes up one of its own.
    Drop,
}

/// A front's handshake, paused, and what the back is told about its peer.
///
/// Everything that a peer claims is passed on, but for names that say who it is. `User-Id`,
/// `Peer-Address`, and whatever the ZAP handler supplied for this very peer, are taken out
/// whatever their case; the `User-Id` that policy gave is put in. A program behind a tunnel may
/// believe `User-Id` for that reason, and nothing else in the metadata. The handler's own
/// metadata is not passed on.
#[derive(Debug)]
#[must_use]
pub struct PeerHandoff {
    pause: NeedsMetadata,
    metadata: Metadata,
}

impl PeerHandoff {
    /// Reads what the front's peer is and claims.
    ///
    /// # Errors
    /// [`LocalError::UserIdTooLong`], and [`LocalError::MetadataMissing`] if the pause is that of
    /// a client of PLAIN or CURVE, which has not heard anything yet: those can only be a back.
    pub fn new(pause: NeedsMetadata, identity: IdentityRule) -> Result<Self, Error> {
        let claims = pause.claims().ok_or(LocalError::MetadataMissing)?;
        let metadata = passed_on(claims, pause.authenticated(), identity)?;
        Ok(Self { pause, metadata })
    }

    /// What the front's peer says of itself.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.pause.claims()
    }

    /// Who the front's peer is, if policy was asked.
    #[must_use]
    pub fn authenticated(&self) -> Option<&Authenticated> {
        self.pause.authenticated()
    }

    /// The connection to the back at `address`, as its handshake is to be started with. It will
    /// not pause.
    #[must_use]
    pub fn peer_context(&self, address: PeerAddress) -> PeerContext {
        PeerContext::new(address).with_metadata(self.metadata.clone())
    }

    /// Tells the front what the back's peer has said of itself, which completes the handshake.
    /// What is to be sent is appended to `out`, also on an error.
    ///
    /// # Errors
    /// As [`NeedsMetadata::resume`].
    pub fn complete(self, back: &Claims, out: &mut BytesMut) -> Result<Box<Established>, Error> {
        let metadata = passed_on(back, None, IdentityRule::Pass)?;
        match self.pause.resume(&metadata, out)? {
            Handshake::Complete(front) => Ok(front),
            // Only a client's handshake would go on from here, and `new` takes none.
            _ => Err(LocalError::MetadataMissing.into()),
        }
    }
}

/// What one side's peer claims, as the other side's is told. `Socket-Type` comes first, as peers
/// expect it, and both standard names in their canonical case.
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
            // RFC 37, "The Identity Property": 0 to 255 bytes. Cut short, one user could pass
            // for another.
            if user_id.len() > MAX_IDENTITY_LEN {
                return Err(LocalError::UserIdTooLong);
            }
            Ok(Some(user_id))
        }
    }
}

/// The claims have come over the wire and have no name twice, so that only a user id can be too
/// long.
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
    fn who_a_peer_is_comes_from_policy_alone_in_whatever_case_it_claims_it() {
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
    fn nobody_asked_means_no_user_id_at_all() {
        told(
            &[("Socket-Type", "PULL"), ("User-Id", "root")],
            None,
            IdentityRule::Pass,
            &[("Socket-Type", "PULL")],
        );
    }

    #[test]
    fn an_empty_user_id_is_told_too() {
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
        // One that should have sent it, and did not, gets it all the same.
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
    fn a_user_id_that_is_no_identity_is_not_cut_short() {
        let long = authenticated(&"a".repeat(256), &[]);
        let claims = claims(&[("Socket-Type", "DEALER"), ("Identity", "")]);
        assert_eq!(
            passed_on(&claims, Some(&long), IdentityRule::UserId),
            Err(LocalError::UserIdTooLong)
        );
        assert!(passed_on(&claims, Some(&long), IdentityRule::Pass).is_ok());
    }
}

//! The ZAP request (RFC 27, "The Request"): as a value, and as frames.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credentials, MAX_PLAIN_LEN, MechanismKind};
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use crate::access::request::AccessRequest;
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::printable::printable;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// The version frame of requests and replies (RFC 27).
pub(crate) const VERSION: &[u8] = b"1.0";

/// Number of frames in front of the credentials (RFC 27).
const FIXED_FRAMES: usize = 6;

/// Number of decimal digits of `u64::MAX`.
const MAX_DIGITS: usize = 20;

/// The request id, which ties a reply to its request: any bytes (RFC 27).
#[derive(Clone)]
pub struct RequestId(Id);

#[derive(Clone)]
enum Id {
    Bytes(Bytes),
    /// A number in decimal digits, from index `from` to the end. Most ids are numbers, and this
    /// form needs no allocation.
    Digits {
        digits: [u8; MAX_DIGITS],
        from: u8,
    },
}

impl RequestId {
    /// Takes the bytes.
    #[must_use]
    pub fn new(id: impl Into<Bytes>) -> Self {
        Self(Id::Bytes(id.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Id::Bytes(bytes) => bytes,
            Id::Digits { digits, from } => &digits[usize::from(*from)..],
        }
    }

    /// The bytes, without a copy if they are on the heap already.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Id::Bytes(bytes) => bytes,
            Id::Digits { .. } => Bytes::copy_from_slice(self.as_bytes()),
        }
    }
}

impl From<u64> for RequestId {
    /// The number in decimal digits, which is easy to find in logs.
    fn from(mut number: u64) -> Self {
        let mut digits = [0; MAX_DIGITS];
        let mut from = MAX_DIGITS;
        loop {
            from -= 1;
            digits[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                let from = from as u8;
                return Self(Id::Digits { digits, from });
            }
        }
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RequestId {}

impl Hash for RequestId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.as_bytes()))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// A request to a ZAP handler.
///
/// Mechanism and credentials are kept as received, because a handler checks the address before it
/// looks at them. [`ZapRequest::credentials`] parses them. Credential frames are wiped when their
/// last copy is dropped, except for the key of CURVE, which is public. `Debug` shows only how many
/// frames there are.
#[derive(Clone)]
pub struct ZapRequest {
    /// The request id, which the reply repeats.
    pub id: RequestId,
    /// The socket's domain, possibly empty.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port, if the request was made in this process. No frame carries it.
    pub port: Option<u16>,
    /// The peer's identity; empty if it is not known. libzmq puts its own routing id here. It is a
    /// claim and not proven.
    pub identity: Bytes,
    /// The mechanism's name.
    pub mechanism: Bytes,
    credentials: CredentialFrames,
    claims: Option<Claims>,
}

/// Credential frames as received.
#[derive(Clone)]
enum CredentialFrames {
    /// The one frame of CURVE.
    Key(PublicKey),
    /// All others, in memory that is wiped. They may hold a secret under any mechanism.
    Wiped(Vec<Bytes>),
}

/// Why frames are not a ZAP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ZapRequestError {
    /// There are fewer than six frames.
    #[error("the ZAP request has {frames} frames, fewer than 6")]
    NotEnoughFrames {
        /// The number of frames.
        frames: usize,
        /// The request id, if there are enough frames for one.
        id: Option<RequestId>,
    },
    /// The version is not `1.0`.
    #[error("the ZAP request's version is not 1.0")]
    Version {
        /// The request id.
        id: RequestId,
    },
}

/// Why the credentials of a request do not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The mechanism is not one of RFC 27 or RFC 38.
    #[error("the ZAP request's mechanism is not NULL, PLAIN, CURVE or GSSAPI")]
    UnknownMechanism,
    /// The number of credential frames is not that of the mechanism, [`PublicKey::from_bytes`]
    /// refuses the CURVE key, or a PLAIN name or password is longer than the 255 bytes that a
    /// HELLO can carry.
    #[error("the ZAP request's credentials do not fit its mechanism")]
    Invalid,
}

impl ZapRequest {
    /// A request with this id.
    #[must_use]
    pub fn new(id: RequestId, request: &AccessRequest) -> Self {
        Self {
            id,
            domain: request.domain.clone(),
            address: request.address.clone(),
            port: request.port,
            identity: request.identity().cloned().unwrap_or_default(),
            mechanism: Bytes::from_static(request.credentials.mechanism().name().as_bytes()),
            credentials: match &request.credentials {
                Credentials::Null => CredentialFrames::Wiped(Vec::new()),
                Credentials::Plain { username, password } => CredentialFrames::Wiped(vec![
                    username.clone(),
                    wiped_on_drop(password.expose()),
                ]),
                Credentials::Curve { key } => CredentialFrames::Key(*key),
                Credentials::Gssapi { principal } => {
                    CredentialFrames::Wiped(vec![principal.clone()])
                }
            },
            claims: request.claims.clone(),
        }
    }

    /// The frames of RFC 27 without envelope and delimiter: version, request id, domain,
    /// address, identity, mechanism, credentials. Sending them copies the password, and this crate
    /// does not wipe that copy.
    #[must_use]
    pub fn to_frames(&self) -> Vec<Bytes> {
        let mut frames = vec![
            Bytes::from_static(VERSION),
            self.id.clone().into_bytes(),
            self.domain.to_bytes(),
            self.address.to_zap(),
            self.identity.clone(),
            self.mechanism.clone(),
        ];
        frames.extend(self.credentials.frames().iter().cloned());
        frames
    }

    /// Reads the frames that [`ZapRequest::to_frames`] writes. Mechanism and credentials are not
    /// checked here. The given credential frames are wiped, except for the key of CURVE and frames
    /// that have other owners.
    ///
    /// # Errors
    /// Returns [`ZapRequestError`] if there are too few frames, or the version is not `1.0`.
    pub fn from_frames(mut frames: Vec<Bytes>) -> Result<Self, ZapRequestError> {
        let credentials = CredentialFrames::take(&mut frames);
        let [version, id, domain, address, identity, mechanism]: [Bytes; FIXED_FRAMES] = frames
            .try_into()
            .map_err(|frames: Vec<Bytes>| ZapRequestError::NotEnoughFrames {
                frames: frames.len(),
                id: frames.into_iter().nth(1).map(RequestId::new),
            })?;
        let id = RequestId::new(id);
        // RFC 27: the version is 1.0. The frames of other versions are not defined.
        if version != VERSION {
            return Err(ZapRequestError::Version { id });
        }
        Ok(Self {
            id,
            domain: Domain::new(domain),
            address: PeerAddress::from_zap(&address),
            port: None,
            identity,
            mechanism,
            credentials,
            claims: None,
        })
    }

    /// What the peer says about itself. Known only under CURVE and for sockets in this process,
    /// because no frame carries it. It is not proven.
    #[must_use]
    pub const fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// Parses the credentials.
    ///
    /// # Errors
    /// Returns [`CredentialsError`] if the mechanism is not known, or if the number of credential
    /// frames or their lengths do not fit it.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        // RFC 27: NULL has no credentials, PLAIN a name and a password (RFC 24: of at most 255
        // bytes each), CURVE a key of 32 bytes; RFC 38: GSSAPI a principal.
        if let CredentialFrames::Key(key) = self.credentials
            && self.mechanism == MechanismKind::Curve.name()
        {
            return Ok(Credentials::Curve { key });
        }
        let kind = self
            .mechanism_kind()
            .ok_or(CredentialsError::UnknownMechanism)?;
        match (kind, &self.credentials.frames()[..]) {
            (MechanismKind::Null, []) => Ok(Credentials::Null),
            (MechanismKind::Plain, [username, password])
                if username.len() <= MAX_PLAIN_LEN && password.len() <= MAX_PLAIN_LEN =>
            {
                Ok(Credentials::Plain {
                    username: username.clone(),
                    password: Password::new(password),
                })
            }
            (MechanismKind::Curve, [key]) => public_key(key)
                .map(|key| Credentials::Curve { key })
                .ok_or(CredentialsError::Invalid),
            (MechanismKind::Gssapi, [principal]) => Ok(Credentials::Gssapi {
                principal: principal.clone(),
            }),
            _ => Err(CredentialsError::Invalid),
        }
    }

    /// The mechanism; `None` if it is not known.
    #[must_use]
    pub fn mechanism_kind(&self) -> Option<MechanismKind> {
        MechanismKind::from_name(&self.mechanism)
    }
}

impl CredentialFrames {
    /// Takes the frames that follow the fixed frames of a request.
    fn take(frames: &mut Vec<Bytes>) -> Self {
        if let Some((_, key)) = curve_key(frames) {
            frames.truncate(FIXED_FRAMES);
            return Self::Key(key);
        }
        let credentials = frames.drain(frames.len().min(FIXED_FRAMES)..);
        Self::Wiped(credentials.map(move_to_wiped).collect())
    }

    fn frames(&self) -> Cow<'_, [Bytes]> {
        match self {
            Self::Key(key) => Cow::Owned(vec![Bytes::copy_from_slice(key.as_bytes())]),
            Self::Wiped(frames) => Cow::Borrowed(frames),
        }
    }
}

/// The domain and the key in the frames of a request with CURVE, if the key is valid.
pub(crate) fn curve_key(frames: &[Bytes]) -> Option<(&[u8], PublicKey)> {
    match frames {
        [_, _, domain, _, _, mechanism, key] if mechanism == MechanismKind::Curve.name() => {
            Some((domain, public_key(key)?))
        }
        _ => None,
    }
}

/// The key in a frame, if it is valid. libzmq's servers pass on the client's bytes unchecked, and a
/// key in a non-canonical form is refused: policy would look up other bytes than those of the key
/// that the client has proven.
fn public_key(frame: &[u8]) -> Option<PublicKey> {
    PublicKey::from_bytes(frame.try_into().ok()?).ok()
}

/// Copies `secret` into bytes that are wiped when their last owner is dropped.
fn wiped_on_drop(secret: &[u8]) -> Bytes {
    Bytes::from_owner(Zeroizing::new(secret.to_vec()))
}

/// Moves a frame into bytes that are wiped on drop. The original is wiped if it has no other owner.
fn move_to_wiped(frame: Bytes) -> Bytes {
    let wiped = wiped_on_drop(&frame);
    if let Ok(mut original) = frame.try_into_mut() {
        original.as_mut().zeroize();
    }
    wiped
}

impl fmt::Debug for ZapRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZapRequest")
            .field("id", &self.id)
            .field("domain", &self.domain)
            .field("address", &self.address)
            .field("port", &self.port)
            .field("identity", &printable(&self.identity))
            .field("mechanism", &printable(&self.mechanism))
            .field("credential_frames", &self.credentials.frames().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn frames<const N: usize>(texts: [&'static str; N]) -> Vec<Bytes> {
        texts.map(Bytes::from).into()
    }

    fn plain() -> AccessRequest {
        AccessRequest::new(
            Domain::from("global"),
            PeerAddress::from_zap(b"127.0.0.1"),
            Credentials::Plain {
                username: "admin".into(),
                password: Password::from("hunter2"),
            },
        )
    }

    fn request(texts: &[&'static [u8]]) -> ZapRequest {
        let mut frames = frames(["1.0", "7", "", "::1", ""]);
        frames.extend(texts.iter().copied().map(Bytes::from_static));
        ZapRequest::from_frames(frames).unwrap()
    }

    #[test]
    fn a_plain_request_has_the_frames_that_libzmq_sends() {
        let request = ZapRequest::new(RequestId::from(1), &plain());
        assert_eq!(
            request.to_frames(),
            frames([
                "1.0",
                "1",
                "global",
                "127.0.0.1",
                "",
                "PLAIN",
                "admin",
                "hunter2"
            ])
        );
    }

    #[test]
    fn debug_shows_no_credentials() {
        let shown = format!("{:?}", ZapRequest::new(RequestId::from(1), &plain()));
        assert!(
            !shown.contains("hunter2") && !shown.contains("admin"),
            "{shown}"
        );
    }

    #[test]
    fn credentials_keep_their_types_through_frames() {
        let original = ZapRequest::new(RequestId::from(1), &plain());
        let read = ZapRequest::from_frames(original.to_frames()).unwrap();
        match read.credentials().unwrap() {
            Credentials::Plain { username, password } => {
                assert_eq!(username, "admin");
                assert_eq!(password.expose(), b"hunter2");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_key_of_curve_goes_through_frames_and_is_parsed_by_the_current_mechanism() {
        let mut read = request(&[b"CURVE", &[7; 32]]);
        assert_eq!(read.to_frames()[6..], [Bytes::from_static(&[7; 32])]);
        assert!(format!("{read:?}").contains("credential_frames: 1"));
        read.mechanism = "GSSAPI".into();
        assert!(
            matches!(read.credentials(), Ok(Credentials::Gssapi { principal })
            if principal == [7; 32][..])
        );
        read.mechanism = "NULL".into();
        assert_eq!(read.credentials().unwrap_err(), CredentialsError::Invalid);
        let mut read = request(&[b"GSSAPI", &[7; 32]]);
        read.mechanism = "CURVE".into();
        assert!(matches!(read.credentials(), Ok(Credentials::Curve { key })
            if key == PublicKey::from_bytes([7; 32]).unwrap()));
    }

    #[test]
    fn an_id_of_a_number_is_that_of_its_digits() {
        use std::collections::HashSet;
        for number in [0, 7, 10, 4711, u64::MAX] {
            let id = RequestId::from(number);
            assert_eq!(id.to_string(), number.to_string());
            assert_eq!(id.clone().into_bytes(), number.to_string());
            let same = RequestId::new(number.to_string());
            assert!(HashSet::from([id]).contains(&same));
        }
        assert_ne!(RequestId::from(1), RequestId::from(11));
    }

    #[test]
    fn the_error_of_a_short_request_has_the_id_if_there_is_one() {
        for (given, id) in [(vec![], None), (frames(["1.0"]), None)] {
            let frames = given.len();
            assert_eq!(
                ZapRequest::from_frames(given).unwrap_err(),
                ZapRequestError::NotEnoughFrames { frames, id }
            );
        }
        assert_eq!(
            ZapRequest::from_frames(frames(["1.0", "9", "", "", ""])).unwrap_err(),
            ZapRequestError::NotEnoughFrames {
                frames: 5,
                id: Some(RequestId::new("9"))
            }
        );
    }

    #[test]
    fn another_version_is_refused_with_the_id() {
        assert_eq!(
            ZapRequest::from_frames(frames(["1.1", "9", "", "", "", "NULL"])).unwrap_err(),
            ZapRequestError::Version {
                id: RequestId::new("9")
            }
        );
    }

    #[test]
    fn each_mechanism_has_exactly_its_own_credentials() {
        for good in [
            &[&b"NULL"[..]][..],
            &[b"PLAIN", b"", b""],
            &[b"CURVE", &[7; 32]],
            &[b"GSSAPI", b"\xFF"],
        ] {
            assert!(request(good).credentials().is_ok(), "{good:?}");
        }
        for bad in [
            &[&b"NULL"[..], b""][..],
            &[b"PLAIN", b"a"],
            &[b"PLAIN", b"a", b"b", b"c"],
            &[b"PLAIN", &[b'u'; 256], b""],
            &[b"PLAIN", b"", &[b'p'; 256]],
            &[b"CURVE"],
            &[b"CURVE", &[7; 31]],
            &[b"CURVE", &[7; 33]],
            &[b"CURVE", &[7; 32], b""],
            &[b"GSSAPI"],
        ] {
            assert_eq!(
                request(bad).credentials().unwrap_err(),
                CredentialsError::Invalid,
                "{bad:?}"
            );
        }
        for unknown in [&b"null"[..], b"", b"CURVE\0", b"EXTERNAL"] {
            assert_eq!(
                request(&[unknown]).credentials().unwrap_err(),
                CredentialsError::UnknownMechanism
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic_and_read_back(
            given in vec(vec(any::<u8>(), 0..40).prop_map(Bytes::from), 0..10),
            well_formed in any::<bool>(),
        ) {
            let mut given = given;
            if let (true, Some(first)) = (well_formed, given.first_mut()) {
                *first = Bytes::from_static(VERSION);
            }
            if let Ok(request) = ZapRequest::from_frames(given.clone()) {
                let written = request.to_frames();
                prop_assert_eq!(written.len(), given.len());
                // An address may come back in its canonical spelling, everything else as it was.
                for (index, (written, given)) in written.iter().zip(&given).enumerate() {
                    if index != 3 {
                        prop_assert_eq!(written, given);
                    }
                }
                prop_assert_eq!(PeerAddress::from_zap(&written[3]), request.address.clone());
                let _ = request.credentials();
                let _ = format!("{request:?}");
            }
        }
    }
}

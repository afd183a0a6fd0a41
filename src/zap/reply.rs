//! The ZAP reply (RFC 27, "The Reply"): as a value, as frames, and as a verdict.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::access::verdict::{Approval, Verdict};
use crate::limits::Limits;
use crate::status::{DenialStatus, Denied, DeniedBy, Status};
use crate::wire::metadata::{IDENTITY, Metadata, MetadataError, SOCKET_TYPE};
use crate::with_causes::WithCauses;
use crate::zap::request::{RequestId, VERSION, ZapRequest};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Maximum length of a user id in bytes. 255: the length of a ZMTP short string, so that a user id
/// can be anything that a peer can name itself.
pub(crate) const MAX_USER_ID_LEN: usize = 255;

/// The text of a reply that admits the peer.
pub(crate) const SUCCESS_TEXT: Bytes = Bytes::from_static(b"OK");

/// The metadata name under which libzmq shows the user id of a reply to its application.
const USER_ID: &str = "User-Id";

/// A ZAP handler's answer.
#[must_use = "a reply does nothing until it is returned or sent"]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ZapReply {
    /// The request's id. A reply with another id refuses the peer.
    pub id: RequestId,
    /// The decision.
    pub status: Status,
    /// The reason, for logs. The peer is sent only the status.
    pub text: Bytes,
    /// The user id, at most 255 bytes. It is used only with [`Status::Success`].
    pub user_id: Bytes,
    /// Properties for the local application. They are used only with [`Status::Success`]. A
    /// handler may not set `Identity`, `Socket-Type` or `User-Id`, which would be taken for claims
    /// of the peer or for [`ZapReply::user_id`].
    pub metadata: Metadata,
    /// The revocable admission. No frame carries it, so it stays in this process.
    pub grant: Option<Grant>,
    /// How long to wait before the peer is sent a temporary refusal (300), at most 5 s. Peers
    /// reconnect at once after a 300, which would make the trouble of an overloaded handler worse.
    /// [`ZapRouter`](crate::zap::ZapRouter) waits, without using a permit. No frame carries it.
    pub hold_back: Option<Duration>,
    /// What has refused the peer, for logs. No frame carries it.
    pub denied_by: Option<Box<DeniedBy>>,
}

/// Why a reply is not valid. The peer is then refused with 500.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZapReplyError {
    /// The number of frames is not six, or seven with the delimiter.
    #[error("the ZAP reply has {0} frames, not 6 after the delimiter")]
    Frames(usize),
    /// The first of seven frames is not empty.
    #[error("the delimiter of the ZAP reply is not empty")]
    Delimiter,
    /// The version is not `1.0`.
    #[error("the ZAP reply's version is not 1.0")]
    Version,
    /// The reply is for another request.
    #[error("the ZAP reply is for request {got}, not {asked}")]
    RequestId {
        /// The id of the request.
        asked: RequestId,
        /// The id of the reply.
        got: RequestId,
    },
    /// The status is not one of the four codes of RFC 27.
    #[error("the ZAP reply's status is not 200, 300, 400 or 500")]
    Status,
    /// The user id is longer than 255 bytes.
    #[error("the ZAP reply's user id has {0} bytes, more than 255")]
    UserIdLength(usize),
    /// The metadata does not parse.
    #[error("the ZAP reply's metadata is not valid")]
    Metadata(#[from] MetadataError),
    /// The metadata has a property that no handler may set.
    #[error("the ZAP reply sets the property {0}, which no handler may set")]
    ReservedProperty(&'static str),
}

impl ZapRequest {
    /// The reply that admits this peer as `user_id`.
    pub fn allow(&self, user_id: impl Into<Bytes>) -> ZapReply {
        ZapReply::success(self.id.clone(), user_id)
    }

    /// The reply that refuses this peer; `reason` is for logs.
    pub fn deny(&self, status: DenialStatus, reason: impl Into<Bytes>) -> ZapReply {
        ZapReply::denial(self.id.clone(), status, reason)
    }
}

impl ZapReply {
    pub(crate) fn success(id: RequestId, user_id: impl Into<Bytes>) -> Self {
        Self {
            id,
            status: Status::Success,
            text: SUCCESS_TEXT,
            user_id: user_id.into(),
            metadata: Metadata::new(),
            grant: None,
            hold_back: None,
            denied_by: None,
        }
    }

    pub(crate) fn denial(id: RequestId, status: DenialStatus, reason: impl Into<Bytes>) -> Self {
        Self {
            id,
            status: status.into(),
            text: reason.into(),
            user_id: Bytes::new(),
            metadata: Metadata::new(),
            grant: None,
            hold_back: None,
            denied_by: None,
        }
    }

    /// The frames of RFC 27 without envelope and delimiter: version, request id, status, text,
    /// user id, metadata.
    #[must_use]
    pub fn to_frames(&self) -> [Bytes; 6] {
        let (id, text, user_id) = (self.id.clone(), self.text.clone(), self.user_id.clone());
        frames(id, self.status, text, user_id, &self.metadata)
    }

    /// As [`ZapReply::to_frames`], without copies of what the reply owns.
    pub(crate) fn into_frames(self) -> [Bytes; 6] {
        frames(
            self.id,
            self.status,
            self.text,
            self.user_id,
            &self.metadata,
        )
    }

    /// Reads the seven frames that answer the request with id `asked`: an empty delimiter, then
    /// the frames of [`ZapReply::to_frames`], with at most [`Limits::max_properties`] properties.
    ///
    /// # Errors
    /// Returns [`ZapReplyError`] if the frames are not a valid reply to that request.
    pub fn from_delimited(
        frames: &[Bytes],
        asked: &RequestId,
        limits: &Limits,
    ) -> Result<Self, ZapReplyError> {
        // RFC 27: the delimiter is empty.
        match frames {
            [delimiter, reply @ ..] if reply.len() == 6 => {
                if !delimiter.is_empty() {
                    return Err(ZapReplyError::Delimiter);
                }
                Self::from_frames(reply, asked, limits)
            }
            _ => Err(ZapReplyError::Frames(frames.len())),
        }
    }

    /// Reads the six frames that [`ZapReply::to_frames`] writes.
    ///
    /// # Errors
    /// Returns [`ZapReplyError`] if the frames are not a valid reply to the request `asked`.
    pub fn from_frames(
        frames: &[Bytes],
        asked: &RequestId,
        limits: &Limits,
    ) -> Result<Self, ZapReplyError> {
        let [version, id, status, text, user_id, metadata] = frames else {
            return Err(ZapReplyError::Frames(frames.len()));
        };
        // RFC 27: the version is 1.0, the id is the request's, the status one of four.
        if version != VERSION {
            return Err(ZapReplyError::Version);
        }
        let reply = Self {
            id: RequestId::new(id.clone()),
            status: Status::parse(status).ok_or(ZapReplyError::Status)?,
            text: text.clone(),
            user_id: user_id.clone(),
            metadata: Metadata::parse(metadata, "ZAP reply", limits.max_properties)?,
            grant: None,
            hold_back: None,
            denied_by: None,
        };
        reply.check(asked)?;
        Ok(reply)
    }

    /// Checks what the types of the fields do not guarantee.
    pub(crate) fn check(&self, asked: &RequestId) -> Result<(), ZapReplyError> {
        // RFC 27: the reply repeats the request's id.
        if self.id != *asked {
            return Err(ZapReplyError::RequestId {
                asked: asked.clone(),
                got: self.id.clone(),
            });
        }
        self.check_contents()
    }

    fn check_contents(&self) -> Result<(), ZapReplyError> {
        check_contents(&self.user_id, &self.metadata)
    }
}

/// The frames of a reply, without envelope and delimiter.
// Inlined, so that the frames are made where they are returned: to move them took longer.
#[inline(always)]
pub(crate) fn frames(
    id: RequestId,
    status: Status,
    text: Bytes,
    user_id: Bytes,
    metadata: &Metadata,
) -> [Bytes; 6] {
    let mut encoded = Bytes::new();
    if !metadata.is_empty() {
        let mut bytes = BytesMut::with_capacity(metadata.encoded_len());
        metadata.encode(&mut bytes);
        encoded = bytes.freeze();
    }
    [
        Bytes::from_static(VERSION),
        id.into_bytes(),
        Bytes::from_static(status.as_str().as_bytes()),
        text,
        user_id,
        encoded,
    ]
}

/// Checks the user id and metadata that a handler gives a peer.
pub(crate) fn check_contents(user_id: &Bytes, metadata: &Metadata) -> Result<(), ZapReplyError> {
    if user_id.len() > MAX_USER_ID_LEN {
        return Err(ZapReplyError::UserIdLength(user_id.len()));
    }
    match reserved_property(metadata) {
        Some(name) => Err(ZapReplyError::ReservedProperty(name)),
        None => Ok(()),
    }
}

/// The first property in `metadata` that no handler may set.
pub(crate) fn reserved_property(metadata: &Metadata) -> Option<&'static str> {
    [IDENTITY, SOCKET_TYPE, USER_ID]
        .into_iter()
        .find(|name| metadata.get(name).is_some())
}

impl From<ZapReply> for Verdict {
    /// Admits the peer only with [`Status::Success`], and only if user id and metadata are valid.
    /// Every other reply is a denial.
    fn from(reply: ZapReply) -> Self {
        let status = match reply.status {
            Status::Success => match reply.check_contents() {
                Ok(()) => {
                    return Self::Allow(Approval {
                        user_id: reply.user_id,
                        metadata: reply.metadata,
                        grant: reply.grant,
                    });
                }
                Err(invalid) => {
                    return Self::deny(DenialStatus::Internal, WithCauses(&invalid).to_string());
                }
            },
            Status::TemporaryError => DenialStatus::Temporary,
            Status::AuthenticationFailure => DenialStatus::Failure,
            Status::InternalError => DenialStatus::Internal,
        };
        Self::Deny(Denied {
            status,
            reason: LogText(&reply.text).to_string(),
            by: reply.denied_by,
        })
    }
}

/// A handler's text, as one escaped line.
struct LogText<'a>(&'a [u8]);

impl fmt::Display for LogText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 255;
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(MAX_SHOWN)]);
        write!(f, "{}", text.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn asked() -> RequestId {
        RequestId::from(1)
    }

    fn frames(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().copied().map(Bytes::from).collect()
    }

    fn parse(texts: &[&'static str]) -> Result<ZapReply, ZapReplyError> {
        ZapReply::from_delimited(&frames(texts), &asked(), &Limits::default())
    }

    fn success(user_id: Bytes, metadata: Metadata) -> ZapReply {
        ZapReply {
            id: asked(),
            status: Status::Success,
            text: "OK".into(),
            user_id,
            metadata,
            grant: None,
            hold_back: None,
            denied_by: None,
        }
    }

    #[test]
    fn a_good_reply_reads_back() {
        let reply = parse(&["", "1.0", "1", "200", "OK", "admin", "\x01k\0\0\0\x01v"]).unwrap();
        assert_eq!(reply.user_id, "admin");
        assert_eq!(reply.metadata.get("k").unwrap(), "v");
        match Verdict::from(reply) {
            Verdict::Allow(approval) => assert_eq!(approval.user_id, "admin"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_invalid_reply_has_its_own_error() {
        use ZapReplyError as Invalid;
        let id = |got: &'static str| Invalid::RequestId {
            asked: asked(),
            got: RequestId::new(got),
        };
        for (texts, expected) in [
            (&[][..], Invalid::Frames(0)),
            (&["1.0", "1", "200", "OK", "", ""], Invalid::Frames(6)),
            (
                &["", "1.0", "1", "200", "OK", "", "", ""],
                Invalid::Frames(8),
            ),
            (&["x", "1.0", "1", "200", "OK", "", ""], Invalid::Delimiter),
            (&["", "1.1", "1", "200", "OK", "", ""], Invalid::Version),
            (&["", "", "1", "200", "OK", "", ""], Invalid::Version),
            (&["", "1.0", "2", "200", "OK", "", ""], id("2")),
            (&["", "1.0", "", "200", "OK", "", ""], id("")),
            (&["", "1.0", "1", "201", "OK", "", ""], Invalid::Status),
            (&["", "1.0", "1", "", "OK", "", ""], Invalid::Status),
        ] {
            assert_eq!(parse(texts).unwrap_err(), expected, "{texts:?}");
        }
        assert!(matches!(
            parse(&["", "1.0", "1", "200", "OK", "", "\x01k\0\0\0\x02v"]),
            Err(Invalid::Metadata(_))
        ));
        assert!(matches!(
            parse(&["", "1.0", "1", "200", "OK", "", "\x08identity\0\0\0\0"]),
            Err(Invalid::ReservedProperty("Identity"))
        ));
    }

    #[test]
    fn a_user_id_has_at_most_255_bytes() {
        let long = |len| success(vec![b'u'; len].into(), Metadata::new());
        assert_eq!(long(255).check(&asked()), Ok(()));
        assert_eq!(
            long(256).check(&asked()),
            Err(ZapReplyError::UserIdLength(256))
        );
        assert!(matches!(Verdict::from(long(256)), Verdict::Deny(denied)
            if denied.status == DenialStatus::Internal));
    }

    #[test]
    fn a_handler_may_not_set_properties_that_the_peer_claims() {
        for name in ["IDENTITY", "socket-type", "User-ID"] {
            let mut metadata = Metadata::new();
            metadata.push(name, "x").unwrap();
            let reply = success(Bytes::new(), metadata);
            assert!(matches!(
                reply.check(&asked()),
                Err(ZapReplyError::ReservedProperty(_))
            ));
            assert!(matches!(Verdict::from(reply), Verdict::Deny(_)), "{name}");
        }
    }

    #[test]
    fn only_200_allows() {
        for (status, denial) in [
            (Status::TemporaryError, DenialStatus::Temporary),
            (Status::AuthenticationFailure, DenialStatus::Failure),
            (Status::InternalError, DenialStatus::Internal),
        ] {
            let mut reply = success("admin".into(), Metadata::new());
            reply.status = status;
            reply.text = "line\nbreak".into();
            match Verdict::from(reply) {
                Verdict::Deny(denied) => {
                    assert_eq!(denied.status, denial);
                    assert_eq!(denied.reason, "line\\nbreak");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic_and_never_admit_by_accident(
            frames in vec(prop_oneof![
                Just(Bytes::new()),
                Just(Bytes::from_static(b"1.0")),
                Just(Bytes::from_static(b"1")),
                Just(Bytes::from_static(b"200")),
                vec(any::<u8>(), 0..40).prop_map(Bytes::from),
            ], 0..9),
        ) {
            if let Ok(reply) = ZapReply::from_delimited(&frames, &asked(), &Limits::default()) {
                prop_assert_eq!(&reply.to_frames()[..], &frames[1..]);
                let success = &frames[3][..] == b"200";
                prop_assert_eq!(matches!(Verdict::from(reply), Verdict::Allow(_)), success);
            }
        }

        #[test]
        fn what_is_written_reads_back(
            text in vec(any::<u8>(), 0..40),
            user_id in vec(any::<u8>(), 0..=MAX_USER_ID_LEN),
            value in vec(any::<u8>(), 0..40),
        ) {
            let mut metadata = Metadata::new();
            metadata.push("X-value", value).unwrap();
            let mut reply = success(user_id.into(), metadata);
            reply.text = text.into();
            let read = ZapReply::from_frames(&reply.to_frames(), &asked(), &Limits::default());
            prop_assert_eq!(read.unwrap().to_frames(), reply.to_frames());
        }
    }
}

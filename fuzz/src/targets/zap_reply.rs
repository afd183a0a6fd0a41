//! ZAP replies (RFC 27): frames to a value and back, and which of them admit.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::metadata_model;
use crate::setup::{MAX_PROPERTIES, limits};
use bytes::Bytes;
use zmtp_auth::zap::{RequestId, ZapReply};
use zmtp_auth::{Status, Verdict};

/// The strings of `data` are frames of a reply to request `1`.
pub fn run(data: &[u8]) {
    let frames: Vec<Bytes> = Choices::new(data)
        .strings()
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    let asked = RequestId::new("1");
    let delimited = [vec![Bytes::new()], frames.clone()].concat();
    let believed = ZapReply::from_frames(&frames, &asked, &limits());
    let with_delimiter = ZapReply::from_delimited(&delimited, &asked, &limits());
    assert_eq!(believed.is_ok(), with_delimiter.is_ok());
    let _ = ZapReply::from_delimited(&frames, &asked, &limits());
    assert_eq!(believed.is_ok(), is_believable(&frames));
    let reply = match believed {
        Ok(reply) => reply,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return;
        }
    };
    assert_eq!(reply.to_frames()[..], frames[..]);
    let (status, user_id) = (reply.status, reply.user_id.clone());
    match Verdict::from(reply) {
        Verdict::Allow(approval) => {
            assert_eq!(status, Status::Success);
            assert_eq!(approval.user_id, user_id);
            assert!(approval.grant.is_none());
        }
        Verdict::Deny(denied) => {
            assert_eq!(Status::from(denied.status), status);
            assert!(!denied.reason.contains(char::is_control));
        }
    }
}

fn is_believable(frames: &[Bytes]) -> bool {
    let [version, id, status, _text, user_id, metadata] = frames else {
        return false;
    };
    let reserved = ["Identity", "Socket-Type", "User-Id"];
    *version == "1.0"
        && *id == "1"
        && [&b"200"[..], b"300", b"400", b"500"].contains(&&status[..])
        && user_id.len() <= 255
        && metadata_model::parse(metadata, MAX_PROPERTIES).is_some_and(|properties| {
            let is_free = |name: &&str| metadata_model::value(&properties, name).is_none();
            reserved.iter().all(is_free)
        })
}

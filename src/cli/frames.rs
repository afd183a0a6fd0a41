//! Messages as JSON, and REQ's and REP's envelope (RFC 28), which the wire of one peer leaves to
//! us.
#![forbid(unsafe_code)]

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use serde::Serialize;
use zmtp_auth::SocketType;

/// Bytes that a peer chose: text where they are text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shown {
    Text(String),
    Base64(String),
}

impl Shown {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(Base64::encode_string(bytes)),
        }
    }
}

/// The frames that an application would see: without the envelope in front of a request or reply.
pub(crate) fn shown(ours: SocketType, frames: &[Bytes]) -> Vec<Shown> {
    let body = match ours {
        SocketType::Req | SocketType::Rep => {
            let delimiter = frames.iter().position(Bytes::is_empty);
            &frames[delimiter.map_or(0, |at| at + 1)..]
        }
        _ => frames,
    };
    body.iter().map(|frame| Shown::of(frame)).collect()
}

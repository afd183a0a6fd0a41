//! Whether a peer is still admitted, and what it may publish.
//!
//! A revocation is told by [`Pattern::revoked`](crate::endpoints::pattern::Pattern::revoked) before the
//! call that withdraws the admission returns. A peer that is revoked while it is on its way to the
//! socket is found by this check when the socket takes it.
#![forbid(unsafe_code)]

use bytes::Bytes;
use zmtp_auth::net::Message;
use zmtp_auth::{Grant, Peer, Topics};

pub(crate) fn is_admitted(peer: &Peer) -> bool {
    peer.grant().is_none_or(Grant::still_valid)
}

/// Which frames of a message can be its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicFrame {
    First,
    /// Behind the empty delimiter of a request or reply (RFC 28). Frames before the delimiter are an envelope
    /// to a REP that the message may reach, and the first of them is the topic to others. So both are topics.
    BehindDelimiter,
}

/// The topic of a message that its sender may not publish. `None` if the message is permitted.
pub(crate) fn refused_topic<'a>(
    topics: &Topics,
    message: &'a Message,
    frame: TopicFrame,
) -> Option<&'a Bytes> {
    let frames = message.frames();
    let behind = match frame {
        TopicFrame::First => None,
        TopicFrame::BehindDelimiter => {
            let delimiter = frames.iter().position(Bytes::is_empty);
            delimiter.and_then(|at| frames.get(at + 1))
        }
    };
    let first = frames
        .first()
        .filter(|first| behind.is_none() || !first.is_empty());
    let mut all = first.into_iter().chain(behind);
    all.find(|topic| !topics.may_publish(topic))
}

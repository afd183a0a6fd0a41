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

/// Which frame of a message is its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicFrame {
    First,
    /// The second, if the first is the empty delimiter of a request or reply (RFC 28).
    BehindDelimiter,
}

/// The topic of a message.
pub(crate) fn topic_of(message: &Message, frame: TopicFrame) -> &Bytes {
    match message.frames() {
        [first, topic, ..] if first.is_empty() && frame == TopicFrame::BehindDelimiter => topic,
        frames => &frames[0],
    }
}

/// Whether the sender may publish the topic of a message.
pub(crate) fn may_publish(topics: &Topics, message: &Message, frame: TopicFrame) -> bool {
    topics.may_publish(topic_of(message, frame))
}

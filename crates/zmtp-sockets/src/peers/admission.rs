//! Whether a peer is still admitted, and what it may publish.
//!
//! A revocation is told by [`Pattern::revoked`](crate::endpoints::pattern::Pattern::revoked) before the
//! call that withdraws the admission returns. A peer that is revoked while it is on its way to the
//! socket is found by this check when the socket takes it.
#![forbid(unsafe_code)]

use zmtp_auth::net::Message;
use zmtp_auth::{Grant, Peer, Topics};

pub(crate) fn is_admitted(peer: &Peer) -> bool {
    peer.grant().is_none_or(Grant::still_valid)
}

/// Whether the sender may publish the topic of a message: its first frame, behind the delimiter if
/// there is one.
pub(crate) fn may_publish(topics: &Topics, message: &Message) -> bool {
    let topic = match message.frames() {
        [delimiter, topic, ..] if delimiter.is_empty() => topic,
        frames => &frames[0],
    };
    topics.may_publish(topic)
}

//! What an XPUB receives from its subscribers.
#![forbid(unsafe_code)]

use crate::peers::fair_queue::Ticket;
use crate::received::Received;
use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::Message;

/// What an XPUB has received from a subscriber.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FromSubscriber {
    /// A peer subscribes to a topic.
    Subscribe(Subscription),
    /// A peer subscribes to a topic no more, or is gone.
    Unsubscribe(Subscription),
    /// A message of an XSUB.
    Message(Received),
}

/// A topic, and the peer that subscribes to it.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub(crate) topic: Bytes,
    pub(crate) peer: Arc<Peer>,
    pub(crate) subscriber: Ticket,
}

impl Subscription {
    /// The topic: the beginning of the first frames that the peer wants.
    #[must_use]
    pub const fn topic(&self) -> &Bytes {
        &self.topic
    }

    /// The peer.
    #[must_use]
    pub const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

/// The message that passes it on: to [`Xsub::send`](crate::Xsub::send), or to a program that knows
/// subscriptions as messages (RFC 23). A subscription begins with 1, and its end with 0.
impl From<FromSubscriber> for Message {
    fn from(from: FromSubscriber) -> Self {
        let marked = |mark: u8, topic: &[u8]| Self::from([&[mark], topic].concat());
        match from {
            FromSubscriber::Subscribe(subscription) => marked(1, &subscription.topic),
            FromSubscriber::Unsubscribe(subscription) => marked(0, &subscription.topic),
            FromSubscriber::Message(received) => received.into_message(),
        }
    }
}

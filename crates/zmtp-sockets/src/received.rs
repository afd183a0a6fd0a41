//! A message with the peer that sent it.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::sync::Arc;
use zmtp_auth::Peer;
use zmtp_auth::net::{Incoming, Message};

/// A message, and the authenticated peer that sent it.
#[derive(Debug, Clone)]
pub struct Received {
    message: Message,
    peer: Arc<Peer>,
}

impl Received {
    pub(crate) const fn new(message: Message, peer: Arc<Peer>) -> Self {
        Self { message, peer }
    }

    /// What `peer` has sent, if it is a message.
    #[inline]
    pub(crate) fn of(peer: &Arc<Peer>, incoming: Incoming) -> Option<Self> {
        Some(Self::new(incoming.into_message()?, Arc::clone(peer)))
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The frames of the message, at least one.
    #[must_use]
    pub fn frames(&self) -> &[Bytes] {
        self.message.frames()
    }

    /// The peer that sent it. It is shared by all messages of the peer's connection.
    #[must_use]
    pub const fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Takes the message out.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Takes both out.
    #[must_use]
    pub fn into_parts(self) -> (Message, Arc<Peer>) {
        (self.message, self.peer)
    }
}

impl From<Received> for Message {
    fn from(received: Received) -> Self {
        received.message
    }
}

//! What is sent on a connection.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use crate::traffic::outbox::Outbox;
use bytes::Bytes;

/// What is sent on a connection. The other end receives it as an [`Incoming`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outgoing {
    /// A whole message.
    Message(Message),
    /// Asks a publisher for messages that begin with this topic. Sent by SUB and XSUB.
    Subscribe(Bytes),
    /// Takes back one subscription to this topic. Sent by SUB and XSUB.
    Unsubscribe(Bytes),
    /// Joins this group of a RADIO (RFC 48). Sent by a DISH.
    Join(Bytes),
    /// Leaves this group of a RADIO (RFC 48). Sent by a DISH.
    Leave(Bytes),
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

/// Passes on what was received from another connection.
impl From<Incoming> for Outgoing {
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Message(message) => Self::Message(message),
            Incoming::Subscribe(topic) => Self::Subscribe(topic),
            Incoming::Unsubscribe(topic) => Self::Unsubscribe(topic),
            Incoming::Join(group) => Self::Join(group),
            Incoming::Leave(group) => Self::Leave(group),
        }
    }
}

impl Outgoing {
    /// What it counts for in a queue, in bytes.
    #[cfg(feature = "tokio")]
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message.cost(),
            Self::Subscribe(bytes)
            | Self::Unsubscribe(bytes)
            | Self::Join(bytes)
            | Self::Leave(bytes) => crate::traffic::message::cost(1, bytes.len()),
        }
    }

    /// Gives it to `outbox`, which must be between two messages.
    pub(crate) fn begin(self, outbox: &mut Outbox) -> Result<(), Error> {
        match self {
            Self::Message(message) => match message.into_single() {
                Ok(body) => outbox.single(body),
                Err(message) => {
                    outbox.begin(message.into_frames());
                    Ok(())
                }
            },
            Self::Subscribe(topic) => outbox.subscribe(topic),
            Self::Unsubscribe(topic) => outbox.unsubscribe(topic),
            Self::Join(group) => outbox.group("JOIN", &group),
            Self::Leave(group) => outbox.group("LEAVE", &group),
        }
    }
}

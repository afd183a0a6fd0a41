//! What an application sends, as it waits in a connection's queue.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::net::error::NetError;
use crate::traffic::message::{Message, cost};
use crate::traffic::outbox::Outbox;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    Subscribe(Bytes),
    Unsubscribe(Bytes),
}

/// Refuses a message that no peer of a socket of type `ours` would take.
pub(crate) fn require_sendable(ours: SocketType, message: &Message) -> Result<(), NetError> {
    if !ours.sends() {
        return Err(NetError::CannotSend(ours));
    }
    // RFC 28: REQ and REP put an empty frame between envelope and body; a REQ has no envelope.
    let before_body = message
        .frames()
        .split_last()
        .map_or(&[][..], |(_, before)| before);
    let is_delimited = match ours {
        SocketType::Req => before_body.first().is_some_and(Bytes::is_empty),
        SocketType::Rep => before_body.iter().any(Bytes::is_empty),
        _ => true,
    };
    is_delimited.then_some(()).ok_or(NetError::Delimiter(ours))
}

impl Outgoing {
    /// What it counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message.cost(),
            Self::Subscribe(topic) | Self::Unsubscribe(topic) => cost(1, topic.len()),
        }
    }

    /// Begins with it. Between messages only.
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
            Self::Unsubscribe(topic) => outbox.cancel(topic),
        }
    }
}

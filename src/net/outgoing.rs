//! What an application sends, as it waits in a connection's queue.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::net::message::{Message, cost};
use crate::outbox::Outbox;
use bytes::Bytes;

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    Subscribe(Bytes),
    Cancel(Bytes),
}

impl Outgoing {
    /// What it counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message.cost(),
            Self::Subscribe(topic) | Self::Cancel(topic) => cost(1, topic.len()),
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
            Self::Cancel(topic) => outbox.cancel(topic),
        }
    }
}

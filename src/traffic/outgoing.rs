//! What is sent on a connection.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::inbox::{Incoming, Mark, subscription_3_0};
use crate::traffic::message::Message;
use crate::traffic::outbox::Outbox;
use crate::wire::command::{Command, TrafficCommand};
use crate::wire::frame::Flags;
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

    /// The body of a message of one frame.
    #[cfg(feature = "tokio")]
    pub(crate) fn single(&self) -> Option<&Bytes> {
        match self {
            Self::Message(message) => message.single(),
            _ => None,
        }
    }

    /// Gives it to `outbox`, which must be between two messages.
    pub(crate) fn begin(self, outbox: &mut Outbox) -> Result<(), Error> {
        match self {
            Self::Message(message) => match message.into_single() {
                Ok(body) => outbox.single(body),
                Err(message) => {
                    outbox.begin(message.into_frames_left());
                    Ok(())
                }
            },
            other => match other.into_control(outbox.is_zmtp_3_0()) {
                Some((flags, body)) => outbox.control(flags, &body),
                None => Ok(()),
            },
        }
    }

    /// The frame of a subscription or a group, in the form that the peer's version of ZMTP knows.
    /// `None` for a message.
    pub(crate) fn into_control(self, zmtp_3_0: bool) -> Option<(Flags, Bytes)> {
        // Subscriptions are messages in RFC 23 and commands in RFC 37.
        let subscription = |mark: u8, topic: Bytes, command: fn(Bytes) -> TrafficCommand| {
            if zmtp_3_0 {
                return Some((Flags::Last, [&[mark], &topic[..]].concat().into()));
            }
            Some((Flags::Command, command(topic).encode()?))
        };
        // RFC 48: how a DISH joins and leaves groups of a RADIO.
        let group = |name, group: Bytes| {
            let mut body = Command::start(name, group.len());
            body.extend_from_slice(&group);
            Some((Flags::Command, body.freeze()))
        };
        match self {
            Self::Message(_) => None,
            Self::Subscribe(topic) => subscription(1, topic, TrafficCommand::Subscribe),
            Self::Unsubscribe(topic) => subscription(0, topic, TrafficCommand::Cancel),
            Self::Join(name) => group("JOIN", name),
            Self::Leave(name) => group("LEAVE", name),
        }
    }

    /// What a host sends that handles subscriptions as messages, as ZMTP 3.0 does. A message of one
    /// frame that begins with 1 becomes [`Outgoing::Subscribe`], one that begins with 0
    /// [`Outgoing::Unsubscribe`]. Any other stays a message. For SUB and XSUB only, because other types
    /// of sockets may send such messages as data.
    ///
    /// [`Incoming::into_message_3_0`] leads back.
    #[must_use]
    pub fn from_message_3_0(message: Message) -> Self {
        let Some(frame) = message.single() else {
            return Self::Message(message);
        };
        match subscription_3_0(frame) {
            Some((Mark::Subscribe, _)) => Self::Subscribe(frame.slice(1..)),
            Some((Mark::Unsubscribe, _)) => Self::Unsubscribe(frame.slice(1..)),
            None => Self::Message(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_messages_of_zmtp_3_0_and_back() {
        for (incoming, frame) in [
            (Incoming::Subscribe("topic".into()), "\x01topic"),
            (Incoming::Unsubscribe("".into()), "\0"),
            (Incoming::Message("data".into()), "data"),
            (Incoming::Message("".into()), ""),
        ] {
            let message = incoming.clone().into_message_3_0().unwrap();
            assert_eq!(message, Message::from(frame));
            let outgoing = Outgoing::from_message_3_0(message);
            assert_eq!(outgoing, Outgoing::from(incoming));
        }
        assert_eq!(Incoming::Join("group".into()).into_message_3_0(), None);
        let two = Message::from(["\x01", "topic"]);
        let outgoing = Outgoing::from_message_3_0(two.clone());
        assert_eq!(outgoing, Outgoing::Message(two));
    }
}

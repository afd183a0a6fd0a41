//! From the peer's bytes to what an application receives. No I/O.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::frames::{Frame, FrameReader};
use crate::net::message::{Message, cost};
use crate::wire::command::TrafficCommand;
use crate::wire::frame::Flags;
use crate::wire::socket_type::SocketType;
use bytes::{Bytes, BytesMut};

/// What a connection receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole message.
    Message(Message),
    /// The peer subscribes to messages that begin with this topic. PUB and XPUB only.
    Subscribe(Bytes),
    /// The peer takes one such subscription back. PUB and XPUB only.
    Cancel(Bytes),
}

impl Incoming {
    /// The message, if this is one.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Subscribe(_) | Self::Cancel(_) => None,
        }
    }

    /// What it counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message.cost(),
            Self::Subscribe(topic) | Self::Cancel(topic) => cost(1, topic.len()),
        }
    }
}

/// What came of one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Something for the application.
    Delivery(Incoming),
    /// A PING: `context` is to be sent back, `ttl` to be enforced.
    Ping { ttl: u16, context: Bytes },
    /// Nothing yet, or nothing at all.
    Nothing,
}

/// Largest body that gets memory of its own, in bytes. A body shares the buffer it was read
/// into; without this, one small message that the application keeps would keep all of that.
const COPY_UP_TO: usize = 4096;

/// Takes frames, and puts messages together.
#[derive(Debug)]
pub(crate) struct Inbox {
    reader: FrameReader,
    ours: SocketType,
    /// Frames of a message whose last frame has not arrived; never delivered if it never does.
    partial: Vec<Bytes>,
    partial_cost: usize,
    /// A multipart message that a PUB gets: junk, dropped frame by frame.
    dropping: bool,
}

impl Inbox {
    pub(crate) const fn new(reader: FrameReader, ours: SocketType) -> Self {
        Self {
            reader,
            ours,
            partial: Vec::new(),
            partial_cost: 0,
            dropping: false,
        }
    }

    /// What the unfinished message costs, in bytes.
    pub(crate) const fn partial_cost(&self) -> usize {
        self.partial_cost
    }

    /// Bytes to make room for before reading more into `input`.
    pub(crate) fn wanted(&self, input: &BytesMut) -> usize {
        self.reader.wanted(input)
    }

    /// Takes the next frame off `input`; `None` if more bytes are needed.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Arrived>, Error> {
        let Some(Frame { flags, body }) = self.reader.read(input)? else {
            return Ok(None);
        };
        let body = if body.len() <= COPY_UP_TO {
            Bytes::copy_from_slice(&body)
        } else {
            body
        };
        Ok(Some(match flags {
            Flags::Command => self.command(&body)?,
            Flags::More => {
                self.more(body);
                Arrived::Nothing
            }
            Flags::Last => self.last(body),
        }))
    }

    /// RFC 37, "Formal Grammar": commands that we do not know, or that mean nothing to our kind
    /// of socket, are ignored.
    fn command(&self, body: &Bytes) -> Result<Arrived, Error> {
        Ok(match TrafficCommand::parse(body)? {
            TrafficCommand::Ping { ttl, context } => Arrived::Ping { ttl, context },
            TrafficCommand::Subscribe(topic) if self.ours.publishes() => {
                Arrived::Delivery(Incoming::Subscribe(topic))
            }
            TrafficCommand::Cancel(topic) if self.ours.publishes() => {
                Arrived::Delivery(Incoming::Cancel(topic))
            }
            _ => Arrived::Nothing,
        })
    }

    fn more(&mut self, body: Bytes) {
        if self.ours == SocketType::Pub {
            self.dropping = true;
            return;
        }
        self.partial_cost = self.partial_cost.saturating_add(cost(1, body.len()));
        self.partial.push(body);
    }

    fn last(&mut self, body: Bytes) -> Arrived {
        if std::mem::take(&mut self.dropping) {
            return Arrived::Nothing;
        }
        self.partial_cost = 0;
        let mut frames = std::mem::take(&mut self.partial);
        // RFC 23, "The Publish-Subscribe Pattern": a subscription may be a message of one frame
        // that begins with 1, and its end one that begins with 0. XSUB sends them so on every
        // version.
        if self.ours.publishes() && frames.is_empty() {
            match body.first() {
                Some(1) => return Arrived::Delivery(Incoming::Subscribe(body.slice(1..))),
                Some(0) => return Arrived::Delivery(Incoming::Cancel(body.slice(1..))),
                // An XPUB may be sent messages of another kind; nobody receives on a PUB.
                _ if self.ours == SocketType::Pub => return Arrived::Nothing,
                _ => {}
            }
        }
        frames.push(body);
        Arrived::Delivery(Incoming::Message(Message::from(frames)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameWriter;
    use crate::limits::Limits;
    use crate::seal;

    /// Everything that these frames bring to a socket of type `ours`.
    fn receive(ours: SocketType, frames: &[(Flags, &[u8])]) -> (Vec<Arrived>, Inbox) {
        let (sealer, opener) = seal::transparent();
        let mut writer = FrameWriter::new(sealer);
        let mut input = BytesMut::new();
        for (flags, body) in frames {
            writer.write(*flags, body, &mut input).unwrap();
        }
        let mut inbox = Inbox::new(FrameReader::new(opener, &Limits::default()), ours);
        let mut arrived = Vec::new();
        while let Some(next) = inbox.take(&mut input).unwrap() {
            if next != Arrived::Nothing {
                arrived.push(next);
            }
        }
        (arrived, inbox)
    }

    fn message(frames: &[&'static str]) -> Arrived {
        Arrived::Delivery(Incoming::Message(frames.iter().copied().collect()))
    }

    fn subscribe(topic: &'static str) -> Arrived {
        Arrived::Delivery(Incoming::Subscribe(topic.into()))
    }

    fn cancel(topic: &'static str) -> Arrived {
        Arrived::Delivery(Incoming::Cancel(topic.into()))
    }

    #[test]
    fn a_message_comes_whole_or_not_at_all() {
        let (arrived, inbox) = receive(
            SocketType::Pull,
            &[
                (Flags::More, b"a"),
                (Flags::Command, b"\x04JOINgroup"),
                (Flags::Last, b""),
                (Flags::More, b"unfinished"),
            ],
        );
        assert_eq!(arrived, [message(&["a", ""])]);
        assert!(inbox.partial_cost() >= "unfinished".len());
    }

    #[test]
    fn publishers_see_subscriptions_in_both_forms() {
        for ours in [SocketType::Pub, SocketType::Xpub] {
            let (arrived, _) = receive(
                ours,
                &[
                    (Flags::Command, b"\x09SUBSCRIBEa"),
                    (Flags::Last, b"\x01b"),
                    (Flags::Command, b"\x06CANCELa"),
                    (Flags::Last, b"\0"),
                ],
            );
            let expected = [subscribe("a"), subscribe("b"), cancel("a"), cancel("")];
            assert_eq!(arrived, expected);
        }
    }

    #[test]
    fn other_messages_reach_xpub_and_are_dropped_by_pub() {
        let frames: [(Flags, &[u8]); 5] = [
            (Flags::Last, b"hello"),
            (Flags::Last, b""),
            (Flags::More, b"\x01x"),
            (Flags::Last, b"\x01y"),
            (Flags::Last, b"\x01t"),
        ];
        let (arrived, inbox) = receive(SocketType::Pub, &frames);
        assert_eq!(arrived, [subscribe("t")]);
        assert_eq!(inbox.partial_cost(), 0);
        let (arrived, _) = receive(SocketType::Xpub, &frames);
        let expected = [
            message(&["hello"]),
            message(&[""]),
            message(&["\x01x", "\x01y"]),
            subscribe("t"),
        ];
        assert_eq!(arrived, expected);
    }

    #[test]
    fn other_sockets_take_subscriptions_for_what_they_are() {
        let (arrived, _) = receive(
            SocketType::Pull,
            &[(Flags::Command, b"\x09SUBSCRIBEa"), (Flags::Last, b"\x01b")],
        );
        assert_eq!(arrived, [message(&["\x01b"])]);
    }

    #[test]
    fn a_ping_brings_its_ttl_and_context() {
        let (arrived, _) = receive(
            SocketType::Pull,
            &[(Flags::Command, b"\x04PING\x00\x0actx")],
        );
        let ping = Arrived::Ping {
            ttl: 10,
            context: "ctx".into(),
        };
        assert_eq!(arrived, [ping]);
    }
}

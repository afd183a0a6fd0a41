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

    fn unshare(&mut self) {
        match self {
            Self::Message(message) => message.unshare(),
            Self::Subscribe(topic) | Self::Cancel(topic) => *topic = Bytes::copy_from_slice(topic),
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

/// What some frames brought.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// For the application, each with what it costs in a queue.
    pub(crate) deliveries: Vec<(Incoming, usize)>,
    pub(crate) pings: Vec<Ping>,
    cost: usize,
}

/// A PING: `context` is to be sent back, `ttl` to be enforced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) ttl: u16,
    pub(crate) context: Bytes,
}

impl Arrivals {
    /// What all deliveries together cost, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    fn deliver(&mut self, incoming: Incoming) {
        let cost = incoming.cost();
        self.cost = self.cost.saturating_add(cost);
        self.deliveries.push((incoming, cost));
    }

    /// Gives the deliveries memory of their own if together they are worth much less than the
    /// `buffer` bytes that they were read into. They share that buffer, and while one of them
    /// lives it does; so what the queue counts is never far from what it holds.
    pub(crate) fn unshare(&mut self, buffer: usize) {
        if self.cost.saturating_mul(MOST_PER_COST) < buffer {
            for (incoming, _) in &mut self.deliveries {
                incoming.unshare();
            }
        }
    }

    /// Forgets what has been handed on; of its own memory too what only a busy connection needs.
    pub(crate) fn clear(&mut self) {
        self.deliveries.clear();
        self.pings.clear();
        self.cost = 0;
    }

    /// Frees all memory. After [`Arrivals::clear`].
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }
}

/// Bytes of a read buffer that one byte of queue cost may hold.
const MOST_PER_COST: usize = 2;

/// Largest part of a message of several that gets memory of its own, in bytes: it waits for
/// the others, whatever else its buffer brought.
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
    /// Room for frames that are taken together; empty in between.
    frames: Vec<Frame>,
}

impl Inbox {
    pub(crate) const fn new(reader: FrameReader, ours: SocketType) -> Self {
        Self {
            reader,
            ours,
            partial: Vec::new(),
            partial_cost: 0,
            dropping: false,
            frames: Vec::new(),
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

    /// Takes the next frames off `input`, at most `most`, and adds what they bring to
    /// `arrivals`, also when it fails. How many there were; if none, more bytes are needed.
    pub(crate) fn take(
        &mut self,
        input: &mut BytesMut,
        most: usize,
        arrivals: &mut Arrivals,
    ) -> Result<usize, Error> {
        let mut frames = std::mem::take(&mut self.frames);
        let read = self.reader.read_many(input, most, &mut frames);
        let count = frames.len();
        for frame in frames.drain(..) {
            self.frame(frame, arrivals)?;
        }
        self.frames = frames;
        read.map(|()| count)
    }

    /// Frees what only a busy connection needs.
    pub(crate) fn release(&mut self) {
        self.frames = Vec::new();
    }

    fn frame(&mut self, frame: Frame, arrivals: &mut Arrivals) -> Result<(), Error> {
        let Frame { flags, body } = frame;
        match flags {
            Flags::Command => self.command(&Bytes::copy_from_slice(&body), arrivals)?,
            Flags::More => self.more(body),
            Flags::Last => {
                if let Some(incoming) = self.last(body) {
                    arrivals.deliver(incoming);
                }
            }
        }
        Ok(())
    }

    /// RFC 37, "Formal Grammar": commands that we do not know, or that mean nothing to our kind
    /// of socket, are ignored.
    fn command(&self, body: &Bytes, arrivals: &mut Arrivals) -> Result<(), Error> {
        match TrafficCommand::parse(body)? {
            TrafficCommand::Ping { ttl, context } => arrivals.pings.push(Ping { ttl, context }),
            TrafficCommand::Subscribe(topic) if self.ours.publishes() => {
                arrivals.deliver(Incoming::Subscribe(topic));
            }
            TrafficCommand::Cancel(topic) if self.ours.publishes() => {
                arrivals.deliver(Incoming::Cancel(topic));
            }
            _ => {}
        }
        Ok(())
    }

    fn more(&mut self, body: Bytes) {
        if self.ours == SocketType::Pub {
            self.dropping = true;
            return;
        }
        self.partial_cost = self.partial_cost.saturating_add(cost(1, body.len()));
        self.partial.push(if body.len() <= COPY_UP_TO {
            Bytes::copy_from_slice(&body)
        } else {
            body
        });
    }

    fn last(&mut self, body: Bytes) -> Option<Incoming> {
        if std::mem::take(&mut self.dropping) {
            return None;
        }
        // RFC 23, "The Publish-Subscribe Pattern": a subscription may be a message of one frame
        // that begins with 1, and its end one that begins with 0. XSUB sends them so on every
        // version.
        if self.partial.is_empty() {
            if self.ours.publishes() {
                match body.first() {
                    Some(1) => return Some(Incoming::Subscribe(body.slice(1..))),
                    Some(0) => return Some(Incoming::Cancel(body.slice(1..))),
                    // An XPUB may be sent messages of another kind; nobody receives on a PUB.
                    _ if self.ours == SocketType::Pub => return None,
                    _ => {}
                }
            }
            return Some(Incoming::Message(Message::from(body)));
        }
        self.partial_cost = 0;
        let mut frames = std::mem::take(&mut self.partial);
        frames.push(body);
        Some(Incoming::Message(Message::from(frames)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameWriter;
    use crate::limits::Limits;
    use crate::seal;

    /// Everything that these frames bring to a socket of type `ours`.
    fn receive(ours: SocketType, frames: &[(Flags, &[u8])]) -> (Arrivals, Inbox) {
        let (sealer, opener) = seal::transparent();
        let mut writer = FrameWriter::new(sealer);
        let mut input = BytesMut::new();
        for (flags, body) in frames {
            writer.write(*flags, body, &mut input).unwrap();
        }
        let mut inbox = Inbox::new(FrameReader::new(opener, &Limits::default()), ours);
        let mut arrived = Arrivals::default();
        while inbox.take(&mut input, 2, &mut arrived).unwrap() > 0 {}
        (arrived, inbox)
    }

    fn delivered(arrived: Arrivals) -> Vec<Incoming> {
        arrived
            .deliveries
            .into_iter()
            .map(|(incoming, _)| incoming)
            .collect()
    }

    fn message(frames: &[&'static str]) -> Incoming {
        Incoming::Message(frames.iter().copied().collect())
    }

    fn subscribe(topic: &'static str) -> Incoming {
        Incoming::Subscribe(topic.into())
    }

    fn cancel(topic: &'static str) -> Incoming {
        Incoming::Cancel(topic.into())
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
        assert_eq!(delivered(arrived), [message(&["a", ""])]);
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
            assert_eq!(delivered(arrived), expected);
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
        assert_eq!(delivered(arrived), [subscribe("t")]);
        assert_eq!(inbox.partial_cost(), 0);
        let (arrived, _) = receive(SocketType::Xpub, &frames);
        let expected = [
            message(&["hello"]),
            message(&[""]),
            message(&["\x01x", "\x01y"]),
            subscribe("t"),
        ];
        assert_eq!(delivered(arrived), expected);
    }

    #[test]
    fn other_sockets_take_subscriptions_for_what_they_are() {
        let (arrived, _) = receive(
            SocketType::Pull,
            &[(Flags::Command, b"\x09SUBSCRIBEa"), (Flags::Last, b"\x01b")],
        );
        assert_eq!(delivered(arrived), [message(&["\x01b"])]);
    }

    #[test]
    fn a_ping_brings_its_ttl_and_context() {
        let (arrived, _) = receive(
            SocketType::Pull,
            &[(Flags::Command, b"\x04PING\x00\x0actx")],
        );
        let ping = Ping {
            ttl: 10,
            context: "ctx".into(),
        };
        assert_eq!(arrived.pings, [ping]);
    }

    #[test]
    fn what_shares_a_buffer_is_never_worth_much_less_than_that_buffer() {
        for (len, shares) in [(1, false), (300, true)] {
            let body = Bytes::from(vec![7; len]);
            let mut arrived = Arrivals::default();
            arrived.deliver(Incoming::Message(Message::from(body.clone())));
            arrived.unshare(600);
            let Incoming::Message(message) = &arrived.deliveries[0].0 else {
                panic!("a message");
            };
            let kept = message.single().unwrap();
            assert_eq!(kept, &body);
            assert_eq!(kept.as_ptr() == body.as_ptr(), shares);
        }
    }
}

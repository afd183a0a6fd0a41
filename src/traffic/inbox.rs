//! Turns the peer's bytes into what an application receives. No I/O.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::frames::{Frame, FrameReader};
use crate::traffic::message::{Message, cost};
use crate::traffic::parts::{Parts, unshare};
use crate::wire::command::{Command, TrafficCommand};
use crate::wire::frame::Flags;
use crate::wire::socket_type::SocketType;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What a connection receives. The other end sends it as an
/// [`Outgoing`](crate::traffic::Outgoing).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Incoming {
    /// A whole message.
    Message(Message),
    /// The peer subscribes to messages that begin with this topic. Received by PUB and XPUB.
    Subscribe(Bytes),
    /// The peer takes back one subscription to this topic. Received by PUB and XPUB.
    Unsubscribe(Bytes),
    /// A DISH joins this group of a RADIO (RFC 48). Received by [`SocketType::Relay`].
    Join(Bytes),
    /// A DISH leaves this group of a RADIO (RFC 48). Received by [`SocketType::Relay`].
    Leave(Bytes),
}

impl Incoming {
    /// The message, if this is one.
    #[must_use]
    #[inline]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Join(_) | Self::Leave(_) => None,
        }
    }

    /// The message, with subscriptions in the form that ZMTP 3.0 knows: a message of one frame, which
    /// begins with 1 to subscribe and with 0 to take a subscription back (RFC 23, "The
    /// Publish-Subscribe Pattern"). For a host that handles subscriptions as messages.
    /// [`Outgoing::from_message_3_0`](crate::traffic::Outgoing::from_message_3_0) leads back.
    ///
    /// `None` for [`Incoming::Join`] and [`Incoming::Leave`], which ZMTP 3.0 does not know.
    #[must_use]
    pub fn into_message_3_0(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Subscribe(topic) => Some(Message::from([&[1], &topic[..]].concat())),
            Self::Unsubscribe(topic) => Some(Message::from([&[0], &topic[..]].concat())),
            Self::Join(_) | Self::Leave(_) => None,
        }
    }

    /// The frames that may share the buffer that they were read into. Topics and groups are copies.
    fn shared(&mut self) -> &mut [Bytes] {
        match self {
            Self::Message(message) => message.frames_mut(),
            Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Join(_) | Self::Leave(_) => &mut [],
        }
    }

    /// What it counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Message(message) => message.cost(),
            Self::Subscribe(bytes)
            | Self::Unsubscribe(bytes)
            | Self::Join(bytes)
            | Self::Leave(bytes) => cost(1, bytes.len()),
        }
    }
}

/// What came out of some frames.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Events for the application, each with its cost in bytes.
    pub(crate) deliveries: VecDeque<(Incoming, usize)>,
    pub(crate) pings: Vec<Ping>,
    /// Whether a PONG has come.
    pub(crate) has_pong: bool,
    /// The cost of all deliveries.
    cost: usize,
    /// Number of deliveries at the front that came out of earlier buffers. They are unshared already.
    unshared: usize,
    /// The cost of the other deliveries that share the buffer that is being processed.
    fresh: usize,
    /// Index of the delivery whose first frames came out of earlier buffers. It is unshared already.
    spanning: Option<usize>,
}

/// A PING. `context` is to be sent back, `ttl` (in tenths of a second) to be enforced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) ttl: u16,
    pub(crate) context: Bytes,
}

impl Arrivals {
    /// The cost of all deliveries, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    /// Adds an event that does not share the current buffer. Returns its cost.
    ///
    /// Inlined, so that a message is made in its place in the list: each move of many small ones costs much.
    #[inline]
    fn deliver_unshared(&mut self, incoming: Incoming) -> usize {
        let cost = incoming.cost();
        self.cost = self.cost.saturating_add(cost);
        self.deliveries.push_back((incoming, cost));
        cost
    }

    /// Adds an event that shares the current buffer.
    #[inline]
    fn deliver(&mut self, incoming: Incoming) {
        let cost = self.deliver_unshared(incoming);
        self.fresh = self.fresh.saturating_add(cost);
    }

    /// Copies deliveries to memory of their own if they fill much less than the `buffer` bytes that
    /// they were read into. So the memory that a queue holds is never far from what it counts.
    pub(crate) fn unshare(&mut self, buffer: usize) {
        let spanning = self.spanning.take();
        let deliveries = self.deliveries.iter_mut().enumerate().skip(self.unshared);
        let frames = deliveries
            .filter(|(index, _)| Some(*index) != spanning)
            .flat_map(|(_, (incoming, _))| incoming.shared());
        unshare(frames, self.fresh, buffer);
        self.unshared = self.deliveries.len();
        self.fresh = 0;
    }

    /// Takes the next delivery.
    pub(crate) fn pop(&mut self) -> Option<Incoming> {
        let (mut incoming, cost) = self.deliveries.pop_front()?;
        self.cost = self.cost.saturating_sub(cost);
        let is_unshared = self.unshared > 0 || self.spanning == Some(0);
        if !is_unshared && !incoming.shared().is_empty() {
            self.fresh = self.fresh.saturating_sub(cost);
        }
        self.unshared = self.unshared.saturating_sub(1);
        self.spanning = self.spanning.and_then(|index| index.checked_sub(1));
        Some(incoming)
    }

    /// Drops everything, and keeps the memory of the lists.
    pub(crate) fn clear(&mut self) {
        self.deliveries.clear();
        self.pings.clear();
        self.has_pong = false;
        self.cost = 0;
        self.unshared = 0;
        self.fresh = 0;
        self.spanning = None;
    }

    /// Frees the memory of the lists if they are empty.
    pub(crate) fn release(&mut self) {
        if self.deliveries.is_empty() {
            *self = Self::default();
        }
    }
}

/// Reads frames, and puts them together to messages.
#[derive(Debug)]
pub(crate) struct Inbox {
    reader: FrameReader,
    assembly: Assembly,
}

/// Puts frames together to messages.
#[derive(Debug)]
struct Assembly {
    ours: SocketType,
    /// Frames of a message whose last frame has not arrived.
    partial: Parts,
    partial_cost: usize,
    /// Whether the current message is dropped, because our socket type receives no messages.
    is_dropping: bool,
    /// Whether everything but heartbeats is dropped.
    discards: bool,
    /// Whether the frames that were taken last had a message of several frames among them.
    is_mixed: bool,
}

impl Inbox {
    pub(crate) fn new(reader: FrameReader, ours: SocketType) -> Self {
        let assembly = Assembly {
            ours,
            partial: Parts::default(),
            partial_cost: 0,
            is_dropping: false,
            discards: false,
            is_mixed: false,
        };
        Self { reader, assembly }
    }

    /// The cost of the unfinished message, in bytes.
    #[cfg(any(test, feature = "tokio"))]
    pub(crate) const fn partial_cost(&self) -> usize {
        self.assembly.partial_cost
    }

    /// Number of bytes to make room for before more is read into `input`.
    pub(crate) fn wanted(&self, input: &BytesMut) -> usize {
        self.reader.wanted(input)
    }

    /// Takes at most `max` frames off `input`, which lies in memory of `buffer` bytes, and adds what
    /// comes out to `arrivals`. Returns the number of frames. If it is 0, more bytes are needed.
    ///
    /// Before more is read, the caller calls [`Inbox::unshare`] and [`Arrivals::unshare`].
    ///
    /// # Errors
    /// Returns the peer's violation. What came before it is in `arrivals`.
    pub(crate) fn take(
        &mut self,
        input: &mut BytesMut,
        buffer: usize,
        max: usize,
        arrivals: &mut Arrivals,
    ) -> Result<usize, Error> {
        let (mut count, mut done) = (0, Ok(()));
        let was_mixed = std::mem::take(&mut self.assembly.is_mixed);
        let assembly = &mut self.assembly;
        let read = self.reader.read_each(input, max, |frame| {
            count += 1;
            if done.is_ok() {
                done = assembly.frame(frame, buffer, arrivals);
            }
        });
        assembly.is_mixed |= was_mixed && count == 0;
        done.and(read).map(|()| count)
    }

    /// Copies frames of an unfinished message that fill much less than the buffer of `buffer` bytes that
    /// they share.
    pub(crate) fn unshare(&mut self, buffer: usize) {
        self.assembly.partial.unshare(buffer);
    }

    /// Drops messages and subscriptions from now on, and the unfinished message.
    pub(crate) fn discard(&mut self) {
        self.assembly.discards = true;
        self.assembly.partial = Parts::default();
        self.assembly.partial_cost = 0;
    }

    /// The reader of the frames, for a caller that passes messages of one frame straight on. `None` if
    /// that would not do: within a message, among messages of several frames, or if messages are dropped.
    pub(crate) fn straight(&mut self) -> Option<&mut FrameReader> {
        let it = &self.assembly;
        let passes = it.ours == SocketType::Relay && !it.discards;
        (passes && it.partial.is_empty() && !it.is_mixed).then_some(&mut self.reader)
    }

    /// Adds what comes out of one frame.
    ///
    /// # Errors
    /// Returns the peer's violation.
    pub(crate) fn frame(
        &mut self,
        frame: Frame,
        buffer: usize,
        arrivals: &mut Arrivals,
    ) -> Result<(), Error> {
        self.assembly.frame(frame, buffer, arrivals)
    }
}

impl Assembly {
    #[inline]
    fn frame(&mut self, frame: Frame, buffer: usize, arrivals: &mut Arrivals) -> Result<(), Error> {
        let Frame { flags, body } = frame;
        match flags {
            Flags::Command => self.command(&body, arrivals)?,
            Flags::More => self.more(body),
            Flags::Last => self.last(body, buffer, arrivals),
        }
        Ok(())
    }

    /// RFC 37, "Formal Grammar": commands that we do not know, or that have no meaning for our socket
    /// type, are ignored.
    fn command(&self, body: &Bytes, arrivals: &mut Arrivals) -> Result<(), Error> {
        match TrafficCommand::parse(body)? {
            TrafficCommand::Ping { ttl, context } => arrivals.pings.push(Ping { ttl, context }),
            TrafficCommand::Pong { .. } => arrivals.has_pong = true,
            _ if self.discards => {}
            TrafficCommand::Subscribe(topic) if self.takes_subscriptions() => {
                arrivals.deliver_unshared(Incoming::Subscribe(Bytes::copy_from_slice(&topic)));
            }
            TrafficCommand::Cancel(topic) if self.takes_subscriptions() => {
                arrivals.deliver_unshared(Incoming::Unsubscribe(Bytes::copy_from_slice(&topic)));
            }
            // RFC 48: how a DISH joins and leaves groups of a RADIO.
            TrafficCommand::Unknown if self.ours == SocketType::Relay => {
                let Command { name, data } = Command::parse(body)?;
                let incoming = match name {
                    b"JOIN" => Incoming::Join,
                    b"LEAVE" => Incoming::Leave,
                    _ => return Ok(()),
                };
                arrivals.deliver_unshared(incoming(Bytes::copy_from_slice(data)));
            }
            _ => {}
        }
        Ok(())
    }

    fn takes_subscriptions(&self) -> bool {
        self.ours.publishes() || self.ours == SocketType::Relay
    }

    fn more(&mut self, body: Bytes) {
        if self.discards {
            return;
        }
        if !self.ours.receives() {
            self.is_dropping = true;
            return;
        }
        self.is_mixed = true;
        self.partial_cost = self.partial_cost.saturating_add(cost(1, body.len()));
        self.partial.push(body);
    }

    #[inline]
    fn last(&mut self, body: Bytes, buffer: usize, arrivals: &mut Arrivals) {
        if std::mem::take(&mut self.is_dropping) || self.discards {
            return;
        }
        if self.partial.is_empty() {
            match self.topic(&body) {
                Some(subscription) => {
                    arrivals.deliver_unshared(subscription);
                }
                // A PUB or a PUSH receives no messages, so this one is dropped.
                None if !self.ours.receives() => {}
                None => arrivals.deliver(Incoming::Message(Message::from(body))),
            }
            return;
        }
        self.partial_cost = 0;
        self.partial.push(body);
        let spans_buffers = self.partial.spans_buffers();
        if spans_buffers {
            self.partial.unshare(buffer);
        }
        let message = Incoming::Message(Message::from(self.partial.take()));
        if spans_buffers {
            arrivals.spanning = Some(arrivals.deliveries.len());
            arrivals.deliver_unshared(message);
        } else {
            arrivals.deliver(message);
        }
    }

    /// RFC 23, "The Publish-Subscribe Pattern": a message of one frame that begins with 1 is a
    /// subscription, and one that begins with 0 takes it back. An XSUB sends them in this form on
    /// every version of ZMTP. An XPUB may receive other messages too.
    fn topic(&self, body: &[u8]) -> Option<Incoming> {
        if !self.ours.publishes() {
            return None;
        }
        // Applications keep topics, so they are copied out of the buffer.
        let (mark, topic) = subscription_3_0(body)?;
        let topic = Bytes::copy_from_slice(topic);
        Some(match mark {
            Mark::Subscribe => Incoming::Subscribe(topic),
            Mark::Unsubscribe => Incoming::Unsubscribe(topic),
        })
    }
}

/// What the first byte of a subscription says.
pub(crate) enum Mark {
    Subscribe,
    Unsubscribe,
}

/// A subscription in the form of ZMTP 3.0, if this is one: its mark and its topic.
pub(crate) fn subscription_3_0(body: &[u8]) -> Option<(Mark, &[u8])> {
    match body.split_first()? {
        (1, topic) => Some((Mark::Subscribe, topic)),
        (0, topic) => Some((Mark::Unsubscribe, topic)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::traffic::frames::FrameWriter;
    use crate::traffic::input::Input;
    use crate::traffic::seal;

    fn take(inbox: &mut Inbox, input: &mut Input, arrived: &mut Arrivals) -> Result<usize, Error> {
        let buffer = input.allocation();
        inbox.take(input.bytes_mut(), buffer, 2, arrived)
    }

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
        let mut input = Input::from(input);
        while take(&mut inbox, &mut input, &mut arrived).unwrap() > 0 {}
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

    fn unsubscribe(topic: &'static str) -> Incoming {
        Incoming::Unsubscribe(topic.into())
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
            let expected = [
                subscribe("a"),
                subscribe("b"),
                unsubscribe("a"),
                unsubscribe(""),
            ];
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
    fn messages_never_reach_a_socket_that_only_sends() {
        let frames: [(Flags, &[u8]); 4] = [
            (Flags::Last, b"hello"),
            (Flags::Last, b"\x01t"),
            (Flags::More, b"two"),
            (Flags::Last, b"frames"),
        ];
        for ours in [SocketType::Push, SocketType::Scatter, SocketType::Radio] {
            let (arrived, inbox) = receive(ours, &frames);
            assert_eq!(delivered(arrived), [], "{ours}");
            assert_eq!(inbox.partial_cost(), 0);
        }
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

    /// Takes `frames` out of one buffer that an ignored command makes `buffer` bytes larger; the
    /// addresses that belong to that buffer.
    fn take_from(
        inbox: &mut Inbox,
        frames: &[(Flags, &[u8])],
        buffer: usize,
    ) -> (Arrivals, std::ops::Range<*const u8>) {
        let mut ignored = b"\x07IGNORED".to_vec();
        ignored.resize(8 + buffer, 0);
        let mut writer = FrameWriter::new(seal::transparent().0);
        let mut bytes = BytesMut::new();
        for (flags, body) in frames.iter().chain([&(Flags::Command, &ignored[..])]) {
            writer.write(*flags, body, &mut bytes).unwrap();
        }
        let mut input = Input::from(bytes);
        let memory = input.bytes().as_ptr_range();
        let mut arrived = Arrivals::default();
        while take(inbox, &mut input, &mut arrived).unwrap() > 0 {}
        inbox.unshare(input.allocation());
        arrived.unshare(input.allocation());
        (arrived, memory)
    }

    fn inbox(ours: SocketType) -> Inbox {
        let opener = seal::transparent().1;
        Inbox::new(FrameReader::new(opener, &Limits::default()), ours)
    }

    #[test]
    fn messages_share_a_buffer_only_if_they_fill_half_of_it() {
        for (buffer, is_shared) in [(100, true), (10_000, false)] {
            let frames: [(Flags, &[u8]); 2] = [(Flags::Last, &[7; 300]), (Flags::Last, &[8; 300])];
            let mut inbox = inbox(SocketType::Pull);
            let (arrived, memory) = take_from(&mut inbox, &frames, buffer);
            for incoming in delivered(arrived) {
                let message = incoming.into_message().unwrap();
                let at = message.single().unwrap().as_ptr();
                assert_eq!(memory.contains(&at), is_shared);
            }
        }
    }

    #[test]
    fn a_message_out_of_several_buffers_keeps_each_only_if_a_frame_fills_half_of_it() {
        let mut inbox = inbox(SocketType::Pull);
        let large = vec![1; 50_000];
        let (_, first) = take_from(&mut inbox, &[(Flags::More, &large)], 100);
        let (_, second) = take_from(&mut inbox, &[(Flags::More, &[2; 5000])], 100_000);
        let frames: [(Flags, &[u8]); 2] = [(Flags::Last, &[3; 5000]), (Flags::Last, &[4; 10])];
        let (arrived, third) = take_from(&mut inbox, &frames, 100_000);
        let arrived = delivered(arrived);
        let messages: Vec<_> = arrived
            .into_iter()
            .map(|incoming| incoming.into_message().unwrap().into_frames())
            .collect();
        assert_eq!(messages[0], [large, vec![2; 5000], vec![3; 5000]]);
        assert!(first.contains(&messages[0][0].as_ptr()));
        assert!(!second.contains(&messages[0][1].as_ptr()));
        assert!(!third.contains(&messages[0][2].as_ptr()));
        assert!(!third.contains(&messages[1][0].as_ptr()));
    }

    #[test]
    fn topics_do_not_keep_the_buffer_that_they_were_read_into() {
        let frames: [(Flags, &[u8]); 4] = [
            (Flags::Last, b"\x01a"),
            (Flags::Last, b"\0b"),
            (Flags::Command, b"\x09SUBSCRIBEc"),
            (Flags::Command, b"\x06CANCELd"),
        ];
        let (arrived, memory) = take_from(&mut inbox(SocketType::Xpub), &frames, 0);
        for incoming in delivered(arrived) {
            match incoming {
                Incoming::Subscribe(topic) | Incoming::Unsubscribe(topic) => {
                    assert!(!memory.contains(&topic.as_ptr()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

//! An established connection in both directions, without I/O.
#![forbid(unsafe_code)]

use crate::error::{Error, LocalError};
use crate::limits::Limits;
use crate::traffic::frames::{FrameReader, FrameWriter};
use crate::traffic::heartbeat::{Heartbeat, HeartbeatAction, HeartbeatExpired, HeartbeatSettings};
use crate::traffic::heartbeat_queue::Pings;
use crate::traffic::inbox::{Arrivals, Inbox, Incoming, Ping};
use crate::traffic::input::Input;
use crate::traffic::outbox::Outbox;
use crate::traffic::outgoing::Outgoing;
use crate::traffic::seal::{Opener, Sealer, TOGETHER};
use crate::wire::socket_type::SocketType;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::io::IoSlice;
use std::time::Instant;

#[cfg(feature = "tokio")]
mod queues;

/// An established connection: bytes of the peer become messages and subscriptions, and messages
/// become bytes for the peer. PINGs are answered, and sent if that was asked for.
///
/// The caller has the stream and the clock. Whenever something has happened, it
///
/// 1. reads into [`Channel::room`] if the channel [wants input](Channel::wants_input), and calls
///    [`Channel::received`];
/// 2. calls [`Channel::receive`] and takes what came by [`Channel::poll_event`];
/// 3. gives what it wants to send to [`Channel::queue`], as long as [`Channel::can_queue`], and
///    calls [`Channel::encode`];
/// 4. writes [`Channel::output`] and calls [`Channel::sent`]. If that was something, or the channel
///    [has more](Channel::has_more), it goes on with 2;
/// 5. waits, but no longer than [`Channel::deadline`], and calls [`Channel::on_deadline`] then.
///
/// `examples/without_runtime.rs` does this over a blocking stream. What the channel holds is
/// bounded: unread bytes by what was read, events by the limit of [`Channel::receive`], output by
/// two messages and 128 KiB, answers to PINGs by 16.
#[derive(Debug)]
pub struct Channel {
    /// Bytes that have been read and not been taken apart.
    input: Input,
    inbox: Inbox,
    arrivals: Arrivals,
    outbox: Outbox,
    heartbeat: Heartbeat,
    pings: Pings,
    /// [`Channel::receive`] stopped at its limit, so that whole frames may be left in `input`.
    is_full: bool,
    /// Something may still come from the peer, and is wanted.
    peer_sends: bool,
    /// The peer still takes what is sent to it. If not, that is dropped.
    peer_takes: bool,
    /// The peer broke the protocol. What else it sent means nothing.
    broken: bool,
}

impl Channel {
    /// Takes over a connection once its handshake is complete.
    ///
    /// `ours` is the type of our socket: a PUB receives subscriptions only, a PUSH nothing, and
    /// [`SocketType::Relay`] everything that a tunnel passes on. `limits` bound what the peer may
    /// send. A peer of ZMTP 3.0 (`zmtp_3_0`) gets no PING and takes subscriptions as messages.
    #[must_use]
    pub fn new(
        (sealer, opener): (Sealer, Opener),
        zmtp_3_0: bool,
        ours: SocketType,
        limits: &Limits,
        heartbeat: Option<HeartbeatSettings>,
        now: Instant,
    ) -> Self {
        Self {
            input: Input::default(),
            inbox: Inbox::new(FrameReader::new(opener, limits), ours),
            arrivals: Arrivals::default(),
            outbox: Outbox::new(FrameWriter::new(sealer), zmtp_3_0),
            heartbeat: Heartbeat::new(heartbeat, zmtp_3_0, now),
            pings: Pings::default(),
            is_full: false,
            peer_sends: true,
            peer_takes: true,
            broken: false,
        }
    }

    /// Begins with bytes that arrived behind the last command of the handshake.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.input = Input::from(input);
        self
    }

    /// Whether to read from the peer now. If not, nothing more comes, or events are to be taken or
    /// [`Channel::output`] is to be written first.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let is_held_up = self.is_full && !self.arrivals.deliveries.is_empty();
        self.peer_sends && self.pings.may_take_more() && !is_held_up
    }

    /// Room to read into: one byte at least. It grows with what has arrived, and not with what the
    /// peer announces.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        self.room_for(usize::MAX, usize::MAX)
    }

    /// As [`Channel::room`], but at most `max` bytes, and at most `ahead` while frames are small.
    pub(crate) fn room_for(&mut self, ahead: usize, max: usize) -> Limit<&mut BytesMut> {
        // What was read before may lie in memory that is about to be replaced.
        self.arrivals.unshare(self.input.allocation());
        let wanted = self.inbox.wanted(&self.input);
        self.input.room(wanted, ahead, max)
    }

    /// Notes that bytes were read into [`Channel::room`]. Every byte is a sign of life.
    pub fn received(&mut self, now: Instant) {
        self.input.arrived();
        self.heartbeat.received(now);
    }

    /// Takes bytes that were read elsewhere, instead of reading into [`Channel::room`]. They are
    /// dropped once nothing more is wanted of the peer.
    pub fn feed(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() && self.peer_sends {
            let mut room = self.room();
            let (fits, rest) = bytes.split_at(bytes.len().min(room.remaining_mut()));
            room.put_slice(fits);
            bytes = rest;
            self.received(now);
        }
    }

    /// Takes whole frames apart until the events that wait cost `limit` bytes, and says how many
    /// frames there were. An event costs its bytes, and 64 for each of its frames.
    ///
    /// It also stops behind 16 PINGs whose answers are not encoded yet, so that a peer that does
    /// not read them is not read from either.
    ///
    /// # Errors
    /// Returns the peer's violation of the protocol or of a limit. What came before it is still
    /// given by [`Channel::poll_event`], and nothing more is wanted of the peer. Returns
    /// [`LocalError::Poisoned`] after that.
    pub fn receive(&mut self, limit: usize) -> Result<usize, Error> {
        if self.broken {
            return Err(LocalError::Poisoned.into());
        }
        let before = self.input.len();
        let mut frames = 0;
        let taken = loop {
            let max = TOGETHER.min(self.pings.room());
            self.is_full = self.arrivals.cost() >= limit;
            if max == 0 || self.is_full {
                break Ok(frames);
            }
            let taken = self.inbox.take(&mut self.input, max, &mut self.arrivals);
            for Ping { ttl, context } in self.arrivals.pings.drain(..) {
                self.heartbeat.on_ping(ttl);
                self.pings.answer(&context);
            }
            if std::mem::take(&mut self.arrivals.has_pong) {
                self.heartbeat.on_pong();
            }
            match taken {
                Ok(0) => break Ok(frames),
                Ok(some) => frames += some,
                Err(error) => break Err(error),
            }
        };
        self.input.taken(frames, before - self.input.len());
        self.inbox.unshare(&self.input);
        self.pings.held_up_input = !self.pings.may_take_more();
        if taken.is_err() {
            self.broken = true;
            self.drop_input();
        }
        taken
    }

    /// The next message or subscription of the peer. Large ones hold no more memory than about
    /// twice their bytes. Small ones may share what was read at once, up to 128 KiB, as long as
    /// together they are worth half of it: to keep a few of many for long, copy them.
    pub fn poll_event(&mut self) -> Option<Incoming> {
        self.arrivals.unshare(self.input.allocation());
        self.arrivals.pop()
    }

    /// As [`Channel::poll_event`], for a caller that keeps no event: it may share the buffer that
    /// it was read into.
    pub(crate) fn poll_shared_event(&mut self) -> Option<Incoming> {
        self.arrivals.pop()
    }

    /// Whether [`Channel::receive`] and [`Channel::poll_event`] may give more without another byte
    /// of the peer: events wait, or frames that were left at the limit, or behind PINGs whose
    /// answers are encoded by now.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.arrivals.deliveries.is_empty() || self.is_full || self.may_go_on()
    }

    /// Whether all whole frames that have arrived were given.
    pub(crate) fn is_drained(&self) -> bool {
        let is_held_up = self.is_full || self.pings.held_up_input;
        self.arrivals.deliveries.is_empty() && !is_held_up
    }

    /// Whether input that waited for answers to PINGs can be gone on with.
    pub(crate) fn may_go_on(&self) -> bool {
        self.pings.may_go_on()
    }

    /// Whether [`Channel::queue`] takes something now. If not, [`Channel::output`] is to be
    /// written first.
    #[must_use]
    pub fn can_queue(&self) -> bool {
        self.outbox.has_room() && self.outbox.is_between_messages()
    }

    /// Queues a message or a subscription, which is encoded in the form that the peer's version
    /// knows. A peer that takes nothing more gets nothing. Whether our type of socket sends such
    /// things is the caller's to know.
    ///
    /// # Errors
    /// Returns [`LocalError::OutputPending`] unless [`Channel::can_queue`], which is to be asked
    /// first, and [`LocalError::NonceExhausted`] if the connection can send no more.
    pub fn queue(&mut self, outgoing: impl Into<Outgoing>) -> Result<(), Error> {
        if !self.can_queue() {
            return Err(LocalError::OutputPending.into());
        }
        if !self.peer_takes {
            return Ok(());
        }
        self.heartbeat.on_send();
        outgoing.into().begin(&mut self.outbox)
    }

    /// Encodes answers to PINGs, and what is left of a message under way, as far as there is room.
    /// RFC 37, "Formal Grammar": commands stand between messages.
    pub(crate) fn fill(&mut self) -> Result<(), Error> {
        while self.outbox.has_room() {
            if !self.outbox.is_between_messages() {
                self.outbox.encode_frame()?;
            } else if let Some(command) = self.pings.take() {
                self.outbox.command(&command)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Encodes what is queued, and heartbeats, as far as one write is worth it.
    ///
    /// # Errors
    /// Returns [`LocalError::NonceExhausted`] if the connection can send no more.
    pub fn encode(&mut self) -> Result<(), Error> {
        self.fill()?;
        self.outbox.encode_singles()
    }

    /// The bytes to be written, in order.
    #[must_use]
    pub fn output(&self) -> [IoSlice<'_>; 3] {
        self.outbox.parts()
    }

    /// Whether there are bytes to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.outbox.has_bytes()
    }

    /// Whether everything that was queued is written.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Notes that `written` bytes of [`Channel::output`] were written.
    pub fn sent(&mut self, written: usize) {
        self.outbox.advance(written);
    }

    /// When to call [`Channel::on_deadline`] next; `None`: only after something has changed.
    /// `is_reading` says whether the peer is read from: while it is not, its silence means
    /// nothing. A peer that sends or takes nothing more has no heartbeat.
    pub fn deadline(&mut self, now: Instant, is_reading: bool) -> Option<Instant> {
        if !self.is_open() {
            return None;
        }
        if is_reading {
            self.heartbeat.listen(now);
        } else {
            self.heartbeat.stop_listening();
        }
        self.heartbeat.deadline()
    }

    /// Does what heartbeats want at `now`. Before, read what has arrived: it counts first.
    ///
    /// # Errors
    /// Returns [`HeartbeatExpired`] if the peer was silent for too long. The connection is to be
    /// closed.
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), HeartbeatExpired> {
        if !self.is_open() {
            return Ok(());
        }
        while let Some(action) = self.heartbeat.poll(now) {
            match action {
                HeartbeatAction::Ping(ping) => self.pings.ours = Some(ping),
                HeartbeatAction::Close(expired) => return Err(expired),
            }
        }
        Ok(())
    }

    /// Whether the peer sends and takes. Only then does its silence mean something, and is there a
    /// use in a PING.
    const fn is_open(&self) -> bool {
        self.peer_sends && self.peer_takes
    }

    /// Notes that nothing more comes from the peer, or is wanted of it. What has arrived is still
    /// given, as long as the channel [has more](Channel::has_more); call [`Channel::encode`], or
    /// [`Channel::end_output`] if the peer is gone, so that PINGs hold nothing up.
    pub const fn end_input(&mut self) {
        self.peer_sends = false;
    }

    /// Notes that the peer takes nothing more. What waits for it is dropped, and so is what is
    /// queued later.
    pub fn end_output(&mut self) {
        self.peer_takes = false;
        self.outbox.discard();
        self.pings.stop();
    }

    /// Drops the peer's messages and subscriptions from now on, and those that wait. Its PINGs are
    /// answered.
    pub fn discard_input(&mut self) {
        self.inbox.discard();
        self.arrivals.clear();
        self.is_full = false;
    }

    /// Drops what the peer has sent and everything for it: it broke the protocol.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        // First, so that no event is copied that is dropped anyway.
        self.discard_input();
        self.drop_input();
        self.end_output();
    }

    /// Drops what was read and not taken apart: it stands behind a violation.
    fn drop_input(&mut self) {
        self.arrivals.unshare(self.input.allocation());
        self.end_input();
        self.input = Input::default();
        self.is_full = false;
        self.pings.held_up_input = false;
    }

    /// Frees buffers that hold nothing. A busy connection would need them again at once; an idle
    /// one holds none.
    pub fn release_memory(&mut self) {
        self.arrivals.unshare(self.input.allocation());
        self.input.release();
        self.arrivals.release();
        self.inbox.release();
        self.outbox.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LimitExceeded;
    use crate::traffic::message::Message;
    use crate::traffic::seal;
    use crate::wire::frame::Flags;
    use bytes::Bytes;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn channel(ours: SocketType, heartbeat: Option<HeartbeatSettings>, now: Instant) -> Channel {
        let limits = Limits {
            max_message: 10_000,
            ..Limits::default()
        };
        Channel::new(seal::transparent(), false, ours, &limits, heartbeat, now)
    }

    fn pair(one: SocketType, other: SocketType) -> (Channel, Channel) {
        let now = Instant::now();
        (channel(one, None, now), channel(other, None, now))
    }

    /// Everything that `from` has for its peer, in one read.
    fn transfer(from: &mut Channel, to: &mut Channel) {
        from.encode().unwrap();
        while from.has_output() {
            let bytes: Vec<u8> = from
                .output()
                .iter()
                .flat_map(|part| part.to_vec())
                .collect();
            from.sent(bytes.len());
            to.feed(&bytes, Instant::now());
            from.encode().unwrap();
        }
    }

    fn events(channel: &mut Channel) -> Vec<Incoming> {
        channel.receive(usize::MAX).unwrap();
        std::iter::from_fn(|| channel.poll_event()).collect()
    }

    fn frame(flags: Flags, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        let mut writer = FrameWriter::new(seal::transparent().0);
        writer.write(flags, body, &mut out).unwrap();
        out
    }

    #[test]
    fn what_one_end_queues_the_other_end_receives() {
        let (mut xsub, mut xpub) = pair(SocketType::Xsub, SocketType::Xpub);
        let message: Message = ["a", "bc"].into_iter().collect();
        xsub.queue(Outgoing::Subscribe("t".into())).unwrap();
        xsub.queue(message.clone()).unwrap();
        transfer(&mut xsub, &mut xpub);
        xsub.queue(Outgoing::Unsubscribe("t".into())).unwrap();
        transfer(&mut xsub, &mut xpub);
        let expected = [
            Incoming::Subscribe("t".into()),
            Incoming::Message(message.clone()),
            Incoming::Unsubscribe("t".into()),
        ];
        assert_eq!(events(&mut xpub), expected);
        assert!(xsub.is_sent());
        xpub.queue(message.clone()).unwrap();
        transfer(&mut xpub, &mut xsub);
        assert_eq!(events(&mut xsub), [Incoming::Message(message)]);
    }

    #[test]
    fn a_relay_sees_group_commands_and_no_other_socket_does() {
        for (ours, expected) in [
            (
                SocketType::Relay,
                vec![Incoming::Join("g".into()), Incoming::Leave("h".into())],
            ),
            (SocketType::Radio, Vec::new()),
        ] {
            let mut ours = channel(ours, None, Instant::now());
            ours.feed(&frame(Flags::Command, b"\x04JOINg"), Instant::now());
            ours.feed(&frame(Flags::Command, b"\x05OTHERg"), Instant::now());
            ours.feed(&frame(Flags::Command, b"\x05LEAVEh"), Instant::now());
            assert_eq!(events(&mut ours), expected);
        }
    }

    #[test]
    fn nothing_is_taken_beyond_the_limit_of_the_caller() {
        let (mut push, mut pull) = pair(SocketType::Push, SocketType::Pull);
        for _ in 0..100 {
            push.queue(Message::from("hello")).unwrap();
            transfer(&mut push, &mut pull);
        }
        pull.receive(0).unwrap();
        assert_eq!(pull.poll_event(), None);
        assert!(pull.has_more());
        let mut count = 0;
        while pull.receive(100).unwrap() > 0 {
            let taken = std::iter::from_fn(|| pull.poll_event()).count();
            // Frames are opened in batches.
            assert!(taken <= TOGETHER, "{taken}");
            count += taken;
        }
        assert_eq!(count, 100);
        assert!(pull.wants_input());
    }

    #[test]
    fn a_caller_that_queues_too_early_is_told_and_nothing_is_torn() {
        let (mut push, mut pull) = pair(SocketType::Push, SocketType::Pull);
        let message = Message::from(vec![Bytes::from(vec![7; 5000]); 2]);
        push.queue(message.clone()).unwrap();
        let early = push.queue(Message::from("early")).unwrap_err();
        assert_eq!(early, Error::from(LocalError::OutputPending));
        transfer(&mut push, &mut pull);
        push.queue(Message::from("late")).unwrap();
        transfer(&mut push, &mut pull);
        let expected = [message, Message::from("late")].map(Incoming::Message);
        assert_eq!(events(&mut pull), expected);
    }

    #[test]
    fn what_came_before_a_violation_is_given_and_nothing_behind_it() {
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        pull.feed(&frame(Flags::Last, b"before"), Instant::now());
        pull.feed(&frame(Flags::Last, &[0; 10_001]), Instant::now());
        pull.feed(&frame(Flags::Last, b"behind"), Instant::now());
        let error = pull.receive(usize::MAX).unwrap_err();
        let exceeded = LimitExceeded::Message {
            size: 10_001,
            limit: 10_000,
        };
        assert_eq!(error, Error::from(exceeded));
        let before = Incoming::Message("before".into());
        assert_eq!(pull.poll_event(), Some(before));
        assert_eq!(pull.poll_event(), None);
        let poisoned = pull.receive(usize::MAX).unwrap_err();
        assert_eq!(poisoned, Error::from(LocalError::Poisoned));
    }

    #[test]
    fn a_peer_that_reads_no_answers_to_its_pings_is_not_read_from() {
        let (mut ours, mut peer) = pair(SocketType::Pull, SocketType::Push);
        let now = Instant::now();
        for _ in 0..100 {
            ours.feed(&frame(Flags::Command, b"\x04PING\0\0context"), now);
        }
        ours.feed(&frame(Flags::Last, b"behind"), now);
        assert_eq!(events(&mut ours), []);
        assert!(!ours.wants_input());
        let mut rounds = 0;
        let got = loop {
            transfer(&mut ours, &mut peer);
            let got = events(&mut ours);
            if !got.is_empty() {
                break got;
            }
            rounds += 1;
        };
        assert_eq!(got, [Incoming::Message("behind".into())]);
        assert!(rounds >= 5, "{rounds}");
    }

    /// What a caller does that reads only when the channel wants it, and sleeps otherwise.
    fn drive(channel: &mut Channel, mut wire: &[u8], limit: usize) -> usize {
        let mut messages = 0;
        loop {
            if channel.wants_input() && !wire.is_empty() {
                let (read, rest) = wire.split_at(wire.len().min(5000));
                channel.feed(read, Instant::now());
                wire = rest;
            }
            channel.receive(limit).unwrap();
            messages += std::iter::from_fn(|| channel.poll_event()).count();
            channel.encode().unwrap();
            let len = channel.output().iter().map(|part| part.len()).sum();
            channel.sent(len);
            let sleeps = len == 0 && !channel.has_more();
            if sleeps && (wire.is_empty() || !channel.wants_input()) {
                return messages;
            }
        }
    }

    #[test]
    fn a_caller_sleeps_only_when_everything_that_has_arrived_is_given() {
        let message = frame(Flags::Last, &[7; 100]);
        let ping = frame(Flags::Command, b"\x04PING\0\0");
        for limit in [1, 100, 1000, 1 << 16, usize::MAX] {
            let mut ours = channel(SocketType::Pull, None, Instant::now());
            assert_eq!(drive(&mut ours, &message.repeat(2000), limit), 2000);
            assert!(ours.wants_input());
            let among = [&ping.repeat(16)[..], &message].concat().repeat(30);
            assert_eq!(drive(&mut ours, &among, limit), 30);
            // Also what came before the end.
            ours.feed(&among, Instant::now());
            ours.end_input();
            assert_eq!(drive(&mut ours, &[], limit), 30);
        }
    }

    #[test]
    fn what_stands_behind_a_violation_costs_and_holds_nothing() {
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        let mut bytes = b"\x02\0\0\0\0\0\0\xff\xff".to_vec();
        bytes.resize(1 << 20, 0);
        // It is noticed only when all of it was fed.
        pull.feed(&bytes, Instant::now());
        assert!(pull.input.moved() <= 2 * bytes.len());
        pull.receive(usize::MAX).unwrap_err();
        assert!(!pull.wants_input());
        pull.feed(&bytes, Instant::now());
        assert_eq!(pull.input.len(), 0);
    }

    #[test]
    fn what_came_before_a_violation_holds_no_more_than_it_is_worth() {
        let ignored = [b"\x07IGNORED", &[0; 9000][..]].concat();
        let bytes = [
            &frame(Flags::Last, b"small")[..],
            &frame(Flags::Command, &ignored),
            &frame(Flags::Last, &[0; 10_001]),
        ];
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        pull.feed(&bytes.concat(), Instant::now());
        let buffer = pull.input.bytes().as_ptr_range();
        pull.receive(usize::MAX).unwrap_err();
        let message = pull.poll_event().unwrap().into_message().unwrap();
        assert!(!buffer.contains(&message.single().unwrap().as_ptr()));
    }

    #[test]
    fn a_peer_that_takes_nothing_more_gets_nothing_and_is_still_heard() {
        let (mut push, mut pull) = pair(SocketType::Pair, SocketType::Pair);
        push.queue(Message::from("lost")).unwrap();
        push.end_output();
        push.queue(Message::from("lost too")).unwrap();
        transfer(&mut push, &mut pull);
        assert_eq!(events(&mut pull), []);
        pull.queue(Message::from("heard")).unwrap();
        transfer(&mut pull, &mut push);
        assert_eq!(events(&mut push), [Incoming::Message("heard".into())]);
    }

    #[test]
    fn discarded_input_still_has_its_pings_answered() {
        let (mut ours, mut peer) = pair(SocketType::Pull, SocketType::Push);
        let now = Instant::now();
        ours.feed(&frame(Flags::Last, b"waits"), now);
        ours.receive(usize::MAX).unwrap();
        ours.discard_input();
        ours.feed(&frame(Flags::More, b"part"), now);
        ours.feed(&frame(Flags::Command, b"\x04PING\0\0x"), now);
        ours.feed(&frame(Flags::Last, b"end"), now);
        assert_eq!(events(&mut ours), []);
        assert_eq!(ours.input.len() + ours.inbox.partial_cost(), 0);
        ours.encode().unwrap();
        assert!(ours.has_output());
        transfer(&mut ours, &mut peer);
    }

    #[test]
    fn heartbeats_are_sent_answered_and_end_with_a_silent_peer() {
        let start = Instant::now();
        let settings = Some(HeartbeatSettings::every(SECOND));
        let mut ours = channel(SocketType::Pull, settings, start);
        let mut peer = channel(SocketType::Push, None, start);
        let due = ours.deadline(start, true).unwrap();
        assert_eq!(due, start + SECOND);
        ours.on_deadline(due).unwrap();
        transfer(&mut ours, &mut peer);
        assert_eq!(events(&mut peer), []);
        transfer(&mut peer, &mut ours);
        ours.receive(usize::MAX).unwrap();
        ours.on_deadline(start + 2 * SECOND).unwrap();
        let silent = ours.on_deadline(start + 10 * SECOND);
        assert_eq!(silent, Err(HeartbeatExpired::NoAnswer));
        // A peer that was told of the end is not asked whether it lives.
        ours.end_input();
        assert_eq!(ours.deadline(start, true), None);
        assert_eq!(ours.on_deadline(start + 10 * SECOND), Ok(()));
    }
}

//! An established connection in both directions, without I/O.
#![forbid(unsafe_code)]

use crate::error::{Error, LocalError};
use crate::limits::Limits;
use crate::traffic::frames::{FrameReader, FrameWriter};
use crate::traffic::heartbeat::{Heartbeat, HeartbeatAction, HeartbeatExpired, HeartbeatSettings};
use crate::traffic::heartbeat_queue::Pings;
use crate::traffic::inbox::{Arrivals, Inbox, Incoming, Ping};
use crate::traffic::input::Input;
use crate::traffic::outbox::{Outbox, PARTS};
use crate::traffic::outgoing::Outgoing;
use crate::traffic::seal::{Opener, Sealer, TOGETHER};
use crate::wire::socket_type::SocketType;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::io::IoSlice;
use std::time::Instant;

#[cfg(feature = "tokio")]
mod queues;
pub(crate) mod straight;

/// An established connection without I/O. It turns the peer's bytes into messages and subscriptions,
/// and messages into bytes for the peer. It answers PINGs, and sends them if asked to.
///
/// The caller owns the stream and the clock. Whenever something has happened, it
///
/// 1. reads into [`Channel::room`] if the channel [wants input](Channel::wants_input), and calls
///    [`Channel::on_read`];
/// 2. calls [`Channel::process_input`] and takes the events with [`Channel::poll_event`];
/// 3. gives what it wants to send to [`Channel::queue`] as long as [`Channel::can_queue`], and
///    calls [`Channel::encode`];
/// 4. writes [`Channel::output`] and calls [`Channel::on_written`]. If something was written, or the
///    channel [has more](Channel::has_more), it goes back to step 2;
/// 5. waits for the stream, but only until [`Channel::deadline`], and calls
///    [`Channel::on_deadline`] then.
///
/// `examples/without_runtime.rs` does this over a blocking stream.
///
/// The order matters. Processing input may queue answers to PINGs, so it comes before encoding. An
/// answer may only be encoded between two messages, and writing makes room for it, so after a write
/// there may be input that waited for that room. A caller that slept instead of going back to step 2
/// could wait for a peer that waits for it.
///
/// What the channel holds is bounded: unprocessed bytes by what was read, events by the limit of
/// [`Channel::process_input`], output by two messages and 512 KiB, answers to PINGs by 16. Until
/// [`Channel::release_memory`] it also keeps up to 384 KiB of memory that messages were read into, to read
/// into it again once they are dropped.
#[derive(Debug)]
pub struct Channel {
    /// Bytes that were read and are not processed yet.
    input: Input,
    inbox: Inbox,
    arrivals: Arrivals,
    outbox: Outbox,
    heartbeat: Heartbeat,
    pings: Pings,
    /// [`Channel::process_input`] stopped at its limit, so `input` may still hold whole frames.
    is_full: bool,
    /// More may come from the peer, and is wanted.
    peer_sends: bool,
    /// The peer takes what is sent to it. If not, output is dropped.
    peer_takes: bool,
    /// The peer has violated the protocol, and nothing that follows has a meaning.
    broken: bool,
}

impl Channel {
    /// Takes over a connection after its handshake.
    ///
    /// `ours` is our socket type: a PUB receives only subscriptions, a PUSH nothing, and
    /// [`SocketType::Relay`] everything that a tunnel passes on. `limits` bound what the peer may
    /// send. A peer of ZMTP 3.0 (`zmtp_3_0`) is sent no PINGs, and subscriptions as messages.
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

    /// Whether to read from the peer now. If not, nothing more comes from it, or the caller must
    /// first take events or write [`Channel::output`].
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let is_held_up = self.is_full && !self.arrivals.deliveries.is_empty();
        self.peer_sends && self.pings.may_take_more() && !is_held_up
    }

    /// Room to read into, at least one byte. It grows with what has arrived, never with what the
    /// peer announces.
    pub fn room(&mut self) -> Limit<&mut BytesMut> {
        self.room_for(usize::MAX, usize::MAX)
    }

    /// As [`Channel::room`], but at most `max` bytes, and at most `read_ahead` while frames are small.
    pub(crate) fn room_for(&mut self, read_ahead: usize, max: usize) -> Limit<&mut BytesMut> {
        // Events may share the memory of the buffer, which may be replaced now.
        self.arrivals.unshare(self.input.allocation());
        let wanted = self.inbox.wanted(self.input.bytes());
        self.input.room(wanted, read_ahead, max)
    }

    /// Notes that bytes were read into [`Channel::room`]. For the heartbeat every byte is a sign of
    /// life.
    pub fn on_read(&mut self, now: Instant) {
        self.input.on_read();
        self.heartbeat.on_receive(now);
    }

    /// Appends bytes that were read elsewhere, instead of reading into [`Channel::room`]. They are
    /// dropped after [`Channel::end_input`] or a violation of the protocol.
    pub fn push_input(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() && self.peer_sends {
            let mut room = self.room();
            let (fits, rest) = bytes.split_at(bytes.len().min(room.remaining_mut()));
            room.put_slice(fits);
            bytes = rest;
            self.on_read(now);
        }
    }

    /// Processes whole frames until the waiting events cost `limit` bytes, and returns the number of
    /// frames. An event costs its bytes, and 64 bytes for each of its frames.
    ///
    /// It also stops when the answers to 16 PINGs wait to be encoded, so that a peer that does not
    /// read them is not read from either.
    ///
    /// # Errors
    /// Returns the peer's violation of the protocol or of a limit. [`Channel::poll_event`] still
    /// returns what came before it, and no more input is taken. Returns [`LocalError::Poisoned`] if
    /// it is called again after that.
    pub fn process_input(&mut self, limit: usize) -> Result<usize, Error> {
        self.process_some(limit, usize::MAX)
    }

    /// As [`Channel::process_input`], until `events` events wait or they cost `limit` bytes.
    pub(crate) fn process_some(&mut self, limit: usize, events: usize) -> Result<usize, Error> {
        if self.broken {
            return Err(LocalError::Poisoned.into());
        }
        let before = self.input.len();
        let buffer = self.input.allocation();
        let mut frames = 0;
        let taken = loop {
            let max = TOGETHER.min(self.pings.room());
            // A frame brings one event at most.
            let left = events.saturating_sub(self.arrivals.deliveries.len());
            self.pings.held_up_input = max == 0;
            self.is_full = left == 0 || self.arrivals.cost() >= limit;
            if max == 0 || self.is_full {
                break Ok(frames);
            }
            let max = max.min(left);
            let taken = self
                .inbox
                .take(self.input.bytes_mut(), buffer, max, &mut self.arrivals);
            self.take_heartbeats();
            match taken {
                Ok(0) => break Ok(frames),
                Ok(some) => frames += some,
                Err(error) => break Err(error),
            }
        };
        self.input.taken(frames, before - self.input.len());
        self.inbox.unshare(buffer);
        if taken.is_err() {
            self.broken = true;
            self.drop_input();
        }
        taken
    }

    /// Takes the PINGs and PONGs that have arrived.
    fn take_heartbeats(&mut self) {
        for Ping { ttl, context } in self.arrivals.pings.drain(..) {
            self.heartbeat.on_ping(ttl);
            self.pings.answer(&context);
        }
        if std::mem::take(&mut self.arrivals.has_pong) {
            self.heartbeat.on_pong();
        }
        self.pings.held_up_input = !self.pings.may_take_more();
    }

    /// Takes the next message or subscription of the peer.
    ///
    /// A large message holds at most about twice its bytes of memory. Small ones may share a buffer
    /// of up to 128 KiB, if together they fill half of it. To keep a few of many messages for long,
    /// copy them.
    pub fn poll_event(&mut self) -> Option<Incoming> {
        self.arrivals.unshare(self.input.allocation());
        self.arrivals.pop()
    }

    /// Whether [`Channel::process_input`] and [`Channel::poll_event`] may return more without another
    /// byte of the peer. Either events wait, or frames were left at the limit, or processing stopped
    /// because of PINGs whose answers are encoded by now.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.arrivals.deliveries.is_empty() || self.is_full || self.may_resume_input()
    }

    /// Whether processing stopped because of PINGs and can now go on.
    pub(crate) fn may_resume_input(&self) -> bool {
        self.pings.may_resume_input()
    }

    /// Whether [`Channel::queue`] takes something now. If not, the caller must first write
    /// [`Channel::output`].
    #[must_use]
    pub fn can_queue(&self) -> bool {
        self.outbox.has_room() && self.outbox.is_between_messages()
    }

    /// Queues a message or a subscription. It is encoded in the form that the peer's version of ZMTP
    /// knows, and dropped after [`Channel::end_output`]. Whether our socket type may send it is for
    /// the caller to check.
    ///
    /// # Errors
    /// Returns [`LocalError::OutputPending`] if [`Channel::can_queue`] is false, and
    /// [`LocalError::NonceExhausted`] if the connection can send no more.
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

    /// Encodes the rest of the current message, then heartbeats, as far as there is room. RFC 37,
    /// "Formal Grammar": commands stand between messages.
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

    /// Encodes what is queued, and heartbeats, up to about what one write should send.
    ///
    /// # Errors
    /// Returns [`LocalError::NonceExhausted`] if the connection can send no more.
    pub fn encode(&mut self) -> Result<(), Error> {
        self.fill()?;
        self.outbox.encode_singles()
    }

    /// The bytes to write, in order. The last parts may be empty.
    #[must_use]
    pub fn output(&self) -> [IoSlice<'_>; PARTS] {
        self.outbox.parts()
    }

    /// Whether there are bytes to write.
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
    pub fn on_written(&mut self, written: usize) {
        self.outbox.advance(written);
    }

    /// When to call [`Channel::on_deadline`] next. `None` means never, until something changes.
    ///
    /// `is_reading` says whether the caller reads from the peer. While it does not, the peer's
    /// silence means nothing. A peer that sends or takes nothing more has no heartbeat.
    pub fn deadline(&mut self, now: Instant, is_reading: bool) -> Option<Instant> {
        if !self.is_open() {
            return None;
        }
        if is_reading {
            self.heartbeat.resume_reading(now);
        } else {
            self.heartbeat.pause_reading();
        }
        self.heartbeat.deadline()
    }

    /// Queues a PING if one is due at `now`, and checks whether the peer was silent for too long.
    /// Read what has arrived before, since it counts as a sign of life.
    ///
    /// # Errors
    /// Returns [`HeartbeatExpired`] if the peer was silent for too long. Close the connection then.
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

    /// Whether both directions are open. Only then can a PING be answered, and only then does the
    /// peer's silence mean something.
    const fn is_open(&self) -> bool {
        self.peer_sends && self.peer_takes
    }

    /// Notes that nothing more comes from the peer, or that no more is wanted.
    ///
    /// What has arrived is still processed as long as the channel [has more](Channel::has_more).
    /// Processing may stop because of PINGs. It goes on after [`Channel::encode`], or
    /// [`Channel::end_output`] if the peer is gone.
    pub const fn end_input(&mut self) {
        self.peer_sends = false;
    }

    /// Notes that the peer takes nothing more. Waiting output is dropped, and so is everything that
    /// is queued later.
    pub fn end_output(&mut self) {
        self.peer_takes = false;
        self.outbox.discard();
        self.pings.stop();
    }

    /// Drops the peer's messages and subscriptions, those that wait and those to come. Its PINGs are
    /// still answered.
    pub fn discard_input(&mut self) {
        self.inbox.discard();
        self.arrivals.clear();
        self.is_full = false;
    }

    /// Drops everything from the peer and for it, after a violation of the protocol.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        // This comes first, so that `drop_input` copies no events.
        self.discard_input();
        self.drop_input();
        self.end_output();
    }

    /// Drops bytes that were read and not processed, because they follow a violation.
    fn drop_input(&mut self) {
        self.arrivals.unshare(self.input.allocation());
        self.end_input();
        self.input = Input::default();
        self.is_full = false;
        self.pings.held_up_input = false;
    }

    /// Frees empty buffers, and what is kept to be read into again. To be called when the connection is idle,
    /// because a busy one would need them again at once.
    pub fn release_memory(&mut self) {
        self.arrivals.unshare(self.input.allocation());
        self.input.release();
        self.arrivals.release();
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

    /// Gives all output of `from` to `to`.
    fn transfer(from: &mut Channel, to: &mut Channel) {
        from.encode().unwrap();
        while from.has_output() {
            let bytes: Vec<u8> = from
                .output()
                .iter()
                .flat_map(|part| part.to_vec())
                .collect();
            from.on_written(bytes.len());
            to.push_input(&bytes, Instant::now());
            from.encode().unwrap();
        }
    }

    fn events(channel: &mut Channel) -> Vec<Incoming> {
        channel.process_input(usize::MAX).unwrap();
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
            ours.push_input(&frame(Flags::Command, b"\x04JOINg"), Instant::now());
            ours.push_input(&frame(Flags::Command, b"\x05OTHERg"), Instant::now());
            ours.push_input(&frame(Flags::Command, b"\x05LEAVEh"), Instant::now());
            assert_eq!(events(&mut ours), expected);
        }
    }

    #[test]
    fn processing_stops_at_the_limit_of_the_caller() {
        let (mut push, mut pull) = pair(SocketType::Push, SocketType::Pull);
        for _ in 0..100 {
            push.queue(Message::from("hello")).unwrap();
            transfer(&mut push, &mut pull);
        }
        pull.process_input(0).unwrap();
        assert_eq!(pull.poll_event(), None);
        assert!(pull.has_more());
        let mut count = 0;
        while pull.process_input(100).unwrap() > 0 {
            let taken = std::iter::from_fn(|| pull.poll_event()).count();
            // Frames are opened in batches.
            assert!(taken <= TOGETHER, "{taken}");
            count += taken;
        }
        assert_eq!(count, 100);
        assert!(pull.wants_input());
    }

    #[test]
    fn queueing_too_early_is_an_error_and_damages_nothing() {
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
    fn messages_before_a_violation_are_delivered_and_none_behind_it() {
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        pull.push_input(&frame(Flags::Last, b"before"), Instant::now());
        pull.push_input(&frame(Flags::Last, &[0; 10_001]), Instant::now());
        pull.push_input(&frame(Flags::Last, b"behind"), Instant::now());
        let error = pull.process_input(usize::MAX).unwrap_err();
        let exceeded = LimitExceeded::Message {
            size: 10_001,
            limit: 10_000,
        };
        assert_eq!(error, Error::from(exceeded));
        let before = Incoming::Message("before".into());
        assert_eq!(pull.poll_event(), Some(before));
        assert_eq!(pull.poll_event(), None);
        let poisoned = pull.process_input(usize::MAX).unwrap_err();
        assert_eq!(poisoned, Error::from(LocalError::Poisoned));
    }

    #[test]
    fn a_peer_that_reads_no_answers_to_its_pings_is_not_read_from() {
        let (mut ours, mut peer) = pair(SocketType::Pull, SocketType::Push);
        let now = Instant::now();
        for _ in 0..100 {
            ours.push_input(&frame(Flags::Command, b"\x04PING\0\0context"), now);
        }
        ours.push_input(&frame(Flags::Last, b"behind"), now);
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

    /// A caller that reads only when the channel wants input, and sleeps when it may.
    fn drive(channel: &mut Channel, mut wire: &[u8], limit: usize) -> usize {
        let mut messages = 0;
        loop {
            if channel.wants_input() && !wire.is_empty() {
                let (read, rest) = wire.split_at(wire.len().min(5000));
                channel.push_input(read, Instant::now());
                wire = rest;
            }
            channel.process_input(limit).unwrap();
            messages += std::iter::from_fn(|| channel.poll_event()).count();
            channel.encode().unwrap();
            let len = channel.output().iter().map(|part| part.len()).sum();
            channel.on_written(len);
            let sleeps = len == 0 && !channel.has_more();
            if sleeps && (wire.is_empty() || !channel.wants_input()) {
                return messages;
            }
        }
    }

    #[test]
    fn a_caller_sleeps_only_when_everything_that_has_arrived_is_processed() {
        let message = frame(Flags::Last, &[7; 100]);
        let ping = frame(Flags::Command, b"\x04PING\0\0");
        for limit in [1, 100, 1000, 1 << 16, usize::MAX] {
            let mut ours = channel(SocketType::Pull, None, Instant::now());
            assert_eq!(drive(&mut ours, &message.repeat(2000), limit), 2000);
            assert!(ours.wants_input());
            let among = [&ping.repeat(16)[..], &message].concat().repeat(30);
            assert_eq!(drive(&mut ours, &among, limit), 30);
            // After the end of input, what came before it is processed too.
            ours.push_input(&among, Instant::now());
            ours.end_input();
            assert_eq!(drive(&mut ours, &[], limit), 30);
        }
    }

    #[test]
    fn bytes_behind_a_violation_cost_no_time_and_no_memory() {
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        let mut bytes = b"\x02\0\0\0\0\0\0\xff\xff".to_vec();
        bytes.resize(1 << 20, 0);
        // The violation is noticed only after all of the bytes were pushed.
        pull.push_input(&bytes, Instant::now());
        assert!(pull.input.moved() <= 2 * bytes.len());
        pull.process_input(usize::MAX).unwrap_err();
        assert!(!pull.wants_input());
        pull.push_input(&bytes, Instant::now());
        assert_eq!(pull.input.len(), 0);
    }

    #[test]
    fn messages_before_a_violation_do_not_keep_its_buffer() {
        let ignored = [b"\x07IGNORED", &[0; 9000][..]].concat();
        let bytes = [
            &frame(Flags::Last, b"small")[..],
            &frame(Flags::Command, &ignored),
            &frame(Flags::Last, &[0; 10_001]),
        ];
        let mut pull = channel(SocketType::Pull, None, Instant::now());
        pull.push_input(&bytes.concat(), Instant::now());
        let buffer = pull.input.bytes().as_ptr_range();
        pull.process_input(usize::MAX).unwrap_err();
        let message = pull.poll_event().unwrap().into_message().unwrap();
        assert!(!buffer.contains(&message.single().unwrap().as_ptr()));
    }

    #[test]
    fn after_the_end_of_output_nothing_is_sent_and_input_is_still_processed() {
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
        ours.push_input(&frame(Flags::Last, b"waits"), now);
        ours.process_input(usize::MAX).unwrap();
        ours.discard_input();
        ours.push_input(&frame(Flags::More, b"part"), now);
        ours.push_input(&frame(Flags::Command, b"\x04PING\0\0x"), now);
        ours.push_input(&frame(Flags::Last, b"end"), now);
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
        ours.process_input(usize::MAX).unwrap();
        ours.on_deadline(start + 2 * SECOND).unwrap();
        let silent = ours.on_deadline(start + 10 * SECOND);
        assert_eq!(silent, Err(HeartbeatExpired::NoAnswer));
        // After the end of input there are no PINGs.
        ours.end_input();
        assert_eq!(ours.deadline(start, true), None);
        assert_eq!(ours.on_deadline(start + 10 * SECOND), Ok(()));
    }
}

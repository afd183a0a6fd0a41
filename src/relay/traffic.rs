//! The traffic of a tunnel, in both directions, once both handshakes are complete.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::frames::{FrameReader, FrameWriter};
use crate::handshake::Established;
use crate::heartbeat::{Due, Heartbeat, HeartbeatSettings, Silence};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::wire::command::{Command, TrafficCommand};
use crate::wire::frame::Flags;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

/// PINGs whose answers wait to be sent. From a peer that sends more without reading our answers,
/// nothing is taken until it does.
const MOST_PONGS: usize = 16;

/// Largest frame of an unfinished message that gets memory of its own, in bytes. It would share
/// the buffer that it was read into, and keep all of it for as long as the message takes.
const COPY_UP_TO: usize = 4096;

/// One of a tunnel's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that was accepted.
    Front,
    /// The one that was dialled for it.
    Back,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

/// A peer broke the protocol or a limit. Its connection is to be closed, and so is the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whose peer it was.
    pub side: Side,
    /// What it did.
    pub error: Error,
}

/// A peer was silent for too long. Its connection is to be closed, and so is the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent {
    /// Whose peer it was.
    pub side: Side,
    /// Which promise it broke.
    pub silence: Silence,
}

/// One connection of a tunnel, ready for traffic.
#[derive(Debug)]
pub struct Leg {
    reader: FrameReader,
    /// What was read and not taken apart.
    input: BytesMut,
    /// Frames of a message whose last frame has not arrived; never passed on if it never does.
    partial: Vec<Bytes>,
    outbox: Outbox,
    heartbeat: Heartbeat,
    /// A PING of our own.
    ping: Option<TrafficCommand>,
    /// Contexts of the peer's PINGs, to be sent back.
    to_answer: VecDeque<Bytes>,
    /// Whether input was left alone because too many PINGs wait for their answers.
    held_up: bool,
    /// Its peer broke the protocol: what else it sent means nothing.
    broken: bool,
}

impl Leg {
    /// Takes over a connection. `limits` bound what its peer may send, `heartbeat` says whether
    /// it is sent PINGs; its own are answered in any case.
    #[must_use]
    pub fn new(
        established: Established,
        limits: &Limits,
        heartbeat: Option<HeartbeatSettings>,
        now: Instant,
    ) -> Self {
        let zmtp_3_0 = established.zmtp_3_0;
        Self {
            reader: FrameReader::new(established.opener, limits),
            input: BytesMut::new(),
            partial: Vec::new(),
            outbox: Outbox::new(FrameWriter::new(established.sealer), zmtp_3_0),
            heartbeat: Heartbeat::new(heartbeat, zmtp_3_0, now),
            ping: None,
            to_answer: VecDeque::new(),
            held_up: false,
            broken: false,
        }
    }

    /// Begins with what has arrived behind the last command of the handshake.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.input = input;
        self
    }

    fn may_take_more(&self) -> bool {
        self.to_answer.len() < MOST_PONGS
    }

    /// Encodes heartbeats, and the rest of a message under way, as far as there is room.
    fn fill(&mut self) -> Result<(), Error> {
        while self.outbox.has_room() {
            if !self.outbox.is_between_messages() {
                self.outbox.encode_frame()?;
            } else if let Some(context) = self.to_answer.pop_front() {
                self.outbox.command(&TrafficCommand::Pong { context })?;
            } else if let Some(ping) = self.ping.take() {
                self.outbox.command(&ping)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn can_begin(&self) -> bool {
        self.outbox.has_room() && self.outbox.is_between_messages()
    }

    /// Takes a command of the peer's. RFC 37, "Formal Grammar": what we do not know is ignored.
    fn command(&mut self, body: &Bytes, to: &mut Outbox) -> Result<(), Error> {
        match TrafficCommand::parse(body)? {
            // A sign of life is for who is at the other end of this connection: us.
            TrafficCommand::Ping { ttl, context } => {
                self.heartbeat.on_ping(ttl);
                self.to_answer.push_back(context);
                Ok(())
            }
            TrafficCommand::Pong { .. } => Ok(()),
            // In the form that the other peer's version knows.
            TrafficCommand::Subscribe(topic) => to.subscribe(topic),
            TrafficCommand::Cancel(topic) => to.cancel(topic),
            // RFC 48: how a DISH joins and leaves groups of a RADIO.
            TrafficCommand::Unknown => match Command::parse(body)?.name {
                b"JOIN" | b"LEAVE" => to.command_body(body),
                _ => Ok(()),
            },
        }
    }
}

/// A tunnel's traffic: two connections, each frame of one sealed anew for the other.
///
/// Messages cross whole or not at all, multipart ones and all frames in order; subscriptions in
/// the form that the receiver's version knows. PINGs are answered where they arrive. Nothing is
/// taken from one side while the other has no room, so that what is held in a direction is one
/// message at most, and what a write is worth.
///
/// A driver, whenever something has happened,
///
/// 1. appends what it has read from a side to [`Relay::input`], if the side
///    [wants it](Relay::wants_input), and tells [`Relay::received`];
/// 2. calls [`Relay::turn`];
/// 3. writes [`Relay::output`] of both sides, tells [`Relay::sent`], and if that was not nothing
///    begins again;
/// 4. waits, but not beyond [`Relay::deadline`], when it calls [`Relay::poll`].
#[derive(Debug)]
pub struct Relay {
    front: Leg,
    back: Leg,
}

impl Relay {
    /// Ties two connections together.
    #[must_use]
    pub const fn new(front: Leg, back: Leg) -> Self {
        Self { front, back }
    }

    /// Moves on what has arrived, in both directions, as far as there is room.
    ///
    /// # Errors
    /// [`Broken`], once for each side. What its peer had sent before can still be moved on, by
    /// calling this again.
    pub fn turn(&mut self) -> Result<(), Broken> {
        loop {
            carry(&mut self.front, &mut self.back).map_err(broken(Side::Front))?;
            carry(&mut self.back, &mut self.front).map_err(broken(Side::Back))?;
            self.front.fill().map_err(broken(Side::Front))?;
            self.back.fill().map_err(broken(Side::Back))?;
            let goes_on = |leg: &Leg| leg.held_up && leg.may_take_more();
            if !goes_on(&self.front) && !goes_on(&self.back) {
                return Ok(());
            }
        }
    }

    /// Whether to read from this side now. If not, there is nowhere to put it.
    #[must_use]
    pub fn wants_input(&self, side: Side) -> bool {
        let leg = self.leg(side);
        !leg.broken && leg.may_take_more() && self.leg(side.other()).can_begin()
    }

    /// Bytes to make room for in [`Relay::input`] before reading more; grows with what has
    /// arrived, not with what the peer announces.
    #[must_use]
    pub fn wanted(&self, side: Side) -> usize {
        let leg = self.leg(side);
        leg.reader.wanted(&leg.input)
    }

    /// Where what was read from this side is appended.
    pub const fn input(&mut self, side: Side) -> &mut BytesMut {
        &mut self.leg_mut(side).input
    }

    /// What is to be written to this side, in order.
    #[must_use]
    pub fn output(&self, side: Side) -> [IoSlice<'_>; 3] {
        self.leg(side).outbox.parts()
    }

    /// Whether there is something to be written to this side.
    #[must_use]
    pub fn has_output(&self, side: Side) -> bool {
        self.leg(side).outbox.has_bytes()
    }

    /// This much of the output is written.
    pub fn sent(&mut self, side: Side, written: usize) {
        self.leg_mut(side).outbox.advance(written);
    }

    /// Whether everything whole that the other side has sent was written to this one.
    #[must_use]
    pub fn is_drained(&self, side: Side) -> bool {
        self.leg(side).outbox.is_empty() && !self.leg(side.other()).held_up
    }

    /// Something has arrived from this side, which is a sign of life.
    pub const fn received(&mut self, side: Side, now: Instant) {
        self.leg_mut(side).heartbeat.received(now);
    }

    /// When to call [`Relay::poll`] next; `None`: only after something has changed. While a side
    /// is not read from, its silence means nothing.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for side in [Side::Front, Side::Back] {
            let listening = self.wants_input(side);
            let heartbeat = &mut self.leg_mut(side).heartbeat;
            if listening {
                heartbeat.listen(now);
            } else {
                heartbeat.stop_listening();
            }
            next = next.into_iter().chain(heartbeat.deadline()).min();
        }
        next
    }

    /// Does what heartbeats want at `now`.
    ///
    /// # Errors
    /// [`Silent`].
    pub fn poll(&mut self, now: Instant) -> Result<(), Silent> {
        for side in [Side::Front, Side::Back] {
            let leg = self.leg_mut(side);
            while let Some(due) = leg.heartbeat.poll(now) {
                match due {
                    Due::Ping(ping) => leg.ping = Some(ping),
                    Due::Dead(silence) => return Err(Silent { side, silence }),
                }
            }
        }
        Ok(())
    }

    const fn leg(&self, side: Side) -> &Leg {
        match side {
            Side::Front => &self.front,
            Side::Back => &self.back,
        }
    }

    const fn leg_mut(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }
}

fn broken(side: Side) -> impl FnOnce(Error) -> Broken {
    move |error| Broken { side, error }
}

/// Takes frames from one side to the other as long as there is room.
fn carry(from: &mut Leg, to: &mut Leg) -> Result<(), Error> {
    let carried = carry_frames(from, to);
    to.outbox.settle()?;
    to.outbox.rest();
    carried
}

fn carry_frames(from: &mut Leg, to: &mut Leg) -> Result<(), Error> {
    loop {
        to.fill()?;
        from.held_up = !from.broken && !from.may_take_more();
        if from.broken || from.held_up || !to.can_begin() {
            return Ok(());
        }
        match carry_frame(from, &mut to.outbox) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                from.broken = true;
                return Err(error);
            }
        }
    }
    if from.input.is_empty() {
        // An idle connection holds no buffer.
        from.input = BytesMut::new();
    }
    Ok(())
}

/// Takes one frame; false if more bytes are needed.
fn carry_frame(from: &mut Leg, to: &mut Outbox) -> Result<bool, Error> {
    let Some(frame) = from.reader.read(&mut from.input)? else {
        return Ok(false);
    };
    match frame.flags {
        Flags::Command => from.command(&frame.body, to)?,
        Flags::More => from.partial.push(owned(frame.body)),
        Flags::Last if from.partial.is_empty() => to.single(frame.body)?,
        Flags::Last => {
            let mut frames = std::mem::take(&mut from.partial);
            frames.push(frame.body);
            to.begin(frames);
        }
    }
    Ok(true)
}

fn owned(body: Bytes) -> Bytes {
    if body.len() <= COPY_UP_TO {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}

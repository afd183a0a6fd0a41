//! One connection of a tunnel, and how frames cross from one to the other.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::handshake::Established;
use crate::limits::Limits;
use crate::traffic::frames::{Frame, FrameReader, FrameWriter};
use crate::traffic::heartbeat::{Heartbeat, HeartbeatSettings};
use crate::traffic::heartbeat_queue::Pings;
use crate::traffic::input::Input;
use crate::traffic::outbox::Outbox;
use crate::traffic::parts::Parts;
use crate::traffic::seal::TOGETHER;
use crate::wire::command::{Command, TrafficCommand};
use crate::wire::frame::Flags;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// One connection of a tunnel, ready for traffic.
#[derive(Debug)]
pub struct RelayEnd {
    pub(crate) reader: FrameReader,
    /// What was read and not taken apart.
    pub(crate) input: Input,
    /// Frames that were opened and not passed on, and the error that followed them.
    pub(crate) opened: VecDeque<Frame>,
    error: Option<Error>,
    /// Room for frames that are opened together; empty in between.
    together: Vec<Frame>,
    /// Frames of a message whose last frame has not arrived; never passed on if it never does.
    partial: Parts,
    pub(crate) outbox: Outbox,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) pings: Pings,
    /// Something may still come from its peer, and is wanted.
    pub(crate) sends: bool,
    /// Its peer still takes what goes to it; if not, that is dropped.
    pub(crate) takes: bool,
    /// Its peer broke the protocol: what else it sent means nothing.
    broken: bool,
}

impl RelayEnd {
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
            input: Input::default(),
            opened: VecDeque::new(),
            error: None,
            together: Vec::new(),
            partial: Parts::default(),
            outbox: Outbox::new(FrameWriter::new(established.sealer), zmtp_3_0),
            heartbeat: Heartbeat::new(heartbeat, zmtp_3_0, now),
            pings: Pings::default(),
            sends: true,
            takes: true,
            broken: false,
        }
    }

    /// Begins with what has arrived behind the last command of the handshake.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.input = Input::from(input);
        self
    }

    pub(crate) fn rest(&mut self) {
        self.input.rest();
        if self.opened.is_empty() {
            self.opened = VecDeque::new();
        }
        self.together = Vec::new();
        self.outbox.rest();
    }

    /// Encodes heartbeats, and the rest of a message under way, as far as there is room.
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

    /// The next frame, opened with others; `None` if more bytes are needed.
    fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        if self.opened.is_empty() && self.error.is_none() {
            let before = self.input.len();
            let read = self
                .reader
                .read_many(self.input.bytes_mut(), TOGETHER, &mut self.together);
            self.error = read.err();
            let taken = before - self.input.len();
            self.input.taken(self.together.len(), taken);
            self.opened.extend(self.together.drain(..));
        }
        match self.opened.pop_front() {
            None => self.error.take().map_or(Ok(None), Err),
            frame => Ok(frame),
        }
    }

    /// Whether something from the other leg can go here, if only to be dropped.
    pub(crate) fn can_begin(&self) -> bool {
        self.outbox.has_room() && self.outbox.is_between_messages()
    }

    /// Whether its peer is there in both directions. Only then does its silence mean something,
    /// and is there a use in a PING.
    pub(crate) const fn is_open(&self) -> bool {
        self.sends && self.takes
    }

    /// Its peer takes nothing more.
    pub(crate) fn end_output(&mut self) {
        self.takes = false;
        self.outbox.discard();
        self.pings.stop();
    }

    /// Its peer broke the protocol. What it had sent before has crossed already.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        self.sends = false;
        self.input = Input::default();
        self.opened.clear();
        self.partial = Parts::default();
        self.end_output();
    }

    /// Takes a command of the peer's. RFC 37, "Formal Grammar": what we do not know is ignored.
    fn command(&mut self, body: &Bytes, to: &mut Self) -> Result<(), Error> {
        match TrafficCommand::parse(body)? {
            // A heartbeat is for the other end of this connection: us.
            TrafficCommand::Ping { ttl, context } => {
                self.heartbeat.on_ping(ttl);
                self.pings.answer(&context);
                Ok(())
            }
            TrafficCommand::Pong { .. } => {
                self.heartbeat.on_pong();
                Ok(())
            }
            // In the form that the other peer's version knows.
            TrafficCommand::Subscribe(topic) => to.send(|outbox| outbox.subscribe(topic)),
            TrafficCommand::Cancel(topic) => to.send(|outbox| outbox.cancel(topic)),
            // RFC 48: how a DISH joins and leaves groups of a RADIO.
            TrafficCommand::Unknown => match Command::parse(body)?.name {
                b"JOIN" | b"LEAVE" => to.send(|outbox| outbox.command_body(body)),
                _ => Ok(()),
            },
        }
    }

    /// Sends something that is no heartbeat, if the peer still takes it.
    fn send(&mut self, send: impl FnOnce(&mut Outbox) -> Result<(), Error>) -> Result<(), Error> {
        if !self.takes {
            return Ok(());
        }
        self.heartbeat.on_send();
        send(&mut self.outbox)
    }
}

/// Takes frames from one side to the other as long as there is room.
pub(crate) fn carry(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    let carried = carry_frames(from, to);
    from.partial.settle(from.input.allocation());
    to.outbox.settle()?;
    carried
}

fn carry_frames(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    loop {
        to.fill()?;
        from.pings.held_up_input = !from.broken && !from.pings.may_take_more();
        if from.broken || from.pings.held_up_input || !to.can_begin() {
            return Ok(());
        }
        if !carry_frame(from, to)? {
            return Ok(());
        }
    }
}

/// Takes one frame; false if more bytes are needed.
fn carry_frame(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<bool, Error> {
    let Some(frame) = from.next_frame()? else {
        return Ok(false);
    };
    match frame.flags {
        Flags::Command => from.command(&frame.body, to)?,
        _ if !to.takes => from.partial = Parts::default(),
        Flags::More => from.partial.push(frame.body),
        Flags::Last if from.partial.is_empty() => to.send(|outbox| outbox.single(frame.body))?,
        Flags::Last => {
            from.partial.push(frame.body);
            let frames = from.partial.take();
            to.send(|outbox| {
                outbox.begin(frames);
                Ok(())
            })?;
        }
    }
    Ok(true)
}

//! One connection of a tunnel, and how messages cross from one to the other.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::handshake::Established;
use crate::limits::Limits;
use crate::traffic::channel::Channel;
use crate::traffic::heartbeat::HeartbeatSettings;
use crate::traffic::inbox::Incoming;
use crate::wire::socket_type::SocketType;
use bytes::BytesMut;
use std::time::Instant;

/// One connection of a tunnel, ready for traffic.
#[derive(Debug)]
pub struct RelayEnd {
    pub(crate) channel: Channel,
    /// The violation behind the events that wait.
    error: Option<Error>,
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
        let (_, channel) = established.into_channel(SocketType::Relay, limits, heartbeat, now);
        Self {
            channel,
            error: None,
            broken: false,
        }
    }

    /// Begins with what has arrived behind the last command of the handshake.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.channel = self.channel.with_input(input);
        self
    }

    /// The next message or subscription; `None` if more bytes are needed, or the peer's PINGs have
    /// to be answered first.
    fn next(&mut self) -> Result<Option<Incoming>, Error> {
        loop {
            // It is encoded, or dropped, before anything else is read.
            if let Some(event) = self.channel.poll_shared_event() {
                return Ok(Some(event));
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            match self.channel.receive(1) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Drops everything from its peer and for it. What it had sent before the violation has
    /// crossed already.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        self.channel.break_off();
    }
}

/// Takes messages from one side to the other as long as there is room.
pub(crate) fn carry(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    let carried = carry_messages(from, to);
    to.channel.encode()?;
    carried
}

fn carry_messages(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    loop {
        to.channel.fill()?;
        if from.broken || !to.channel.can_queue() {
            return Ok(());
        }
        let Some(event) = from.next()? else {
            return Ok(());
        };
        to.channel.queue(event)?;
    }
}

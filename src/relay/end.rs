//! One connection of a tunnel, and how messages move from one to the other.
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
    /// A violation that is reported once the events before it are taken.
    error: Option<Error>,
    /// Its peer has violated the protocol, and nothing that follows has a meaning.
    broken: bool,
}

impl RelayEnd {
    /// Takes over a connection after its handshake. `limits` bound what its peer may send. With
    /// `heartbeat` the peer is sent PINGs. PINGs of the peer are always answered.
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

    /// Begins with bytes that arrived behind the last command of the handshake.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.channel = self.channel.with_input(input);
        self
    }

    /// Takes the next message or subscription. Returns `None` if more bytes are needed, or if answers
    /// to the peer's PINGs must be sent first.
    fn next(&mut self) -> Result<Option<Incoming>, Error> {
        loop {
            // The event may share the input buffer, because it is encoded or dropped before more is
            // read.
            if let Some(event) = self.channel.poll_shared_event() {
                return Ok(Some(event));
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            match self.channel.process_input(1) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Passes messages straight on, and returns whether there were any. A violation is reported later,
    /// as those of [`RelayEnd::next`] are.
    fn pass_on(&mut self, to: &mut Self) -> bool {
        if self.error.is_some() {
            return false;
        }
        let passed = self.channel.pass_on(&mut to.channel);
        passed.unwrap_or_else(|error| {
            self.error = Some(error);
            false
        })
    }

    /// Drops everything from the peer and for it. What it has sent before the violation was forwarded
    /// already.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        self.channel.break_off();
    }
}

/// Moves messages from one side to the other as long as there is room.
pub(crate) fn forward(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    let forwarded = forward_messages(from, to);
    to.channel.encode()?;
    forwarded
}

fn forward_messages(from: &mut RelayEnd, to: &mut RelayEnd) -> Result<(), Error> {
    loop {
        to.channel.fill()?;
        if from.broken || !to.channel.can_queue() {
            return Ok(());
        }
        if from.pass_on(to) {
            continue;
        }
        let Some(event) = from.next()? else {
            return Ok(());
        };
        to.channel.queue(event)?;
    }
}

#[cfg(any(feature = "futures-io", feature = "tokio"))]
/// Takes the beginning of `bytes`, which come from the peer of `from`, and returns how many bytes that
/// was. At least one, if input is wanted.
pub(crate) fn take(from: &mut RelayEnd, to: &mut RelayEnd, bytes: &[u8], now: Instant) -> usize {
    if from.error.is_none() && !from.broken {
        match to
            .channel
            .fill()
            .and_then(|()| from.channel.pass_on_from(bytes, &mut to.channel, now))
        {
            Ok(0) => {}
            Ok(taken) => return taken,
            Err(error) => from.error = Some(error),
        }
    }
    from.channel.read_from(bytes, now)
}

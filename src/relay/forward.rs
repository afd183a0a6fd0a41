//! The traffic of a tunnel, in both directions, once both handshakes are complete.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::relay::end::{RelayEnd, carry};
use crate::relay::side::{Side, Sides};
use crate::traffic::heartbeat::HeartbeatExpired;
use bytes::BytesMut;
use bytes::buf::Limit;
use std::io::IoSlice;
use std::time::Instant;

/// A peer broke the protocol or a limit. Its connection is to be closed, and so is the other once
/// it has got what came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayError {
    /// Whose peer it was.
    pub side: Side,
    /// What it did.
    pub error: Error,
}

/// A peer was silent for too long. Its connection is to be closed, and so is the other once it has
/// got what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayTimeout {
    /// Whose peer it was.
    pub side: Side,
    /// Which promise it broke.
    pub expired: HeartbeatExpired,
}

/// A tunnel's traffic: two connections, each frame of one sealed anew for the other.
///
/// Messages cross whole or not at all, multipart ones and all frames in order; subscriptions in
/// the form that the receiver's version knows. PINGs are answered where they arrive. Nothing is
/// taken from one side while the other has no room, so that a direction holds two messages at most,
/// and what two writes are worth.
///
/// A driver, whenever something has happened,
///
/// 1. reads from a side into [`Relay::room`], if the side [wants it](Relay::wants_input), and
///    tells [`Relay::received`];
/// 2. calls [`Relay::forward`];
/// 3. writes [`Relay::output`] of both sides, tells [`Relay::sent`], and if that was not nothing
///    begins again;
/// 4. waits, but not beyond [`Relay::deadline`], when it calls [`Relay::on_deadline`]. Before a
///    long wait [`Relay::release_memory`] gives memory back.
///
/// "Sends no more" ([`Relay::end_input`]) and "takes no more" ([`Relay::end_output`]) are states of
/// each side and do not end the other direction. A side in either has no heartbeat.
#[derive(Debug)]
pub struct Relay(Sides<RelayEnd>);

impl Relay {
    /// Ties two connections together.
    #[must_use]
    pub const fn new(front: RelayEnd, back: RelayEnd) -> Self {
        Self(Sides { front, back })
    }

    /// Moves on what has arrived, in both directions, as far as there is room.
    ///
    /// # Errors
    /// Returns [`RelayError`] once for each side whose peer breaks the protocol. What that peer had
    /// sent before still crosses, by calling this again. What stands behind is dropped, and so is
    /// everything on its way to that peer.
    pub fn forward(&mut self) -> Result<(), RelayError> {
        loop {
            for side in Side::BOTH {
                let (from, to) = self.0.direction(side);
                if let Err(error) = carry(from, to) {
                    return Err(self.break_off(side, error));
                }
            }
            // Answers to PINGs make room for more of them.
            let mut goes_on = false;
            for side in Side::BOTH {
                if let Err(error) = self.0[side].channel.encode() {
                    return Err(self.break_off(side, error));
                }
                let to = &self.0[side.other()].channel;
                goes_on |= self.0[side].channel.may_go_on() && to.can_queue();
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn break_off(&mut self, side: Side, error: Error) -> RelayError {
        let (broken, other) = self.0.direction(side);
        broken.break_off();
        other.channel.discard_input();
        RelayError { side, error }
    }

    /// Notes that nothing more comes from this side, or is wanted of it. What has arrived still
    /// crosses.
    pub fn end_input(&mut self, side: Side) {
        self.0[side].channel.end_input();
    }

    /// Notes that nothing more goes to this side: its peer was told so, or takes no more. What
    /// waits for it is dropped. The other side is read on, so that its PINGs are answered, and what
    /// it sends for this one is dropped too.
    pub fn end_output(&mut self, side: Side) {
        self.0[side].channel.end_output();
        self.0[side.other()].channel.discard_input();
    }

    /// Whether something may still come from this side.
    #[cfg(feature = "tokio")]
    pub(crate) fn sends(&self, side: Side) -> bool {
        self.0[side].channel.peer_sends()
    }

    /// Whether this side still takes what goes to it.
    #[cfg(feature = "tokio")]
    pub(crate) fn takes(&self, side: Side) -> bool {
        self.0[side].channel.peer_takes()
    }

    /// Whether to read from this side now. If not, there is nowhere to put it.
    #[must_use]
    pub fn wants_input(&self, side: Side) -> bool {
        let from = &self.0[side].channel;
        from.wants_input() && self.0[side.other()].channel.can_queue()
    }

    /// Where to put what is read from this side: room for one byte at least, which grows with
    /// what has arrived and not with what the peer announces.
    pub fn room(&mut self, side: Side) -> Limit<&mut BytesMut> {
        self.0[side].channel.room()
    }

    /// What is to be written to this side, in order.
    #[must_use]
    pub fn output(&self, side: Side) -> [IoSlice<'_>; 3] {
        self.0[side].channel.output()
    }

    /// Whether there is something to be written to this side.
    #[must_use]
    pub fn has_output(&self, side: Side) -> bool {
        self.0[side].channel.has_output()
    }

    /// Notes that this much of the output is written.
    pub fn sent(&mut self, side: Side, written: usize) {
        self.0[side].channel.sent(written);
    }

    /// Whether everything whole that the other side has sent was written to this one.
    #[must_use]
    pub fn is_drained(&self, side: Side) -> bool {
        self.0[side].channel.is_sent() && self.0[side.other()].channel.is_drained()
    }

    /// Notes that something has arrived from this side, which is a sign of life.
    pub fn received(&mut self, side: Side, now: Instant) {
        self.0[side].channel.received(now);
    }

    /// When to call [`Relay::on_deadline`] next; `None`: only after something has changed. While a
    /// side is not read from, its silence means nothing, and one that sends or takes no more has no
    /// heartbeat.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        Side::BOTH
            .into_iter()
            .filter_map(|side| {
                let is_reading = self.wants_input(side);
                self.0[side].channel.deadline(now, is_reading)
            })
            .min()
    }

    /// Frees buffers that hold nothing. A busy tunnel would need them again at once; an idle one
    /// holds none.
    pub fn release_memory(&mut self) {
        for side in Side::BOTH {
            self.0[side].channel.release_memory();
        }
    }

    /// Does what heartbeats want at `now`.
    ///
    /// # Errors
    /// Returns [`RelayTimeout`] if a peer was silent for too long.
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), RelayTimeout> {
        for side in Side::BOTH {
            let in_time = self.0[side].channel.on_deadline(now);
            in_time.map_err(|expired| RelayTimeout { side, expired })?;
        }
        Ok(())
    }
}

//! The traffic of a tunnel in both directions, after both handshakes.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::relay::end::{RelayEnd, forward};
use crate::relay::side::{Side, Sides};
use crate::traffic::heartbeat::HeartbeatExpired;
use crate::traffic::outbox::PARTS;
use bytes::BytesMut;
use bytes::buf::Limit;
use std::io::IoSlice;
use std::time::Instant;
use thiserror::Error as ThisError;

/// A peer has violated the protocol or a limit. Close its connection, and the other one once that
/// has been sent what came before.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("the peer of the {side} has violated the protocol or a limit")]
#[expect(clippy::exhaustive_structs, reason = "a host takes it apart")]
pub struct RelayError {
    /// The side of that peer.
    pub side: Side,
    /// The violation.
    #[source]
    pub error: Error,
}

/// A peer was silent for too long. Close its connection, and the other one once that has been sent
/// what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[error("the peer of the {side} was silent for too long")]
#[expect(clippy::exhaustive_structs, reason = "a host takes it apart")]
pub struct RelayTimeout {
    /// The side of that peer.
    pub side: Side,
    /// Why it counts as dead.
    #[source]
    pub expired: HeartbeatExpired,
}

/// The traffic of a tunnel: two connections, where each frame of one is opened and sealed again for
/// the other.
///
/// A message is forwarded whole or not at all, with all its frames in order. A subscription is sent in
/// the form that the receiver's version of ZMTP knows. PINGs are not forwarded but answered. Nothing is
/// taken from one side while the other has no room, so each direction holds at most two messages and
/// 512 KiB.
///
/// Whenever something has happened, the driver
///
/// 1. reads from a side into [`Relay::room`], if the relay [wants input](Relay::wants_input) from it,
///    and calls [`Relay::on_read`];
/// 2. calls [`Relay::forward`];
/// 3. writes [`Relay::output`] of both sides and calls [`Relay::on_written`]. If something was written
///    it goes back to step 1;
/// 4. waits, but only until [`Relay::deadline`], and calls [`Relay::on_deadline`] then. Before a long
///    wait it calls [`Relay::release_memory`].
///
/// Each side can stop to send ([`Relay::end_input`]) and stop to take ([`Relay::end_output`]). Neither
/// ends the other direction. A side in either state has no heartbeat.
#[derive(Debug)]
pub struct Relay(Sides<RelayEnd>);

impl Relay {
    /// Connects the two ends.
    #[must_use]
    pub const fn new(front: RelayEnd, back: RelayEnd) -> Self {
        Self(Sides { front, back })
    }

    /// Forwards what has arrived, in both directions, as far as there is room.
    ///
    /// # Errors
    /// Returns [`RelayError`] once for each side whose peer violates the protocol. What that peer has
    /// sent before is still forwarded when this is called again. What follows the violation is
    /// dropped, and so is everything on its way to that peer.
    pub fn forward(&mut self) -> Result<(), RelayError> {
        loop {
            for side in Side::BOTH {
                let (from, to) = self.0.direction(side);
                if let Err(error) = forward(from, to) {
                    return Err(self.break_off(side, error));
                }
            }
            // Encoding answers to PINGs makes room for more answers, so input that waited for that
            // room can be processed.
            let mut goes_on = false;
            for side in Side::BOTH {
                if let Err(error) = self.0[side].channel.encode() {
                    return Err(self.break_off(side, error));
                }
                let to = &self.0[side.other()].channel;
                goes_on |= self.0[side].channel.may_resume_input() && to.can_queue();
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

    /// Notes that nothing more comes from this side, or that no more is wanted. What has arrived is
    /// still forwarded.
    pub fn end_input(&mut self, side: Side) {
        self.0[side].channel.end_input();
    }

    /// Notes that nothing more goes to this side, because writing was shut down or its peer takes no
    /// more. Waiting output is dropped, and so is what the other side sends from now on. The other side
    /// is still read, so that its PINGs are answered.
    pub fn end_output(&mut self, side: Side) {
        self.0[side].channel.end_output();
        self.0[side.other()].channel.discard_input();
    }

    /// Whether more may come from this side.
    #[cfg(feature = "tokio")]
    pub(crate) fn sends(&self, side: Side) -> bool {
        self.0[side].channel.peer_sends()
    }

    /// Whether this side takes output.
    #[cfg(feature = "tokio")]
    pub(crate) fn takes(&self, side: Side) -> bool {
        self.0[side].channel.peer_takes()
    }

    /// Whether to read from this side now. If not, nothing more comes, or there is no room for it.
    #[must_use]
    pub fn wants_input(&self, side: Side) -> bool {
        let from = &self.0[side].channel;
        from.wants_input() && self.0[side.other()].channel.can_queue()
    }

    /// Room to read into from this side, at least one byte. It grows with what has arrived, never with
    /// what the peer announces.
    pub fn room(&mut self, side: Side) -> Limit<&mut BytesMut> {
        self.0[side].channel.room()
    }

    /// The bytes to write to this side, in order. The last parts may be empty.
    #[must_use]
    pub fn output(&self, side: Side) -> [IoSlice<'_>; PARTS] {
        self.0[side].channel.output()
    }

    /// Whether there are bytes to write to this side.
    #[must_use]
    pub fn has_output(&self, side: Side) -> bool {
        self.0[side].channel.has_output()
    }

    /// Notes that `written` bytes of [`Relay::output`] were written.
    pub fn on_written(&mut self, side: Side, written: usize) {
        self.0[side].channel.on_written(written);
    }

    /// Whether all whole messages that have arrived from the other side were written to this one.
    #[must_use]
    pub fn is_drained(&self, side: Side) -> bool {
        self.0[side].channel.is_sent() && self.0[side.other()].channel.is_drained()
    }

    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    /// Takes the beginning of `bytes`, which come from this side, instead of reading into
    /// [`Relay::room`]. Whole messages are passed on from where they lie. Returns how many bytes that
    /// was: at least one, if the relay [wants input](Relay::wants_input) from this side.
    pub(crate) fn take(&mut self, side: Side, bytes: &[u8], now: Instant) -> usize {
        let (from, to) = self.0.direction(side);
        crate::relay::end::take(from, to, bytes, now)
    }

    /// Notes that bytes were read into [`Relay::room`]. For the heartbeat every byte is a sign of life.
    pub fn on_read(&mut self, side: Side, now: Instant) {
        self.0[side].channel.on_read(now);
    }

    /// When to call [`Relay::on_deadline`] next. `None` means never, until something changes.
    ///
    /// While the relay wants no input from a side, the silence of that side means nothing. A side that
    /// sends or takes nothing more has no heartbeat.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        Side::BOTH
            .into_iter()
            .filter_map(|side| {
                let is_reading = self.wants_input(side);
                self.0[side].channel.deadline(now, is_reading)
            })
            .min()
    }

    /// Frees empty buffers. To be called when the tunnel is idle: a busy one would need them again at
    /// once.
    pub fn release_memory(&mut self) {
        for side in Side::BOTH {
            self.0[side].channel.release_memory();
        }
    }

    /// Queues PINGs that are due at `now`, and checks whether a peer was silent for too long. Read what
    /// has arrived before, since it counts as a sign of life.
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

//! The traffic of a tunnel, in both directions, once both handshakes are complete.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::relay::end::{RelayEnd, carry};
use crate::traffic::heartbeat::{HeartbeatAction, HeartbeatExpired};
use bytes::BytesMut;
use bytes::buf::Limit;
use std::io::IoSlice;
use std::time::Instant;

/// One of a tunnel's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that was accepted.
    Front,
    /// The one that was dialled for it.
    Back,
}

impl Side {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::Front, Self::Back];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

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
    pub silence: HeartbeatExpired,
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
/// 1. reads from a side into [`Relay::room`], if the side [wants it](Relay::wants_input), and
///    tells [`Relay::received`];
/// 2. calls [`Relay::turn`];
/// 3. writes [`Relay::output`] of both sides, tells [`Relay::sent`], and if that was not nothing
///    begins again;
/// 4. waits, but not beyond [`Relay::deadline`], when it calls [`Relay::poll`]. Before a long wait
///    [`Relay::rest`] gives memory back.
///
/// "Sends no more" ([`Relay::end_input`]) and "takes no more" ([`Relay::end_output`]) are states of
/// each side and do not end the other direction. A side in either has no heartbeat.
#[derive(Debug)]
pub struct Relay {
    front: RelayEnd,
    back: RelayEnd,
}

impl Relay {
    /// Ties two connections together.
    #[must_use]
    pub const fn new(front: RelayEnd, back: RelayEnd) -> Self {
        Self { front, back }
    }

    /// Moves on what has arrived, in both directions, as far as there is room.
    ///
    /// # Errors
    /// Returns [`RelayError`] once for each side whose peer breaks the protocol. What that peer had
    /// sent before still crosses, by calling this again. What stands behind is dropped, and so is
    /// everything on its way to that peer.
    pub fn turn(&mut self) -> Result<(), RelayError> {
        loop {
            for side in Side::BOTH {
                let (from, to) = match side {
                    Side::Front => (&mut self.front, &mut self.back),
                    Side::Back => (&mut self.back, &mut self.front),
                };
                if let Err(error) = carry(from, to) {
                    from.break_off();
                    return Err(RelayError { side, error });
                }
            }
            for side in Side::BOTH {
                let leg = self.leg_mut(side);
                if let Err(error) = leg.fill() {
                    leg.break_off();
                    return Err(RelayError { side, error });
                }
            }
            if !self.front.pings.may_go_on() && !self.back.pings.may_go_on() {
                return Ok(());
            }
        }
    }

    /// Nothing more comes from this side, or is wanted of it. What has arrived still crosses.
    pub const fn end_input(&mut self, side: Side) {
        self.leg_mut(side).sends = false;
    }

    /// Nothing more goes to this side: its peer was told so, or takes no more. What waits for it is
    /// dropped. The other side is read on, so that its PINGs are answered, and what it sends for
    /// this one is dropped too.
    pub fn end_output(&mut self, side: Side) {
        self.leg_mut(side).end_output();
    }

    /// Whether something may still come from this side.
    #[cfg(feature = "tokio")]
    pub(crate) const fn sends(&self, side: Side) -> bool {
        self.leg(side).sends
    }

    /// Whether this side still takes what goes to it.
    #[cfg(feature = "tokio")]
    pub(crate) const fn takes(&self, side: Side) -> bool {
        self.leg(side).takes
    }

    /// Whether to read from this side now. If not, there is nowhere to put it.
    #[must_use]
    pub fn wants_input(&self, side: Side) -> bool {
        let leg = self.leg(side);
        leg.sends && leg.pings.may_take_more() && self.leg(side.other()).can_begin()
    }

    /// Where to put what is read from this side: room for one byte at least, which grows with
    /// what has arrived and not with what the peer announces.
    pub fn room(&mut self, side: Side) -> Limit<&mut BytesMut> {
        let leg = self.leg_mut(side);
        let wanted = leg.reader.wanted(leg.input.bytes());
        leg.input.room(wanted, usize::MAX, usize::MAX)
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
        let from = self.leg(side.other());
        self.leg(side).outbox.is_empty() && from.opened.is_empty() && !from.pings.held_up_input
    }

    /// Something has arrived from this side, which is a sign of life.
    pub fn received(&mut self, side: Side, now: Instant) {
        let leg = self.leg_mut(side);
        leg.input.arrived();
        leg.heartbeat.received(now);
    }

    /// When to call [`Relay::poll`] next; `None`: only after something has changed. While a side
    /// is not read from, its silence means nothing, and one that sends or takes no more has no
    /// heartbeat.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for side in Side::BOTH {
            if !self.leg(side).is_open() {
                continue;
            }
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

    /// Frees buffers that hold nothing. A busy tunnel would need them again at once; an idle one
    /// shall hold none.
    pub fn rest(&mut self) {
        for side in Side::BOTH {
            self.leg_mut(side).rest();
        }
    }

    /// Does what heartbeats want at `now`.
    ///
    /// # Errors
    /// Returns [`RelayTimeout`] if a peer was silent for too long.
    pub fn poll(&mut self, now: Instant) -> Result<(), RelayTimeout> {
        for side in Side::BOTH {
            let leg = self.leg_mut(side);
            if !leg.is_open() {
                continue;
            }
            while let Some(due) = leg.heartbeat.poll(now) {
                match due {
                    HeartbeatAction::Ping(ping) => leg.pings.ours = Some(ping),
                    HeartbeatAction::Close(silence) => return Err(RelayTimeout { side, silence }),
                }
            }
        }
        Ok(())
    }

    const fn leg(&self, side: Side) -> &RelayEnd {
        match side {
            Side::Front => &self.front,
            Side::Back => &self.back,
        }
    }

    const fn leg_mut(&mut self, side: Side) -> &mut RelayEnd {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }
}

//! Messages that go from one connection straight to another: opened where they lie, and sealed from
//! there.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::channel::Channel;
use crate::traffic::frames::Frame;
use crate::traffic::frames::straight::Room;
use crate::traffic::inbox::Incoming;
use crate::traffic::seal::TOGETHER;
use crate::wire::frame::Flags;
use bytes::{Buf, Bytes};

#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod from_bytes;

/// A sealed frame of at least this many bytes is not opened where it lies, because it may be a part of
/// a message, which would have to be copied.
const LARGE: usize = 4096;

impl Channel {
    /// As [`Channel::poll_event`], for a caller that keeps no event. It shares the buffer that it was
    /// read into.
    pub(crate) fn poll_shared_event(&mut self) -> Option<Incoming> {
        self.arrivals.pop()
    }

    /// Whether all whole frames that have arrived were processed and their events taken.
    pub(crate) fn is_drained(&self) -> bool {
        let is_held_up = self.is_full || self.pings.held_up_input;
        self.arrivals.deliveries.is_empty() && !is_held_up
    }

    /// Passes frames that have arrived straight on, as many as are sealed together. Returns whether
    /// there were any. What is not a message of one frame becomes an event, or stays where it is.
    ///
    /// # Errors
    /// Returns the peer's violation, as [`Channel::process_input`] does, and the errors of
    /// [`Channel::queue`].
    pub(crate) fn pass_on(&mut self, to: &mut Self) -> Result<bool, Error> {
        if !self.passes_straight() {
            return Ok(false);
        }
        let room = to.straight_room(self.pings.room());
        let Some(reader) = self.inbox.straight() else {
            return Ok(false);
        };
        let mut frames = [(Flags::Last, &[][..]); TOGETHER];
        let mut places = frames.iter_mut();
        let mut put = |flags, body| {
            if let Some(place) = places.next() {
                *place = (flags, body);
            }
        };
        let mut count = 0;
        let input = self.input.bytes_mut();
        let read = if reader.is_clear() {
            Ok(reader.singles(input, room, |body| {
                count += 1;
                put(Flags::Last, body);
            }))
        } else {
            let large = room.large.min(LARGE);
            reader.open_ahead(input, Room { large, ..room }, |flags, body| {
                count += 1;
                put(flags, body);
            })
        };
        let frames = &frames[..count];
        let is_other = |frame: &(Flags, &[u8])| frame.0 != Flags::Last;
        let straight = frames.iter().position(is_other).unwrap_or(count);
        let mut outcome = to.queue_now(&frames[..straight]);
        for (flags, body) in &frames[straight..] {
            let frame = Frame {
                flags: *flags,
                body: Bytes::copy_from_slice(body),
            };
            outcome = outcome.and_then(|()| self.inbox.frame(frame, 0, &mut self.arrivals));
        }
        self.take_heartbeats();
        let len = match outcome.and(read) {
            Ok(len) => len,
            Err(error) => {
                self.broken = true;
                self.drop_input();
                return Err(error);
            }
        };
        self.input.bytes_mut().advance(len);
        self.input.taken(count, len);
        // More may be left behind them.
        self.is_full |= count > 0;
        Ok(count > 0)
    }

    /// Whether nothing that came before waits.
    fn passes_straight(&self) -> bool {
        !self.broken && self.arrivals.deliveries.is_empty()
    }

    /// How much to pass on at once, and at most `frames` frames.
    pub(super) fn straight_room(&self, frames: usize) -> Room {
        Room {
            frames: TOGETHER.min(frames),
            bytes: self.outbox.room(),
            large: self.outbox.uncopied_from(),
        }
    }

    /// Encodes messages of one frame from where they lie. Drops them after [`Channel::end_output`].
    pub(super) fn queue_now(&mut self, frames: &[(Flags, &[u8])]) -> Result<(), Error> {
        if frames.is_empty() || !self.peer_takes {
            return Ok(());
        }
        self.heartbeat.on_send();
        self.outbox.encode_now(frames)
    }
}

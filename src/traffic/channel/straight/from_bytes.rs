//! Bytes from the peer that the caller holds.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::traffic::channel::Channel;
use crate::traffic::seal::TOGETHER;
use crate::wire::frame::Flags;
use bytes::BufMut;
use std::time::Instant;

impl Channel {
    /// As [`Channel::pass_on`], for bytes that the caller holds: takes the messages of one frame that
    /// they begin with, as far as there is room, and returns how many bytes that was. Takes none if
    /// anything that came before waits.
    ///
    /// # Errors
    /// Returns those of [`Channel::queue`].
    pub(crate) fn pass_on_from(
        &mut self,
        bytes: &[u8],
        to: &mut Self,
        now: Instant,
    ) -> Result<usize, Error> {
        let is_next = self.peer_sends && self.passes_straight() && self.input.bytes().is_empty();
        let Some(reader) = self.inbox.straight().filter(|_| is_next) else {
            return Ok(0);
        };
        let mut rest = bytes;
        while reader.is_clear() && to.can_queue() {
            let mut frames = [(Flags::Last, &[][..]); TOGETHER];
            let mut count = 0;
            let room = to.straight_room(TOGETHER);
            let len = reader.singles(rest, room, |body| {
                if let Some(place) = frames.get_mut(count) {
                    place.1 = body;
                    count += 1;
                }
            });
            if count == 0 {
                break;
            }
            to.queue_now(&frames[..count])?;
            rest = &rest[len..];
        }
        let taken = bytes.len() - rest.len();
        if taken > 0 {
            self.heartbeat.on_receive(now);
        }
        Ok(taken)
    }

    /// Appends the beginning of `bytes` to what was read, and returns how many bytes that was. If it
    /// can, it ends where a frame ends, so that what follows can be passed straight on.
    pub(crate) fn read_from(&mut self, bytes: &[u8], now: Instant) -> usize {
        let input = self.input.bytes();
        let missing = match self.inbox.straight() {
            Some(reader) if !input.is_empty() => reader.missing(input),
            _ => bytes.len(),
        };
        let mut room = self.room();
        let count = bytes.len().min(missing.max(1)).min(room.remaining_mut());
        room.put_slice(&bytes[..count]);
        self.on_read(now);
        count
    }
}

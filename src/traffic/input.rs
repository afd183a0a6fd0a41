//! What has been read from a peer and not been taken apart, in one piece of memory that grows with
//! what arrives.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::fmt;

/// Bytes read at once from a connection that is quiet; a busy one gets more, up to the second
/// figure. While it is idle it holds no buffer at all.
const READ_QUIET: usize = 8 * 1024;
pub(crate) const READ_BUSY: usize = 64 * 1024;

/// A frame from this size on is read by itself.
const LARGE_FRAME: usize = 16 * 1024;

/// A buffer to read into. Frames that are taken off it share its memory.
pub(crate) struct Input {
    bytes: BytesMut,
    /// Size of the memory that `bytes` lies in. Once something has been taken off, `bytes` knows
    /// only what is left of it, but all of it stays for as long as one frame shares it.
    allocation: usize,
    /// Bytes that have arrived since those before them were last moved.
    since_move: usize,
    read_size: usize,
    /// How long the frames are that arrive, if they are large.
    large_frame: Option<usize>,
    /// The room that was given last, and how much was here then.
    offered: usize,
    before: usize,
    #[cfg(test)]
    moved: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            allocation: 0,
            since_move: 0,
            read_size: READ_QUIET,
            large_frame: None,
            offered: 0,
            before: 0,
            #[cfg(test)]
            moved: 0,
        }
    }
}

/// Begins with a copy of what has arrived behind a handshake: the size of its memory is unknown,
/// and it may lie behind secrets.
impl From<BytesMut> for Input {
    fn from(arrived: BytesMut) -> Self {
        let bytes = BytesMut::from(&arrived[..]);
        Self {
            allocation: bytes.capacity(),
            bytes,
            ..Self::default()
        }
    }
}

impl Input {
    /// What is here; frames are taken off its front.
    pub(crate) const fn bytes_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) const fn bytes(&self) -> &BytesMut {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that what is here, and each frame taken off it, may hold.
    pub(crate) const fn allocation(&self) -> usize {
        self.allocation
    }

    /// Room to read at most `max` bytes into, and at least one. `wanted` is what the frame under
    /// way asks for; while frames are small, up to `ahead` bytes are read.
    ///
    /// What is here is moved to larger memory only when the peer has sent as much since it was
    /// moved last: otherwise a peer that drips its bytes would make us copy all of them for each.
    pub(crate) fn room(&mut self, wanted: usize, ahead: usize, max: usize) -> Limit<&mut BytesMut> {
        // Whole frames that were not taken off ask for nothing.
        let room = match self.size(wanted, ahead) {
            0 => self.bytes.len().max(READ_QUIET),
            room => room,
        };
        self.make_room(room);
        self.before = self.bytes.len();
        self.offered = room.min(max.max(1)).min(self.spare());
        (&mut self.bytes).limit(self.offered)
    }

    /// How many bytes to have room for. Where frames are large a read ends with a frame, so that
    /// the beginning of the next need not be moved to a buffer of its own.
    fn size(&self, wanted: usize, ahead: usize) -> usize {
        match self.large_frame {
            Some(len) if self.bytes.is_empty() => len.min(Limits::MAX_INITIAL_RESERVE),
            None if self.bytes.len() < LARGE_FRAME => wanted.max(self.read_size.min(ahead)),
            _ => wanted,
        }
    }

    fn make_room(&mut self, more: usize) {
        if self.bytes.is_empty() && self.allocation > 2 * more.max(READ_BUSY) {
            self.bytes = BytesMut::new();
        }
        // In the same memory, if no frame shares it any longer; what is moved to its front then is
        // less than what was taken off.
        if self.spare() >= more || self.bytes.try_reclaim(more) {
            return;
        }
        if self.spare() > 0 && self.since_move < self.bytes.len() {
            return;
        }
        let mut larger = BytesMut::with_capacity(self.bytes.len() + more);
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
        self.allocation = self.bytes.capacity();
        self.since_move = 0;
        #[cfg(test)]
        {
            self.moved += self.bytes.len();
        }
    }

    fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Notes what has been read into the room that was given last.
    pub(crate) fn arrived(&mut self) {
        let read = self.bytes.len().saturating_sub(self.before);
        self.since_move = self.since_move.saturating_add(read);
        if read == self.offered {
            self.read_size = READ_BUSY.min(self.read_size * 2);
        } else if read < self.offered / 2 {
            self.read_size = READ_QUIET.max(self.read_size / 2);
        }
        (self.before, self.offered) = (self.bytes.len(), 0);
    }

    /// Notes that so many frames, with so many bytes, were taken off.
    pub(crate) fn taken(&mut self, frames: usize, bytes: usize) {
        if let Some(average) = bytes.checked_div(frames) {
            self.large_frame = (average >= LARGE_FRAME).then_some(average);
        }
    }

    /// Bytes that were moved to larger memory.
    #[cfg(test)]
    pub(crate) const fn moved(&self) -> usize {
        self.moved
    }

    /// Frees memory that holds nothing.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.allocation = 0;
        }
    }
}

/// How much is here, and not what.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("len", &self.bytes.len())
            .field("allocation", &self.allocation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;

    /// Gives `input` so many bytes of a frame of `len` bytes, at most `step` at a time.
    fn drip(input: &mut Input, len: usize, bytes: usize, step: usize) {
        let end = len.min(input.len() + bytes);
        while input.len() < end {
            let here = input.len();
            let wanted = len
                .min(Limits::MAX_INITIAL_RESERVE.max(2 * here))
                .saturating_sub(here);
            let mut room = input.room(wanted, usize::MAX, usize::MAX);
            assert!(room.remaining_mut() > 0);
            let now = step.min(end - here).min(room.remaining_mut());
            room.put_bytes(7, now);
            input.arrived();
        }
    }

    #[test]
    fn at_most_two_bytes_are_moved_for_each_that_arrives_however_they_drip() {
        const MIB: usize = 1024 * 1024;
        for len in [10_000, 100_000, 300_000, MIB + 1, 3 * MIB, 32 * MIB] {
            let mut input = Input::default();
            let mut power = 4096;
            // Byte by byte around each power of two and at the end, in large pieces between.
            while input.len() < len {
                let next = power.min(len) - 100;
                let missing = next.saturating_sub(input.len());
                drip(&mut input, len, missing, 60_000);
                let before = input.moved;
                drip(&mut input, len, 200, 1);
                assert!(input.moved - before <= input.len());
                power *= 2;
            }
            assert_eq!(input.len(), len);
            assert!(input.moved <= 2 * len, "{} of {len}", input.moved);
            // It is never larger than the frame, or than what a busy connection reads at once.
            let held = input.allocation();
            assert!(held <= len.max(LARGE_FRAME + READ_BUSY), "{held} for {len}");
        }
    }

    #[test]
    fn small_frames_that_drip_are_not_moved_for_each_byte_either() {
        let mut input = Input::default();
        let mut arrived = 0;
        for round in 0..200 {
            let len = 500 + 37 * round;
            while input.len() < len {
                let mut room = input.room(len - input.len(), usize::MAX, usize::MAX);
                room.put_u8(7);
                input.arrived();
                arrived += 1;
            }
            // The frame is kept, so that its memory cannot be taken again.
            std::mem::forget(input.bytes_mut().split_to(len - 100));
            input.taken(1, len - 100);
        }
        assert!(input.moved <= 2 * arrived, "{} of {arrived}", input.moved);
    }

    #[test]
    fn its_memory_is_told_whole_also_when_something_was_taken_off() {
        let mut input = Input::default();
        input.room(1, usize::MAX, usize::MAX).put_bytes(7, 8000);
        let kept = input.bytes_mut().split_to(7000);
        assert!(input.bytes().capacity() < 2000);
        assert!(input.allocation() >= READ_QUIET);
        drop(kept);
        input.bytes_mut().advance(1000);
        input.release();
        assert_eq!((input.allocation(), input.bytes().capacity()), (0, 0));
    }

    #[test]
    fn after_large_frames_no_more_is_reserved_than_for_any_and_small_ones_get_small_memory() {
        let mut input = Input::default();
        input.taken(1, 64 * 1024 * 1024);
        let room = input.room(9, usize::MAX, usize::MAX).remaining_mut();
        assert_eq!(room, Limits::MAX_INITIAL_RESERVE);
        input.taken(1, 10);
        let room = input.room(9, usize::MAX, usize::MAX).remaining_mut();
        assert_eq!(room, READ_QUIET);
        assert!(input.allocation() <= 2 * READ_BUSY);
    }
}

//! Bytes that were read from a peer and are not processed yet, in one buffer that grows with what
//! arrives.
#![forbid(unsafe_code)]

use crate::limits::Limits;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use std::fmt;

/// Bytes to read at once from a quiet connection: two pages, enough for the messages of most
/// dialogues. A read that fills its room doubles the next, up to [`READ_BUSY`]. An idle connection
/// holds no buffer.
const READ_QUIET: usize = 8 * 1024;

/// Most bytes to read at once while frames are small. At this size a system call costs little
/// compared with the work on what it has read.
pub(crate) const READ_BUSY: usize = 64 * 1024;

/// After so many reads in a row that bring less than half of their room, the next ones get half as much. One
/// says little: it may bring the rest of a burst, or a short burst between long ones.
const SHORT_READS: u8 = 4;

/// A frame of at least this many bytes is read into a buffer of its own size.
const LARGE_FRAME: usize = 16 * 1024;

/// Most bytes of memory to keep for another use while frames share it: what is read ahead, and what the
/// application works on.
const LENT: usize = 6 * READ_BUSY;

/// Larger memory is not kept: to allocate it costs little compared with the work on such a frame. Nor is memory
/// of less than [`LARGE_FRAME`], of which a peer could make a long list.
const LENT_EACH: usize = 2 * READ_BUSY;

/// A buffer to read into. Frames that are taken off its front share its memory.
pub(crate) struct Input {
    bytes: BytesMut,
    /// Size of the memory in which `bytes` lies. Once frames were taken off, `bytes` knows only the
    /// rest of it, but all of it stays as long as one frame shares it.
    allocation: usize,
    /// Bytes that have arrived since the buffer was last moved.
    since_move: usize,
    /// Memory whose frames the application may have dropped by now, each with its size. It is read into
    /// again. Otherwise large frames would be freed and allocated one by one, and an allocator that returns
    /// such memory to the system makes it cost a page fault for each page.
    lent: Vec<(BytesMut, usize)>,
    /// Bytes to read at once while frames are small: between [`READ_QUIET`] and [`READ_BUSY`].
    read_size: usize,
    /// Average length of the frames that arrived last, if they are large.
    large_frame: Option<usize>,
    /// How many reads in a row have brought less than half of their room.
    short_reads: u8,
    /// The room that was given last.
    offered: usize,
    /// Bytes in the buffer when that room was given.
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
            lent: Vec::new(),
            read_size: READ_QUIET,
            large_frame: None,
            short_reads: 0,
            offered: 0,
            before: 0,
            #[cfg(test)]
            moved: 0,
        }
    }
}

/// Begins with a copy of the bytes that arrived behind a handshake. Their own memory is of unknown
/// size and may have held secrets.
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
    /// The bytes. Frames are taken off their front.
    pub(crate) const fn bytes_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) const fn bytes(&self) -> &BytesMut {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that these bytes, and each frame taken off them, hold.
    pub(crate) const fn allocation(&self) -> usize {
        self.allocation
    }

    /// Room to read into: at least one byte and at most `max`. `wanted` is what the frame under way
    /// needs. While frames are small, the room is up to `read_ahead` bytes.
    ///
    /// The bytes are moved to larger memory only when at least as many have arrived since the last
    /// move. Otherwise a peer that drips single bytes would make us copy all of them for each.
    pub(crate) fn room(
        &mut self,
        wanted: usize,
        read_ahead: usize,
        max: usize,
    ) -> Limit<&mut BytesMut> {
        // If whole frames are left in the buffer, `wanted` is 0.
        let room = match self.size(wanted, read_ahead) {
            0 => self.bytes.len().max(READ_QUIET),
            room => room,
        };
        self.make_room(room);
        self.before = self.bytes.len();
        self.offered = room.min(max.max(1)).min(self.spare());
        (&mut self.bytes).limit(self.offered)
    }

    /// How many bytes to make room for. While frames are large, a read ends where a frame ends.
    /// Otherwise the beginning of the next frame would have to be moved to that frame's own buffer.
    fn size(&self, wanted: usize, read_ahead: usize) -> usize {
        match self.large_frame {
            Some(len) if self.bytes.is_empty() => len.min(Limits::MAX_INITIAL_RESERVE),
            None if self.bytes.len() < LARGE_FRAME => wanted.max(self.read_size.min(read_ahead)),
            _ => wanted,
        }
    }

    fn make_room(&mut self, more: usize) {
        if self.bytes.is_empty() && self.allocation > 2 * more.max(READ_BUSY) {
            self.bytes = BytesMut::new();
        }
        // The same memory can be used if no frame shares it now. What is moved to its front is then
        // less than what was taken off.
        if self.spare() >= more || self.bytes.try_reclaim(more) {
            return;
        }
        if self.spare() > 0 && self.since_move < self.bytes.len() {
            return;
        }
        let (mut memory, allocation) = self.memory(self.bytes.len() + more);
        memory.extend_from_slice(&self.bytes);
        let before = std::mem::replace(&mut self.bytes, memory);
        self.lend(before);
        self.allocation = allocation;
        self.since_move = 0;
        #[cfg(test)]
        {
            self.moved += self.bytes.len();
        }
    }

    /// Empty memory for `len` bytes with its size: some that no frame shares now, or new.
    fn memory(&mut self, len: usize) -> (BytesMut, usize) {
        // A frame that fills less than half of its memory would be copied.
        let mut lent = self.lent.iter_mut();
        let found =
            lent.position(|(memory, size)| *size <= len + len / 2 && memory.try_reclaim(len));
        if let Some(found) = found {
            return self.lent.remove(found);
        }
        let new = BytesMut::with_capacity(len);
        let size = new.capacity();
        (new, size)
    }

    /// Keeps memory off whose front frames were taken, instead of the oldest that is kept if it is too much.
    fn lend(&mut self, mut memory: BytesMut) {
        let is_worth_it = (LARGE_FRAME..=LENT_EACH).contains(&self.allocation);
        if memory.capacity() == self.allocation || !is_worth_it {
            return;
        }
        memory.clear();
        self.lent.push((memory, self.allocation));
        let mut size: usize = self.lent.iter().map(|(_, size)| size).sum();
        self.lent.retain(|(_, oldest)| {
            let is_kept = size <= LENT;
            if !is_kept {
                size -= oldest;
            }
            is_kept
        });
    }

    fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Notes that bytes were read into the room that was given last.
    pub(crate) fn on_read(&mut self) {
        let read = self.bytes.len().saturating_sub(self.before);
        self.since_move = self.since_move.saturating_add(read);
        if read == self.offered {
            self.read_size = READ_BUSY.min(self.read_size * 2);
        }
        self.short_reads = if read < self.offered / 2 {
            self.short_reads + 1
        } else {
            0
        };
        if self.short_reads == SHORT_READS {
            self.read_size = READ_QUIET.max(self.read_size / 2);
            self.short_reads = 0;
        }
        (self.before, self.offered) = (self.bytes.len(), 0);
    }

    /// Notes that `frames` frames, with `bytes` bytes together, were taken off.
    pub(crate) fn taken(&mut self, frames: usize, bytes: usize) {
        if let Some(average) = bytes.checked_div(frames) {
            self.large_frame = (average >= LARGE_FRAME).then_some(average);
        }
    }

    /// Number of bytes that were moved to larger memory so far.
    #[cfg(test)]
    pub(crate) const fn moved(&self) -> usize {
        self.moved
    }

    /// Frees the memory if it holds no bytes, and what is kept for another use.
    pub(crate) fn release(&mut self) {
        self.lent = Vec::new();
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.allocation = 0;
        }
    }
}

/// Shows how many bytes there are, and not the bytes.
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

    /// Gives `input` the next `bytes` bytes of a frame of `len` bytes, at most `step` at a time.
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
            input.on_read();
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
            // The memory is never larger than the frame, or than what a busy connection reads at once.
            let held = input.allocation();
            assert!(held <= len.max(LARGE_FRAME + READ_BUSY), "{held} for {len}");
        }
    }

    /// How many reads a burst of so many bytes takes.
    fn reads_of(input: &mut Input, burst: usize) -> usize {
        let (mut left, mut reads) = (burst, 0);
        while left > 0 {
            let mut room = input.room(9, usize::MAX, usize::MAX);
            let read = left.min(room.remaining_mut());
            room.put_bytes(7, read);
            input.on_read();
            input.bytes_mut().advance(read);
            input.taken(read / 100, read);
            left -= read;
            reads += 1;
        }
        reads
    }

    #[test]
    fn bursts_of_one_length_are_read_at_once_also_when_shorter_ones_come_between() {
        let mut input = Input::default();
        for burst in [20_000, 9_000, 33_000, 64_000] {
            while reads_of(&mut input, burst) > 1 {}
            for _ in 0..10 {
                assert_eq!(reads_of(&mut input, burst), 1, "{burst}");
                for _ in 1..SHORT_READS {
                    assert_eq!(reads_of(&mut input, burst / 3), 1, "{burst}");
                }
            }
        }
        // A quiet connection reads into little memory again.
        for _ in 0..20 {
            reads_of(&mut input, 100);
        }
        let room = input.room(9, usize::MAX, usize::MAX).remaining_mut();
        assert_eq!(room, READ_QUIET);
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
                input.on_read();
                arrived += 1;
            }
            // The frame is kept, so its memory cannot be used again.
            std::mem::forget(input.bytes_mut().split_to(len - 100));
            input.taken(1, len - 100);
        }
        assert!(input.moved <= 2 * arrived, "{} of {arrived}", input.moved);
    }

    #[test]
    fn all_of_the_memory_is_counted_also_when_frames_were_taken_off() {
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

    /// Reads `frames` frames of `len` bytes, of which the application holds the last four.
    fn stream(input: &mut Input, frames: usize, len: usize) {
        let mut held = std::collections::VecDeque::new();
        for _ in 0..frames {
            drip(input, len, len, len);
            held.push_back(input.bytes_mut().split_to(len).freeze());
            input.taken(1, len);
            if held.len() > 4 {
                held.pop_front();
            }
        }
    }

    #[test]
    fn large_frames_are_read_into_the_memory_of_earlier_ones_until_the_connection_is_idle() {
        for len in [LARGE_FRAME, 40_000, 64 * 1024 + 42] {
            let mut input = Input::default();
            let used = allocation_counter::measure(|| {
                stream(&mut input, 10, len);
                let used = allocation_counter::measure(|| stream(&mut input, 100, len));
                assert!(used.bytes_max < LARGE_FRAME as u64, "{used:?} for {len}");
                input.release();
            });
            assert_eq!(used.bytes_current, 0);
            assert!(
                used.bytes_max <= (LENT + 2 * len) as u64,
                "{used:?} for {len}"
            );
        }
    }

    #[test]
    fn what_is_kept_while_frames_share_it_is_bounded() {
        for len in [LARGE_FRAME, 64 * 1024, 100_000, 1024 * 1024] {
            let mut input = Input::default();
            let mut held = Vec::new();
            for _ in 0..50 {
                drip(&mut input, len, len, len);
                held.push(input.bytes_mut().split_to(len).freeze());
                input.taken(1, len);
            }
            let kept: usize = input.lent.iter().map(|(_, size)| size).sum();
            assert!(kept <= LENT, "{kept} for {len}");
        }
    }

    /// Otherwise a peer could make the list long, which is searched for each large frame.
    #[test]
    fn little_memory_is_not_kept() {
        let mut input = Input::default();
        for small in 20..1000 {
            // The beginning of a small frame ends what is read, behind large ones.
            let mut room = input.room(9, usize::MAX, usize::MAX);
            let read = room.remaining_mut();
            room.put_bytes(7, read);
            input.on_read();
            let large = input.bytes_mut().split_to(read - 10);
            input.taken(3, read - 10);
            drip(&mut input, small, small, small);
            drop(large);
            drop(input.bytes_mut().split_to(small));
            input.taken(1, small);
            let kept = input.lent.len();
            assert!(kept <= LENT / LARGE_FRAME, "{kept} after {small}");
        }
        assert_eq!(input.read_size, READ_BUSY);
    }

    #[test]
    fn after_large_frames_the_next_room_is_still_bounded_and_small_frames_get_small_memory() {
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

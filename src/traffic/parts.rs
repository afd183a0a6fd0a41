//! The memory that waiting frames hold. A frame shares the buffer that it was read into. As long as
//! one frame of a buffer lives, the whole buffer stays in memory.
#![forbid(unsafe_code)]

use crate::traffic::input::READ_BUSY;
use bytes::{Bytes, BytesMut};

/// Bytes of a buffer that each byte of kept frames may hold. With 2, a queue of frames holds at most
/// about twice the memory that it counts.
const MAX_HELD_PER_BYTE: usize = 2;

/// Largest buffer that small frames may share: what a busy connection reads at once, and the
/// beginning of a frame before it.
const MAX_SHARED: usize = 2 * READ_BUSY;

/// Copies frames if they would hold much more of a buffer than their bytes. All of them were read into
/// one buffer of `buffer` bytes, and together they count for `worth` bytes, at least their length.
///
/// Small frames may share a small buffer if together they fill half of it. Otherwise they are copied
/// to a buffer of their own size: one allocation for all of them costs much less than one for each. In
/// a large buffer each frame must fill half of it alone, because an application may keep one frame and
/// drop the others.
pub(crate) fn unshare<'a>(
    frames: impl IntoIterator<Item = &'a mut Bytes>,
    worth: usize,
    buffer: usize,
) {
    let fills_half = |worth: usize| worth.saturating_mul(MAX_HELD_PER_BYTE) >= buffer;
    let mut frames = frames.into_iter();
    if buffer > MAX_SHARED {
        for frame in frames.filter(|frame| !fills_half(frame.len())) {
            *frame = Bytes::copy_from_slice(frame);
        }
        return;
    }
    if fills_half(worth) {
        return;
    }
    let Some(first) = frames.next() else {
        return;
    };
    let Some(second) = frames.next() else {
        // Memory that is shared with no other frame takes one allocation less.
        *first = Bytes::copy_from_slice(first);
        return;
    };
    let mut memory = BytesMut::with_capacity(worth);
    for frame in [first, second].into_iter().chain(frames) {
        memory.extend_from_slice(frame);
        *frame = memory.split().freeze();
    }
}

/// The frames of a message whose last frame has not arrived.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    frames: Vec<Bytes>,
    /// Number of frames at the front that came out of earlier buffers. They are unshared already.
    unshared: usize,
    /// Bytes in the other frames, which share the buffer that is being processed.
    fresh: usize,
}

impl Parts {
    pub(crate) const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn push(&mut self, body: Bytes) {
        self.fresh += body.len();
        self.frames.push(body);
    }

    /// Whether some frames came out of earlier buffers.
    pub(crate) const fn spans_buffers(&self) -> bool {
        self.unshared > 0
    }

    /// Unshares the frames out of the current buffer, which has `buffer` bytes. To be called before
    /// anything is read into another buffer.
    pub(crate) fn unshare(&mut self, buffer: usize) {
        unshare(&mut self.frames[self.unshared..], self.fresh, buffer);
        self.unshared = self.frames.len();
        self.fresh = 0;
    }

    /// Takes the frames of the finished message.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(self).frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices of these lengths share one buffer: which of them still share it after `unshare`.
    fn shared(buffer: usize, lens: &[usize]) -> Vec<bool> {
        let memory = Bytes::from(vec![7; buffer]);
        let mut parts = Parts::default();
        for len in lens {
            parts.push(memory.slice(..*len));
        }
        parts.unshare(buffer);
        let start = memory.as_ptr();
        parts
            .take()
            .iter()
            .map(|part| part.as_ptr() == start)
            .collect()
    }

    #[test]
    fn frames_share_a_buffer_only_if_they_fill_half_of_it() {
        assert_eq!(shared(600, &[1, 200]), [false, false]);
        assert_eq!(shared(600, &[100, 200]), [true, true]);
        // Large buffers are kept by single frames only.
        assert_eq!(shared(MAX_SHARED, &[10, MAX_SHARED / 2]), [true, true]);
        let large = MAX_SHARED + 2;
        assert_eq!(
            shared(large, &[10, MAX_SHARED / 2, large / 2]),
            [false, false, true]
        );
    }

    #[test]
    fn many_frames_are_copied_to_one_buffer_of_their_size() {
        let memory = Bytes::from(vec![7; 30_000]);
        let frames: Vec<Bytes> = (0..100).map(|at| memory.slice(at..at + 64)).collect();
        let mut copied = frames.clone();
        let counted = allocation_counter::measure(|| unshare(&mut copied, 100 * 128, 30_000));
        assert_eq!(copied, frames);
        assert!(
            copied
                .iter()
                .zip(&frames)
                .all(|(one, other)| one.as_ptr() != other.as_ptr())
        );
        // The buffer, and what counts those who share it.
        assert_eq!(counted.count_total, 2);
        assert!(counted.bytes_total < 15_000, "{counted:?}");
    }

    #[test]
    fn parts_of_an_earlier_buffer_are_not_copied_again() {
        let mut parts = Parts::default();
        parts.push(Bytes::from(vec![1; 400]));
        parts.unshare(800);
        let kept = parts.frames[0].as_ptr();
        parts.push(Bytes::from(vec![2; 10]).slice(..5));
        parts.unshare(1_000_000);
        assert_eq!(parts.frames[0].as_ptr(), kept);
        assert_eq!(parts.take().len(), 2);
        assert!(parts.is_empty());
    }
}

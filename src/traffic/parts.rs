//! Frames that wait, and the memory that they hold: a frame shares the buffer that it was read
//! into, and keeps all of it.
#![forbid(unsafe_code)]

use crate::traffic::input::READ_BUSY;
use bytes::Bytes;

/// Bytes of a buffer that one byte of what is kept may hold.
const MAX_HELD_PER_BYTE: usize = 2;

/// Largest buffer that small frames may keep together: what a busy connection reads at once, and
/// the beginning of a frame before it.
const SHARED: usize = 2 * READ_BUSY;

/// Gives frames memory of their own if they would hold much more of a buffer than they are worth.
/// All of them were read into one of `buffer` bytes, and together they are worth `worth` bytes.
///
/// Small frames share a small buffer as long as together they are worth it. In a large one each
/// frame has to be worth it alone: an application may keep one, and drop the others.
pub(crate) fn unshare<'a>(
    frames: impl IntoIterator<Item = &'a mut Bytes>,
    worth: usize,
    buffer: usize,
) {
    let is_worth_it = |worth: usize| worth.saturating_mul(MAX_HELD_PER_BYTE) >= buffer;
    if buffer <= SHARED && is_worth_it(worth) {
        return;
    }
    for frame in frames {
        if !is_worth_it(frame.len()) {
            *frame = Bytes::copy_from_slice(frame);
        }
    }
}

/// The frames of a message whose last frame has not arrived.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    frames: Vec<Bytes>,
    /// So many of them, from the front, hold no more memory than they are worth.
    unshared: usize,
    /// Bytes in all others, which came out of the buffer that is being taken apart.
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

    /// Gives what came out of a buffer of `buffer` bytes memory of its own where it is worth much
    /// less. Call it before anything is read into another buffer.
    pub(crate) fn unshare(&mut self, buffer: usize) {
        unshare(&mut self.frames[self.unshared..], self.fresh, buffer);
        self.unshared = self.frames.len();
        self.fresh = 0;
    }

    /// The whole message.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(self).frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these slices of one buffer still share it afterwards.
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
    fn what_shares_a_buffer_is_never_worth_much_less_than_that_buffer() {
        assert_eq!(shared(600, &[1, 200]), [false, false]);
        assert_eq!(shared(600, &[100, 200]), [true, true]);
        // Large buffers are kept by single frames only.
        assert_eq!(shared(SHARED, &[10, SHARED / 2]), [true, true]);
        let large = SHARED + 2;
        assert_eq!(
            shared(large, &[10, SHARED / 2, large / 2]),
            [false, false, true]
        );
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

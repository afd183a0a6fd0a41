//! Precomputed key stream: made before the boxes that need it.
//!
//! A small box spends most of its time on key stream: it needs two or three blocks of Salsa20, and
//! has to wait for them. The vector code makes sixteen blocks side by side in about the same time,
//! so a small box alone leaves most of the lanes idle.
//!
//! The nonces of one direction count up. The nonces of the next boxes are therefore known before
//! the boxes arrive, and key stream depends on nothing but key and nonce. So the first small box
//! makes sixteen blocks: its own, and those of the boxes that follow. The next boxes find theirs
//! ready and only have to add it and authenticate.
//!
//! Every nonce's blocks can be taken once. [`PrecomputedStream::stream`] advances `used` before it
//! hands them out, and the caller wipes them after use. Without that rule a nonce that comes again would
//! meet blocks of zeros. Their first half is the Poly1305 key, and under a key of zeros every text
//! has the tag zero, so any forgery would verify.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::job::{Blocks, Inputs};
use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN, StreamKey};
use crate::crypto::stack_wipe::wipe;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Most blocks of a box whose key stream is made ahead. 5: sixteen blocks then serve at least three
/// boxes. Longer boxes fill the lanes by themselves.
pub(crate) const MAX_EACH: usize = 5;

/// The key stream of a few boxes with consecutive nonces. Used blocks are wiped by the caller, skipped
/// ones at the next box, all others on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(align(64))]
pub(crate) struct PrecomputedStream {
    pub(crate) stream: Blocks,
    /// The nonce of the first box, as a number.
    first: u64,
    /// Blocks for each box; 0 before any are made.
    each: usize,
    /// Blocks at the front that must not be handed out: used already, or skipped.
    used: usize,
}

impl PrecomputedStream {
    /// No key stream yet.
    pub(crate) fn new() -> Self {
        Self {
            stream: [[0; BLOCK_LEN]; AT_ONCE],
            first: 0,
            each: 0,
            used: 0,
        }
    }

    /// Whether at least `blocks` blocks are ready for a nonce.
    pub(crate) fn has(&self, nonce: u64, blocks: usize) -> bool {
        blocks <= self.each && self.at(nonce).is_some()
    }

    /// Replaces the key stream by that of boxes of `each` blocks, the first of which has `nonce`.
    pub(crate) fn make(&mut self, backend: Backend, key: &StreamKey, nonce: u64, each: usize) {
        let mut inputs = Inputs {
            nonces: [[0; 8]; AT_ONCE],
            numbers: [[0; 4]; AT_ONCE],
        };
        let nonces = inputs.nonces.chunks_exact_mut(each);
        let boxes = nonces.zip(inputs.numbers.chunks_exact_mut(each));
        for ((nonces, numbers), ahead) in boxes.zip(0..) {
            nonces.fill(nonce.wrapping_add(ahead).to_be_bytes());
            for (number, block) in numbers.iter_mut().zip(0_u32..) {
                *number = block.to_le_bytes();
            }
        }
        backend.blocks(key, &inputs, &mut self.stream);
        self.first = nonce;
        self.each = each;
        self.used = 0;
    }

    /// Takes the key stream of a nonce, which the caller wipes after use. That of earlier nonces is
    /// wiped here.
    ///
    /// Each nonce's key stream can be taken once. It is zeroed after use, and an all-zero stream
    /// would make any forgery verify.
    pub(crate) fn stream(&mut self, nonce: u64) -> Option<&mut [u8]> {
        let at = self.at(nonce)?;
        self.discard_to(at);
        self.used = at + self.each;
        let blocks = self.stream.get_mut(at..self.used)?;
        Some(blocks.as_flattened_mut())
    }

    /// Wipes the key stream of a nonce that is used without it, and that of earlier nonces.
    pub(crate) fn skip(&mut self, nonce: u64) {
        let boxes_before = usize::try_from(nonce.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let end = boxes_before.saturating_add(1).saturating_mul(self.each);
        self.discard_to(end.min(AT_ONCE));
    }

    /// Wipes what lies before the block `end` and was not used.
    fn discard_to(&mut self, end: usize) {
        if let Some(skipped) = self.stream.get_mut(self.used..end)
            && !skipped.is_empty()
        {
            wipe(skipped.as_flattened_mut());
            self.used = end;
        }
    }

    /// Where a nonce's blocks begin, if they are all there and not used. The blocks that remain at
    /// the end may be too few for a box.
    fn at(&self, nonce: u64) -> Option<usize> {
        let boxes_before = usize::try_from(nonce.wrapping_sub(self.first)).ok()?;
        let at = boxes_before.checked_mul(self.each)?;
        (at >= self.used && at.checked_add(self.each)? <= AT_ONCE).then_some(at)
    }
}

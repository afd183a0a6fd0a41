//! Key stream made ahead. The nonces of a direction count, so that what the next few small boxes
//! need is known before they come, and sixteen blocks side by side take no longer than the two or
//! three that one box would wait for.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::job::{Blocks, Inputs};
use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN, StreamKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Boxes that need more blocks than this are too long to wait for one another.
pub(crate) const MOST_EACH: usize = 5;

/// The key stream of some boxes with consecutive nonces. What has been used is wiped, and so is
/// the rest on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(align(64))]
pub(crate) struct Ahead {
    pub(crate) stream: Blocks,
    /// The first box's nonce, as a number.
    first: u64,
    /// Blocks for each box; none before they are made.
    each: usize,
    /// Blocks that are not to be used, or not again: there is nothing left of them.
    gone: usize,
}

impl Ahead {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            stream: [[0; BLOCK_LEN]; AT_ONCE],
            first: 0,
            each: 0,
            gone: 0,
        }
    }

    /// Whether `blocks` blocks are there for a nonce.
    pub(crate) fn has(&self, nonce: u64, blocks: usize) -> bool {
        blocks <= self.each && self.at(nonce).is_some()
    }

    /// Makes key stream for boxes of `each` blocks, beginning with that of `nonce`.
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
        self.gone = 0;
    }

    /// The key stream for a nonce, to be wiped when it has been used. It is there once: under
    /// zeros, everything would seem authentic.
    pub(crate) fn stream(&mut self, nonce: u64) -> Option<&mut [u8]> {
        let at = self.at(nonce)?;
        self.gone = at + self.each;
        let blocks = self.stream.get_mut(at..self.gone)?;
        Some(blocks.as_flattened_mut())
    }

    /// Where a nonce's blocks begin. The last few may be too few for a box.
    fn at(&self, nonce: u64) -> Option<usize> {
        let boxes_before = usize::try_from(nonce.wrapping_sub(self.first)).ok()?;
        let at = boxes_before.checked_mul(self.each)?;
        (at >= self.gone && at.checked_add(self.each)? <= AT_ONCE).then_some(at)
    }
}

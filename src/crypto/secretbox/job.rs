//! What a backend works on: boxes to seal or open, and inputs of key stream.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{KEY_LEN, TAG_LEN};
use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN};

/// One box of a batch, in place.
pub(crate) struct Job<'a> {
    /// The 8 bytes of its nonce.
    pub(crate) nonce: [u8; 8],
    /// [`TAG_LEN`] bytes for the tag, then the text.
    pub(crate) boxed: &'a mut [u8],
}

impl Job<'_> {
    /// A job that does nothing.
    pub(crate) fn empty() -> Self {
        Self {
            nonce: [0; 8],
            boxed: &mut [],
        }
    }

    /// Tag and text, if there is room for a tag.
    pub(crate) fn parts(&mut self) -> Option<(&mut [u8; TAG_LEN], &mut [u8])> {
        self.boxed.split_first_chunk_mut()
    }
}

/// Blocks of key stream that a box of `len` bytes needs.
pub(crate) fn blocks_of(len: usize) -> usize {
    (len.max(TAG_LEN) + (KEY_LEN - TAG_LEN)).div_ceil(BLOCK_LEN)
}

/// The key stream of one pass: 16 blocks, 1 KiB.
pub(crate) type Blocks = [[u8; BLOCK_LEN]; AT_ONCE];

/// The inputs of [`Blocks`] apart from the key: a nonce and a number for each block.
pub(crate) struct Inputs {
    pub(crate) nonces: [[u8; 8]; AT_ONCE],
    /// The blocks' numbers, little-endian.
    pub(crate) numbers: [[u8; 4]; AT_ONCE],
}

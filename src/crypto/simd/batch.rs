//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::backend::Job;
use crate::crypto::poly1305::{self, TAG_LEN};
use crate::crypto::salsa20::BLOCK_LEN;

/// Blocks that are made before any is used: 4 KiB of key stream.
pub(super) const MOST: usize = 64;

/// What tells one block from another under the same key: the nonce, then the block's number.
pub(super) type Input = ([u8; 8], u64);

/// Key stream for the first few of a row of boxes.
pub(super) struct Plan {
    /// Boxes that it is for.
    pub(super) boxes: usize,
    /// Blocks that they need together.
    pub(super) blocks: usize,
    /// The blocks to make, box by box.
    pub(super) inputs: [Input; MOST],
}

/// Blocks of key stream that a box of `len` bytes needs.
pub(super) fn blocks_of(len: usize) -> usize {
    (poly1305::KEY_LEN + len.saturating_sub(TAG_LEN)).div_ceil(BLOCK_LEN)
}

/// Takes as many boxes as fit, none of which needs more than `longest` blocks.
pub(super) fn plan(jobs: &[Job<'_>], longest: usize) -> Plan {
    let mut plan = Plan {
        boxes: 0,
        blocks: 0,
        inputs: [([0; 8], 0); MOST],
    };
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        let end = plan.blocks + blocks;
        let Some(room) = plan.inputs.get_mut(plan.blocks..end) else {
            break;
        };
        if blocks > longest {
            break;
        }
        for (input, counter) in room.iter_mut().zip(0..) {
            *input = (job.nonce, counter);
        }
        plan.blocks = end;
        plan.boxes += 1;
    }
    plan
}

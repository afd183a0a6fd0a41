//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::backend::{Job, blocks_of};

/// Blocks that are made before any is used: 5 KiB of key stream.
pub(super) const MOST: usize = 80;

/// Key stream for the first few of a row of boxes.
pub(super) struct Plan {
    /// Boxes that it is for.
    pub(super) boxes: usize,
    /// Blocks that they need together.
    pub(super) blocks: usize,
    /// The nonces of the blocks to make, box by box.
    pub(super) nonces: [[u8; 8]; MOST],
    /// The blocks' numbers, little-endian.
    pub(super) numbers: [[u8; 4]; MOST],
}

/// Takes as many boxes as fit, none of which needs more than `longest` blocks.
pub(super) fn plan(jobs: &[Job<'_>], longest: usize) -> Plan {
    let mut plan = Plan {
        boxes: 0,
        blocks: 0,
        nonces: [[0; 8]; MOST],
        numbers: [[0; 4]; MOST],
    };
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        let end = plan.blocks + blocks;
        let room = plan.blocks..end;
        let nonces = plan.nonces.get_mut(room.clone());
        let (Some(nonces), Some(numbers)) = (nonces, plan.numbers.get_mut(room)) else {
            break;
        };
        if blocks > longest {
            break;
        }
        nonces.fill(job.nonce);
        for (number, block) in numbers.iter_mut().zip(0_u32..) {
            *number = block.to_le_bytes();
        }
        plan.blocks = end;
        plan.boxes += 1;
    }
    plan
}

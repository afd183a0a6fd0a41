//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::backend::{Job, blocks_of};

/// Blocks that are made before any is used: 5 KiB of key stream.
pub(super) const MOST: usize = 80;

/// How many boxes come first that fit into one batch. Those that need more than `longest` blocks
/// do not.
pub(super) fn fitting(jobs: &[Job<'_>], longest: usize) -> usize {
    let mut room = MOST;
    let fits = |job: &&Job<'_>| {
        let blocks = blocks_of(job.boxed.len());
        let left = room.checked_sub(blocks).filter(|_| blocks <= longest);
        room = left.unwrap_or_default();
        left.is_some()
    };
    jobs.iter().take_while(fits).count()
}

/// The blocks of key stream that a batch needs, box by box.
pub(super) struct Plan {
    /// How many they are.
    pub(super) blocks: usize,
    /// Their nonces.
    pub(super) nonces: [[u8; 8]; MOST],
    /// Their numbers, little-endian.
    pub(super) numbers: [[u8; 4]; MOST],
}

impl Plan {
    /// For boxes that fit.
    #[inline]
    pub(super) fn new(jobs: &[Job<'_>]) -> Self {
        let mut plan = Self {
            blocks: 0,
            nonces: [[0; 8]; MOST],
            numbers: [[0; 4]; MOST],
        };
        for job in jobs {
            let end = plan.blocks + blocks_of(job.boxed.len());
            let room = plan.blocks..end;
            let nonces = plan.nonces.get_mut(room.clone());
            let (Some(nonces), Some(numbers)) = (nonces, plan.numbers.get_mut(room)) else {
                break;
            };
            nonces.fill(job.nonce);
            for (number, block) in numbers.iter_mut().zip(0_u32..) {
                *number = block.to_le_bytes();
            }
            plan.blocks = end;
        }
        plan
    }
}

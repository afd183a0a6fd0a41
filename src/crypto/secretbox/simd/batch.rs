//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};

/// Blocks that are made before any is used: 5 KiB of key stream.
pub(super) const MOST: usize = 80;

/// Takes `jobs` apart: each box that is too long for a batch, or alone, is for `one`, and others
/// that fit into one batch are for `batch`. Both tell how many of theirs are done; the first that
/// is not ends it. Tells how many were.
pub(super) fn each(
    jobs: &mut [Job<'_>],
    longest: usize,
    mut one: impl FnMut(&mut Job<'_>) -> bool,
    mut batch: impl FnMut(&mut [Job<'_>]) -> usize,
) -> usize {
    let mut done = 0;
    let mut rest = jobs;
    while !rest.is_empty() {
        let (now, later) = rest.split_at_mut(fitting(rest, longest).max(1));
        rest = later;
        let all = now.len();
        let good = match now {
            // One alone has a faster way.
            [job] => usize::from(one(job)),
            several => batch(several),
        };
        done += good;
        if good < all {
            break;
        }
    }
    done
}

/// How many boxes come first that fit into one batch. Those that need more than `longest` blocks
/// do not.
fn fitting(jobs: &[Job<'_>], longest: usize) -> usize {
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
    /// No blocks yet.
    #[inline]
    pub(super) fn empty() -> Self {
        Self {
            blocks: 0,
            nonces: [[0; 8]; MOST],
            numbers: [[0; 4]; MOST],
        }
    }

    /// Adds those of boxes that fit. It is done in place, which spares the stack a copy.
    #[inline]
    pub(super) fn add(&mut self, jobs: &[Job<'_>]) {
        for job in jobs {
            let end = self.blocks + blocks_of(job.boxed.len());
            let room = self.blocks..end;
            let nonces = self.nonces.get_mut(room.clone());
            let (Some(nonces), Some(numbers)) = (nonces, self.numbers.get_mut(room)) else {
                break;
            };
            nonces.fill(job.nonce);
            for (number, block) in numbers.iter_mut().zip(0_u32..) {
                *number = block.to_le_bytes();
            }
            self.blocks = end;
        }
    }
}

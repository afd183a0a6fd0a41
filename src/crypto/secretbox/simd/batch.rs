//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};

/// Most blocks in a batch, all made before any is used. 5 KiB of key stream, which fits into the
/// nearest cache.
pub(super) const MOST: usize = 80;

/// Splits `jobs`: `one` gets each box that is too long for a batch or alone, and `batch` gets runs
/// of boxes that fit into one batch. Both return how many of theirs are done, and the first job
/// that is not done ends the whole. Returns how many are done in all.
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
            // A single box has a faster way.
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

/// How many boxes at the front fit into one batch. A box of more than `longest` blocks does not.
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

/// How many blocks the boxes of a batch need.
pub(super) fn blocks_of_all(jobs: &[Job<'_>]) -> usize {
    jobs.iter().map(|job| blocks_of(job.boxed.len())).sum()
}

/// The blocks of key stream that a batch of at most `N` needs, box by box.
pub(super) struct Plan<const N: usize> {
    /// How many they are.
    pub(super) blocks: usize,
    /// Their nonces.
    pub(super) nonces: [[u8; 8]; N],
    /// Their numbers, little-endian.
    pub(super) numbers: [[u8; 4]; N],
}

impl<const N: usize> Plan<N> {
    /// No blocks yet.
    #[inline]
    pub(super) fn empty() -> Self {
        Self {
            blocks: 0,
            nonces: [[0; 8]; N],
            numbers: [[0; 4]; N],
        }
    }

    /// Adds the blocks of boxes that fit. Works in place, which avoids a copy on the stack.
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

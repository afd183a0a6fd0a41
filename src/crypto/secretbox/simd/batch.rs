//! How several small boxes share the lanes of one pass.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::salsa20::AT_ONCE;

/// Most blocks in a batch, all made before any is used. 5 KiB of key stream, which fits into the
/// nearest cache.
pub(super) const MOST: usize = 80;
/// Most blocks in a batch of small boxes, for which less of the stack has to be wiped.
pub(super) const SMALL: usize = 2 * AT_ONCE;

/// Splits `jobs`: `one` gets each box that is too long for a batch or alone, and `batch` gets runs
/// of boxes that fit into one batch, and how many blocks they need. Both return how many of theirs
/// are done, and the first job that is not done ends the whole. Returns how many are done in all.
pub(super) fn each(
    jobs: &mut [Job<'_>],
    longest: usize,
    mut one: impl FnMut(&mut Job<'_>) -> bool,
    mut batch: impl FnMut(&mut [Job<'_>], usize) -> usize,
) -> usize {
    let mut done = 0;
    let mut rest = jobs;
    while !rest.is_empty() {
        let (count, blocks) = fitting(rest, longest);
        let (now, later) = rest.split_at_mut(count.max(1));
        rest = later;
        let all = now.len();
        let good = match now {
            // A single box has a faster way.
            [job] => usize::from(one(job)),
            several => batch(several, blocks),
        };
        done += good;
        if good < all {
            break;
        }
    }
    done
}

/// How many boxes at the front fit into one batch, and how many blocks they need. A box of more than
/// `longest` blocks does not.
fn fitting(jobs: &[Job<'_>], longest: usize) -> (usize, usize) {
    let (mut count, mut all) = (0, 0);
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        if blocks > longest || all + blocks > MOST {
            break;
        }
        count += 1;
        all += blocks;
    }
    (count, all)
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
        let mut places = self.nonces.iter_mut().zip(&mut self.numbers);
        for job in jobs {
            for block in 0..blocks_of(job.boxed.len()) {
                let Some((nonce, number)) = places.next() else {
                    return;
                };
                *nonce = job.nonce;
                *number = (block as u32).to_le_bytes();
                self.blocks += 1;
            }
        }
    }
}

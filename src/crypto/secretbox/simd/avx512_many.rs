//! Several boxes at once with AVX-512. Their key stream shares the lanes of as few passes as
//! possible, and each box has a lane of its own when they are authenticated.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::{self, KEY_LEN, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::avx512::authenticate_long;
use crate::crypto::secretbox::simd::batch::{self, Plan};
use crate::crypto::secretbox::simd::lanes512::{self, LANES};
use crate::crypto::secretbox::simd::side_by_side::{self, Task};
use crate::crypto::secretbox::simd::{
    Avx512, load256_first, load512, load512_first, store256_first, store512, store512_first,
};
use std::arch::x86_64::*;

/// Most blocks of a box in a batch. Longer boxes fill all lanes by themselves.
const LONGEST_IN_BATCH: usize = 12;
/// Boxes that are authenticated together. Two vectors: one proceeds while the other waits for its
/// multiplications.
const GROUP: usize = 2 * side_by_side::LANES;
/// Most blocks in a batch of the smallest boxes: those of two passes.
const SMALL: usize = 2 * LANES;
/// Least ratio of all bytes to those of the longest box at which boxes are authenticated together.
/// Below it, one box after the other takes no longer.
const WORTH_LANES: usize = 4;

/// Seals all of `jobs`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal_many(key: &StreamKey, jobs: &mut [Job<'_>], code: Avx512) {
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        if let Some((tag, text)) = job.parts() {
            *tag = code.seal(key, nonce, text);
        }
        true
    };
    batch::each(jobs, LONGEST_IN_BATCH, one, |jobs| {
        if batch::blocks_of_all(jobs) <= SMALL {
            seal_batch::<SMALL>(key, jobs);
        } else {
            seal_batch::<{ batch::MOST }>(key, jobs);
        }
        jobs.len()
    });
}

/// Opens `jobs` up to the first that does not open. Returns how many have opened.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open_many(key: &StreamKey, jobs: &mut [Job<'_>], code: Avx512) -> usize {
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        let parts = job.parts();
        parts.is_some_and(|(tag, text)| code.open(key, nonce, text, tag))
    };
    batch::each(jobs, LONGEST_IN_BATCH, one, |jobs| {
        if batch::blocks_of_all(jobs) <= SMALL {
            open_batch::<SMALL>(key, jobs)
        } else {
            open_batch::<{ batch::MOST }>(key, jobs)
        }
    })
}

/// Seals jobs that need at most `N` blocks.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn seal_batch<const N: usize>(key: &StreamKey, jobs: &mut [Job<'_>]) {
    let mut stream = [[0; BLOCK_LEN]; N];
    let mut plan = Plan::<N>::empty();
    plan.add(jobs);
    fill(key, &plan, &mut stream);
    let mut stream = &stream[..];
    for group in jobs.chunks_mut(GROUP) {
        let mut keys = [&[0; KEY_LEN]; GROUP];
        for (job, key) in group.iter_mut().zip(&mut keys) {
            let stream = take(&mut stream, job);
            if let (Some((_, text)), Some((mac_key, stream))) =
                (job.parts(), stream.split_first_chunk())
            {
                *key = mac_key;
                apply(text, stream);
            }
        }
        let tags = tags(&keys, group);
        for (job, tag) in group.iter_mut().zip(tags) {
            if let Some((place, _)) = job.parts() {
                *place = tag;
            }
        }
    }
}

/// Opens jobs that need at most `N` blocks, up to the first that does not open. Returns how many have
/// opened.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn open_batch<const N: usize>(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let mut stream = [[0; BLOCK_LEN]; N];
    let mut plan = Plan::<N>::empty();
    plan.add(jobs);
    fill(key, &plan, &mut stream);
    let mut stream = &stream[..];
    let mut opened = 0;
    for group in jobs.chunks_mut(GROUP) {
        let mut keys = [&[0; KEY_LEN]; GROUP];
        let mut streams = [None; GROUP];
        for (job, (key, rest)) in group.iter().zip(keys.iter_mut().zip(&mut streams)) {
            if let Some((mac_key, stream)) = take(&mut stream, job).split_first_chunk() {
                (*key, *rest) = (mac_key, Some(stream));
            }
        }
        let tags = tags(&keys, group);
        for (job, (computed, stream)) in group.iter_mut().zip(tags.iter().zip(streams)) {
            match (job.parts(), stream) {
                (Some((tag, text)), Some(stream)) if poly1305::same_tag(computed, tag) => {
                    apply(text, stream);
                }
                _ => return opened,
            }
            opened += 1;
        }
    }
    opened
}

/// Makes the key stream of a batch.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn fill<const N: usize>(key: &StreamKey, plan: &Plan<N>, stream: &mut [[u8; BLOCK_LEN]; N]) {
    let mut made = 0;
    while made < plan.blocks {
        let (nonces, numbers) = (&plan.nonces[made..], &plan.numbers[made..]);
        let stream = &mut stream[made..];
        if plan.blocks - made > LANES {
            lanes512::any::<2>(key, nonces, numbers, stream);
        } else {
            lanes512::any::<1>(key, nonces, numbers, stream);
        }
        made += 2 * LANES;
    }
}

/// Takes the key stream of a box off the front of its batch's key stream.
#[inline]
fn take<'a>(batch: &mut &'a [[u8; BLOCK_LEN]], job: &Job<'_>) -> &'a [u8] {
    let (stream, rest) = batch.split_at(blocks_of(job.boxed.len()));
    *batch = rest;
    stream.as_flattened()
}

/// The tags of the texts of at most [`GROUP`] boxes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn tags(keys: &[&[u8; KEY_LEN]; GROUP], group: &[Job<'_>]) -> [[u8; TAG_LEN]; GROUP] {
    let nothing: Task<'_> = (&[0; KEY_LEN], &[]);
    let mut tasks = [[nothing; side_by_side::LANES]; 2];
    let (mut longest, mut all) = (0, 0);
    let places = tasks.as_flattened_mut().iter_mut();
    for (task, (key, job)) in places.zip(keys.iter().zip(group)) {
        let text = job.boxed.get(TAG_LEN..).unwrap_or_default();
        longest = longest.max(text.len());
        all += text.len();
        *task = (key, text);
    }
    let mut tags = [[0; TAG_LEN]; GROUP];
    if all < WORTH_LANES * longest || group.len() < WORTH_LANES {
        let tasks = tasks.as_flattened().iter().take(group.len());
        for (tag, (key, text)) in tags.iter_mut().zip(tasks) {
            *tag = authenticate_long(Poly1305::new(key), text);
        }
    } else if group.len() > side_by_side::LANES {
        let both = side_by_side::tags(&tasks);
        tags.copy_from_slice(both.as_flattened());
    } else {
        let [first, _] = tasks;
        let [first] = side_by_side::tags(&[first]);
        tags[..side_by_side::LANES].copy_from_slice(&first);
    }
    tags
}

/// Adds key stream to a text. The stream begins in the middle of a block, because the first half of
/// the first block is the key of Poly1305.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn apply(text: &mut [u8], stream: &[u8]) {
    let (first, rest) = text.split_at_mut(text.len().min(BLOCK_LEN - KEY_LEN));
    let (first_stream, stream) = stream.split_at(first.len());
    let sum = _mm256_xor_si256(load256_first(first), load256_first(first_stream));
    store256_first(first, sum);
    if rest.is_empty() {
        return;
    }
    let (streams, _) = stream.as_chunks::<BLOCK_LEN>();
    let (wholes, tail) = rest.as_chunks_mut::<BLOCK_LEN>();
    for (text, stream) in wholes.iter_mut().zip(streams) {
        let sum = _mm512_xor_si512(load512(text), load512(stream));
        store512(text, sum);
    }
    if let Some(stream) = streams.get(wholes.len())
        && !tail.is_empty()
    {
        let sum = _mm512_xor_si512(load512_first(tail), load512(stream));
        store512_first(tail, sum);
    }
}

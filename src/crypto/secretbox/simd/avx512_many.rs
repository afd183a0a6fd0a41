//! Several boxes at once with AVX-512. Their key stream shares the lanes of as few passes as
//! possible, and each box has a lane of its own when they are authenticated.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::{self, KEY_LEN, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::avx512::authenticate_long;
use crate::crypto::secretbox::simd::batch::{self, Plan};
use crate::crypto::secretbox::simd::columns;
use crate::crypto::secretbox::simd::lanes512::{self, LANES};
use crate::crypto::secretbox::simd::side_by_side::{self, Task};
use crate::crypto::secretbox::simd::{
    Avx512, load256, load256_first, load512, store256, store256_first, store512,
};
use std::arch::x86_64::*;
use std::{array, iter};

/// Most blocks of a box in a batch. Longer boxes fill all lanes by themselves.
const LONGEST_IN_BATCH: usize = 12;
/// Boxes that are authenticated together. Two vectors: one proceeds while the other waits for its
/// multiplications.
const GROUP: usize = 2 * side_by_side::LANES;
/// Least ratio of all bytes to those of the longest box at which boxes are authenticated together.
/// Below it, one box after the other takes no longer.
const WORTH_LANES: usize = 4;

/// Seals all of `jobs`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal_many(key: &StreamKey, jobs: &mut [Job<'_>], code: Avx512) {
    if columns::suit(jobs) {
        return columns::seal(key, jobs);
    }
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        if let Some((tag, text)) = job.parts() {
            *tag = code.seal(key, nonce, text);
        }
        true
    };
    batch::each(jobs, LONGEST_IN_BATCH, one, |jobs, blocks| {
        if blocks <= batch::SMALL {
            seal_batch::<{ batch::SMALL }>(key, jobs);
        } else {
            seal_batch::<{ batch::MOST }>(key, jobs);
        }
        jobs.len()
    });
}

/// Opens `jobs` up to the first that does not open. Returns how many have opened.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open_many(key: &StreamKey, jobs: &mut [Job<'_>], code: Avx512) -> usize {
    if columns::suit(jobs) {
        return columns::open(key, jobs);
    }
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        let parts = job.parts();
        parts.is_some_and(|(tag, text)| code.open(key, nonce, text, tag))
    };
    batch::each(jobs, LONGEST_IN_BATCH, one, |jobs, blocks| {
        if blocks <= batch::SMALL {
            open_batch::<{ batch::SMALL }>(key, jobs)
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
    fill(key, jobs, &mut stream);
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
        let mut tags = [[[0; TAG_LEN]; side_by_side::LANES]; 2];
        authenticate(&keys, group, &mut tags);
        for (job, tag) in group.iter_mut().zip(tags.as_flattened()) {
            if let Some((place, _)) = job.parts() {
                *place = *tag;
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
    fill(key, jobs, &mut stream);
    let mut stream = &stream[..];
    let mut opened = 0;
    for group in jobs.chunks_mut(GROUP) {
        let mut keys = [&[0; KEY_LEN]; GROUP];
        let mut streams = [&[][..]; GROUP];
        for (job, (key, rest)) in group.iter().zip(keys.iter_mut().zip(&mut streams)) {
            if let Some((mac_key, stream)) = take(&mut stream, job).split_first_chunk() {
                (*key, *rest) = (mac_key, stream);
            }
        }
        let mut tags = [[[0; TAG_LEN]; side_by_side::LANES]; 2];
        authenticate(&keys, group, &mut tags);
        let good = good_tags(group, tags.as_flattened());
        for (job, stream) in group[..good].iter_mut().zip(streams) {
            if let Some((_, text)) = job.parts() {
                apply(text, stream);
            }
        }
        opened += good;
        if good < group.len() {
            break;
        }
    }
    opened
}

/// How many boxes at the front have these tags.
#[inline]
fn good_tags(group: &[Job<'_>], tags: &[[u8; TAG_LEN]]) -> usize {
    let tags = || group.iter().map(|job| job.boxed.first_chunk()).zip(tags);
    // Nearly always all are good, which one comparison shows.
    if poly1305::same_tags(tags()) {
        group.len()
    } else {
        tags()
            .take_while(|pair| poly1305::same_tags(iter::once(*pair)))
            .count()
    }
}

/// Makes the key stream of a batch. Not inlined, so that less of the stack is needed at once.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn fill<const N: usize>(key: &StreamKey, jobs: &[Job<'_>], stream: &mut [[u8; BLOCK_LEN]; N]) {
    let mut plan = Plan::<N>::empty();
    plan.add(jobs);
    let (nonces, _) = plan.nonces.as_chunks();
    let (numbers, _) = plan.numbers.as_chunks();
    let (passes, _) = stream.as_chunks_mut();
    let passes = passes.iter_mut().zip(nonces.iter().zip(numbers));
    for (pass, (nonces, numbers)) in passes.take(plan.blocks.div_ceil(LANES)) {
        lanes512::any(key, nonces, numbers, pass);
    }
}

/// Takes the key stream of a box off the front of its batch's key stream.
#[inline]
fn take<'a>(batch: &mut &'a [[u8; BLOCK_LEN]], job: &Job<'_>) -> &'a [u8] {
    let (stream, rest) = batch.split_at(blocks_of(job.boxed.len()));
    *batch = rest;
    stream.as_flattened()
}

/// Computes the tags of the texts of at most [`GROUP`] boxes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn authenticate(
    keys: &[&[u8; KEY_LEN]; GROUP],
    group: &[Job<'_>],
    tags: &mut [[[u8; TAG_LEN]; side_by_side::LANES]; 2],
) {
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
    if all < WORTH_LANES * longest || group.len() < WORTH_LANES {
        one_by_one(
            &tasks.as_flattened()[..group.len()],
            tags.as_flattened_mut(),
        );
    } else if group.len() > side_by_side::LANES {
        side_by_side::tags(&tasks, tags);
    } else {
        side_by_side::tags(&[tasks[0]], array::from_mut(&mut tags[0]));
    }
}

/// Not inlined, since it needs much of the stack.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn one_by_one(tasks: &[Task<'_>], tags: &mut [[u8; TAG_LEN]]) {
    for (tag, (key, text)) in tags.iter_mut().zip(tasks) {
        *tag = authenticate_long(Poly1305::new(key), text);
    }
}

/// Adds key stream to a text. The stream is at least as long: a shorter one would leave text unsealed, so it
/// panics.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn apply(text: &mut [u8], stream: &[u8]) {
    let len = text.len();
    let stream = &stream[..len];
    // The last whole vector and the vector that ends with the text overlap, and are both loaded before
    // one is stored. That costs less than a masked store. The whole one is stored last: so each block
    // of the text is in one store, and the authentication can read it before it is in the cache.
    let front = len.saturating_sub(BLOCK_LEN) / BLOCK_LEN * BLOCK_LEN;
    let (front, back) = text.split_at_mut(front);
    let (front_stream, back_stream) = stream.split_at(front.len());
    let front_streams = front_stream.as_chunks().0;
    for (text, stream) in front.as_chunks_mut().0.iter_mut().zip(front_streams) {
        let sum = _mm512_xor_si512(load512(text), load512(stream));
        store512(text, sum);
    }
    if let (Some(first), Some(first_stream), Some(last), Some(last_stream)) = (
        back.first_chunk(),
        back_stream.first_chunk(),
        back.last_chunk(),
        back_stream.last_chunk(),
    ) {
        let first = _mm512_xor_si512(load512(first), load512(first_stream));
        let last = _mm512_xor_si512(load512(last), load512(last_stream));
        if let Some(place) = back.last_chunk_mut() {
            store512(place, last);
        }
        if let Some(place) = back.first_chunk_mut() {
            store512(place, first);
        }
    } else if let (Some(first), Some(first_stream), Some(last), Some(last_stream)) = (
        back.first_chunk(),
        back_stream.first_chunk(),
        back.last_chunk(),
        back_stream.last_chunk(),
    ) {
        let first = _mm256_xor_si256(load256(first), load256(first_stream));
        let last = _mm256_xor_si256(load256(last), load256(last_stream));
        if let Some(place) = back.last_chunk_mut() {
            store256(place, last);
        }
        if let Some(place) = back.first_chunk_mut() {
            store256(place, first);
        }
    } else {
        let sum = _mm256_xor_si256(load256_first(back), load256_first(back_stream));
        store256_first(back, sum);
    }
}

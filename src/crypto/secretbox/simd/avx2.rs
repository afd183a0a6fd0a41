//! XSalsa20-Poly1305 with AVX2. Few blocks are made as rows, many as lanes, while the scalar units
//! compute Poly1305.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::{self, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::batch::{self, Plan};
use crate::crypto::secretbox::simd::lanes256::{self, LANES};
use crate::crypto::secretbox::simd::rows::pairs_avx2;
use crate::crypto::secretbox::simd::{load256, store256};
use std::arch::x86_64::*;

/// Most bytes of text that one block of key stream encrypts, next to the key of Poly1305.
const FIRST_LEN: usize = BLOCK_LEN - poly1305::KEY_LEN;
/// Bytes of key stream of one pass.
const PASS_LEN: usize = LANES * BLOCK_LEN;
/// Most blocks that are made faster one by one than in a pass.
const FEW: usize = 2;
/// Most blocks of a box in a batch. Longer boxes fill all lanes by themselves.
const LONGEST_IN_BATCH: usize = 6;

/// Encrypts `text` and returns its tag.
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn seal(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    match text.len() {
        // One block alone is made faster by the scalar code.
        0..=32 => seal_with(&key.block(nonce, 0), text),
        33..=96 => seal_with(rows::<1>(key, nonce).as_flattened(), text),
        97..=224 => seal_with(rows::<2>(key, nonce).as_flattened(), text),
        _ => seal_long(key, nonce, text),
    }
}

/// Decrypts `text` if `tag` is its tag. Otherwise leaves it unchanged or, if it is long, wipes it.
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn open(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    match text.len() {
        0..=32 => open_with(&key.block(nonce, 0), text, tag),
        33..=96 => open_with(rows::<1>(key, nonce).as_flattened(), text, tag),
        97..=224 => open_with(rows::<2>(key, nonce).as_flattened(), text, tag),
        _ => open_long(key, nonce, text, tag),
    }
}

/// Seals all of `jobs`.
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn seal_many(key: &StreamKey, jobs: &mut [Job<'_>]) {
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        if let Some((tag, text)) = job.parts() {
            *tag = seal(key, nonce, text);
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
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn open_many(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let one = |job: &mut Job<'_>| {
        let nonce = job.nonce;
        let parts = job.parts();
        parts.is_some_and(|(tag, text)| open(key, nonce, text, tag))
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
#[target_feature(enable = "avx2,bmi2,adx")]
fn seal_batch<const N: usize>(key: &StreamKey, jobs: &mut [Job<'_>]) {
    let mut stream = [[0; BLOCK_LEN]; N];
    let mut plan = Plan::<N>::empty();
    plan.add(jobs);
    let blocks = plan.blocks.next_multiple_of(LANES);
    fill(key, &plan.nonces[..blocks], &plan.numbers, &mut stream);
    let mut at = 0;
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        if let Some((tag, text)) = job.parts() {
            *tag = seal_with(stream[at..at + blocks].as_flattened(), text);
        }
        at += blocks;
    }
}

/// Opens jobs that need at most `N` blocks, up to the first that does not open. Returns how many have
/// opened.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2,adx")]
fn open_batch<const N: usize>(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let mut stream = [[0; BLOCK_LEN]; N];
    let mut plan = Plan::<N>::empty();
    plan.add(jobs);
    let blocks = plan.blocks.next_multiple_of(LANES);
    fill(key, &plan.nonces[..blocks], &plan.numbers, &mut stream);
    let (mut at, mut opened) = (0, 0);
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        let stream = stream[at..at + blocks].as_flattened();
        let parts = job.parts();
        if !parts.is_some_and(|(tag, text)| open_with(stream, text, tag)) {
            break;
        }
        at += blocks;
        opened += 1;
    }
    opened
}

/// Key stream: a block for each nonce, with the block's number.
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn fill(
    key: &StreamKey,
    nonces: &[[u8; 8]],
    numbers: &[[u8; 4]],
    stream: &mut [[u8; BLOCK_LEN]],
) {
    let (streams, _) = stream.as_chunks_mut();
    let passes = nonces.as_chunks().0.iter().zip(numbers.as_chunks().0);
    for ((nonces, numbers), stream) in passes.zip(streams) {
        let inputs = lanes256::any(nonces, numbers);
        lanes256::blocks(key, inputs, stream, &mut Poly1305::new(&[0; 32]), &[]);
    }
}

/// `2 N` blocks of key stream.
#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
fn rows<const N: usize>(key: &StreamKey, nonce: [u8; 8]) -> [[u8; 2 * BLOCK_LEN]; N] {
    let mut stream = [[0; 2 * BLOCK_LEN]; N];
    for (bytes, vectors) in stream.iter_mut().zip(pairs_avx2::<N>(&key.0, nonce)) {
        for (bytes, vector) in bytes.as_chunks_mut().0.iter_mut().zip(vectors) {
            store256(bytes, vector);
        }
    }
    stream
}

/// Encrypts with key stream that is already made: the key of Poly1305, then the bytes for `text`.
#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn seal_with(stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let Some((mac_key, stream)) = stream.split_first_chunk() else {
        return [0; TAG_LEN];
    };
    apply(text, stream);
    authenticate(Poly1305::new(mac_key), text)
}

/// Decrypts with key stream that is already made, if `tag` is the tag of `text`.
#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn open_with(stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let Some((mac_key, stream)) = stream.split_first_chunk() else {
        return false;
    };
    let computed = authenticate(Poly1305::new(mac_key), text);
    let is_its_tag = poly1305::same_tag(&computed, tag);
    if is_its_tag {
        apply(text, stream);
    }
    is_its_tag
}

/// The tag of a text of any length.
#[cfg(feature = "test-ciphers")]
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn mac(key: &[u8; 32], text: &[u8]) -> [u8; TAG_LEN] {
    authenticate(Poly1305::new(key), text)
}

#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
fn authenticate(mut mac: Poly1305, text: &[u8]) -> [u8; TAG_LEN] {
    let (blocks, rest) = text.as_chunks();
    mac.blocks(blocks);
    mac.finish(rest)
}

/// Adds key stream to a text that is no longer than the stream.
#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
fn apply(text: &mut [u8], stream: &[u8]) {
    let (wholes, tail) = text.as_chunks_mut::<32>();
    let (streams, _) = stream.as_chunks::<32>();
    for (text, stream) in wholes.iter_mut().zip(streams) {
        let sum = _mm256_xor_si256(load256(text), load256(stream));
        store256(text, sum);
    }
    if let Some(stream) = stream.get(32 * wholes.len()..) {
        for (byte, stream) in tail.iter_mut().zip(stream) {
            *byte ^= stream;
        }
    }
}

/// Makes [`LANES`] consecutive blocks of key stream, or `blocks` if they are few, while `mac`
/// absorbs `text`.
#[inline]
#[target_feature(enable = "avx2,bmi2,adx")]
fn make(
    stream: &mut [[u8; BLOCK_LEN]; LANES],
    (key, nonce, counter): (&StreamKey, [u8; 8], u64),
    blocks: usize,
    mac: &mut Poly1305,
    text: &[[u8; poly1305::BLOCK_LEN]],
) {
    if blocks <= FEW {
        for (stream, counter) in stream.iter_mut().zip(counter..).take(blocks) {
            *stream = key.block(nonce, counter);
        }
        mac.blocks(text);
    } else {
        let inputs = lanes256::consecutive(nonce, counter);
        lanes256::blocks(key, inputs, stream, mac, text);
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi2,adx")]
fn seal_long(key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let mut stream = [[0; BLOCK_LEN]; LANES];
    // Not used before it is replaced.
    let mut mac = Poly1305::new(&[0; poly1305::KEY_LEN]);
    let all = (poly1305::KEY_LEN + text.len()).div_ceil(BLOCK_LEN);
    make(&mut stream, (key, nonce, 0), all, &mut mac, &[]);
    if let Some((mac_key, _)) = stream.as_flattened().split_first_chunk() {
        mac = Poly1305::new(mac_key);
    }
    let mut sealed = text.len().min(FIRST_LEN + (LANES - 1) * BLOCK_LEN);
    apply(
        &mut text[..sealed],
        &stream.as_flattened()[poly1305::KEY_LEN..],
    );
    let mut authenticated = 0;
    let mut made = LANES;
    while sealed < text.len() {
        // The bytes that the pass before has sealed are authenticated between the rounds of this
        // one.
        let (blocks, _) = text[authenticated..sealed].as_chunks();
        let input = (key, nonce, made as u64);
        make(&mut stream, input, all - made, &mut mac, blocks);
        authenticated += blocks.len() * poly1305::BLOCK_LEN;
        let end = text.len().min(sealed + LANES * BLOCK_LEN);
        apply(&mut text[sealed..end], stream.as_flattened());
        sealed = end;
        made += LANES;
    }
    authenticate(mac, &text[authenticated..])
}

/// Authenticates each part before it decrypts it, between the rounds that make its key stream.
/// Wipes everything that was decrypted if the tag turns out wrong.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2,adx")]
fn open_long(key: &StreamKey, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
    let mut stream = [[0; BLOCK_LEN]; LANES];
    // Not used before it is replaced.
    let mut mac = Poly1305::new(&[0; poly1305::KEY_LEN]);
    let all = (poly1305::KEY_LEN + text.len()).div_ceil(BLOCK_LEN);
    make(&mut stream, (key, nonce, 0), all, &mut mac, &[]);
    if let Some((mac_key, _)) = stream.as_flattened().split_first_chunk() {
        mac = Poly1305::new(mac_key);
    }
    let mut opened = 0;
    let mut end = text.len().min(PASS_LEN - poly1305::KEY_LEN);
    // The first bytes of the first pass are the key of Poly1305.
    let mut unused = poly1305::KEY_LEN;
    let mut made = LANES;
    mac.blocks(text[..end].as_chunks().0);
    while end < text.len() {
        apply(&mut text[opened..end], &stream.as_flattened()[unused..]);
        opened = end;
        unused = 0;
        end = text.len().min(opened + PASS_LEN);
        let (blocks, _) = text[opened..end].as_chunks();
        let input = (key, nonce, made as u64);
        make(&mut stream, input, all - made, &mut mac, blocks);
        made += LANES;
    }
    let (_, rest) = text[opened..].as_chunks::<{ poly1305::BLOCK_LEN }>();
    if !poly1305::same_tag(&mac.finish(rest), tag) {
        text[..opened].fill(0);
        return false;
    }
    apply(&mut text[opened..], &stream.as_flattened()[unused..]);
    true
}

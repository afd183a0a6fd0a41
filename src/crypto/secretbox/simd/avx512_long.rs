//! XSalsa20-Poly1305 of long texts with AVX-512. While the vector units make key stream, the scalar
//! units make the first block and a part of the tag.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{self, KEY_LEN, Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::ifma::{EIGHT, GROUP, Products, Sums, TOGETHER, Wide};
use crate::crypto::secretbox::simd::lanes512::{Lanes, PASS_LEN};
use crate::crypto::secretbox::simd::{load256, load512, load512_first, store256, store512_first};
use std::arch::x86_64::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes that the first block encrypts, next to the key of Poly1305.
const FIRST_LEN: usize = BLOCK_LEN - KEY_LEN;
/// Most blocks that are made faster one by one than in a pass.
const FEW: usize = 2;

/// Encrypts `text` and returns its tag. Makes up to `P` passes side by side.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn seal<const P: usize>(
    key: &StreamKey,
    nonce: [u8; 8],
    text: &mut [u8],
) -> [u8; TAG_LEN] {
    let lanes = Lanes::new(key, nonce);
    let mut mac = Mac::empty();
    begin::<P>(&lanes, (key, nonce), text, &mut mac, |_, _| true);
    let mut done = FIRST_LEN + PASS_LEN * passes::<P>(text.len() - FIRST_LEN);
    while done < text.len() {
        // Sealed bytes are authenticated while they are in the nearest cache.
        done += next::<P>(&lanes, (key, nonce), text, done, &mut mac, done);
    }
    mac.tag(text)
}

/// Decrypts `text` if `tag` is its tag. Authenticates each part before it decrypts it, and wipes
/// everything that was decrypted if the tag turns out wrong.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn open<const P: usize>(
    key: &StreamKey,
    nonce: [u8; 8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> bool {
    let first = passes::<P>(text.len() - FIRST_LEN);
    // A whole pass ahead, because passes begin 32 bytes after the groups.
    let ahead = (first + 1) * PASS_LEN;
    let mut is_known = text.len() < ahead + P * PASS_LEN;
    let lanes = Lanes::new(key, nonce);
    let mut mac = Mac::empty();
    let begun = begin::<P>(&lanes, (key, nonce), text, &mut mac, |mac, text| {
        if is_known {
            return poly1305::same_tag(&mac.tag(text), tag);
        }
        mac.groups(&text[..ahead]);
        true
    });
    if !begun {
        return false;
    }
    let mut done = FIRST_LEN + PASS_LEN * first;
    while done < text.len() {
        if !is_known && text.len() - mac.absorbed < P * PASS_LEN {
            if !poly1305::same_tag(&mac.tag(text), tag) {
                text[..done].fill(0);
                return false;
            }
            is_known = true;
        }
        let end = if is_known { mac.absorbed } else { text.len() };
        done += next::<P>(&lanes, (key, nonce), text, done, &mut mac, end);
    }
    true
}

/// How many passes the next of `len` bytes are encrypted with, at most `P`.
#[inline]
fn passes<const P: usize>(len: usize) -> usize {
    if len <= PASS_LEN + FEW * BLOCK_LEN {
        1
    } else {
        P
    }
}

/// The tag of a text in progress.
struct Mac {
    scalar: Poly1305,
    wide: Wide,
    /// Bytes of the text that `wide` has absorbed.
    absorbed: usize,
}

impl Mac {
    /// Has absorbed nothing, and needs its key.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn empty() -> Self {
        Self {
            scalar: Poly1305::new(&[0; KEY_LEN]),
            wide: Wide::empty(),
            absorbed: 0,
        }
    }

    /// Absorbs whole groups.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn groups(&mut self, text: &[u8]) {
        self.wide.groups(text.as_chunks().0.as_chunks().0);
        self.absorbed += text.len();
    }

    /// The tag, after the rest of the text.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
    fn tag(&mut self, text: &[u8]) -> [u8; TAG_LEN] {
        let (vectors, rest) = text[self.absorbed..].as_chunks();
        let (groups, vectors) = vectors.as_chunks();
        let (blocks, rest) = rest.as_chunks();
        self.wide.groups(groups);
        let mut mac = self.scalar.restarted();
        mac.set_sum(self.wide.sum(vectors));
        mac.blocks(blocks);
        mac.finish(rest)
    }
}

/// Adds key stream to the beginning of a text if `ready` says so, and returns whether it did. `mac`
/// gets its key.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn begin<const P: usize>(
    lanes: &Lanes,
    key: (&StreamKey, [u8; 8]),
    text: &mut [u8],
    mac: &mut Mac,
    ready: impl FnOnce(&mut Mac, &[u8]) -> bool,
) -> bool {
    if P == 1 || passes::<P>(text.len() - FIRST_LEN) == 1 {
        begin_with::<1>(lanes, key, text, mac, ready)
    } else {
        begin_with::<P>(lanes, key, text, mac, ready)
    }
}

/// As [`begin`], with `P` passes.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn begin_with<const P: usize>(
    lanes: &Lanes,
    (key, nonce): (&StreamKey, [u8; 8]),
    text: &mut [u8],
    mac: &mut Mac,
    ready: impl FnOnce(&mut Mac, &[u8]) -> bool,
) -> bool {
    let has_more = text.len() > FIRST_LEN + PASS_LEN + FEW * BLOCK_LEN;
    let mut first = [0; BLOCK_LEN];
    let is_ready = lanes.apply::<P, _>(
        1,
        (text, FIRST_LEN),
        &mut key.begin(nonce, 0),
        |block, _, _| block.double_round(),
        |block, text| {
            first = block.end();
            if let [mac_key, _] = first.as_chunks().0 {
                mac.scalar = Poly1305::new(mac_key);
            }
            mac.wide.set(mac.scalar.r());
            if has_more {
                mac.wide.reach_higher();
            }
            ready(mac, text)
        },
    );
    if is_ready && let ([_, stream], Some(text)) = (first.as_chunks().0, text.first_chunk_mut()) {
        let sum = _mm256_xor_si256(load256(text), load256(stream));
        store256(text, sum);
    }
    is_ready
}

/// Adds key stream to a text from `done` on, and returns to how many bytes. Meanwhile `mac` absorbs
/// the same number of bytes of the text, if there are as many before `end`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn next<const P: usize>(
    lanes: &Lanes,
    (key, nonce): (&StreamKey, [u8; 8]),
    text: &mut [u8],
    done: usize,
    mac: &mut Mac,
    end: usize,
) -> usize {
    let counter = ((done + KEY_LEN) / BLOCK_LEN) as u64;
    let left = text.len() - done;
    if left <= FEW * BLOCK_LEN {
        for (text, counter) in text[done..].chunks_mut(BLOCK_LEN).zip(counter..) {
            let block = load512(&key.block(nonce, counter));
            store512_first(text, _mm512_xor_si512(load512_first(text), block));
        }
        return left;
    }
    let passes = passes::<P>(left);
    let can_absorb = mac.absorbed + passes * PASS_LEN <= end;
    let is_one = P == 1 || passes == 1;
    match (is_one, can_absorb) {
        (true, true) => absorbing_one(lanes, counter, (text, done), mac),
        (true, false) => only::<1>(lanes, counter, (text, done)),
        (false, true) => absorbing::<P>(lanes, counter, (text, done), mac),
        (false, false) => only::<P>(lanes, counter, (text, done)),
    }
    passes * PASS_LEN
}

/// Makes `P` passes.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn only<const P: usize>(lanes: &Lanes, counter: u64, text: (&mut [u8], usize)) {
    lanes.apply::<P, _>(counter, text, &mut (), |_, _, _| {}, |_, _| true);
}

/// A whole group of a text.
#[inline]
fn group(text: &[u8], at: usize) -> Option<&[[u8; EIGHT]; TOGETHER]> {
    text.get(at..)?.as_chunks().0.first_chunk()
}

/// Makes a pass while as many bytes are absorbed: one half by the vector units, the other by the
/// scalar units.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn absorbing_one(lanes: &Lanes, counter: u64, text: (&mut [u8], usize), mac: &mut Mac) {
    let Mac {
        scalar,
        wide,
        absorbed,
    } = mac;
    let from = *absorbed;
    let (factors, higher) = (&wide.factors, &wide.higher);
    let mut work = (wide.sums, Products::none(), scalar.restarted());
    lanes.apply::<1, _>(
        counter,
        text,
        &mut work,
        |(sums, products, scalar), text, before| {
            let (Some(vectors), Some(blocks)) = (group(text, from), group(text, from + GROUP))
            else {
                return;
            };
            let blocks = blocks.as_flattened().as_chunks().0;
            // Read where they are needed. All of them do not fit into registers, and would be written
            // to the stack in each pass.
            let (factors, higher) = black_box((factors, higher));
            match before {
                1 => *products = sums.begin(&higher[0]),
                2 => *products = products.add(&vectors[0], &higher[1]),
                4 => *products = products.add(&vectors[1], &higher[2]),
                6 => *products = products.add(&vectors[2], &higher[3]),
                8 => *products = products.add(&vectors[3], &factors[0]),
                _ => {}
            }
            // 32 blocks: three in each round, and two in the end.
            scalar.blocks(&blocks[3 * before..3 * before + 3]);
            if let (9, [.., one, last]) = (before, blocks) {
                scalar.blocks(std::slice::from_ref(one));
                *sums = Sums::end_with(products, scalar.sum_with(last));
            }
        },
        |_, _| true,
    );
    wide.sums = work.0;
    *absorbed += PASS_LEN;
}

/// Makes `P` passes while the vector units absorb as many bytes.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
fn absorbing<const P: usize>(lanes: &Lanes, counter: u64, text: (&mut [u8], usize), mac: &mut Mac) {
    let from = mac.absorbed;
    let factors = &mac.wide.factors;
    let mut work = (mac.wide.sums, Products::none());
    lanes.apply::<P, _>(
        counter,
        text,
        &mut work,
        |(sums, products), text, before| {
            for part in P * before..P * before + P {
                let at = from + part / 5 * GROUP;
                let Some(vectors) = group(text, at) else {
                    return;
                };
                let factors = black_box(factors);
                match part % 5 {
                    0 => *products = sums.begin(&factors[0]),
                    1 => *products = products.add(&vectors[0], &factors[1]),
                    2 => *products = products.add(&vectors[1], &factors[2]),
                    3 => *products = products.add(&vectors[2], &factors[3]),
                    _ => *sums = Sums::end(products, &vectors[3]),
                }
            }
        },
        |_, _| true,
    );
    mac.wide.sums = work.0;
    mac.absorbed += P * PASS_LEN;
}

/// Whether two passes side by side take less time than one after the other. They do where a step of a
/// round waits longer for the step before it than the units are busy with either. Otherwise they only
/// need more registers than there are. Measured with zeros, in less than a tenth of a millisecond.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma,bmi2,adx")]
pub(super) fn pairs_are_faster() -> bool {
    let key = StreamKey([0; 8]);
    let mut text = [0; 8 * PASS_LEN];
    let mut least = [Duration::MAX; 2];
    for _ in 0..8 {
        let start = Instant::now();
        black_box(seal::<1>(&key, [0; 8], &mut text));
        let middle = Instant::now();
        black_box(seal::<2>(&key, [0; 8], &mut text));
        let took = [middle - start, middle.elapsed()];
        for (least, took) in least.iter_mut().zip(took) {
            *least = took.min(*least);
        }
    }
    least[1] < least[0]
}

//! Salsa20 with eight blocks side by side, one in each lane of 256-bit vectors.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{self, Poly1305};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, CONSTANTS, StreamKey, words};
use crate::crypto::secretbox::simd::{load256, store256};
use std::arch::x86_64::*;

/// Blocks of one pass.
pub(super) const LANES: usize = 8;

/// The inputs of the blocks apart from the key: the words of the nonces, then those of the block
/// numbers.
pub(super) type Inputs = [__m256i; 4];

/// Consecutive blocks for one nonce.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn consecutive(nonce: [u8; 8], counter: u64) -> Inputs {
    let [n0, n1] = words(&nonce).map(|word: u32| _mm256_set1_epi32(word.cast_signed()));
    let counter = _mm256_set1_epi64x(counter.cast_signed());
    let first = _mm256_add_epi64(counter, _mm256_setr_epi64x(0, 1, 2, 3));
    let second = _mm256_add_epi64(counter, _mm256_setr_epi64x(4, 5, 6, 7));
    let [low, high] = halves(first, second);
    [n0, n1, low, high]
}

/// One block for each nonce.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn any(nonces: &[[u8; 8]; LANES], numbers: &[[u8; 4]; LANES]) -> Inputs {
    let [n0, n1] = match nonces.as_flattened().as_chunks().0 {
        [first, second] => halves(load256(first), load256(second)),
        _ => [_mm256_setzero_si256(); 2],
    };
    let low = match numbers.as_flattened().as_chunks().0 {
        [numbers] => load256(numbers),
        _ => _mm256_setzero_si256(),
    };
    [n0, n1, low, _mm256_setzero_si256()]
}

/// The lower and the upper halves of eight numbers of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(first: __m256i, second: __m256i) -> [__m256i; 2] {
    let (first, second) = (_mm256_castsi256_ps(first), _mm256_castsi256_ps(second));
    let low = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(first, second));
    let high = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(first, second));
    [
        _mm256_permute4x64_epi64::<0b11_01_10_00>(low),
        _mm256_permute4x64_epi64::<0b11_01_10_00>(high),
    ]
}

/// Makes [`LANES`] blocks. Between the rounds `mac` absorbs `text` in other units of the processor,
/// so up to 40 blocks of text cost nearly nothing.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2,adx")]
pub(super) fn blocks(
    key: &StreamKey,
    [n0, n1, low, high]: Inputs,
    out: &mut [[u8; BLOCK_LEN]; LANES],
    mac: &mut Poly1305,
    text: &[[u8; poly1305::BLOCK_LEN]],
) {
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| _mm256_set1_epi32(word.cast_signed()));
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key.0.map(|word| _mm256_set1_epi32(word.cast_signed()));
    let first = [
        c0, k0, k1, k2, k3, c1, n0, n1, low, high, c2, k4, k5, k6, k7, c3,
    ];
    let mut state = first;
    let (pairs, rest) = text.as_chunks::<2>();
    let (between, after) = pairs.split_at(pairs.len().min(20));
    let mut between = between.iter();
    for _ in 0..10 {
        columns(&mut state);
        if let Some(pair) = between.next() {
            mac.blocks(pair);
        }
        rows(&mut state);
        if let Some(pair) = between.next() {
            mac.blocks(pair);
        }
    }
    mac.blocks(after.as_flattened());
    mac.blocks(rest);
    for (word, first) in state.iter_mut().zip(first) {
        *word = _mm256_add_epi32(*word, first);
    }
    let [halves, other_halves] = [transposed(&state[..8]), transposed(&state[8..])];
    for ((out, half), other) in out.iter_mut().zip(halves).zip(other_halves) {
        if let [first, second] = out.as_chunks_mut().0 {
            store256(first, half);
            store256(second, other);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotated<const N: i32, const BACK: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<N>(x), _mm256_srli_epi32::<BACK>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn quarter_round(x: &mut [__m256i; 16], a: usize, b: usize, c: usize, d: usize) {
    x[b] = _mm256_xor_si256(x[b], rotated::<7, 25>(_mm256_add_epi32(x[a], x[d])));
    x[c] = _mm256_xor_si256(x[c], rotated::<9, 23>(_mm256_add_epi32(x[b], x[a])));
    x[d] = _mm256_xor_si256(x[d], rotated::<13, 19>(_mm256_add_epi32(x[c], x[b])));
    x[a] = _mm256_xor_si256(x[a], rotated::<18, 14>(_mm256_add_epi32(x[d], x[c])));
}

#[inline]
#[target_feature(enable = "avx2")]
fn columns(x: &mut [__m256i; 16]) {
    quarter_round(x, 0, 4, 8, 12);
    quarter_round(x, 5, 9, 13, 1);
    quarter_round(x, 10, 14, 2, 6);
    quarter_round(x, 15, 3, 7, 11);
}

#[inline]
#[target_feature(enable = "avx2")]
fn rows(x: &mut [__m256i; 16]) {
    quarter_round(x, 0, 1, 2, 3);
    quarter_round(x, 5, 6, 7, 4);
    quarter_round(x, 10, 11, 8, 9);
    quarter_round(x, 15, 12, 13, 14);
}

/// From one word of all blocks in each vector to eight words of one block in each vector.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(words: &[__m256i]) -> [__m256i; 8] {
    // Words 4 g to 4 g + 3 of two blocks, one in each half of `quads[g][block % 4]`.
    let quads: [[__m256i; 4]; 2] = std::array::from_fn(|g| {
        let w = &words[4 * g..4 * g + 4];
        let (low_01, high_01) = (
            _mm256_unpacklo_epi32(w[0], w[1]),
            _mm256_unpackhi_epi32(w[0], w[1]),
        );
        let (low_23, high_23) = (
            _mm256_unpacklo_epi32(w[2], w[3]),
            _mm256_unpackhi_epi32(w[2], w[3]),
        );
        [
            _mm256_unpacklo_epi64(low_01, low_23),
            _mm256_unpackhi_epi64(low_01, low_23),
            _mm256_unpacklo_epi64(high_01, high_23),
            _mm256_unpackhi_epi64(high_01, high_23),
        ]
    });
    let mut blocks = [_mm256_setzero_si256(); 8];
    for j in 0..4 {
        let [a, b] = [quads[0][j], quads[1][j]];
        blocks[j] = _mm256_permute2x128_si256::<0x20>(a, b);
        blocks[4 + j] = _mm256_permute2x128_si256::<0x31>(a, b);
    }
    blocks
}

//! Salsa20 with sixteen blocks side by side, one in each lane of 512-bit vectors.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::salsa20::{BLOCK_LEN, CONSTANTS, DOUBLE_ROUNDS, StreamKey, words};
use crate::crypto::secretbox::simd::{load512, load512_first, store512, store512_first};
use std::arch::x86_64::*;

/// Blocks of one pass.
pub(super) const LANES: usize = 16;
/// Bytes of one pass.
pub(super) const PASS_LEN: usize = LANES * BLOCK_LEN;

/// What the consecutive blocks of one nonce have in common.
pub(super) struct Lanes {
    /// The words of the first states. The words of the block number are zero.
    first: [__m512i; 16],
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(key: &StreamKey, nonce: [u8; 8]) -> Self {
        let [n0, n1] = words(&nonce).map(|word: u32| _mm512_set1_epi32(word.cast_signed()));
        let zero = _mm512_setzero_si512();
        Self {
            first: first_state(key, [n0, n1, zero, zero]),
        }
    }

    /// Adds `P` times [`LANES`] consecutive blocks to a text from `at` on, as far as both go.
    /// `between` does other work after each double round, of which it is told how many came before.
    /// `ready` is called after the last. Nothing is added if it returns `false`, which is
    /// returned then.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn apply<const P: usize, W>(
        &self,
        counter: u64,
        (text, at): (&mut [u8], usize),
        work: &mut W,
        between: impl Fn(&mut W, &[u8], usize),
        ready: impl FnOnce(&mut W, &[u8]) -> bool,
    ) -> bool {
        let mut states = [self.first; P];
        for (state, pass) in states.iter_mut().zip(0..) {
            [state[8], state[9]] = numbers(counter + pass * LANES as u64);
        }
        for round in 0..DOUBLE_ROUNDS {
            for state in &mut states {
                double_round(state);
            }
            between(work, text, round);
        }
        if !ready(work, text) {
            return false;
        }
        let mut rest = text.get_mut(at..).unwrap_or_default();
        for (state, pass) in states.iter().zip(0..) {
            for block in self.blocks(state, counter + pass * LANES as u64) {
                let len = rest.len().min(BLOCK_LEN);
                let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
                rest = later;
                if let [whole] = now.as_chunks_mut().0 {
                    let sum = _mm512_xor_si512(load512(whole), block);
                    store512(whole, sum);
                } else {
                    if !now.is_empty() {
                        let sum = _mm512_xor_si512(load512_first(now), block);
                        store512_first(now, sum);
                    }
                    return true;
                }
            }
        }
        true
    }

    /// Block `i` in vector `i`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn blocks(&self, state: &[__m512i; 16], counter: u64) -> [__m512i; LANES] {
        let mut sums = *state;
        for (word, first) in sums.iter_mut().zip(&self.first) {
            *word = _mm512_add_epi32(*word, *first);
        }
        for (word, number) in sums[8..10].iter_mut().zip(numbers(counter)) {
            *word = _mm512_add_epi32(*word, number);
        }
        transposed(&sums)
    }
}

/// The numbers of [`LANES`] blocks: their lower and their upper words.
#[inline]
#[target_feature(enable = "avx512f")]
fn numbers(counter: u64) -> [__m512i; 2] {
    let lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    let a = _mm512_add_epi64(_mm512_set1_epi64(counter.cast_signed()), lane);
    let b = _mm512_add_epi64(a, _mm512_set1_epi64(8));
    let low = _mm512_inserti64x4::<1>(
        _mm512_castsi256_si512(_mm512_cvtepi64_epi32(a)),
        _mm512_cvtepi64_epi32(b),
    );
    let high = _mm512_inserti64x4::<1>(
        _mm512_castsi256_si512(_mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(a))),
        _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(b)),
    );
    [low, high]
}

/// Makes [`LANES`] blocks that share only the key: one for each nonce and block number.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub(super) fn any(
    key: &StreamKey,
    nonces: &[[u8; 8]; LANES],
    numbers: &[[u8; 4]; LANES],
    out: &mut [[u8; BLOCK_LEN]; LANES],
) {
    let [numbers] = numbers.as_flattened().as_chunks().0 else {
        return;
    };
    let [n0, n1] = split(nonces);
    let first = first_state(key, [n0, n1, load512(numbers), _mm512_setzero_si512()]);
    let mut state = first;
    for _ in 0..DOUBLE_ROUNDS {
        double_round(&mut state);
    }
    for (word, first) in state.iter_mut().zip(&first) {
        *word = _mm512_add_epi32(*word, *first);
    }
    for (out, block) in out.iter_mut().zip(transposed(&state)) {
        store512(out, block);
    }
}

/// Makes the block of one number of [`LANES`] nonces, which are given by their first and second
/// words. Word i of all blocks is in vector i.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub(super) fn words_of_each(
    key: &StreamKey,
    [n0, n1]: &[__m512i; 2],
    number: u32,
    out: &mut [__m512i; 16],
) {
    let number = _mm512_set1_epi32(number.cast_signed());
    let first = first_state(key, [*n0, *n1, number, _mm512_setzero_si512()]);
    let mut state = first;
    for _ in 0..DOUBLE_ROUNDS {
        double_round(&mut state);
    }
    for ((out, word), first) in out.iter_mut().zip(state).zip(first) {
        *out = _mm512_add_epi32(word, first);
    }
}

/// The first and the second words of nonces.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn split(nonces: &[[u8; 8]; LANES]) -> [__m512i; 2] {
    let [a, b] = nonces.as_flattened().as_chunks().0 else {
        return [_mm512_setzero_si512(); 2];
    };
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    let (a, b) = (load512(a), load512(b));
    [
        _mm512_permutex2var_epi32(a, even, b),
        _mm512_permutex2var_epi32(a, odd, b),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn first_state(key: &StreamKey, [n0, n1, low, high]: [__m512i; 4]) -> [__m512i; 16] {
    let [c0, c1, c2, c3] = CONSTANTS.map(|word| _mm512_set1_epi32(word.cast_signed()));
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key.0.map(|word| _mm512_set1_epi32(word.cast_signed()));
    [
        c0, k0, k1, k2, k3, c1, n0, n1, low, high, c2, k4, k5, k6, k7, c3,
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter_round(x: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
    x[b] = _mm512_xor_si512(x[b], _mm512_rol_epi32::<7>(_mm512_add_epi32(x[a], x[d])));
    x[c] = _mm512_xor_si512(x[c], _mm512_rol_epi32::<9>(_mm512_add_epi32(x[b], x[a])));
    x[d] = _mm512_xor_si512(x[d], _mm512_rol_epi32::<13>(_mm512_add_epi32(x[c], x[b])));
    x[a] = _mm512_xor_si512(x[a], _mm512_rol_epi32::<18>(_mm512_add_epi32(x[d], x[c])));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn double_round(x: &mut [__m512i; 16]) {
    quarter_round(x, 0, 4, 8, 12);
    quarter_round(x, 5, 9, 13, 1);
    quarter_round(x, 10, 14, 2, 6);
    quarter_round(x, 15, 3, 7, 11);
    quarter_round(x, 0, 1, 2, 3);
    quarter_round(x, 5, 6, 7, 4);
    quarter_round(x, 10, 11, 8, 9);
    quarter_round(x, 15, 12, 13, 14);
}

/// From word i of all blocks in vector i to block i in vector i.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transposed(words: &[__m512i; 16]) -> [__m512i; 16] {
    // Words 4 g to 4 g + 3 of four blocks, one in each quarter of `quads[g][block % 4]`.
    let quads: [[__m512i; 4]; 4] = std::array::from_fn(|g| {
        let w = &words[4 * g..4 * g + 4];
        let (low_01, high_01) = (
            _mm512_unpacklo_epi32(w[0], w[1]),
            _mm512_unpackhi_epi32(w[0], w[1]),
        );
        let (low_23, high_23) = (
            _mm512_unpacklo_epi32(w[2], w[3]),
            _mm512_unpackhi_epi32(w[2], w[3]),
        );
        [
            _mm512_unpacklo_epi64(low_01, low_23),
            _mm512_unpackhi_epi64(low_01, low_23),
            _mm512_unpacklo_epi64(high_01, high_23),
            _mm512_unpackhi_epi64(high_01, high_23),
        ]
    });
    let mut blocks = [_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let [a, b, c, d] = [quads[0][j], quads[1][j], quads[2][j], quads[3][j]];
        let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
        let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
        let ab_high = _mm512_shuffle_i32x4::<0xee>(a, b);
        let cd_high = _mm512_shuffle_i32x4::<0xee>(c, d);
        blocks[j] = _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low);
        blocks[4 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low);
        blocks[8 + j] = _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high);
        blocks[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high);
    }
    blocks
}

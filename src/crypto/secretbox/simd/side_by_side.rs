//! Poly1305 of many short texts side by side, each in a lane of its own. While one text waits for a
//! multiplication, the others proceed.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::poly1305::{BLOCK_LEN, KEY_LEN, TAG_LEN};
use crate::crypto::secretbox::simd::ifma::{MASK_42, MASK_44, Multiplier, Products, limbs, sum};
use crate::crypto::secretbox::simd::{load128, load128_first, store512};
use std::arch::x86_64::*;

/// Texts in one vector.
pub(super) const LANES: usize = 8;

/// A text to authenticate, with its one-time key.
pub(super) type Task<'a> = (&'a [u8; KEY_LEN], &'a [u8]);

/// Bytes of four blocks.
const FOUR_LEN: usize = 4 * BLOCK_LEN;
const NOTHING: [u8; FOUR_LEN] = [0; FOUR_LEN];

/// The lower and the upper halves of eight numbers of 128 bits.
pub(super) type Halves = (__m512i, __m512i);

/// The sums of eight texts.
pub(super) struct Sums {
    r: Multiplier,
    sums: [__m512i; 3],
}

/// Computes the tags of `G` times [`LANES`] texts. All take as long as the longest one.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn tags<const G: usize>(
    tasks: &[[Task<'_>; LANES]; G],
    tags: &mut [[[u8; TAG_LEN]; LANES]; G],
) {
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for (_, text) in tasks.as_flattened() {
        shortest = shortest.min(text.len());
        longest = longest.max(text.len());
    }
    let mut groups = [(); G].map(|()| Sums::idle());
    for (group, tasks) in groups.iter_mut().zip(tasks) {
        *group = Sums::new(tasks);
    }
    let fours = shortest / FOUR_LEN;
    for at in 0..fours {
        let mut fours = [[&NOTHING; LANES]; G];
        for (four, (_, text)) in fours
            .as_flattened_mut()
            .iter_mut()
            .zip(tasks.as_flattened())
        {
            if let Some(bytes) = text.as_chunks().0.get(at) {
                *four = bytes;
            }
        }
        for block in 0..4 {
            for (group, fours) in groups.iter_mut().zip(&fours) {
                group.blocks(fours, block);
            }
        }
    }
    for at in 4 * fours..longest.div_ceil(BLOCK_LEN) {
        for (group, tasks) in groups.iter_mut().zip(tasks) {
            group.last_blocks(tasks, at);
        }
    }
    for ((tags, group), tasks) in tags.iter_mut().zip(&groups).zip(tasks) {
        group.finish(tasks, tags);
    }
}

/// The tags of eight texts of one length, with all whole pairs of blocks absorbed two at a time.
#[cfg(test)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn tags_by_twos(tasks: &[Task<'_>; LANES], tags: &mut [[u8; TAG_LEN]; LANES]) {
    let mut sums = Sums::new(tasks);
    let square = sums.square();
    let len = tasks[0].1.len();
    let twos = len / (2 * BLOCK_LEN);
    for at in 0..twos {
        let block = |at| tasks.map(|(_, text)| load128(&text.as_chunks().0[at]));
        sums.absorb_two(&square, [block(2 * at), block(2 * at + 1)]);
    }
    for at in 2 * twos..len.div_ceil(BLOCK_LEN) {
        sums.last_blocks(tasks, at);
    }
    sums.finish(tasks, tags);
}

impl Sums {
    /// A value to be replaced.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn idle() -> Self {
        let zero = [_mm512_setzero_si512(); 3];
        Self {
            r: Multiplier::new(zero),
            sums: zero,
        }
    }

    /// For the r of each key, which is clamped here.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(tasks: &[Task<'_>; LANES]) -> Self {
        let mut first_halves = [_mm_setzero_si128(); LANES];
        for (half, (key, _)) in first_halves.iter_mut().zip(tasks) {
            if let [r, _] = key.as_chunks().0 {
                *half = load128(r);
            }
        }
        Self::of(spread(first_halves))
    }

    /// For eight r, which are clamped here.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn of((low, high): Halves) -> Self {
        let low = _mm512_and_si512(low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
        let high = _mm512_and_si512(high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
        Self {
            r: Multiplier::new(limbs(low, high, _mm512_setzero_si512())),
            sums: [_mm512_setzero_si512(); 3],
        }
    }

    /// Absorbs a block of each text. `end` is the bit that follows it, 2^128, in its place among the
    /// upper limbs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn absorb(&mut self, blocks: [__m128i; LANES], end: __m512i) {
        let (low, high) = spread(blocks);
        self.sums = self.r.times(sum(self.sums, limbs(low, high, end)));
    }

    /// The square of each r, for [`absorb_two`](Self::absorb_two).
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Multiplier {
        Multiplier::new(self.r.times(self.r.limbs))
    }

    /// Absorbs two whole blocks of each text, whose products are carried together.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn absorb_two(
        &mut self,
        square: &Multiplier,
        [first, second]: [[__m128i; LANES]; 2],
    ) {
        let end = _mm512_set1_epi64(1 << 40);
        let (low, high) = spread(first);
        let first = sum(self.sums, limbs(low, high, end));
        let (low, high) = spread(second);
        let second = limbs(low, high, end);
        let products = Products::none().plus(square, first).plus(&self.r, second);
        self.sums = products.carried();
    }

    /// Absorbs block `at` of four blocks of each text.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn blocks(&mut self, fours: &[&[u8; FOUR_LEN]; LANES], at: usize) {
        let mut blocks = [_mm_setzero_si128(); LANES];
        for (block, four) in blocks.iter_mut().zip(fours) {
            if let Some(bytes) = four.as_chunks().0.get(at) {
                *block = load128(bytes);
            }
        }
        self.absorb(blocks, _mm512_set1_epi64(1 << 40));
    }

    /// Absorbs block `at` of the texts that have one, in full or in part.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
    fn last_blocks(&mut self, tasks: &[Task<'_>; LANES], at: usize) {
        let mut blocks = [_mm_setzero_si128(); LANES];
        let (mut whole, mut any) = (0_u8, 0_u8);
        for ((lane, block), (_, text)) in blocks.iter_mut().enumerate().zip(tasks) {
            let rest = text.get(BLOCK_LEN * at..).unwrap_or_default();
            if let Some(bytes) = rest.first_chunk() {
                *block = load128(bytes);
                whole |= 1 << lane;
                any |= 1 << lane;
            } else if !rest.is_empty() {
                let end = _mm_maskz_set1_epi8(1 << rest.len(), 1);
                *block = _mm_or_si128(load128_first(rest), end);
                any |= 1 << lane;
            }
        }
        let (low, high) = spread(blocks);
        let end = _mm512_maskz_set1_epi64(whole, 1 << 40);
        let sums = self.r.times(sum(self.sums, limbs(low, high, end)));
        for (sum, new) in self.sums.iter_mut().zip(sums) {
            *sum = _mm512_mask_mov_epi64(*sum, any, new);
        }
    }

    /// Computes the tags, with s of each key.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn finish(&self, tasks: &[Task<'_>; LANES], tags: &mut [[u8; TAG_LEN]; LANES]) {
        let mut second_halves = [_mm_setzero_si128(); LANES];
        for (half, (key, _)) in second_halves.iter_mut().zip(tasks) {
            if let [_, s] = key.as_chunks().0 {
                *half = load128(s);
            }
        }
        store(self.tags(spread(second_halves)), tags);
    }

    /// Reduces each sum modulo 2^130 - 5 and adds s of its key.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn tags(&self, (s_low, s_high): Halves) -> Halves {
        let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
        let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());
        let five = _mm512_set1_epi64(5);
        let [h0, h1, h2] = self.sums;
        let h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(h1));
        let h1 = _mm512_and_si512(h1, mask_44);
        let above = _mm512_srli_epi64::<42>(h2);
        let h2 = _mm512_and_si512(h2, mask_42);
        let above = _mm512_add_epi64(_mm512_slli_epi64::<2>(above), above);
        let h0 = _mm512_add_epi64(h0, above);
        // h1 can only be full if nothing was above, and then h0 is not carried.
        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        let h0 = _mm512_and_si512(h0, mask_44);

        // h - p if h is at least p = 2^130 - 5, that is, if h + 5 reaches 2^130.
        let g0 = _mm512_add_epi64(h0, five);
        let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(g0));
        let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(g1));
        let take_g = _mm512_cmpgt_epu64_mask(g2, mask_42);
        let h0 = _mm512_mask_and_epi64(h0, take_g, g0, mask_44);
        let h1 = _mm512_mask_and_epi64(h1, take_g, g1, mask_44);
        let h2 = _mm512_mask_and_epi64(h2, take_g, g2, mask_42);

        let low = _mm512_or_si512(h0, _mm512_slli_epi64::<44>(h1));
        let high = _mm512_or_si512(_mm512_srli_epi64::<20>(h1), _mm512_slli_epi64::<24>(h2));
        let low = _mm512_add_epi64(low, s_low);
        let high = _mm512_add_epi64(high, s_high);
        let carry = _mm512_cmplt_epu64_mask(low, s_low);
        let high = _mm512_mask_add_epi64(high, carry, high, _mm512_set1_epi64(1));
        (low, high)
    }
}

/// Stores eight tags as bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store((low, high): Halves, tags: &mut [[u8; TAG_LEN]; LANES]) {
    let mut pairs = [[0; 64]; 2];
    let [even, odd] = &mut pairs;
    store512(even, _mm512_unpacklo_epi64(low, high));
    store512(odd, _mm512_unpackhi_epi64(low, high));
    let ([even, odd], (tags, _)) = (
        [even, odd].map(|pair| pair.as_chunks().0),
        tags.as_chunks_mut(),
    );
    for (([first, second], even), odd) in tags.iter_mut().zip(even).zip(odd) {
        *first = *even;
        *second = *odd;
    }
}

/// From eight blocks to the first halves of all and the second halves of all.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn spread([a, b, c, d, e, f, g, h]: [__m128i; LANES]) -> Halves {
    let even = four(a, c, e, g);
    let odd = four(b, d, f, h);
    (
        _mm512_unpacklo_epi64(even, odd),
        _mm512_unpackhi_epi64(even, odd),
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn four(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m512i {
    let ab = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
    let cd = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(ab), cd)
}

//! Poly1305 over eight blocks side by side, in limbs of 44, 44 and 42 bits, with the multiplication
//! of 52 by 52 bits of AVX-512 IFMA.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::simd::load512;
use std::arch::x86_64::*;

/// Bytes of eight blocks.
pub(super) const HALF_STEP: usize = 128;
/// Bytes that are absorbed in one step. Two sums of eight blocks: one proceeds while the other
/// waits for its multiplications.
pub(super) const STEP: usize = 2 * HALF_STEP;

pub(super) const MASK_44: u64 = (1 << 44) - 1;
pub(super) const MASK_42: u64 = (1 << 42) - 1;

/// A number below 2^131 in limbs.
type Limbs = [u64; 3];

/// The sums of sixteen interleaved texts, to be added up at the end.
pub(super) struct Wide {
    first: [__m512i; 3],
    second: [__m512i; 3],
    /// r^16.
    step: Multiplier,
    /// r to r^8.
    powers: [Limbs; 8],
}

/// A factor, and its upper limbs times 20: 2^132 is 20 modulo 2^130 - 5.
pub(super) struct Multiplier {
    limbs: [__m512i; 3],
    folded: [__m512i; 2],
}

impl Wide {
    /// For the clamped r of a key.
    #[inline]
    #[target_feature(enable = "avx512f,bmi2")]
    pub(super) fn new(r: [u64; 2]) -> Self {
        let one = [
            r[0] & MASK_44,
            (r[0] >> 44 | r[1] << 20) & MASK_44,
            r[1] >> 24,
        ];
        let two = times(one, one);
        let three = times(two, one);
        let four = times(two, two);
        let powers = [
            one,
            two,
            three,
            four,
            times(four, one),
            times(four, two),
            times(four, three),
            times(four, four),
        ];
        let sixteen = times(powers[7], powers[7]);
        Self {
            first: [_mm512_setzero_si512(); 3],
            second: [_mm512_setzero_si512(); 3],
            step: Multiplier::everywhere(sixteen),
            powers,
        }
    }

    /// A value for code that absorbs nothing.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn idle() -> Self {
        let zero = [0; 3];
        Self {
            first: [_mm512_setzero_si512(); 3],
            second: [_mm512_setzero_si512(); 3],
            step: Multiplier::everywhere(zero),
            powers: [zero; 8],
        }
    }

    /// Absorbs sixteen blocks in each step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn steps(&mut self, text: &[[u8; STEP]]) {
        for step in text {
            if let [first, second] = step.as_chunks().0 {
                self.first = plus(self.step.times(self.first), first);
                self.second = plus(self.step.times(self.second), second);
            }
        }
    }

    /// The sum of everything absorbed so far and of `rest`, in the 64-bit limbs of the scalar
    /// Poly1305.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sum(&self, rest: &[[u8; HALF_STEP]]) -> [u64; 3] {
        let eight = Multiplier::everywhere(self.powers[7]);
        let first = eight.times(self.first);
        let mut sums =
            [0, 1, 2].map(|limb: usize| _mm512_add_epi64(first[limb], self.second[limb]));
        for blocks in rest {
            sums = plus(eight.times(sums), blocks);
        }
        // In the order of the blocks: the first is multiplied by r^8, the last by r.
        let last = [0, 1, 2].map(|limb: usize| {
            let [a, b, c, d, e, f, g, h] = self.powers.map(|power| power[limb].cast_signed());
            _mm512_setr_epi64(h, d, g, c, f, b, e, a)
        });
        let [l0, l1, l2] = Multiplier::new(last)
            .times(sums)
            .map(|limb| _mm512_reduce_add_epi64(limb).cast_unsigned());
        let l1 = l1 + (l0 >> 44);
        let l2 = l2 + (l1 >> 44);
        let (l0, l1) = (l0 & MASK_44, l1 & MASK_44);
        // Fold what is above 2^130, and pack.
        let l0 = l0 + (l2 >> 42) * 5;
        let l2 = l2 & MASK_42;
        let l1 = l1 + (l0 >> 44);
        let l0 = l0 & MASK_44;
        let l2 = l2 + (l1 >> 44);
        let l1 = l1 & MASK_44;
        [l0 | l1 << 44, l1 >> 20 | l2 << 24, l2 >> 40]
    }
}

/// Adds eight blocks, which are spread over the lanes as 0 4 1 5 2 6 3 7.
#[inline]
#[target_feature(enable = "avx512f")]
fn plus(sums: [__m512i; 3], blocks: &[u8; HALF_STEP]) -> [__m512i; 3] {
    let [first, second] = blocks.as_chunks().0 else {
        return sums;
    };
    let (first, second) = (load512(first), load512(second));
    let low = _mm512_unpacklo_epi64(first, second);
    let high = _mm512_unpackhi_epi64(first, second);
    added(sums, limbs(low, high), _mm512_set1_epi64(1 << 40))
}

/// The limbs of numbers of 128 bits, given as their lower and upper halves.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn limbs(low: __m512i, high: __m512i) -> [__m512i; 3] {
    let mask = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(middle, mask),
        _mm512_srli_epi64::<24>(high),
    ]
}

/// Adds blocks; `end` has the bit that follows each of them, 2^128, in the place it has among the
/// upper limbs.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn added(
    [s0, s1, s2]: [__m512i; 3],
    [b0, b1, b2]: [__m512i; 3],
    end: __m512i,
) -> [__m512i; 3] {
    [
        _mm512_add_epi64(s0, b0),
        _mm512_add_epi64(s1, b1),
        _mm512_add_epi64(s2, _mm512_or_si512(b2, end)),
    ]
}

impl Multiplier {
    /// One number in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn everywhere(limbs: Limbs) -> Self {
        Self::new(limbs.map(|limb| _mm512_set1_epi64(limb.cast_signed())))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new(limbs: [__m512i; 3]) -> Self {
        let twenty = [limbs[1], limbs[2]].map(|limb| {
            let four = _mm512_slli_epi64::<2>(limb);
            _mm512_add_epi64(_mm512_slli_epi64::<2>(four), four)
        });
        Self {
            limbs,
            folded: twenty,
        }
    }

    /// Multiplies, and carries until each limb has at most a little more than 44 bits. Limbs of the
    /// input may have 46 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn times(&self, [a0, a1, a2]: [__m512i; 3]) -> [__m512i; 3] {
        let [b0, b1, b2] = self.limbs;
        let [b1_20, b2_20] = self.folded;
        let (low_0, high_0) = product([(a0, b0), (a1, b2_20), (a2, b1_20)]);
        let (low_1, high_1) = product([(a0, b1), (a1, b0), (a2, b2_20)]);
        let (low_2, high_2) = product([(a0, b2), (a1, b1), (a2, b0)]);
        let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
        let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());

        let carry = _mm512_add_epi64(
            _mm512_srli_epi64::<44>(low_0),
            _mm512_slli_epi64::<8>(high_0),
        );
        let c0 = _mm512_and_si512(low_0, mask_44);
        let low_1 = _mm512_add_epi64(low_1, carry);
        let carry = _mm512_add_epi64(
            _mm512_srli_epi64::<44>(low_1),
            _mm512_slli_epi64::<8>(high_1),
        );
        let c1 = _mm512_and_si512(low_1, mask_44);
        let low_2 = _mm512_add_epi64(low_2, carry);
        let carry = _mm512_add_epi64(
            _mm512_srli_epi64::<42>(low_2),
            _mm512_slli_epi64::<10>(high_2),
        );
        let c2 = _mm512_and_si512(low_2, mask_42);
        let five = _mm512_add_epi64(_mm512_slli_epi64::<2>(carry), carry);
        let c0 = _mm512_add_epi64(c0, five);
        let carry = _mm512_srli_epi64::<44>(c0);
        [
            _mm512_and_si512(c0, mask_44),
            _mm512_add_epi64(c1, carry),
            c2,
        ]
    }
}

/// The sum of three products: its lower 52 bits, not carried, and what is above them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn product([(a, b), (c, d), (e, f)]: [(__m512i, __m512i); 3]) -> (__m512i, __m512i) {
    let zero = _mm512_setzero_si512();
    let low = _mm512_madd52lo_epu64(zero, a, b);
    let low = _mm512_madd52lo_epu64(low, c, d);
    let low = _mm512_madd52lo_epu64(low, e, f);
    let high = _mm512_madd52hi_epu64(zero, a, b);
    let high = _mm512_madd52hi_epu64(high, c, d);
    let high = _mm512_madd52hi_epu64(high, e, f);
    (low, high)
}

/// The same for one number.
#[inline(always)]
fn times([a0, a1, a2]: Limbs, [b0, b1, b2]: Limbs) -> Limbs {
    let wide = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let (b1_20, b2_20) = (b1 * 20, b2 * 20);
    let d0 = wide(a0, b0) + wide(a1, b2_20) + wide(a2, b1_20);
    let d1 = wide(a0, b1) + wide(a1, b0) + wide(a2, b2_20) + (d0 >> 44);
    let d2 = wide(a0, b2) + wide(a1, b1) + wide(a2, b0) + (d1 >> 44);
    let c0 = (d0 as u64 & MASK_44) + (d2 >> 42) as u64 * 5;
    let c1 = (d1 as u64 & MASK_44) + (c0 >> 44);
    [c0 & MASK_44, c1, d2 as u64 & MASK_42]
}

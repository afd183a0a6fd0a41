//! Poly1305 over eight blocks side by side, in limbs of 44, 44 and 42 bits, with the multiplication
//! of 52 by 52 bits of AVX-512 IFMA.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::simd::load512;
use std::arch::x86_64::*;

/// Bytes of eight blocks.
pub(super) const EIGHT: usize = 128;
/// Vectors of eight blocks whose products are carried together.
pub(super) const TOGETHER: usize = 4;
/// Bytes that are carried together.
pub(super) const GROUP: usize = TOGETHER * EIGHT;

pub(super) const MASK_44: u64 = (1 << 44) - 1;
pub(super) const MASK_42: u64 = (1 << 42) - 1;

/// A number below 2^131 in limbs.
type Limbs = [u64; 3];

/// The sums of eight interleaved texts, to be added up at the end, and what multiplies them. R is
/// r^8.
pub(super) struct Wide {
    pub(super) sums: Sums,
    /// R^4, R^3, R^2, R.
    pub(super) factors: [Factor; 4],
    /// R^8, R^7, R^6, R^5.
    pub(super) higher: [Factor; 4],
    /// r to r^8.
    powers: [Limbs; 8],
}

/// The sums of eight interleaved texts. The products of several vectors are added up before they are
/// carried.
///
/// A group of four vectors m0 to m3 changes the sums to sums * R^4 + m0 * R^3 + m1 * R^2 + m2 * R + m3.
/// [`Sums::begin`], [`Products::add`] for m0 to m2, and [`Sums::end`] do that in five parts of about
/// the same length.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    limbs: [__m512i; 3],
}

/// Sums of products by limb, not carried: the lower 52 bits of each, and what is above them.
#[derive(Clone, Copy)]
pub(super) struct Products {
    low: [__m512i; 3],
    high: [__m512i; 3],
}

/// One number for all lanes, and its upper limbs times 20: 2^132 is 20 modulo 2^130 - 5.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    limbs: Limbs,
    folded: [u64; 2],
}

/// A factor for each lane, and its upper limbs times 20.
pub(super) struct Multiplier {
    pub(super) limbs: [__m512i; 3],
    folded: [__m512i; 2],
}

impl Wide {
    /// Has absorbed nothing, and needs [`Wide::set`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn empty() -> Self {
        Self {
            sums: Sums {
                limbs: [_mm512_setzero_si512(); 3],
            },
            factors: [Factor::new([0; 3]); 4],
            higher: [Factor::new([0; 3]); 4],
            powers: [[0; 3]; 8],
        }
    }

    /// For the clamped r of a key.
    #[inline]
    #[target_feature(enable = "avx512f,bmi2")]
    pub(super) fn new(r: [u64; 2]) -> Self {
        let mut wide = Self::empty();
        wide.set(r);
        wide
    }

    /// Sets the clamped r of a key.
    #[inline(always)]
    pub(super) fn set(&mut self, r: [u64; 2]) {
        let one = [
            r[0] & MASK_44,
            (r[0] >> 44 | r[1] << 20) & MASK_44,
            r[1] >> 24,
        ];
        let two = times(one, one);
        let three = times(two, one);
        let four = times(two, two);
        let eight = times(four, four);
        let sixteen = times(eight, eight);
        self.factors = [
            Factor::new(times(sixteen, sixteen)),
            Factor::new(times(sixteen, eight)),
            Factor::new(sixteen),
            Factor::new(eight),
        ];
        self.powers = [
            one,
            two,
            three,
            four,
            times(four, one),
            times(four, two),
            times(four, three),
            eight,
        ];
    }

    /// Computes the higher factors, which only [`Sums::end_with`] needs.
    #[inline(always)]
    pub(super) fn reach_higher(&mut self) {
        let fourth = self.factors[0].limbs;
        self.higher = [
            Factor::new(times(fourth, fourth)),
            Factor::new(times(fourth, self.factors[1].limbs)),
            Factor::new(times(fourth, self.factors[2].limbs)),
            Factor::new(times(fourth, self.factors[3].limbs)),
        ];
    }

    /// Absorbs whole groups.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn groups(&mut self, text: &[[[u8; EIGHT]; TOGETHER]]) {
        for [first, second, third, fourth] in text {
            let products = self
                .sums
                .begin(&self.factors[0])
                .add(first, &self.factors[1])
                .add(second, &self.factors[2])
                .add(third, &self.factors[3]);
            self.sums = Sums::end(&products, fourth);
        }
    }

    /// The sum of everything absorbed so far and of `rest`, in the 64-bit limbs of the scalar
    /// Poly1305.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sum(&self, rest: &[[u8; EIGHT]]) -> [u64; 3] {
        let eight = self.factors[3].everywhere();
        let mut sums = self.sums.limbs;
        for blocks in rest {
            sums = sum(eight.times(sums), limbs_of(blocks));
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

impl Sums {
    /// The sums times a factor.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn begin(&self, factor: &Factor) -> Products {
        Products::none().plus(&factor.everywhere(), self.limbs)
    }

    /// Carries, and adds the last vector of a group.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn end(products: &Products, blocks: &[u8; EIGHT]) -> Self {
        Self {
            limbs: sum(products.carried(), limbs_of(blocks)),
        }
    }

    /// Carries, and adds the sum of 32 blocks that was computed elsewhere, not multiplied by r after
    /// the last. The sums have been multiplied by R^8 and the four vectors before those blocks by R^7
    /// to R^4.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn end_with(products: &Products, sum_of_32: [u64; 3]) -> Self {
        let [h0, h1, h2] = sum_of_32;
        let limbs = [
            h0 & MASK_44,
            (h0 >> 44 | h1 << 20) & MASK_44,
            h1 >> 24 | h2 << 40,
        ];
        // In the lane that is multiplied by r at the end.
        let last_lane = limbs.map(|limb| _mm512_maskz_set1_epi64(0x80, limb.cast_signed()));
        Self {
            limbs: sum(products.carried(), last_lane),
        }
    }
}

impl Factor {
    #[inline(always)]
    fn new(limbs: Limbs) -> Self {
        Self {
            limbs,
            folded: [limbs[1] * 20, limbs[2] * 20],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn everywhere(&self) -> Multiplier {
        Multiplier {
            limbs: self.limbs.map(|limb| _mm512_set1_epi64(limb.cast_signed())),
            folded: self
                .folded
                .map(|limb| _mm512_set1_epi64(limb.cast_signed())),
        }
    }
}

/// The limbs of eight blocks, which are spread over the lanes as 0 4 1 5 2 6 3 7, each with the bit
/// that follows it, 2^128.
#[inline]
#[target_feature(enable = "avx512f")]
fn limbs_of(blocks: &[u8; EIGHT]) -> [__m512i; 3] {
    let [first, second] = blocks.as_chunks().0 else {
        return [_mm512_setzero_si512(); 3];
    };
    let (first, second) = (load512(first), load512(second));
    let low = _mm512_unpacklo_epi64(first, second);
    let high = _mm512_unpackhi_epi64(first, second);
    limbs(low, high, _mm512_set1_epi64(1 << 40))
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn sum([a0, a1, a2]: [__m512i; 3], [b0, b1, b2]: [__m512i; 3]) -> [__m512i; 3] {
    [
        _mm512_add_epi64(a0, b0),
        _mm512_add_epi64(a1, b1),
        _mm512_add_epi64(a2, b2),
    ]
}

/// The limbs of numbers of 128 bits, given as their lower and upper halves. `end` has the bit that
/// follows, 2^128, in the place it has among the upper limbs.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn limbs(low: __m512i, high: __m512i, end: __m512i) -> [__m512i; 3] {
    let mask = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(middle, mask),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), end),
    ]
}

impl Multiplier {
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
    pub(super) fn times(&self, numbers: [__m512i; 3]) -> [__m512i; 3] {
        Products::none().plus(self, numbers).carried()
    }
}

impl Products {
    /// No products yet.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn none() -> Self {
        Self {
            low: [_mm512_setzero_si512(); 3],
            high: [_mm512_setzero_si512(); 3],
        }
    }

    /// Adds a vector times a factor.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, blocks: &[u8; EIGHT], factor: &Factor) -> Self {
        self.plus(&factor.everywhere(), limbs_of(blocks))
    }

    /// Adds the products of numbers and a factor.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn plus(&self, factor: &Multiplier, [a0, a1, a2]: [__m512i; 3]) -> Self {
        let [b0, b1, b2] = factor.limbs;
        let [b1_20, b2_20] = factor.folded;
        let [low_0, low_1, low_2] = self.low;
        let [high_0, high_1, high_2] = self.high;
        let (low_0, high_0) = product(low_0, high_0, [(a0, b0), (a1, b2_20), (a2, b1_20)]);
        let (low_1, high_1) = product(low_1, high_1, [(a0, b1), (a1, b0), (a2, b2_20)]);
        let (low_2, high_2) = product(low_2, high_2, [(a0, b2), (a1, b1), (a2, b0)]);
        Self {
            low: [low_0, low_1, low_2],
            high: [high_0, high_1, high_2],
        }
    }

    /// Carries until each limb has at most a little more than 44 bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn carried(&self) -> [__m512i; 3] {
        let [low_0, low_1, low_2] = self.low;
        let [high_0, high_1, high_2] = self.high;
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

/// Adds three products to their lower 52 bits, not carried, and to what is above them.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn product(
    low: __m512i,
    high: __m512i,
    [(a, b), (c, d), (e, f)]: [(__m512i, __m512i); 3],
) -> (__m512i, __m512i) {
    let low = _mm512_madd52lo_epu64(low, a, b);
    let low = _mm512_madd52lo_epu64(low, c, d);
    let low = _mm512_madd52lo_epu64(low, e, f);
    let high = _mm512_madd52hi_epu64(high, a, b);
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

//! Salsa20 with two blocks side by side and each diagonal of a state in one vector, for few blocks.
//! The latency of each step limits it, so up to four pairs cost little more than one.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::salsa20::{CONSTANTS, words};
use std::arch::x86_64::*;

/// Defines a kernel for vectors of 256 bits, given its processor features and how it rotates a
/// vector `$x` by `$n` bits.
macro_rules! rows {
    ($name:ident, $features:literal, |$x:ident, $n:ident, $back:ident| $rotated:expr) => {
        /// Blocks 0 to 2 `N` of the stream, 32 bytes in each vector.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn $name<const N: usize>(key: &[u32; 8], nonce: [u8; 8]) -> [[__m256i; 4]; N] {
            #[inline]
            #[target_feature(enable = $features)]
            fn mix<const $n: i32, const $back: i32>(
                into: __m256i,
                a: __m256i,
                b: __m256i,
            ) -> __m256i {
                let $x = _mm256_add_epi32(a, b);
                _mm256_xor_si256(into, $rotated)
            }

            let key = key.map(u32::cast_signed);
            let nonce = words(&nonce).map(u32::cast_signed);
            let first: [[__m256i; 4]; N] =
                std::array::from_fn(|pair| first_state(&key, nonce, pair));
            let mut state = first;
            for _ in 0..10 {
                for [a, b, c, d] in &mut state {
                    *b = mix::<7, 25>(*b, *a, *d);
                    *c = mix::<9, 23>(*c, *b, *a);
                    *d = mix::<13, 19>(*d, *c, *b);
                    *a = mix::<18, 14>(*a, *d, *c);
                    // From columns to rows: what was the second diagonal is now the fourth.
                    let row_b = _mm256_shuffle_epi32::<0b00_11_10_01>(*d);
                    let row_c = _mm256_shuffle_epi32::<0b01_00_11_10>(*c);
                    let row_d = _mm256_shuffle_epi32::<0b10_01_00_11>(*b);
                    *b = row_b;
                    *c = row_c;
                    *d = row_d;
                }
                for [a, b, c, d] in &mut state {
                    *b = mix::<7, 25>(*b, *a, *d);
                    *c = mix::<9, 23>(*c, *b, *a);
                    *d = mix::<13, 19>(*d, *c, *b);
                    *a = mix::<18, 14>(*a, *d, *c);
                    let column_b = _mm256_shuffle_epi32::<0b00_11_10_01>(*d);
                    let column_c = _mm256_shuffle_epi32::<0b01_00_11_10>(*c);
                    let column_d = _mm256_shuffle_epi32::<0b10_01_00_11>(*b);
                    *b = column_b;
                    *c = column_c;
                    *d = column_d;
                }
            }
            std::array::from_fn(|pair| in_order(&state[pair], &first[pair]))
        }
    };
}

rows!(pairs_avx2, "avx2", |x, N, BACK| _mm256_or_si256(
    _mm256_slli_epi32::<N>(x),
    _mm256_srli_epi32::<BACK>(x)
));
rows!(pairs_avx512, "avx512f,avx512vl", |x, N, BACK| {
    let _: i32 = BACK;
    _mm256_rol_epi32::<N>(x)
});

/// The diagonals of the blocks 2 `pair` and 2 `pair` + 1.
#[inline]
#[target_feature(enable = "avx2")]
fn first_state(key: &[i32; 8], nonce: [i32; 2], pair: usize) -> [__m256i; 4] {
    let [c0, c1, c2, c3] = CONSTANTS.map(u32::cast_signed);
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1] = nonce;
    let counter = 2 * pair as i32;
    [
        _mm256_setr_epi32(c0, c1, c2, c3, c0, c1, c2, c3),
        _mm256_setr_epi32(k3, 0, k7, k2, k3, 0, k7, k2),
        _mm256_setr_epi32(counter, k6, k1, n1, counter + 1, k6, k1, n1),
        _mm256_setr_epi32(k5, k0, n0, k4, k5, k0, n0, k4),
    ]
}

/// From diagonals to the bytes of two blocks, the first block first.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(state: &[__m256i; 4], first: &[__m256i; 4]) -> [__m256i; 4] {
    const SECOND: i32 = 0b0010_0010;
    const FOURTH: i32 = 0b1000_1000;
    const UPPER: i32 = 0b1100_1100;
    let [a, b, c, d] = [
        _mm256_add_epi32(state[0], first[0]),
        _mm256_add_epi32(state[1], first[1]),
        _mm256_add_epi32(state[2], first[2]),
        _mm256_add_epi32(state[3], first[3]),
    ];
    // Row i of a state: word i of the first diagonal, and so on.
    let ad = _mm256_blend_epi32::<SECOND>(a, d);
    let ba = _mm256_blend_epi32::<SECOND>(b, a);
    let cb = _mm256_blend_epi32::<SECOND>(c, b);
    let dc = _mm256_blend_epi32::<SECOND>(d, c);
    let cb_end = _mm256_blend_epi32::<FOURTH>(c, b);
    let dc_end = _mm256_blend_epi32::<FOURTH>(d, c);
    let ad_end = _mm256_blend_epi32::<FOURTH>(a, d);
    let ba_end = _mm256_blend_epi32::<FOURTH>(b, a);
    let row_0 = _mm256_blend_epi32::<UPPER>(ad, cb_end);
    let row_1 = _mm256_blend_epi32::<UPPER>(ba, dc_end);
    let row_2 = _mm256_blend_epi32::<UPPER>(cb, ad_end);
    let row_3 = _mm256_blend_epi32::<UPPER>(dc, ba_end);
    [
        _mm256_permute2x128_si256::<0x20>(row_0, row_1),
        _mm256_permute2x128_si256::<0x20>(row_2, row_3),
        _mm256_permute2x128_si256::<0x31>(row_0, row_1),
        _mm256_permute2x128_si256::<0x31>(row_2, row_3),
    ]
}

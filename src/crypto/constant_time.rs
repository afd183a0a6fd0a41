//! Comparison of secrets in constant time.
#![forbid(unsafe_code)]

use subtle::{Choice, ConstantTimeEq};

/// Bytes in one comparison. A comparison has a fixed cost, so 16 bytes at a time are faster than
/// one.
const WORD: usize = 16;

/// Whether two arrays of whole words are equal. The time does not depend on where they differ.
pub(crate) fn same<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    const { assert!(N.is_multiple_of(WORD)) };
    let words = one.as_chunks::<WORD>().0.iter().zip(other.as_chunks().0);
    let same = words.fold(Choice::from(1), |same, (one, other)| {
        same & u128::from_le_bytes(*one).ct_eq(&u128::from_le_bytes(*other))
    });
    same.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        let bytes: [u8; 64] = std::array::from_fn(|at| (at * 37) as u8);
        assert!(same(&bytes, &{ bytes }));
        for bit in 0..8 * bytes.len() {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&bytes, &other), "{bit}");
        }
    }

    /// Where two arrays differ, and whether they do.
    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_where_arrays_differ() {
        use crate::timing::{Class, assert_same_time, of_class};
        let own = [0x5a; 64];
        assert_same_time(
            "comparison, equal or random",
            100_000,
            |class, random| of_class(class, own, random.array()),
            |given| same(&own, given),
        );
        assert_same_time(
            "comparison, first or last byte",
            100_000,
            |class, _| {
                let mut given = own;
                given[if class == Class::One { 0 } else { 63 }] ^= 1;
                given
            },
            |given| same(&own, given),
        );
    }
}

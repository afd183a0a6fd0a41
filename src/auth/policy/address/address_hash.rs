//! The hash of an address, by which sets of rules find it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// The random numbers by which addresses are hashed. All sets of this process have the same.
static KEY: LazyLock<Key> = LazyLock::new(|| {
    let random = RandomState::new();
    let wide = |number: u8| {
        u128::from(random.hash_one((number, 0))) << 64 | u128::from(random.hash_one((number, 1)))
    };
    Key {
        factor: wide(0),
        summand: wide(1),
    }
});

#[derive(Clone, Copy)]
struct Key {
    factor: u128,
    summand: u128,
}

/// Hashes addresses, one word after the other, by multiply-shift in 128 bits: any two words have the same
/// hash with a probability of 2^-64, also if they are chosen, as long as the key is not known. It takes a
/// fraction of the time of SipHash, and a look-up takes a hash for each length of prefix that occurs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AddressHash;

impl BuildHasher for AddressHash {
    type Hasher = MultiplyShift;

    fn build_hasher(&self) -> MultiplyShift {
        MultiplyShift::new(*KEY)
    }
}

/// See [`AddressHash`].
pub(crate) struct MultiplyShift {
    key: Key,
    hash: u64,
}

impl MultiplyShift {
    const fn new(key: Key) -> Self {
        Self { key, hash: 0 }
    }
}

impl Hasher for MultiplyShift {
    fn write_u64(&mut self, word: u64) {
        let Key { factor, summand } = self.key;
        let product = factor.wrapping_mul(u128::from(self.hash ^ word));
        self.hash = (product.wrapping_add(summand) >> 64) as u64;
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u128(&mut self, words: u128) {
        self.write_u64((words >> 64) as u64);
        self.write_u64(words as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::Hash;

    const PLACES: u32 = 2048;

    /// The most words that share a place, which the lowest bits of their hashes decide.
    fn crowd<T: Hash>(key: Key, word: impl Fn(u32) -> T) -> usize {
        let mut places = [0; PLACES as usize];
        for number in 0..PLACES {
            let mut hasher = MultiplyShift::new(key);
            word(number).hash(&mut hasher);
            places[(hasher.finish() % u64::from(PLACES)) as usize] += 1;
        }
        places.into_iter().max().unwrap_or(0)
    }

    fn key(number: u128) -> Key {
        Key {
            factor: (2 * number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834),
            summand: number,
        }
    }

    #[test]
    fn ranges_and_networks_are_spread_under_most_keys() {
        let is_crowded = |number: &u128| {
            let key = key(*number);
            let shifts = (0..32).step_by(4);
            let v4 = shifts.map(|shift| crowd(key, |number| number.rotate_left(shift)));
            let v6 = crowd(key, |number| u128::from(number) << 64);
            v4.chain([v6]).any(|crowd| crowd > 32)
        };
        let crowded = (1..=10).filter(is_crowded).count();
        assert!(crowded <= 1, "{crowded} of 10");
    }

    #[test]
    fn the_key_decides_the_hash() {
        let hash_under = |number| {
            let mut hasher = MultiplyShift::new(key(number));
            7_u32.hash(&mut hasher);
            hasher.finish()
        };
        let all: HashSet<u64> = (1..=100).map(hash_under).collect();
        assert_eq!(all.len(), 100);
        assert_eq!(AddressHash.hash_one(7_u32), AddressHash.hash_one(7_u32));
    }
}

//! The hash by which sets of addresses find an address.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};

/// Hashes numbers by a product with a random factor, in a third of the time of SipHash. The operator
/// chooses the addresses of a set, so a peer cannot fill one with addresses of equal hashes.
#[derive(Debug, Clone)]
pub(crate) struct NumberHash {
    start: u64,
    factor: u64,
}

impl Default for NumberHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            start: random.hash_one(0),
            // Even factors lose bits.
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for NumberHash {
    type Hasher = NumberHasher;

    fn build_hasher(&self) -> NumberHasher {
        NumberHasher {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// The hash of one number.
pub(crate) struct NumberHasher {
    state: u64,
    factor: u64,
}

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * u128::from(self.factor);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64((number >> 64) as u64);
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many numbers as there are places, each a multiple of `step`: the most that share a place, by the
    /// lowest bits of their hashes and by the highest.
    fn most_at_a_place(step: u128) -> [usize; 2] {
        const BITS: u32 = 10;
        let hashes = NumberHash::default();
        let mut counts = [[0; 1 << BITS]; 2];
        for number in 0..1 << BITS {
            let hash = hashes.hash_one(number * step);
            counts[0][hash as usize % (1 << BITS)] += 1;
            counts[1][(hash >> (u64::BITS - BITS)) as usize] += 1;
        }
        counts.map(|counts| counts.into_iter().max().unwrap_or(0))
    }

    #[test]
    fn neighbours_and_networks_of_equal_size_spread_over_all_places() {
        for step in (0..100).map(|bit| 1_u128 << bit).chain([3, 1 << 32 | 1]) {
            // At random it is 4 to 8, and hardly ever 12.
            let most = most_at_a_place(step);
            assert!(most.into_iter().all(|most| most < 24), "{step}: {most:?}");
        }
    }

    #[test]
    fn every_set_has_a_hash_of_its_own() {
        let hash = |number: u32| NumberHash::default().hash_one(number);
        assert_ne!(hash(1), hash(1));
        let one = NumberHash::default();
        assert_eq!(one.hash_one(1_u32), one.clone().hash_one(1_u32));
        assert_ne!(one.hash_one(1_u32), one.hash_one(2_u32));
    }
}

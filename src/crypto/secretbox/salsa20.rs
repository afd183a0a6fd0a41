//! Salsa20 and HSalsa20 in portable code. It only adds, rotates and xors 32-bit words, so time
//! depends on lengths alone.
#![forbid(unsafe_code)]

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of one block of key stream.
pub(crate) const BLOCK_LEN: usize = 64;

/// Blocks of one pass.
pub(crate) const AT_ONCE: usize = 16;

/// Each changes the columns of a state, then its rows.
pub(crate) const DOUBLE_ROUNDS: usize = 10;

/// The diagonal of the first state, "expand 32-byte k".
pub(crate) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The key of one Salsa20 stream for each 8-byte nonce. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct StreamKey(pub(crate) [u32; 8]);

impl StreamKey {
    /// Derives the key by HSalsa20. XSalsa20 is Salsa20 under that key.
    pub(crate) fn derive(key: &[u8; 32], input: &[u8; 16]) -> Self {
        let mut state = first_state(&words(key), words(input));
        rounds(&mut state);
        let derived = Self([0, 5, 10, 15, 6, 7, 8, 9].map(|word| state[word]));
        state.zeroize();
        derived
    }

    /// Writes the key as bytes.
    pub(crate) fn write_to(&self, bytes: &mut [u8; 32]) {
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
    }

    /// One block of the stream.
    pub(crate) fn block(&self, nonce: [u8; 8], counter: u64) -> [u8; BLOCK_LEN] {
        let mut block = self.begin(nonce, counter);
        for _ in 0..DOUBLE_ROUNDS {
            block.double_round();
        }
        block.end()
    }

    /// Begins a block of the stream.
    #[inline(always)]
    pub(crate) fn begin(&self, nonce: [u8; 8], counter: u64) -> Block {
        let [n0, n1] = words(&nonce);
        let [c0, c1] = words(&counter.to_le_bytes());
        let first = first_state(&self.0, [n0, n1, c0, c1]);
        Block {
            first,
            state: first,
        }
    }

    /// Makes a block for each nonce and number, in loops that compilers turn into vector code.
    pub(crate) fn blocks(
        &self,
        nonces: &[[u8; 8]; AT_ONCE],
        numbers: &[u64; AT_ONCE],
        blocks: &mut [[u8; BLOCK_LEN]; AT_ONCE],
    ) {
        let mut first = [[0; AT_ONCE]; 16];
        for (lane, (nonce, number)) in nonces.iter().zip(numbers).enumerate() {
            let [n0, n1] = words(nonce);
            let [c0, c1] = words(&number.to_le_bytes());
            for (lanes, word) in first.iter_mut().zip(first_state(&self.0, [n0, n1, c0, c1])) {
                lanes[lane] = word;
            }
        }
        let mut state = first;
        rounds_of_many(&mut state);
        for (lane, block) in blocks.iter_mut().enumerate() {
            let words = state.iter().zip(&first);
            for (bytes, (word, first)) in block.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word[lane].wrapping_add(first[lane]).to_le_bytes();
            }
        }
    }
}

/// A block of key stream that is being made, so that vector code can work between its rounds.
pub(crate) struct Block {
    first: [u32; 16],
    state: [u32; 16],
}

impl Block {
    /// One of [`DOUBLE_ROUNDS`].
    #[inline(always)]
    pub(crate) fn double_round(&mut self) {
        double_round(&mut self.state);
    }

    /// The block, after all rounds.
    #[inline(always)]
    pub(crate) fn end(&self) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        let words = self.state.iter().zip(self.first);
        for (bytes, (word, first)) in block.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.wrapping_add(first).to_le_bytes();
        }
        block
    }
}

/// Little-endian words; `N` is a fourth of `M`.
pub(crate) fn words<const M: usize, const N: usize>(bytes: &[u8; M]) -> [u32; N] {
    const { assert!(M == 4 * N) };
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn first_state(key: &[u32; 8], input: [u32; 4]) -> [u32; 16] {
    let [c0, c1, c2, c3] = CONSTANTS;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [i0, i1, i2, i3] = input;
    [
        c0, k0, k1, k2, k3, c1, i0, i1, i2, i3, c2, k4, k5, k6, k7, c3,
    ]
}

fn rounds(state: &mut [u32; 16]) {
    for _ in 0..DOUBLE_ROUNDS {
        double_round(state);
    }
}

#[inline(always)]
fn double_round(state: &mut [u32; 16]) {
    quarter_round(state, 0, 4, 8, 12);
    quarter_round(state, 5, 9, 13, 1);
    quarter_round(state, 10, 14, 2, 6);
    quarter_round(state, 15, 3, 7, 11);
    quarter_round(state, 0, 1, 2, 3);
    quarter_round(state, 5, 6, 7, 4);
    quarter_round(state, 10, 11, 8, 9);
    quarter_round(state, 15, 12, 13, 14);
}

#[inline(always)]
fn quarter_round(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    state[b] ^= state[a].wrapping_add(state[d]).rotate_left(7);
    state[c] ^= state[b].wrapping_add(state[a]).rotate_left(9);
    state[d] ^= state[c].wrapping_add(state[b]).rotate_left(13);
    state[a] ^= state[d].wrapping_add(state[c]).rotate_left(18);
}

#[inline(never)]
fn rounds_of_many(state: &mut [[u32; AT_ONCE]; 16]) {
    for _ in 0..DOUBLE_ROUNDS {
        quarter_rounds(state, [0, 4, 8, 12]);
        quarter_rounds(state, [5, 9, 13, 1]);
        quarter_rounds(state, [10, 14, 2, 6]);
        quarter_rounds(state, [15, 3, 7, 11]);
        quarter_rounds(state, [0, 1, 2, 3]);
        quarter_rounds(state, [5, 6, 7, 4]);
        quarter_rounds(state, [10, 11, 8, 9]);
        quarter_rounds(state, [15, 12, 13, 14]);
    }
}

#[inline(always)]
fn quarter_rounds(state: &mut [[u32; AT_ONCE]; 16], [a, b, c, d]: [usize; 4]) {
    // The four indices are different, so this never fails.
    let Ok([a, b, c, d]) = state.get_disjoint_mut([a, b, c, d]) else {
        return;
    };
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        *b ^= a.wrapping_add(*d).rotate_left(7);
        *c ^= b.wrapping_add(*a).rotate_left(9);
        *d ^= c.wrapping_add(*b).rotate_left(13);
        *a ^= d.wrapping_add(*c).rotate_left(18);
    }
}

//! What is compared: every code that this processor can run, with keys, nonces and lengths.

use std::sync::OnceLock;
use zmtp_auth::judged::BoxCode;
use zmtp_auth_judges::judge::{Key, Nonce};

/// Whether the long run is asked for.
pub fn is_full() -> bool {
    std::env::var_os("ZMTP_AUTH_FULL").is_some()
}

/// One count for the quick run and one for the long run.
pub fn count(quick: usize, full: usize) -> usize {
    if is_full() { full } else { quick }
}

/// All codes for boxes that this processor can run.
pub fn codes() -> &'static [BoxCode] {
    static CODES: OnceLock<Vec<BoxCode>> = OnceLock::new();
    CODES.get_or_init(|| {
        let codes = BoxCode::all();
        println!("compared: {codes:?}");
        codes
    })
}

/// Numbers that look random and are the same in every run.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8))
            .flat_map(|_| self.number().to_le_bytes())
            .collect();
        bytes.truncate(len);
        bytes
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }
}

/// Keys at the edges: one byte everywhere, and a single bit at either end.
pub fn edge_keys() -> Vec<Key> {
    let mut keys: Vec<Key> = [0x00, 0x01, 0x7f, 0x80, 0xff].map(|byte| [byte; 32]).into();
    for (at, bit) in [(0, 0x01), (31, 0x80)] {
        let mut key = [0; 32];
        key[at] = bit;
        keys.push(key);
    }
    keys
}

/// Nonces at the edges, and one at random.
pub fn nonces(random: &mut Random) -> [Nonce; 3] {
    [[0; 24], [0xff; 24], random.array()]
}

/// Every length up to 2,100 bytes.
pub fn short_lengths() -> impl Iterator<Item = usize> {
    0..=2100
}

/// Lengths around the limits of chunks up to a mebibyte. `each` is how many around each limit.
pub fn long_lengths(each: usize) -> impl Iterator<Item = usize> {
    let limits = [
        2304,
        3072,
        4096,
        5120,
        8192,
        12_288,
        65_536,
        262_144,
        1 << 20,
    ];
    limits.into_iter().flat_map(move |limit| {
        // A chunk ends 32 bytes early: the key of Poly1305 comes first.
        let step = 48_usize.div_ceil(each);
        (limit - 40..=limit + 8).step_by(step)
    })
}

/// Bytes of hexadecimal digits.
pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The same, of a known length.
pub fn hex_array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

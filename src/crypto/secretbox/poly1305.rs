//! Poly1305 in portable code: 64-bit limbs and no branch or index that depends on a secret.
#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;

/// Bytes of a key: r, then s.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes by which a box is longer than its text: the tag in front.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of one block of a message.
pub(crate) const BLOCK_LEN: usize = 16;

/// Whether two more products for each block take less time than the wait that they save. Some processors
/// of other kinds need several cycles for each.
const APART: bool = cfg!(target_arch = "x86_64");

/// A one-time authenticator in progress. It lives in registers and does not wipe itself, because
/// that would force it into memory. Its callers wipe the stack.
pub(crate) struct Poly1305 {
    r: [u64; 2],
    s: [u64; 2],
    /// The sum so far, with what is above 2^130: the upper word is below 9 * 2^60.
    h: [u64; 3],
}

impl Poly1305 {
    /// Starts with a key that must never be used again.
    #[inline(always)]
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let [r0, r1, s0, s1] = words(key);
        Self {
            // Clamped: 22 bits are clear, which keeps the carries below from overflowing and the
            // lowest bits of r1 clear.
            r: [r0 & 0x0fff_fffc_0fff_ffff, r1 & 0x0fff_fffc_0fff_fffc],
            s: [s0, s1],
            h: [0; 3],
        }
    }

    /// Absorbs whole blocks.
    #[inline(always)]
    pub(crate) fn blocks(&mut self, blocks: &[[u8; BLOCK_LEN]]) {
        for block in blocks {
            self.words::<APART>(words(block), 1);
        }
    }

    /// The clamped r.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[inline(always)]
    pub(crate) fn r(&self) -> [u64; 2] {
        self.r
    }

    /// Continues from a sum of whole blocks that was computed elsewhere.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[inline(always)]
    pub(crate) fn set_sum(&mut self, sum: [u64; 3]) {
        self.h = sum;
    }

    /// With the same key, nothing absorbed yet.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[inline(always)]
    pub(crate) fn restarted(&self) -> Self {
        Self {
            r: self.r,
            s: self.s,
            h: [0; 3],
        }
    }

    /// The sum and one more block, which is not multiplied by r.
    #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
    #[inline(always)]
    pub(crate) fn sum_with(&self, block: &[u8; BLOCK_LEN]) -> [u64; 3] {
        self.plus(words(block), 1, self.above())
    }

    /// Absorbs the last bytes of a message, fewer than a block, and returns the tag.
    #[inline(always)]
    pub(crate) fn finish(self, rest: &[u8]) -> [u8; TAG_LEN] {
        let mut block = [0; BLOCK_LEN];
        for (byte, rest) in block.iter_mut().zip(rest) {
            *byte = *rest;
        }
        self.finish_padded(&block, rest.len())
    }

    /// The same, with the last bytes as the first `len` bytes of a block that is padded with zeros.
    #[inline(always)]
    pub(crate) fn finish_padded(mut self, block: &[u8; BLOCK_LEN], len: usize) -> [u8; TAG_LEN] {
        if len > 0 {
            let [m0, m1] = words(block);
            let end = 1 << (8 * (len % 8));
            let (e0, e1) = if len < 8 { (end, 0) } else { (0, end) };
            self.words::<APART>([m0 | e0, m1 | e1], 0);
        }
        self.tag()
    }

    /// h = (h + m0 + m1 * 2^64 + high * 2^128) * r, modulo 2^130 - 5 but for what is above. That is
    /// the last part of h to be known: if it is folded into h, all products of the next block wait for
    /// it. It has products of its own if `APART`.
    #[inline(always)]
    fn words<const APART: bool>(&mut self, m: [u64; 2], high: u64) {
        let [r0, r1] = self.r;
        // 2^130 is 5, and r1 is a multiple of 4: r1 * 2^128 is r1 / 4 * 5.
        let r1_folded = r1 + (r1 >> 2);
        let (apart, folded) = if APART {
            (self.above(), 0)
        } else {
            (0, self.above())
        };
        let [h0, h1, h2] = self.plus(m, high, folded);

        let low = wide(h0, r0) + wide(h1, r1_folded) + wide(apart, 5 * r0);
        let small = wide(apart, 5 * r1) + u128::from(h2 * r1_folded);
        let middle = wide(h0, r1) + wide(h1, r0) + small + (low >> 64);
        self.h = [low as u64, middle as u64, h2 * r0 + (middle >> 64) as u64];
    }

    /// What is above 2^130.
    #[inline(always)]
    fn above(&self) -> u64 {
        self.h[2] >> 2
    }

    /// What is not above 2^130, and m0 + m1 * 2^64 + high * 2^128 + 5 * folded.
    #[inline(always)]
    fn plus(&self, [m0, m1]: [u64; 2], high: u64, folded: u64) -> [u64; 3] {
        let [h0, h1, h2] = self.h;
        let (h0, carry) = h0.overflowing_add(m0);
        let (h1, carry) = carrying_add(h1, m1, carry);
        let h2 = (h2 & 3) + high + u64::from(carry);
        let (h0, carry) = h0.overflowing_add(5 * folded);
        let (h1, carry) = carrying_add(h1, 0, carry);
        [h0, h1, h2 + u64::from(carry)]
    }

    #[inline(always)]
    fn tag(&self) -> [u8; TAG_LEN] {
        let [h0, h1, h2] = self.plus([0; 2], 0, self.above());
        // h - p if h is at least p = 2^130 - 5, that is, if h + 5 reaches 2^130; h is below 2 p.
        let (g0, carry) = h0.overflowing_add(5);
        let (g1, carry) = carrying_add(h1, 0, carry);
        let take_g = 0_u64.wrapping_sub((h2 + u64::from(carry)) >> 2);
        let h0 = (h0 & !take_g) | (g0 & take_g);
        let h1 = (h1 & !take_g) | (g1 & take_g);
        let (t0, carry) = h0.overflowing_add(self.s[0]);
        let (t1, _) = carrying_add(h1, self.s[1], carry);
        let mut tag = [0; TAG_LEN];
        tag[..8].copy_from_slice(&t0.to_le_bytes());
        tag[8..].copy_from_slice(&t1.to_le_bytes());
        tag
    }
}

/// Whether two tags are equal, in constant time.
#[inline(always)]
pub(crate) fn same_tag(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    same_tags([(Some(a), b)])
}

/// Whether the tags of each pair are there and equal, in time that depends on their number alone.
#[inline(always)]
pub(crate) fn same_tags<'a>(
    pairs: impl IntoIterator<Item = (Option<&'a [u8; TAG_LEN]>, &'a [u8; TAG_LEN])>,
) -> bool {
    // As numbers: byte by byte costs as much as the tag of a short message.
    let difference = pairs.into_iter().fold(0, |all, (a, b)| {
        let a = a.map_or(!u128::from_le_bytes(*b), |a| u128::from_le_bytes(*a));
        all | a ^ u128::from_le_bytes(*b)
    });
    difference.ct_eq(&0).into()
}

#[inline(always)]
fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

#[inline(always)]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// Little-endian words; `N` is an eighth of `M`.
#[inline(always)]
fn words<const M: usize, const N: usize>(bytes: &[u8; M]) -> [u64; N] {
    const { assert!(M == 8 * N) };
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use poly1305::universal_hash::KeyInit;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// Zeros to the right, or to the left of the second half's end: r and s.
    fn key(r: &str, s: &str) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        key[..r.len() / 2].copy_from_slice(&hex(r));
        key[16..16 + s.len() / 2].copy_from_slice(&hex(s));
        key
    }

    /// Compares an implementation with vectors and with crate poly1305, for keys and texts that
    /// make every carry run.
    pub(crate) fn is_poly1305(mac: impl Fn(&[u8; KEY_LEN], &[u8]) -> [u8; TAG_LEN]) {
        let ones = "ffffffffffffffffffffffffffffffff";
        // RFC 8439, appendix A.3, vectors 5 to 11.
        for (r, s, text, tag) in [
            ("02", "", ones.to_owned(), "03"),
            ("02", ones, "02000000000000000000000000000000".into(), "03"),
            (
                "01",
                "",
                format!("{ones}f0{}11{}", "ff".repeat(15), "00".repeat(15)),
                "05",
            ),
            (
                "01",
                "",
                format!("{ones}fb{}{}", "fe".repeat(15), "01".repeat(16)),
                "00",
            ),
            (
                "02",
                "",
                format!("fd{}", "ff".repeat(15)),
                "faffffffffffffffffffffffffffffff",
            ),
            (
                "010000000000000004",
                "",
                concat!(
                    "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000",
                    "0000000000000000000000000000000001000000000000000000000000000000",
                )
                .into(),
                "14000000000000005500000000000000",
            ),
            (
                "010000000000000004",
                "",
                concat!(
                    "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000",
                    "00000000000000000000000000000000",
                )
                .into(),
                "13000000000000000000000000000000",
            ),
        ] {
            let mut expected = hex(tag);
            expected.resize(TAG_LEN, 0);
            assert_eq!(mac(&key(r, s), &hex(&text))[..], expected, "{r} {s} {text}");
        }
        // Extremes of r (all bits that are not clamped), of s and of the text. Fewer in an
        // interpreter.
        let (patterns, step): (&[u8], _) = if cfg!(miri) {
            (&[0x00, 0xff], 29)
        } else {
            (&[0x00, 0x01, 0x7f, 0x80, 0xfb, 0xfe, 0xff], 1)
        };
        for &r in patterns {
            for s in [0x00, 0x01, 0xff] {
                let mut key = [r; KEY_LEN];
                key[16..].fill(s);
                for &text in patterns {
                    let longer = [255, 256, 500, 512, 777, 1024, 2050];
                    for len in (0..80)
                        .step_by(step)
                        .chain(longer.into_iter().step_by(step))
                    {
                        agrees(&mac, &key, &vec![text; len]);
                    }
                }
            }
        }
        // Two blocks whose sum is next to 2^130 - 5, times one.
        for low in 0xf8..=0xff {
            let mut text = [0xff; 2 * BLOCK_LEN];
            text[BLOCK_LEN] = low;
            agrees(&mac, &key("01", ""), &text);
        }
        // 2^130 + 2^88 - 1: folding what is above carries into a limb of 44 ones.
        let mut text = [0; 4 * BLOCK_LEN];
        text[3 * BLOCK_LEN..][..11].fill(0xff);
        agrees(&mac, &key("01", ""), &text);
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        for len in (0..1100).step_by(3 * step - 2) {
            let key = std::array::from_fn(|_| random());
            let text: Vec<u8> = (0..len).map(|_| random()).collect();
            agrees(&mac, &key, &text);
        }
    }

    #[track_caller]
    fn agrees(
        mac: impl Fn(&[u8; KEY_LEN], &[u8]) -> [u8; TAG_LEN],
        key: &[u8; KEY_LEN],
        text: &[u8],
    ) {
        let judge = poly1305::Poly1305::new(key.into());
        let expected = judge.compute_unpadded(text);
        assert_eq!(mac(key, text)[..], expected[..], "{key:?} {text:?}");
    }

    #[test]
    fn portable_code_is_poly1305() {
        is_poly1305(|key, text| {
            let mut mac = Poly1305::new(key);
            let (blocks, rest) = text.as_chunks();
            mac.blocks(blocks);
            mac.finish(rest)
        });
    }

    #[test]
    fn whole_blocks_as_other_processors_run_them_are_poly1305() {
        is_poly1305(|key, text| {
            let mut mac = Poly1305::new(key);
            let (blocks, rest) = text.as_chunks::<BLOCK_LEN>();
            for block in blocks {
                mac.words::<{ !APART }>(words(block), 1);
            }
            mac.finish(rest)
        });
    }
}

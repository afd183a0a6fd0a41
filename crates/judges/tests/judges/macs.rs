//! Poly1305, with keys and texts that make every carry and the last reduction happen.

use crate::subjects::{Random, codes, count, is_full};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::judge::Key;

/// Largest clamped r.
const CLAMPED: [u8; 16] = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff_u128.to_le_bytes();

/// Values of r at the edges. What is clamped away counts for nothing.
fn edges_of_r() -> Vec<[u8; 16]> {
    let clamped = u128::from_le_bytes(CLAMPED);
    let mut edges = vec![0, 1, 2, 4, 5, u128::MAX, clamped, !clamped, clamped - 1];
    // Single bits at the limbs' borders: 44 and 88 bits, and the 64 bits of a word.
    edges.extend([43, 44, 63, 64, 66, 87, 88, 123].map(|bit| 1_u128 << bit));
    edges.extend([0x0f, 0x7f, 0x80, 0xfb, 0xfe].map(|byte| u128::from_le_bytes([byte; 16])));
    edges.into_iter().map(u128::to_le_bytes).collect()
}

/// Values of s at the edges.
const EDGES_OF_S: [u128; 4] = [0, 1, 1 << 127, u128::MAX];

fn key(r: [u8; 16], s: u128) -> Key {
    [r, s.to_le_bytes()].concat().try_into().unwrap()
}

/// Compares every code, alone and side by side with other texts.
#[track_caller]
fn compare(key: &Key, text: &[u8], lane: usize) {
    let expected = agreed(|judge| judge.mac(key, text));
    for code in codes() {
        assert_eq!(code.mac(key, text), expected, "{code:?} {key:?} {text:?}");
        // The others are longer and shorter, so that lanes end at different times.
        let other: Vec<u8> = vec![0xff; text.len() + 40];
        let mut tasks: [(&Key, &[u8]); 16] = std::array::from_fn(|at| {
            let len = (text.len() + 5 * at).saturating_sub(40).min(other.len());
            (&[0xff; 32], &other[..len])
        });
        tasks[lane % 16] = (key, text);
        if let Some(tags) = code.macs(&tasks) {
            assert_eq!(
                tags[lane % 16],
                expected,
                "{code:?} side by side {key:?} {text:?}"
            );
        }
    }
}

#[test]
fn keys_at_the_edges_with_texts_at_the_edges() {
    let fills: &[u8] = if is_full() {
        &[0x00, 0x01, 0x7f, 0x80, 0xfb, 0xfe, 0xff]
    } else {
        &[0x00, 0xfe, 0xff]
    };
    let mut lane = 0;
    for r in edges_of_r() {
        for s in EDGES_OF_S {
            for fill in fills {
                let few = [
                    0, 1, 15, 16, 17, 32, 63, 127, 128, 129, 255, 256, 511, 512, 513, 1024,
                ];
                let lengths: Vec<usize> = if is_full() {
                    (0..1300).collect()
                } else {
                    few.into()
                };
                for len in lengths {
                    compare(&key(r, s), &vec![*fill; len], lane);
                    lane += 1;
                }
            }
        }
    }
}

/// Three blocks that, with their high bits, add up to 2^130 - 11 + `offset`, and as many zeros before
/// them as that many quadruples of blocks have. With r = 1 each block of zeros adds 2^128, so four add
/// 2^130, which is 5: the last block makes up for it.
fn around_the_modulus(quadruples: usize, offset: u128) -> Vec<u8> {
    let last = (1 << 20) - 10 + offset - 5 * quadruples as u128;
    let blocks = [u128::MAX - (1 << 20), 0, last].map(u128::to_le_bytes);
    [&vec![0; 64 * quadruples], blocks.as_flattened()].concat()
}

/// Sums on both sides of the modulus, 2^130 - 5, and of 2^130, at many lengths.
#[test]
fn sums_around_the_modulus_are_reduced_at_every_length() {
    for quadruples in (0..=40).step_by(count(5, 1)) {
        for offset in 0..24 {
            let text = around_the_modulus(quadruples, offset);
            // The sum is 0 where the modulus is met, and s is added to what is left.
            let sum = match offset {
                0..6 => u128::MAX - 10 + offset,
                _ => offset - 6,
            };
            for s in EDGES_OF_S {
                let key = key(1_u128.to_le_bytes(), s);
                let tag = u128::from_le_bytes(agreed(|judge| judge.mac(&key, &text)));
                assert_eq!(tag, sum.wrapping_add(s), "{quadruples} {offset}");
                compare(&key, &text, offset as usize);
            }
        }
    }
}

/// Sums whose lower limbs overflow only when what is above 2^130 is folded into them.
#[test]
fn what_is_folded_carries_through_every_limb() {
    // With r = 1 the sum is that of the blocks and their high bits. All blocks but the first are as
    // large as can be, so much is above 2^130, and each multiple of it adds 5.
    let key = key(1_u128.to_le_bytes(), 0);
    for blocks in (32..=64).step_by(count(16, 1)) {
        for (limb, above) in [
            (44, 0),
            (44, u128::MAX),
            (88, 0),
            (88, u128::MAX),
            (127, 0),
            (127, u128::MAX),
        ] {
            for below in 0..2 * blocks as u128 {
                let lower = (1 << limb) - 1;
                let first = (above & !lower) | ((blocks as u128).wrapping_sub(below) & lower);
                let mut text = vec![0xff; 16 * blocks];
                text[..16].copy_from_slice(&first.to_le_bytes());
                compare(&key, &text, blocks);
            }
        }
    }
}

#[test]
fn random_keys_and_texts_of_every_length() {
    let mut random = Random::new(21);
    for _ in 0..count(1, 60) {
        for len in (0..2100).step_by(count(3, 1)) {
            let (key, text) = (random.array(), random.bytes(len));
            compare(&key, &text, len);
        }
    }
}

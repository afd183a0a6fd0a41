//! One box: sealed and opened in place, with its tag elsewhere, and damaged.

use crate::subjects::{
    Random, codes, count, edge_keys, is_full, long_lengths, nonces, short_lengths,
};
use zmtp_auth::judged::{self, BoxCode};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::damage::{flip, shows_nothing};
use zmtp_auth_judges::judge::{Key, Nonce};

#[test]
fn every_code_seals_and_opens_every_length_as_the_judges_do() {
    let mut random = Random::new(1);
    for _ in 0..count(1, 24) {
        let key = random.array();
        let long = long_lengths(count(1, 48)).filter(|len| is_full() || *len < 70_000);
        for len in short_lengths().chain(long) {
            let nonce = random.array();
            compare(&key, &nonce, &random.bytes(len), &mut random);
        }
    }
}

#[test]
fn every_code_seals_and_opens_a_mebibyte_and_random_lengths_as_the_judges_do() {
    let mut random = Random::new(2);
    let lengths: Vec<usize> = (0..count(4, 400)).map(|_| random.below(300_000)).collect();
    for len in lengths.into_iter().chain([(1 << 20) - 32, 1 << 20]) {
        let (key, nonce) = (random.array(), random.array());
        compare(&key, &nonce, &random.bytes(len), &mut random);
    }
}

#[test]
fn keys_and_nonces_at_the_edges_make_no_difference() {
    let mut random = Random::new(3);
    for key in edge_keys() {
        for nonce in nonces(&mut random) {
            for fill in [0x00, 0xff] {
                for len in short_lengths().step_by(count(97, 1)) {
                    compare(&key, &nonce, &vec![fill; len], &mut random);
                }
            }
        }
    }
}

/// Compares every code with both judges on one text.
fn compare(key: &Key, nonce: &Nonce, text: &[u8], random: &mut Random) {
    let boxed = agreed(|judge| judge.seal(key, nonce, text));
    let (tag, sealed) = boxed.split_first_chunk().unwrap();
    for code in codes() {
        let case = || {
            format!(
                "{code:?}, {} bytes, key {key:?}, nonce {nonce:?}",
                text.len()
            )
        };
        let mut here = text.to_vec();
        assert_eq!(&code.seal(key, nonce, &mut here), tag, "{}", case());
        assert!(here == sealed, "{}", case());
        assert!(code.open(key, nonce, &mut here, tag), "{}", case());
        assert!(here == text, "{}", case());
        damaged(*code, key, nonce, &boxed, random);
    }
    in_place(key, nonce, text, &boxed);
}

/// A box with one bit changed does not open, and shows nothing. The judges refuse it too.
fn damaged(code: BoxCode, key: &Key, nonce: &Nonce, boxed: &[u8], random: &mut Random) {
    let in_tag = random.number() % 128;
    for bit in [in_tag, random.number()] {
        let mut damaged = boxed.to_vec();
        flip(&mut damaged, bit);
        if damaged.len() < 300 {
            assert_eq!(agreed(|judge| judge.open(key, nonce, &damaged)), None);
        }
        let (tag, text) = damaged.split_first_chunk().unwrap();
        let mut here = text.to_vec();
        let is_open = code.open(key, nonce, &mut here, tag);
        assert!(
            !is_open && shows_nothing(&here, text),
            "{code:?} {}",
            here.len()
        );
    }
}

/// The box as a connection makes it: in place, under a key that is derived once.
fn in_place(key: &Key, nonce: &Nonce, text: &[u8], boxed: &[u8]) {
    let (prefix, rest) = nonce.split_first_chunk().unwrap();
    let rest = rest.try_into().unwrap();
    for code in codes() {
        let traffic = code.traffic(key, prefix, false);
        let mut here = [&[0; 16], text].concat();
        traffic.seal_in_place(rest, &mut here);
        assert!(here == boxed, "{code:?} {}", text.len());
        assert!(traffic.open_in_place(rest, &mut here));
        assert!(here[16..] == *text, "{code:?} {}", text.len());
        let (tag, sealed) = boxed.split_first_chunk().unwrap();
        let mut here = sealed.to_vec();
        assert!(traffic.open_detached(rest, &mut here, tag));
        assert!(here == text, "{code:?} {}", text.len());
        for len in [0, 1, 15] {
            assert!(!traffic.open_in_place(rest, &mut vec![0; len]));
        }
    }
}

/// The boxes of a handshake: the key is agreed upon, and the text comes in parts.
#[test]
fn boxes_of_two_pairs_are_those_of_the_judges_whatever_the_parts() {
    let mut random = Random::new(4);
    for round in 0..count(60, 3000) {
        let (ours, theirs): (Key, Key) = (random.array(), random.array());
        let (our_public, their_public) = (
            agreed(|judge| judge.public_key(&ours)),
            agreed(|judge| judge.public_key(&theirs)),
        );
        let nonce = random.array();
        let len = [64, 80, 96, 128, 300, 1000][round % 6] + random.below(40);
        let text = random.bytes(len);
        let expected = agreed(|judge| judge.seal_box(&ours, &their_public, &nonce, &text)).unwrap();
        let (one, two) = text.split_at(random.below(text.len() + 1));
        let sealed = judged::seal_box((&ours, &their_public), &nonce, &[one, b"", two]);
        assert_eq!(sealed.as_ref(), Some(&expected), "{ours:?} {theirs:?}");
        let opened = judged::open_box((&theirs, &our_public), &nonce, &expected);
        assert_eq!(opened, Some(text), "{ours:?} {theirs:?}");
        let mut damaged = expected;
        flip(&mut damaged, random.number());
        assert_eq!(
            judged::open_box((&theirs, &our_public), &nonce, &damaged),
            None
        );
    }
}

#[test]
fn every_code_makes_the_key_stream_of_the_judges() {
    let mut random = Random::new(5);
    for round in 0..count(40, 4000) {
        let (key, prefix): (Key, [u8; 16]) = (random.array(), random.array());
        let blocks: [([u8; 8], u32); 16] = std::array::from_fn(|at| {
            let number = match (round + at) % 4 {
                0 => at as u32,
                1 => u32::MAX - at as u32,
                2 => (1 << 31) - 8 + at as u32,
                _ => random.number() as u32,
            };
            let nonce = if round % 8 == 0 {
                [0xff; 8]
            } else {
                random.array()
            };
            (nonce, number)
        });
        let expected = blocks.map(|(nonce, number)| {
            let nonce: Nonce = [&prefix[..], &nonce].concat().try_into().unwrap();
            agreed(|judge| judge.block(&key, &nonce, number))
        });
        for code in codes() {
            let stream = code.key_stream(&key, &prefix, &blocks);
            assert_eq!(stream, expected, "{code:?} {blocks:?}");
        }
    }
}

//! Every code that encrypts, authenticates or multiplies, compared with two implementations that are
//! not ours.
#![forbid(unsafe_code)]

use crate::choices::{Choices, string};
use zmtp_auth::judged::{BatchBox, BoxCode, PointCode, Traffic, open_cookie, seal_cookie};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::damage::{flip, shows_nothing};
use zmtp_auth_judges::judge::{Key, Nonce};

/// Bytes of all texts of a run, so that it stays short.
const MAX_TEXTS: usize = 16 * 1024;
/// Boxes of a run.
const MAX_BOXES: usize = 48;

/// A text as the input has it: how far its nonce is from the one before, how often its bytes are
/// repeated, and the bytes.
type Written<'a> = (u8, u8, &'a [u8]);

/// Which box is damaged, in which bit, and how many boxes are sealed and opened at once.
struct Plan {
    bad: usize,
    bit: u64,
    at_once: usize,
}

/// Key, first 16 bytes of the nonces, first counter, plan, and texts.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let key = key(&mut choices);
    let prefix: [u8; 16] = array(choices.take(16));
    let mut counter = u64::from_be_bytes(array(choices.take(8)));
    let plan = Plan {
        bad: usize::from(choices.byte()),
        bit: u64::from_be_bytes(array(choices.take(8))),
        at_once: 1 + choices.index(20),
    };
    let (mut texts, mut sealed, mut room) = (Vec::new(), Vec::<BatchBox>::new(), MAX_TEXTS);
    while !choices.is_empty() && texts.len() < MAX_BOXES {
        counter = counter.wrapping_add(u64::from(choices.byte()));
        let times = 1 + usize::from(choices.byte());
        let mut text = choices.string().repeat(times);
        text.truncate(room);
        room -= text.len();
        let boxed = agreed(|judge| judge.seal(&key, &nonce(&prefix, counter), &text));
        sealed.push((counter.to_be_bytes(), boxed));
        texts.push(text);
    }
    for code in BoxCode::all() {
        one_by_one(code, &key, &prefix, &texts, &sealed);
        many(
            &texts,
            &sealed,
            &plan,
            |boxes| code.seal_many(&key, &prefix, boxes),
            |boxes| code.open_many(&key, &prefix, boxes),
        );
        for is_counting in [false, true] {
            let mut sender = code.traffic(&key, &prefix, is_counting);
            let mut receiver = code.traffic(&key, &prefix, is_counting);
            many(
                &texts,
                &sealed,
                &plan,
                |boxes| seal_in_portions(&mut sender, boxes, plan.at_once),
                |boxes| open_in_portions(&mut receiver, boxes, plan.at_once),
            );
        }
        macs(code, &key, &texts);
    }
    let first = texts.first().map(Vec::as_slice).unwrap_or_default();
    cookie(&key, &nonce(&prefix, counter), first, plan.bit);
    point(&key, &array(first));
}

/// A key of 32 bytes, or one byte everywhere.
fn key(choices: &mut Choices<'_>) -> Key {
    match choices.byte() {
        0 => array(choices.take(32)),
        byte => [byte; 32],
    }
}

/// The first bytes, with zeros behind them.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default())
}

fn nonce(prefix: &[u8; 16], counter: u64) -> Nonce {
    array(&[&prefix[..], &counter.to_be_bytes()].concat())
}

fn one_by_one(code: BoxCode, key: &Key, prefix: &[u8; 16], texts: &[Vec<u8>], sealed: &[BatchBox]) {
    for (text, (counter, boxed)) in texts.iter().zip(sealed) {
        let nonce = nonce(prefix, u64::from_be_bytes(*counter));
        let mut here = text.clone();
        let tag = code.seal(key, &nonce, &mut here);
        assert_eq!([&tag[..], &here].concat(), *boxed, "{code:?}");
        assert!(code.open(key, &nonce, &mut here, &tag), "{code:?}");
        assert_eq!(here, *text, "{code:?}");
    }
}

/// Seals all texts, and opens all boxes, one of which is damaged.
fn many(
    texts: &[Vec<u8>],
    sealed: &[BatchBox],
    plan: &Plan,
    seal: impl FnOnce(&mut [BatchBox]),
    open: impl FnOnce(&mut [BatchBox]) -> usize,
) {
    let mut boxes: Vec<BatchBox> = texts
        .iter()
        .zip(sealed)
        .map(|(text, (nonce, _))| (*nonce, [&[0; 16], &text[..]].concat()))
        .collect();
    seal(&mut boxes);
    assert!(boxes == sealed, "sealed as the judges do");
    let mut damaged = sealed.to_vec();
    let bad = match damaged.get_mut(plan.bad) {
        Some((_, boxed)) => {
            flip(boxed, plan.bit);
            plan.bad
        }
        None => damaged.len(),
    };
    let mut boxes = damaged.clone();
    assert_eq!(open(&mut boxes), bad);
    for (at, ((_, here), (_, before))) in boxes.iter().zip(&damaged).enumerate() {
        match at.cmp(&bad) {
            std::cmp::Ordering::Less => assert_eq!(here[16..], texts[at]),
            std::cmp::Ordering::Equal => assert!(shows_nothing(here, before)),
            std::cmp::Ordering::Greater => assert_eq!(here, before),
        }
    }
}

fn seal_in_portions(traffic: &mut Traffic, boxes: &mut [BatchBox], at_once: usize) {
    for portion in boxes.chunks_mut(at_once) {
        match portion {
            [(nonce, boxed)] => traffic.seal_next(*nonce, boxed),
            several => traffic.seal_many(several),
        }
    }
}

fn open_in_portions(traffic: &mut Traffic, boxes: &mut [BatchBox], at_once: usize) -> usize {
    let mut opened = 0;
    for portion in boxes.chunks_mut(at_once) {
        let all = portion.len();
        let good = match portion {
            [(nonce, boxed)] => usize::from(traffic.open_next(*nonce, boxed)),
            several => traffic.open_many(several),
        };
        opened += good;
        if good < all {
            break;
        }
    }
    opened
}

/// The tags of the texts with the key as r and s, alone and side by side.
fn macs(code: BoxCode, key: &Key, texts: &[Vec<u8>]) {
    let expected: Vec<_> = texts
        .iter()
        .map(|text| agreed(|judge| judge.mac(key, text)))
        .collect();
    for (text, expected) in texts.iter().zip(&expected) {
        assert_eq!(code.mac(key, text), *expected, "{code:?}");
    }
    let empty = Vec::new();
    let tasks = std::array::from_fn(|at| (key, &texts.get(at).unwrap_or(&empty)[..]));
    for (tag, expected) in code.macs(&tasks).iter().flatten().zip(&expected) {
        assert_eq!(tag, expected, "{code:?} side by side");
    }
}

/// A cookie with a text as its context, and damaged in one bit.
fn cookie(key: &Key, nonce: &Nonce, context: &[u8], bit: u64) {
    let text = array(context);
    let sealed = seal_cookie(key, nonce, context, &text);
    let expected = agreed(|judge| judge.seal_cookie(key, nonce, context, &text));
    assert_eq!(sealed[..], expected);
    assert_eq!(open_cookie(key, nonce, context, &sealed), Some(text));
    let mut damaged = sealed;
    flip(&mut damaged, bit);
    assert_eq!(open_cookie(key, nonce, context, &damaged), None);
}

/// The key times a point, and times the base.
fn point(secret: &Key, point: &Key) {
    let product = agreed(|judge| judge.multiply(secret, point)).unwrap_or_default();
    let public = agreed(|judge| judge.public_key(secret));
    for code in PointCode::all() {
        assert_eq!(code.multiply(secret, point), product, "{code:?}");
        assert_eq!(code.multiply_base(secret), public, "{code:?}");
    }
}

/// The seeds: texts of each kind that a code has a way of its own for, keys at the edges, and points
/// of low order.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let written = |key: &[u8], (bad, bit, at_once): (u8, u64, u8), texts: &[Written<'_>]| {
        let mut seed = [key, b"CurveZMQMESSAGEC", &1_u64.to_be_bytes(), &[bad]].concat();
        seed.extend(bit.to_be_bytes());
        seed.push(at_once);
        for (gap, times, text) in texts {
            seed.extend([*gap, times - 1]);
            seed.extend(string(text));
        }
        seed
    };
    let random: Vec<u8> = (0..33_u8).map(|at| at.wrapping_mul(157)).collect();
    let random = random.as_slice();
    let low_order = b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\
                      \xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00";
    let lengths: Vec<Vec<u8>> = [0, 1, 31, 32, 33, 96, 97, 224, 225]
        .map(|len| vec![7; len])
        .into();
    let lengths: Vec<_> = lengths.iter().map(|text| (1, 1, &text[..])).collect();
    let whole_number: Written<'_> = (1, 200, b"\xff\xff\xff\xff\xff\xff\xff\xff");
    let low: Written<'_> = (1, 1, low_order);
    [
        ("each-length", written(random, (255, 0, 0), &lengths)),
        ("one-of-each-damaged", written(random, (5, 77, 8), &lengths)),
        (
            "small",
            written(random, (255, 0, 4), &[(1, 1, b"small".as_slice()); 30]),
        ),
        (
            "gaps",
            written(random, (20, 3, 2), &[(3, 9, b"gap".as_slice()); 24]),
        ),
        (
            "again",
            written(random, (255, 0, 0), &[(0, 20, b"abc".as_slice()); 12]),
        ),
        (
            "batch",
            written(
                random,
                (17, 999, 19),
                &[(1, 30, b"in a batch".as_slice()); 20],
            ),
        ),
        (
            "long",
            written(
                random,
                (2, 100_000, 0),
                &[(1, 255, b"a text of some length".as_slice()); 3],
            ),
        ),
        ("ones", written(&[0xff], (255, 0, 6), &[whole_number; 9])),
        (
            "key-of-ones-by-one",
            written(&[1], (255, 0, 0), &[whole_number; 2]),
        ),
        ("low-order", written(random, (255, 0, 0), &[low])),
        (
            "zeros",
            written(&[0; 33], (0, 0, 0), &[(0, 1, [0; 64].as_slice()); 2]),
        ),
    ]
    .map(|(name, seed)| (name.to_owned(), seed))
    .into()
}

//! Many boxes: batches, key stream that is made ahead, gaps, and a damaged box among good ones.

use crate::subjects::{Random, codes, count};
use zmtp_auth::judged::{BatchBox, BoxCode, Traffic};
use zmtp_auth_judges::agreement::agreed;
use zmtp_auth_judges::damage::{flip, shows_nothing};
use zmtp_auth_judges::judge::{Key, Nonce};

/// The longest text of a round, in turn: some have their key stream made ahead, some share a batch, and
/// some are too long for either.
const LONGEST: [usize; 7] = [1, 33, 120, 300, 800, 1100, 3000];

struct Round {
    key: Key,
    prefix: [u8; 16],
    texts: Vec<Vec<u8>>,
    /// The boxes as the judges make them.
    sealed: Vec<BatchBox>,
}

impl Round {
    /// Up to 40 texts, of one length in every second round, whose nonces count up with gaps or are random.
    fn new(number: usize, random: &mut Random) -> Self {
        let (key, prefix) = (random.array(), random.array());
        let longest = LONGEST[number % LONGEST.len()];
        let mut counter = u64::MAX - 20 * (number as u64 % 2);
        let len_of_all = random.below(longest + 1);
        let texts: Vec<Vec<u8>> = (0..random.below(41))
            .map(|_| match number % 2 {
                0 => random.bytes(len_of_all),
                _ => {
                    let len = random.below(longest + 1);
                    random.bytes(len)
                }
            })
            .collect();
        let sealed = texts
            .iter()
            .map(|text| {
                counter = counter.wrapping_add([1, 1, 1, 2, 17][random.below(5)]);
                let nonce = match number % 3 {
                    0 => random.array(),
                    _ => counter.to_be_bytes(),
                };
                let whole: Nonce = [&prefix[..], &nonce].concat().try_into().unwrap();
                (nonce, agreed(|judge| judge.seal(&key, &whole, text)))
            })
            .collect();
        Self {
            key,
            prefix,
            texts,
            sealed,
        }
    }

    /// The boxes before they are sealed.
    fn plain(&self) -> Vec<BatchBox> {
        let boxes = self.texts.iter().zip(&self.sealed);
        boxes
            .map(|(text, (nonce, _))| (*nonce, [&[0; 16], &text[..]].concat()))
            .collect()
    }

    /// The boxes with one of them damaged, and which: the number of boxes if all are good.
    fn damaged(&self, random: &mut Random) -> (Vec<BatchBox>, usize) {
        let mut boxes = self.sealed.clone();
        let bad = random.below(boxes.len() + 1);
        if let Some((_, boxed)) = boxes.get_mut(bad) {
            match random.below(8) {
                // Too short for a tag.
                0 => boxed.truncate(random.below(16)),
                1 => flip(boxed, random.number() % 128),
                _ => flip(boxed, random.number()),
            }
        }
        (boxes, bad)
    }

    /// Checks what opening up to `bad` has left.
    #[track_caller]
    fn assert_opened(&self, here: &[BatchBox], before: &[BatchBox], bad: usize, code: BoxCode) {
        for (at, ((_, here), (_, before))) in here.iter().zip(before).enumerate() {
            let is_right = match at.cmp(&bad) {
                std::cmp::Ordering::Less => here[16..] == self.texts[at],
                std::cmp::Ordering::Equal => shows_nothing(here, before),
                std::cmp::Ordering::Greater => here == before,
            };
            assert!(
                is_right,
                "{code:?}: box {at} of {}, {bad} is bad",
                self.texts.len()
            );
        }
    }
}

#[test]
fn batches_are_the_boxes_of_the_judges() {
    let mut random = Random::new(11);
    for number in 0..count(150, 6000) {
        let round = Round::new(number, &mut random);
        let (damaged, bad) = round.damaged(&mut random);
        for code in codes() {
            let mut boxes = round.plain();
            code.seal_many(&round.key, &round.prefix, &mut boxes);
            assert!(boxes == round.sealed, "{code:?}, round {number}");
            let mut boxes = damaged.clone();
            let opened = code.open_many(&round.key, &round.prefix, &mut boxes);
            assert_eq!(opened, bad, "{code:?}, round {number}");
            round.assert_opened(&boxes, &damaged, bad, *code);
        }
    }
}

#[test]
fn traffic_is_the_boxes_of_the_judges_with_and_without_key_stream_made_ahead() {
    let mut random = Random::new(12);
    for number in 0..count(150, 6000) {
        let round = Round::new(number, &mut random);
        for code in codes() {
            for is_counting in [false, true] {
                let end = || code.traffic(&round.key, &round.prefix, is_counting);
                let mut boxes = round.plain();
                seal_in_portions(&mut end(), &mut boxes, &mut random);
                assert!(boxes == round.sealed, "{code:?}, round {number}");
                let (damaged, bad) = round.damaged(&mut random);
                let mut boxes = damaged.clone();
                let opened = open_in_portions(&mut end(), &mut boxes, &mut random);
                assert_eq!(opened, bad, "{code:?}, round {number}");
                round.assert_opened(&boxes, &damaged, bad, *code);
            }
        }
    }
}

/// Seals some one by one and some together.
fn seal_in_portions(traffic: &mut Traffic, boxes: &mut [BatchBox], random: &mut Random) {
    let mut rest = boxes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at_mut(1 + random.below(rest.len().min(12)));
        match now {
            [(nonce, boxed)] => traffic.seal_next(*nonce, boxed),
            several => traffic.seal_many(several),
        }
        rest = later;
    }
}

/// The same for opening. Returns how many have opened.
fn open_in_portions(traffic: &mut Traffic, boxes: &mut [BatchBox], random: &mut Random) -> usize {
    let mut opened = 0;
    let mut rest = boxes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at_mut(1 + random.below(rest.len().min(12)));
        let all = now.len();
        let good = match now {
            [(nonce, boxed)] => usize::from(traffic.open_next(*nonce, boxed)),
            several => traffic.open_many(several),
        };
        opened += good;
        if good < all {
            break;
        }
        rest = later;
    }
    opened
}

/// A nonce that comes again must not meet the key stream that was wiped.
#[test]
fn a_nonce_that_comes_again_gives_the_same_box_and_opens_no_forgery() {
    let mut random = Random::new(13);
    let (key, prefix): (Key, [u8; 16]) = (random.array(), random.array());
    for code in codes() {
        let mut traffic = code.traffic(&key, &prefix, true);
        for _ in 0..count(300, 20_000) {
            let nonce = (random.number() % 12).to_be_bytes();
            let len = random.below(280);
            let whole: Nonce = [&prefix[..], &nonce].concat().try_into().unwrap();
            if random.below(3) == 0 {
                let mut forged = vec![0; 16 + len];
                assert!(!traffic.open_next(nonce, &mut forged), "{code:?}");
                continue;
            }
            let text = random.bytes(len);
            let expected = agreed(|judge| judge.seal(&key, &whole, &text));
            let mut boxed = [&[0; 16], &text[..]].concat();
            traffic.seal_next(nonce, &mut boxed);
            assert!(boxed == expected, "{code:?} {nonce:?} {len}");
            assert!(traffic.open_next(nonce, &mut boxed));
            assert!(boxed[16..] == text, "{code:?} {nonce:?} {len}");
        }
    }
}

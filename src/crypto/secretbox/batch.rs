//! Boxes whose nonces have their first 16 bytes in common: all of a direction's MESSAGEs.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::ahead::{self, Ahead};
use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::TAG_LEN;
use crate::crypto::secretbox::portable;
use crate::crypto::secretbox::salsa20::StreamKey;
use crate::crypto::stack_wipe::{
    AHEAD_DEPTH, BATCH_DEPTH, READY_DEPTH, SHORT, wipe, with_clean_shallow_stack, with_clean_stack,
    with_clean_stack_of,
};
use std::fmt;

/// So many boxes of so many blocks are not worth more than one by one.
const FEW: usize = 5;
const FEW_BLOCKS: usize = 2;

/// The HSalsa20 subkey of a shared key and the first 16 bytes of a nonce. XSalsa20 uses the other
/// 8 bytes as Salsa20's nonce under this key, so it is derived once for all of them. It lives in
/// one place on the heap and is wiped on drop.
pub struct TrafficKey {
    stream: Box<StreamKey>,
    backend: Backend,
    /// For small boxes, if their nonces count.
    ahead: Option<Box<Ahead>>,
}

impl TrafficKey {
    /// Derives the key.
    pub(crate) fn derive(key: &[u8; 32], prefix: &[u8; 16]) -> Self {
        let mut stream = Box::new(StreamKey([0; 8]));
        with_clean_shallow_stack(|| *stream = StreamKey::derive(key, prefix));
        Self {
            stream,
            backend: Backend::fastest(),
            ahead: None,
        }
    }

    /// For boxes whose nonces count, as those of one direction do. It holds a KiB more, from the
    /// beginning on, so that nothing grows with traffic.
    pub(crate) fn counting(mut self) -> Self {
        self.ahead = Some(Box::new(Ahead::new()));
        self
    }

    /// Makes `boxed` a box in place: [`TAG_LEN`] bytes of room for the tag, then the text.
    /// Anything shorter has no room and is left alone.
    pub fn seal_in_place(&self, nonce: [u8; 8], boxed: &mut [u8]) {
        if let Some((tag, text)) = boxed.split_first_chunk_mut() {
            let len = text.len();
            let seal = || *tag = self.backend.seal(&self.stream, nonce, text);
            if len <= SHORT {
                with_clean_shallow_stack(seal);
            } else {
                with_clean_stack(seal);
            }
        }
    }

    /// Opens a box in place; `None` if it is too short, altered, or not made with this key. Then
    /// the text is as it was or, if it was long, wiped.
    #[must_use]
    pub fn open_in_place<'a>(&self, nonce: [u8; 8], boxed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (tag, text) = boxed.split_first_chunk_mut()?;
        self.open_detached(nonce, text, tag).then_some(text)
    }

    /// Whether `tag` is that of `text`, which is opened in place then. Otherwise it is as it was
    /// or, if it was long, wiped.
    #[must_use]
    pub fn open_detached(&self, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        let len = text.len();
        let open = || self.backend.open(&self.stream, nonce, text, tag);
        if len <= SHORT {
            with_clean_shallow_stack(open)
        } else {
            with_clean_stack(open)
        }
    }
}

impl TrafficKey {
    /// [`seal_in_place`](Self::seal_in_place), after which boxes with the nonces that follow are
    /// likely. Small ones take much less time so, if this is [`counting`](Self::counting).
    pub(crate) fn seal_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) {
        match (
            self.stream_ahead(nonce, boxed.len()),
            boxed.split_first_chunk_mut(),
        ) {
            (Some(stream), Some((tag, text))) => {
                with_clean_stack_of::<READY_DEPTH, _>(|| *tag = portable::seal_with(stream, text));
                wipe(stream);
            }
            _ => self.seal_in_place(nonce, boxed),
        }
    }

    /// [`open_in_place`](Self::open_in_place), after which boxes with the nonces that follow are
    /// likely. Tells whether it is open.
    pub(crate) fn open_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) -> bool {
        match (
            self.stream_ahead(nonce, boxed.len()),
            boxed.split_first_chunk_mut(),
        ) {
            (Some(stream), Some((tag, text))) => {
                let is_open = with_clean_stack_of::<READY_DEPTH, _>(|| {
                    portable::open_with(stream, text, tag)
                });
                wipe(stream);
                is_open
            }
            _ => self.open_in_place(nonce, boxed).is_some(),
        }
    }

    /// Key stream for a box of `len` bytes, if it is small, and made now if need be.
    fn stream_ahead(&mut self, nonce: [u8; 8], len: usize) -> Option<&mut [u8]> {
        let ahead = self.ahead.as_mut()?;
        let blocks = blocks_of(len);
        if blocks > ahead::MOST_EACH {
            return None;
        }
        let nonce = u64::from_be_bytes(nonce);
        if !ahead.has(nonce, blocks) {
            with_clean_stack_of::<AHEAD_DEPTH, _>(|| {
                ahead.make(self.backend, &self.stream, nonce, blocks)
            });
        }
        ahead.stream(nonce)
    }

    /// [`seal_next`](Self::seal_next) for several boxes.
    pub(crate) fn seal_many(&mut self, jobs: &mut [Job<'_>]) {
        if self.has_few(jobs) {
            for job in jobs {
                self.seal_next(job.nonce, job.boxed);
            }
        } else {
            with_clean_stack_of::<BATCH_DEPTH, _>(|| self.backend.seal_many(&self.stream, jobs));
        }
    }

    /// [`open_next`](Self::open_next) for several boxes in order, up to the first that does not
    /// open; tells how many did.
    pub(crate) fn open_many(&mut self, jobs: &mut [Job<'_>]) -> usize {
        if self.has_few(jobs) {
            let all = jobs.len();
            let mut jobs = jobs.iter_mut();
            let bad = jobs.position(|job| !self.open_next(job.nonce, job.boxed));
            bad.unwrap_or(all)
        } else {
            with_clean_stack_of::<BATCH_DEPTH, _>(|| self.backend.open_many(&self.stream, jobs))
        }
    }

    /// Whether these are sooner done one by one, with key stream that is there already, than
    /// together.
    fn has_few(&self, jobs: &[Job<'_>]) -> bool {
        let has_stream = |job: &Job<'_>| blocks_of(job.boxed.len()) <= FEW_BLOCKS;
        let are_few = jobs.len() <= FEW && jobs.iter().all(has_stream);
        let is_no_use = are_few || !self.backend.has_batches();
        jobs.len() <= 1 || self.ahead.is_some() && is_no_use
    }
}

impl fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<TrafficKey> {
        let backends = Backend::all();
        let key = |backend| {
            let mut key = TrafficKey::derive(&[7; 32], b"CurveZMQMESSAGEC");
            key.backend = backend;
            key.counting()
        };
        backends.into_iter().map(key).collect()
    }

    /// A box by itself.
    fn expected(key: &TrafficKey, nonce: u64, text: &[u8]) -> Vec<u8> {
        let mut boxed = [&[0; TAG_LEN], text].concat();
        key.seal_in_place(nonce.to_be_bytes(), &mut boxed);
        boxed
    }

    /// Lengths and gaps that need more or less key stream than the box before was made with.
    fn boxes() -> impl Iterator<Item = (u64, Vec<u8>)> {
        let every = (0..400).map(|len| (1, len));
        let back = (0..400).rev().map(|len| (1 + len as u64 % 3, len));
        let mixed = (0..400).map(|at| ([1, 1, 5, 17][at % 4], at * 37 % 333));
        let mut nonce = u64::MAX - 10;
        every.chain(back).chain(mixed).map(move |(gap, len)| {
            nonce = nonce.wrapping_add(gap);
            (nonce, (0..len).map(|at| at as u8).collect())
        })
    }

    #[test]
    fn boxes_with_key_stream_made_ahead_are_those_without() {
        for (mut sender, mut receiver) in keys().into_iter().zip(keys()) {
            for (nonce, text) in boxes() {
                let mut boxed = [&[0; TAG_LEN], &text[..]].concat();
                sender.seal_next(nonce.to_be_bytes(), &mut boxed);
                assert_eq!(boxed, expected(&sender, nonce, &text));
                assert!(receiver.open_next(nonce.to_be_bytes(), &mut boxed));
                assert_eq!(boxed[TAG_LEN..], text);
            }
        }
    }

    #[test]
    fn key_stream_made_ahead_opens_nothing_that_was_altered() {
        for mut key in keys() {
            for (nonce, text) in boxes().step_by(7) {
                let boxed = expected(&key, nonce, &text);
                for bit in [
                    0,
                    127,
                    nonce as usize % (8 * boxed.len()),
                    8 * boxed.len() - 1,
                ] {
                    let mut altered = boxed.clone();
                    altered[bit / 8] ^= 1 << (bit % 8);
                    let before = altered.clone();
                    assert!(!key.open_next(nonce.to_be_bytes(), &mut altered));
                    assert!(altered == before || altered[TAG_LEN..].iter().all(|byte| *byte == 0));
                }
            }
        }
    }

    #[test]
    fn key_stream_is_wiped_when_it_has_been_used_for_good_or_bad() {
        for mut key in keys() {
            let mut forged = vec![1; 80];
            assert!(!key.open_next(1_u64.to_be_bytes(), &mut forged));
            let mut boxed = expected(&key, 2, &[7; 80]);
            assert!(key.open_next(2_u64.to_be_bytes(), &mut boxed));
            let (used, left) = key.ahead.as_ref().unwrap().stream.split_at(4);
            assert_eq!(used, [[0; 64]; 4]);
            assert!(left.iter().all(|block| *block != [0; 64]));
        }
    }

    /// Key stream is zeroed after use. Used again, it would verify any text with a tag of zeros.
    #[test]
    fn key_stream_is_used_once() {
        for mut key in keys() {
            for nonce in [1, 2, 2, 1, 5, 4, 5, 5] {
                let mut forged = vec![0; 80];
                assert!(!key.open_next(u64::to_be_bytes(nonce), &mut forged));
                let mut sealed = [&[0; TAG_LEN][..], &[9; 50]].concat();
                key.seal_next(nonce.to_be_bytes(), &mut sealed);
                assert_eq!(sealed, expected(&key, nonce, &[9; 50]));
                assert!(key.open_next(nonce.to_be_bytes(), &mut sealed));
                assert_eq!(sealed[TAG_LEN..], [9; 50]);
            }
        }
    }
}

//! Boxes whose nonces share their first 16 bytes, as all MESSAGEs of one direction do.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::TAG_LEN;
use crate::crypto::secretbox::precomputed::{self, PrecomputedStream};
use crate::crypto::secretbox::salsa20::{AT_ONCE, StreamKey};
use crate::crypto::stack_wipe::{
    BATCH_DEPTH, LONG_DEPTH, PRECOMPUTE_DEPTH, READY_DEPTH, SHORT, SMALL_BATCH_DEPTH, wipe,
    with_clean_shallow_stack, with_clean_stack, with_clean_stack_of,
};
use std::fmt;

/// Most boxes of at most [`FEW_BLOCKS`] blocks each that are processed one by one. A batch of so
/// few is not faster than precomputed key stream.
const FEW: usize = 5;
const FEW_BLOCKS: usize = 2;

/// Most blocks of a box in a small batch. Some code makes longer boxes one by one, which needs more.
const MOST_EACH: usize = 6;

/// The HSalsa20 subkey of a shared key and the first 16 bytes of a nonce. XSalsa20 uses the other 8
/// bytes as Salsa20's nonce under this key, so one derivation serves all boxes with that prefix. It
/// lives in one place on the heap and is wiped on drop.
pub(crate) struct TrafficKey {
    stream: Box<StreamKey>,
    backend: Backend,
    /// Whether the nonces of its boxes count up.
    is_counting: bool,
    /// Key stream for small boxes, from the first of them on.
    precomputed: Option<Box<PrecomputedStream>>,
}

impl TrafficKey {
    /// Derives the key.
    pub(crate) fn derive(key: &[u8; 32], prefix: &[u8; 16]) -> Self {
        let mut stream = Box::new(StreamKey([0; 8]));
        with_clean_shallow_stack(|| *stream = StreamKey::derive(key, prefix));
        Self {
            stream,
            backend: Backend::fastest(),
            is_counting: false,
            precomputed: None,
        }
    }

    /// Prepares for boxes whose nonces count up, as those of one direction do. The first small box
    /// allocates 1 KiB, which is kept. A direction without small boxes needs none.
    pub(crate) fn counting(mut self) -> Self {
        self.is_counting = true;
        self
    }

    /// Selects the code, whatever the processor's best is.
    #[cfg(any(test, feature = "test-ciphers"))]
    pub(crate) fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Seals `boxed` in place: [`TAG_LEN`] bytes of room for the tag, then the text. Anything
    /// shorter than a tag is left unchanged.
    pub(crate) fn seal_in_place(&self, nonce: [u8; 8], boxed: &mut [u8]) {
        if let Some((tag, text)) = boxed.split_first_chunk_mut() {
            let len = text.len();
            self.with_clean_stack(len, || *tag = self.backend.seal(&self.stream, nonce, text));
        }
    }

    /// Opens a box in place. `None` if the box is too short, altered, or not made with this key.
    /// The text is then unchanged or, if it is long, wiped.
    #[must_use]
    pub(crate) fn open_in_place<'a>(
        &self,
        nonce: [u8; 8],
        boxed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (tag, text) = boxed.split_first_chunk_mut()?;
        self.open_detached(nonce, text, tag).then_some(text)
    }

    /// Opens `text` in place if `tag` is its tag, and returns whether it is. Otherwise the text is
    /// unchanged or, if it is long, wiped.
    #[must_use]
    pub(crate) fn open_detached(
        &self,
        nonce: [u8; 8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let len = text.len();
        self.with_clean_stack(len, || self.backend.open(&self.stream, nonce, text, tag))
    }

    /// Wipes as much stack as a box of `len` bytes needs.
    fn with_clean_stack<T>(&self, len: usize, work: impl FnOnce() -> T) -> T {
        if len <= SHORT {
            with_clean_shallow_stack(work)
        } else if self.backend.goes_deep() {
            with_clean_stack(work)
        } else {
            with_clean_stack_of::<LONG_DEPTH, _>(work)
        }
    }
}

impl TrafficKey {
    /// As [`seal_in_place`](Self::seal_in_place), for a nonce that the next nonces are likely to
    /// follow. Small boxes take much less time this way if the key is [`counting`](Self::counting).
    pub(crate) fn seal_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) {
        let backend = self.backend;
        match (
            self.precomputed_stream(nonce, boxed.len()),
            boxed.split_first_chunk_mut(),
        ) {
            (Some(stream), Some((tag, text))) => {
                with_clean_stack_of::<READY_DEPTH, _>(|| *tag = backend.seal_with(stream, text));
                wipe(stream);
            }
            _ => self.seal_in_place(nonce, boxed),
        }
    }

    /// As [`open_in_place`](Self::open_in_place), for a nonce that the next nonces are likely to
    /// follow. Returns whether the box has opened.
    pub(crate) fn open_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) -> bool {
        let backend = self.backend;
        match (
            self.precomputed_stream(nonce, boxed.len()),
            boxed.split_first_chunk_mut(),
        ) {
            (Some(stream), Some((tag, text))) => {
                let is_open =
                    with_clean_stack_of::<READY_DEPTH, _>(|| backend.open_with(stream, text, tag));
                wipe(stream);
                is_open
            }
            _ => self.open_in_place(nonce, boxed).is_some(),
        }
    }

    /// The key stream of a box of `len` bytes, precomputed now if it is not ready. `None` if the
    /// box is not small, or if the key is not [`counting`](Self::counting).
    fn precomputed_stream(&mut self, nonce: [u8; 8], len: usize) -> Option<&mut [u8]> {
        if !self.is_counting {
            return None;
        }
        let blocks = blocks_of(len);
        let nonce = u64::from_be_bytes(nonce);
        if blocks > precomputed::MAX_EACH {
            if let Some(precomputed) = &mut self.precomputed {
                precomputed.skip(nonce);
            }
            return None;
        }
        let new = || Box::new(PrecomputedStream::new());
        let precomputed = self.precomputed.get_or_insert_with(new);
        if !precomputed.has(nonce, blocks) {
            with_clean_stack_of::<PRECOMPUTE_DEPTH, _>(|| {
                precomputed.make(self.backend, &self.stream, nonce, blocks)
            });
        }
        precomputed.stream(nonce)
    }

    /// As [`seal_next`](Self::seal_next), for several boxes.
    pub(crate) fn seal_many(&mut self, jobs: &mut [Job<'_>]) {
        if self.has_few(jobs) {
            for job in jobs {
                self.seal_next(job.nonce, job.boxed);
            }
        } else {
            self.skip(jobs);
            let is_small = self.needs_little_stack(jobs);
            let seal = || self.backend.seal_many(&self.stream, jobs);
            if is_small {
                with_clean_stack_of::<SMALL_BATCH_DEPTH, _>(seal);
            } else {
                with_clean_stack_of::<BATCH_DEPTH, _>(seal);
            }
        }
    }

    /// As [`open_next`](Self::open_next), for several boxes in order, up to the first that does not
    /// open. Returns how many have opened.
    pub(crate) fn open_many(&mut self, jobs: &mut [Job<'_>]) -> usize {
        if self.has_few(jobs) {
            let all = jobs.len();
            let mut jobs = jobs.iter_mut();
            let bad = jobs.position(|job| !self.open_next(job.nonce, job.boxed));
            bad.unwrap_or(all)
        } else {
            self.skip(jobs);
            let is_small = self.needs_little_stack(jobs);
            let open = || self.backend.open_many(&self.stream, jobs);
            if is_small {
                with_clean_stack_of::<SMALL_BATCH_DEPTH, _>(open)
            } else {
                with_clean_stack_of::<BATCH_DEPTH, _>(open)
            }
        }
    }

    /// Wipes key stream that was made ahead for boxes which are about to be processed without it.
    fn skip(&mut self, jobs: &[Job<'_>]) {
        if let (Some(precomputed), Some(last)) = (&mut self.precomputed, jobs.last()) {
            precomputed.skip(u64::from_be_bytes(last.nonce));
        }
    }

    /// Whether [`SMALL_BATCH_DEPTH`] is enough for these.
    fn needs_little_stack(&self, jobs: &[Job<'_>]) -> bool {
        self.backend.stays_shallow(jobs) || is_small(jobs)
    }

    /// Whether these are faster one by one, with precomputed key stream, than as a batch.
    fn has_few(&self, jobs: &[Job<'_>]) -> bool {
        let has_stream = |job: &Job<'_>| blocks_of(job.boxed.len()) <= FEW_BLOCKS;
        let are_few = jobs.len() <= FEW && jobs.iter().all(has_stream);
        let is_no_use = are_few || !self.backend.has_batches();
        jobs.len() <= 1 || self.is_counting && is_no_use
    }
}

/// Whether the boxes of a batch need so few blocks that [`SMALL_BATCH_DEPTH`] is enough.
fn is_small(jobs: &[Job<'_>]) -> bool {
    let (mut longest, mut all) = (0, 0);
    for job in jobs {
        let blocks = blocks_of(job.boxed.len());
        longest = blocks.max(longest);
        all += blocks;
    }
    longest <= MOST_EACH && all <= 2 * AT_ONCE
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
            let key = TrafficKey::derive(&[7; 32], b"CurveZMQMESSAGEC");
            key.with_backend(backend).counting()
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
        // An interpreter would take hours for all.
        let step = if cfg!(miri) { 61 } else { 1 };
        every
            .chain(back)
            .chain(mixed)
            .step_by(step)
            .map(move |(gap, len)| {
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
            let (used, left) = key.precomputed.as_ref().unwrap().stream.split_at(4);
            assert_eq!(used, [[0; 64]; 4]);
            assert!(left.iter().all(|block| *block != [0; 64]));
        }
    }

    /// A box that is too long for it, a gap, and a batch leave key stream that will never be used.
    #[test]
    fn key_stream_that_is_skipped_is_wiped_at_the_next_box() {
        let wiped = |key: &TrafficKey| {
            let stream = &key.precomputed.as_ref().unwrap().stream;
            let wiped = stream.iter().take_while(|block| **block == [0; 64]).count();
            assert!(stream[wiped..].iter().all(|block| *block != [0; 64]));
            wiped
        };
        for mut key in keys() {
            let seal = |key: &mut TrafficKey, nonce: u64, len: usize| {
                key.seal_next(nonce.to_be_bytes(), &mut vec![7; TAG_LEN + len]);
            };
            seal(&mut key, 1, 64);
            assert_eq!(wiped(&key), 2);
            seal(&mut key, 2, 1000);
            assert_eq!(wiped(&key), 4);
            seal(&mut key, 4, 64);
            assert_eq!(wiped(&key), 8);
            let mut long = expected(&key, 5, &[7; 1000]);
            assert!(key.open_next(5_u64.to_be_bytes(), &mut long));
            assert_eq!(wiped(&key), 10);
            let mut both = [[7; 1000]; 2];
            let mut jobs = Vec::new();
            for (nonce, boxed) in (6_u64..).zip(&mut both) {
                let nonce = nonce.to_be_bytes();
                jobs.push(Job { nonce, boxed });
            }
            key.seal_many(&mut jobs);
            assert_eq!(wiped(&key), 14);
            seal(&mut key, 90, 1000);
            assert_eq!(wiped(&key), 16);

            seal(&mut key, 91, 64);
            assert_eq!(wiped(&key), 2);
            let mut both = [
                expected(&key, 92, &[7; 1000]),
                expected(&key, 93, &[7; 1000]),
            ];
            let mut jobs = Vec::new();
            for (nonce, boxed) in (92_u64..).zip(&mut both) {
                let nonce = nonce.to_be_bytes();
                jobs.push(Job { nonce, boxed });
            }
            assert_eq!(key.open_many(&mut jobs), 2);
            assert_eq!(wiped(&key), 6);
        }
    }

    /// Key stream is zeroed after use. If it were used again, it would verify any text with a tag
    /// of zeros.
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

//! Boxes of one length with AVX-512, each in a lane of its own from the first block of key stream to
//! the tag. No key stream but that of the first blocks is kept, and the keys of Poly1305 need not be
//! gathered.
#![forbid(unsafe_code)]

use crate::crypto::secretbox::job::{Job, blocks_of};
use crate::crypto::secretbox::poly1305::{self, TAG_LEN};
use crate::crypto::secretbox::salsa20::{BLOCK_LEN, StreamKey};
use crate::crypto::secretbox::simd::lanes512::{LANES, split, transposed, words_of_each};
use crate::crypto::secretbox::simd::side_by_side::{self, Halves, Sums};
use crate::crypto::secretbox::simd::{
    load128, load256, load512, load512_first, mask64, store256, store512, store512_first,
};
use std::arch::x86_64::*;

/// Most bytes of a box. Longer ones take no longer one by one.
const LONGEST: usize = 4096;
/// Bytes of the first block of key stream that are left for the text.
const HALF: usize = 32;
/// Bytes of two blocks of Poly1305.
const TWO: usize = 2 * poly1305::BLOCK_LEN;
/// The boxes that are authenticated in one vector, in the order in which unpacking two vectors of
/// words leaves them.
const ORDER: [[usize; side_by_side::LANES]; 2] =
    [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]];

/// What follows the last whole vector of each text: with the bit that ends it if its last block of Poly1305 is
/// not whole, and zeros behind.
type Tails = [[u8; BLOCK_LEN]; LANES];

/// Whether these boxes have one length, and are so many that packing them would save nothing.
#[inline]
pub(super) fn suit(jobs: &[Job<'_>]) -> bool {
    let Some((first, rest)) = jobs.split_first() else {
        return false;
    };
    let len = first.boxed.len();
    let blocks = blocks_of(len);
    (side_by_side::LANES + 1..=LANES).contains(&jobs.len())
        && (TAG_LEN..=LONGEST).contains(&len)
        && jobs.len() * blocks > LANES * (blocks - 1)
        && rest.iter().all(|job| job.boxed.len() == len)
}

/// Seals boxes that [`suit`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn seal(key: &StreamKey, jobs: &mut [Job<'_>]) {
    let mut columns = Columns::new(key, jobs);
    let mac = Keys::of(&columns.words);
    let mut tails = [[0; BLOCK_LEN]; LANES];
    columns.apply(jobs, Some(&mut tails));
    let mut tags = [[[0; TAG_LEN]; side_by_side::LANES]; 2];
    for (place, tags) in tags.iter_mut().zip(mac.tags(jobs, &tails)) {
        side_by_side::store(tags, place);
    }
    for (lane, tag) in ORDER.as_flattened().iter().zip(tags.as_flattened()) {
        if let Some((place, _)) = jobs.get_mut(*lane).and_then(Job::parts) {
            *place = *tag;
        }
    }
}

/// Opens boxes that [`suit`], up to the first that does not open. Returns how many have opened.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512ifma")]
pub(super) fn open(key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
    let mut columns = Columns::new(key, jobs);
    let mac = Keys::of(&columns.words);
    let mut tails = [[0; BLOCK_LEN]; LANES];
    for (job, tail) in jobs.iter().zip(&mut tails) {
        let text = text(job);
        if let Some(rest) = text.get(cut(text.len())..)
            && !rest.is_empty()
        {
            store512(tail, _mm512_or_si512(load512_first(rest), end(rest.len())));
        }
    }
    let good = good(mac.tags(jobs, &tails), jobs);
    columns.apply(&mut jobs[..good], None);
    good
}

#[inline]
fn text<'a>(job: &'a Job<'_>) -> &'a [u8] {
    job.boxed.get(TAG_LEN..).unwrap_or_default()
}

/// Where the rest of a text begins that is not a whole block of key stream. The first is a half.
#[inline]
fn cut(len: usize) -> usize {
    len.checked_sub(HALF)
        .map_or(0, |after| HALF + after / BLOCK_LEN * BLOCK_LEN)
}

/// The bit that follows the end of a text, behind its last `len` bytes, if its last block of
/// Poly1305 is not whole.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn end(len: usize) -> __m512i {
    let is_whole = len.is_multiple_of(poly1305::BLOCK_LEN);
    _mm512_maskz_set1_epi8(if is_whole { 0 } else { 1 << len }, 1)
}

/// The key stream of sixteen boxes, block by block.
struct Columns<'a> {
    key: &'a StreamKey,
    nonces: [__m512i; 2],
    /// Word i of the first blocks in vector i, until [`Columns::apply`].
    words: [__m512i; 16],
}

impl<'a> Columns<'a> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(key: &'a StreamKey, jobs: &[Job<'_>]) -> Self {
        let mut nonces = [[0; 8]; LANES];
        for (nonce, job) in nonces.iter_mut().zip(jobs) {
            *nonce = job.nonce;
        }
        let mut columns = Self {
            key,
            nonces: split(&nonces),
            words: [_mm512_setzero_si512(); 16],
        };
        words_of_each(key, &columns.nonces, 0, &mut columns.words);
        columns
    }

    /// Adds key stream to the texts. What follows the last whole block goes to `tails` too, if they are
    /// given.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn apply(&mut self, jobs: &mut [Job<'_>], mut tails: Option<&mut Tails>) {
        let len = jobs.first().map_or(0, |job| text(job).len());
        let cut = cut(len);
        let Self { key, nonces, words } = self;
        *words = transposed(words);
        for block in words.iter_mut() {
            *block = _mm512_zextsi256_si512(_mm512_extracti64x4_epi64::<1>(*block));
        }
        let mut at = 0;
        if cut > 0 {
            for (job, block) in jobs.iter_mut().zip(&*words) {
                if let Some((_, text)) = job.parts()
                    && let Some(half) = text.first_chunk_mut()
                {
                    let sum = _mm256_xor_si256(load256(half), _mm512_castsi512_si256(*block));
                    store256(half, sum);
                }
            }
            at = HALF;
        }
        for number in 1.. {
            if at == len {
                return;
            }
            if at > 0 {
                words_of_each(key, nonces, number, words);
                *words = transposed(words);
            }
            if at == cut {
                break;
            }
            for (job, block) in jobs.iter_mut().zip(&*words) {
                if let Some((_, text)) = job.parts()
                    && let Some(whole) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut)
                {
                    store512(whole, _mm512_xor_si512(load512(whole), *block));
                }
            }
            at += BLOCK_LEN;
        }
        let (end, mask) = (end(len - cut), mask64(len - cut));
        for (at, (job, block)) in jobs.iter_mut().zip(&*words).enumerate() {
            if let Some((_, text)) = job.parts()
                && let Some(rest) = text.get_mut(cut..)
            {
                let stream = _mm512_maskz_mov_epi8(mask, *block);
                let sum = _mm512_xor_si512(load512_first(rest), stream);
                store512_first(rest, sum);
                if let Some(tail) = tails.as_mut().and_then(|tails| tails.get_mut(at)) {
                    // In full: bytes of a masked store can only be read when they are in the cache.
                    store512(tail, _mm512_or_si512(sum, end));
                }
            }
        }
    }
}

/// The keys of Poly1305 of sixteen boxes, in the groups of [`ORDER`].
struct Keys {
    r: [Halves; 2],
    s: [Halves; 2],
}

impl Keys {
    /// From the first blocks of key stream.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of([r0, r1, r2, r3, s0, s1, s2, s3, ..]: &[__m512i; 16]) -> Self {
        let low = |a: &__m512i, b: &__m512i| _mm512_unpacklo_epi32(*a, *b);
        let high = |a: &__m512i, b: &__m512i| _mm512_unpackhi_epi32(*a, *b);
        Self {
            r: [(low(r0, r1), low(r2, r3)), (high(r0, r1), high(r2, r3))],
            s: [(low(s0, s1), low(s2, s3)), (high(s0, s1), high(s2, s3))],
        }
    }

    /// The tags of the texts.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn tags(&self, jobs: &[Job<'_>], tails: &Tails) -> [Halves; 2] {
        let [first, second] = self.r;
        let mut sums = [Sums::of(first), Sums::of(second)];
        let squares = [sums[0].square(), sums[1].square()];
        let mut texts = [[&[][..]; side_by_side::LANES]; 2];
        for (texts, order) in texts.iter_mut().zip(&ORDER) {
            for (place, at) in texts.iter_mut().zip(order) {
                if let Some(job) = jobs.get(*at) {
                    *place = text(job);
                }
            }
        }
        let len = texts[0][0].len();
        let cut = cut(len);
        for at in (0..cut).step_by(TWO) {
            for ((sums, square), texts) in sums.iter_mut().zip(&squares).zip(&texts) {
                let mut two = [[_mm_setzero_si128(); side_by_side::LANES]; 2];
                for (lane, text) in texts.iter().enumerate() {
                    if let Some(bytes) = text.get(at..at + TWO)
                        && let [first, second] = bytes.as_chunks().0
                    {
                        two[0][lane] = load128(first);
                        two[1][lane] = load128(second);
                    }
                }
                sums.absorb_two(square, two);
            }
        }
        for at in 0..(len - cut).div_ceil(poly1305::BLOCK_LEN) {
            let is_whole = poly1305::BLOCK_LEN * (at + 1) <= len - cut;
            let end = _mm512_set1_epi64(if is_whole { 1 << 40 } else { 0 });
            for (sums, order) in sums.iter_mut().zip(&ORDER) {
                let mut blocks = [_mm_setzero_si128(); side_by_side::LANES];
                for (place, lane) in blocks.iter_mut().zip(order) {
                    if let Some(bytes) = tails[*lane].as_chunks().0.get(at) {
                        *place = load128(bytes);
                    }
                }
                sums.absorb(blocks, end);
            }
        }
        let ([first, second], [s_first, s_second]) = (sums, self.s);
        [first.tags(s_first), second.tags(s_second)]
    }
}

/// How many boxes at the front have these tags.
#[inline]
#[target_feature(enable = "avx512f")]
fn good(tags: [Halves; 2], jobs: &[Job<'_>]) -> usize {
    let mut bad = 0_u32;
    for ((low, high), order) in tags.into_iter().zip(&ORDER) {
        let mut given = [_mm_setzero_si128(); side_by_side::LANES];
        for (place, lane) in given.iter_mut().zip(order) {
            if let Some(tag) = jobs.get(*lane).and_then(|job| job.boxed.first_chunk()) {
                *place = load128(tag);
            }
        }
        let (given_low, given_high) = side_by_side::spread(given);
        let low = _mm512_xor_si512(low, given_low);
        let difference = _mm512_or_si512(low, _mm512_xor_si512(high, given_high));
        let bits = _mm512_test_epi64_mask(difference, difference);
        for (bit, lane) in order.iter().enumerate() {
            bad |= u32::from(bits >> bit & 1) << lane;
        }
    }
    jobs.len().min(bad.trailing_zeros() as usize)
}

//! The entry to vector code, with the crate's only unsafe blocks: loads and stores of vectors, calls of
//! functions that need a feature of the processor, each behind a proof that the feature is there, and
//! an instruction that asks for memory early.
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

mod avx2;
mod avx512;
mod avx512_long;
mod avx512_many;
mod batch;
mod columns;
mod ifma;
mod lanes256;
mod lanes512;
mod rows;
mod side_by_side;

use crate::crypto::secretbox::job::{Blocks, Inputs, Job};
use crate::crypto::secretbox::poly1305::TAG_LEN;
use crate::crypto::secretbox::salsa20::StreamKey;
use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// Proof that this processor has all features that `avx512` uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512 {
    /// Whether long texts are encrypted faster with two passes side by side than with one.
    pairs: bool,
}

/// Proof that this processor has all features that `avx2` uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = has!("avx512f")
            && has!("avx512bw")
            && has!("avx512vl")
            && has!("avx512ifma")
            && has!("bmi2")
            && has!("adx");
        // SAFETY: every feature was found.
        static PAIRS: LazyLock<bool> = LazyLock::new(|| unsafe { avx512_long::pairs_are_faster() });
        found.then(|| Self { pairs: *PAIRS })
    }

    /// The same proof with the other code for long texts.
    #[cfg(any(test, feature = "test-ciphers"))]
    pub(crate) fn other(self) -> Self {
        Self { pairs: !self.pairs }
    }

    /// Two passes side by side keep twice as much on the stack.
    pub(crate) fn goes_deep(self) -> bool {
        self.pairs
    }

    pub(crate) fn seal(self, key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
        // SAFETY: `self` is made only where `detect` has found every feature.
        unsafe {
            if self.pairs {
                avx512::seal::<2>(key, nonce, text)
            } else {
                avx512::seal::<1>(key, nonce, text)
            }
        }
    }

    pub(crate) fn open(
        self,
        key: &StreamKey,
        nonce: [u8; 8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        // SAFETY: as above.
        unsafe {
            if self.pairs {
                avx512::open::<2>(key, nonce, text, tag)
            } else {
                avx512::open::<1>(key, nonce, text, tag)
            }
        }
    }

    pub(crate) fn seal_with(self, stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        // SAFETY: as above.
        unsafe { avx512::seal_with(stream, text) }
    }

    pub(crate) fn open_with(self, stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        // SAFETY: as above.
        unsafe { avx512::open_with(stream, text, tag) }
    }

    /// Whether boxes are processed with little of the stack, though they may need many blocks.
    pub(crate) fn stays_shallow(self, jobs: &[Job<'_>]) -> bool {
        columns::suit(jobs)
    }

    pub(crate) fn seal_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) {
        // SAFETY: as above.
        unsafe { avx512_many::seal_many(key, jobs, self) }
    }

    pub(crate) fn open_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
        // SAFETY: as above.
        unsafe { avx512_many::open_many(key, jobs, self) }
    }

    pub(crate) fn blocks(self, key: &StreamKey, inputs: &Inputs, out: &mut Blocks) {
        // SAFETY: as above.
        unsafe { lanes512::any(key, &inputs.nonces, &inputs.numbers, out) }
    }

    #[cfg(any(test, feature = "test-ciphers"))]
    pub(crate) fn mac(self, key: &[u8; 32], text: &[u8]) -> [u8; TAG_LEN] {
        // SAFETY: as above.
        unsafe { avx512::mac(key, text) }
    }

    #[cfg(any(test, feature = "test-ciphers"))]
    pub(crate) fn macs(self, tasks: &[[(&[u8; 32], &[u8]); 8]; 2]) -> [[[u8; TAG_LEN]; 8]; 2] {
        let mut tags = [[[0; TAG_LEN]; 8]; 2];
        // SAFETY: as above.
        unsafe { side_by_side::tags(tasks, &mut tags) };
        tags
    }

    #[cfg(test)]
    pub(crate) fn macs_by_twos(self, tasks: &[(&[u8; 32], &[u8]); 8]) -> [[u8; TAG_LEN]; 8] {
        let mut tags = [[0; TAG_LEN]; 8];
        // SAFETY: as above.
        unsafe { side_by_side::tags_by_twos(tasks, &mut tags) };
        tags
    }
}

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (has!("avx2") && has!("bmi2") && has!("adx")).then_some(Self(()))
    }

    pub(crate) fn seal(self, key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
        // SAFETY: `self` is made only where `detect` has found every feature.
        unsafe { avx2::seal(key, nonce, text) }
    }

    pub(crate) fn open(
        self,
        key: &StreamKey,
        nonce: [u8; 8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        // SAFETY: as above.
        unsafe { avx2::open(key, nonce, text, tag) }
    }

    pub(crate) fn seal_with(self, stream: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        // SAFETY: as above.
        unsafe { avx2::seal_with(stream, text) }
    }

    pub(crate) fn open_with(self, stream: &[u8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        // SAFETY: as above.
        unsafe { avx2::open_with(stream, text, tag) }
    }

    pub(crate) fn seal_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) {
        // SAFETY: as above.
        unsafe { avx2::seal_many(key, jobs) }
    }

    pub(crate) fn open_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
        // SAFETY: as above.
        unsafe { avx2::open_many(key, jobs) }
    }

    pub(crate) fn blocks(self, key: &StreamKey, inputs: &Inputs, out: &mut Blocks) {
        // SAFETY: as above.
        unsafe { avx2::fill(key, &inputs.nonces, &inputs.numbers, out) }
    }

    #[cfg(feature = "test-ciphers")]
    pub(crate) fn mac(self, key: &[u8; 32], text: &[u8]) -> [u8; TAG_LEN] {
        // SAFETY: as above.
        unsafe { avx2::mac(key, text) }
    }
}

/// Asks for the cache line in which a value begins, and does not wait for it.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    // SAFETY: every x86-64 processor has SSE, and the address of a value may be asked for.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn load128(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are readable there; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Loads at most 16 bytes, and zeros after them.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn load128_first(bytes: &[u8]) -> __m128i {
    // SAFETY: bytes outside the mask, which has no more than `bytes.len()` bits, are not read.
    unsafe { _mm_maskz_loadu_epi8(mask32(bytes.len().min(16)) as u16, bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable there; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store256(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: 32 bytes are writable there; the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load512(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are readable there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store512(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: 64 bytes are writable there; the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// One bit for each of at most 32 bytes.
#[inline]
fn mask32(len: usize) -> u32 {
    u32::MAX.checked_shr(32 - len.min(32) as u32).unwrap_or(0)
}

/// Loads at most 32 bytes, and zeros after them. An empty slice is not loaded at all: a masked load
/// of nothing is slow where the address is not mapped.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn load256_first(bytes: &[u8]) -> __m256i {
    if bytes.is_empty() {
        return _mm256_setzero_si256();
    }
    // SAFETY: bytes outside the mask, which has no more than `bytes.len()` bits, are not read.
    unsafe { _mm256_maskz_loadu_epi8(mask32(bytes.len()), bytes.as_ptr().cast()) }
}

/// Stores at most 32 bytes.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn store256_first(bytes: &mut [u8], vector: __m256i) {
    // SAFETY: bytes outside the mask, which has no more than `bytes.len()` bits, are not written.
    unsafe { _mm256_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask32(bytes.len()), vector) }
}

/// Loads at most 64 bytes, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load512_first(bytes: &[u8]) -> __m512i {
    // SAFETY: bytes outside the mask, which has no more than `bytes.len()` bits, are not read.
    unsafe { _mm512_maskz_loadu_epi8(mask64(bytes.len()), bytes.as_ptr().cast()) }
}

/// Stores at most 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store512_first(bytes: &mut [u8], vector: __m512i) {
    // SAFETY: bytes outside the mask, which has no more than `bytes.len()` bits, are not written.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask64(bytes.len()), vector) }
}

/// One bit for each of at most 64 bytes.
#[inline]
fn mask64(len: usize) -> u64 {
    u64::MAX.checked_shr(64 - len.min(64) as u32).unwrap_or(0)
}

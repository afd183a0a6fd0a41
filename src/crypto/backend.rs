//! Which code seals and opens: chosen once for each key, by what the processor has.
#![forbid(unsafe_code)]

use crate::crypto::poly1305::TAG_LEN;
use crate::crypto::portable;
use crate::crypto::salsa20::StreamKey;
#[cfg(target_arch = "x86_64")]
use crate::crypto::simd::{Avx2, Avx512};

/// One box of several, in place.
pub(crate) struct Job<'a> {
    /// The 8 bytes of its nonce.
    pub(crate) nonce: [u8; 8],
    /// [`TAG_LEN`] bytes for the tag, then the text.
    pub(crate) boxed: &'a mut [u8],
}

impl Job<'_> {
    /// Tag and text; two halves of nothing if there is no room for a tag.
    pub(crate) fn parts(&mut self) -> Option<(&mut [u8; TAG_LEN], &mut [u8])> {
        self.boxed.split_first_chunk_mut()
    }
}

/// The code for one kind of processor. `--cfg zmtp_auth_cipher="portable"` or `"avx2"` keeps to
/// that one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable,
}

impl Backend {
    /// The fastest that runs here.
    pub(crate) fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !cfg!(zmtp_auth_cipher = "portable") {
            if !cfg!(zmtp_auth_cipher = "avx2")
                && let Some(proof) = Avx512::detect()
            {
                return Self::Avx512(proof);
            }
            if let Some(proof) = Avx2::detect() {
                return Self::Avx2(proof);
            }
        }
        Self::Portable
    }

    /// Encrypts `text` in place and tells its tag.
    pub(crate) fn seal(self, key: &StreamKey, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG_LEN] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.seal(key, nonce, text),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.seal(key, nonce, text),
            Self::Portable => portable::seal(key, nonce, text),
        }
    }

    /// Decrypts `text` in place if `tag` is its tag, and leaves it alone otherwise.
    pub(crate) fn open(
        self,
        key: &StreamKey,
        nonce: [u8; 8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.open(key, nonce, text, tag),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.open(key, nonce, text, tag),
            Self::Portable => portable::open(key, nonce, text, tag),
        }
    }

    /// Seals all of `jobs`.
    pub(crate) fn seal_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.seal_many(key, jobs),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.seal_many(key, jobs),
            Self::Portable => portable::seal_many(key, jobs),
        }
    }

    /// Opens `jobs` in order, up to the first that does not open, and tells how many did. The
    /// others are unchanged.
    pub(crate) fn open_many(self, key: &StreamKey, jobs: &mut [Job<'_>]) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.open_many(key, jobs),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.open_many(key, jobs),
            Self::Portable => portable::open_many(key, jobs),
        }
    }
}

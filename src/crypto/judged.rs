//! The ciphers as `crates/judges` and `fuzz/` reach them, with feature `test-ciphers`: every code for boxes
//! and for points by its name, whatever the processor's best is. Not part of the API.
#![forbid(unsafe_code)]

use crate::crypto::boxes::{CookieBox, SEALED_COOKIE_LEN, SharedKey};
use crate::crypto::keys::{PublicKey, SecretKey};
use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::batch::TrafficKey;
use crate::crypto::secretbox::job::{Inputs, Job};
use crate::crypto::secretbox::poly1305::{Poly1305, TAG_LEN};
use crate::crypto::secretbox::salsa20::{AT_ONCE, BLOCK_LEN, StreamKey};
use crate::crypto::x25519::Code;
use bytes::BytesMut;
use std::fmt;
use zeroize::Zeroizing;

/// Texts of which `macs` takes the tags at once.
pub const MACS: usize = 16;

/// One box of a batch: the last 8 bytes of its nonce, and room for the tag with the text after it.
pub type BatchBox = ([u8; 8], Vec<u8>);

/// The code that seals and opens for one kind of processor.
#[derive(Clone, Copy)]
pub struct BoxCode(Backend);

impl fmt::Debug for BoxCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl BoxCode {
    /// Every code that this processor can run.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Backend::all().into_iter().map(Self).collect()
    }

    /// Encrypts `text` in place and returns its tag.
    #[must_use]
    pub fn seal(self, key: &[u8; 32], nonce: &[u8; 24], text: &mut [u8]) -> [u8; TAG_LEN] {
        let (key, nonce) = split(key, nonce);
        self.0.seal(&key, nonce, text)
    }

    /// Decrypts `text` in place and returns whether `tag` is its tag.
    #[must_use]
    pub fn open(
        self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let (key, nonce) = split(key, nonce);
        self.0.open(&key, nonce, text, tag)
    }

    /// Seals all of `boxes`.
    pub fn seal_many(self, key: &[u8; 32], prefix: &[u8; 16], boxes: &mut [BatchBox]) {
        self.0
            .seal_many(&StreamKey::derive(key, prefix), &mut jobs(boxes));
    }

    /// Opens `boxes` up to the first that does not open, and returns how many have opened.
    #[must_use]
    pub fn open_many(self, key: &[u8; 32], prefix: &[u8; 16], boxes: &mut [BatchBox]) -> usize {
        self.0
            .open_many(&StreamKey::derive(key, prefix), &mut jobs(boxes))
    }

    /// Makes a block of key stream for each nonce and number.
    #[must_use]
    pub fn key_stream(
        self,
        key: &[u8; 32],
        prefix: &[u8; 16],
        blocks: &[([u8; 8], u32); AT_ONCE],
    ) -> [[u8; BLOCK_LEN]; AT_ONCE] {
        let inputs = Inputs {
            nonces: blocks.map(|(nonce, _)| nonce),
            numbers: blocks.map(|(_, number)| number.to_le_bytes()),
        };
        let mut stream = [[0; BLOCK_LEN]; AT_ONCE];
        self.0
            .blocks(&StreamKey::derive(key, prefix), &inputs, &mut stream);
        stream
    }

    /// Poly1305 of a text.
    #[must_use]
    pub fn mac(self, key: &[u8; 32], text: &[u8]) -> [u8; TAG_LEN] {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Backend::Avx512(proof) => proof.mac(key, text),
            #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
            Backend::Avx2(proof) => proof.mac(key, text),
            Backend::Portable => {
                let mut mac = Poly1305::new(key);
                let (blocks, rest) = text.as_chunks();
                mac.blocks(blocks);
                mac.finish(rest)
            }
        }
    }

    /// Poly1305 of several texts side by side. `None` if this code does one after the other.
    #[must_use]
    pub fn macs(self, tasks: &[(&[u8; 32], &[u8]); MACS]) -> Option<[[u8; TAG_LEN]; MACS]> {
        #[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
        if let Backend::Avx512(proof) = self.0 {
            let mut halves = [[(&[0; 32], &[][..]); MACS / 2]; 2];
            halves.as_flattened_mut().copy_from_slice(tasks);
            let mut tags = [[0; TAG_LEN]; MACS];
            tags.copy_from_slice(proof.macs(&halves).as_flattened());
            return Some(tags);
        }
        let _ = tasks; // Without vector code nothing reads them.
        None
    }

    /// The key of one direction of a connection.
    #[must_use]
    pub fn traffic(self, key: &[u8; 32], prefix: &[u8; 16], is_counting: bool) -> Traffic {
        let key = TrafficKey::derive(key, prefix).with_backend(self.0);
        Traffic(if is_counting { key.counting() } else { key })
    }
}

fn split(key: &[u8; 32], nonce: &[u8; 24]) -> (StreamKey, [u8; 8]) {
    let (prefix, rest) = crate::crypto::nonce::split(nonce);
    (StreamKey::derive(key, &prefix), rest)
}

fn jobs(boxes: &mut [BatchBox]) -> Vec<Job<'_>> {
    boxes
        .iter_mut()
        .map(|(nonce, boxed)| Job {
            nonce: *nonce,
            boxed,
        })
        .collect()
}

/// The boxes of one direction, with key stream made ahead if the key is counting.
#[derive(Debug)]
pub struct Traffic(TrafficKey);

impl Traffic {
    /// Seals a box in place.
    pub fn seal_in_place(&self, nonce: [u8; 8], boxed: &mut [u8]) {
        self.0.seal_in_place(nonce, boxed);
    }

    /// Opens a box in place.
    #[must_use]
    pub fn open_in_place(&self, nonce: [u8; 8], boxed: &mut [u8]) -> bool {
        self.0.open_in_place(nonce, boxed).is_some()
    }

    /// Opens a text whose tag stands elsewhere.
    #[must_use]
    pub fn open_detached(&self, nonce: [u8; 8], text: &mut [u8], tag: &[u8; TAG_LEN]) -> bool {
        self.0.open_detached(nonce, text, tag)
    }

    /// Seals the next box.
    pub fn seal_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) {
        self.0.seal_next(nonce, boxed);
    }

    /// Opens the next box.
    #[must_use]
    pub fn open_next(&mut self, nonce: [u8; 8], boxed: &mut [u8]) -> bool {
        self.0.open_next(nonce, boxed)
    }

    /// Seals the next boxes.
    pub fn seal_many(&mut self, boxes: &mut [BatchBox]) {
        self.0.seal_many(&mut jobs(boxes));
    }

    /// Opens the next boxes up to the first that does not open, and returns how many have opened.
    #[must_use]
    pub fn open_many(&mut self, boxes: &mut [BatchBox]) -> usize {
        self.0.open_many(&mut jobs(boxes))
    }
}

/// The box of the parts of a text, with the key of a pair. `None` if the public key is refused.
#[must_use]
pub fn seal_box(
    (secret, public): (&[u8; 32], &[u8; 32]),
    nonce: &[u8; 24],
    parts: &[&[u8]],
) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    shared(secret, public)?.seal(nonce, parts, &mut out);
    Some(out.to_vec())
}

/// Opens a box with the key of a pair.
#[must_use]
pub fn open_box(
    (secret, public): (&[u8; 32], &[u8; 32]),
    nonce: &[u8; 24],
    boxed: &[u8],
) -> Option<Vec<u8>> {
    let text = shared(secret, public)?.open(nonce, boxed)?;
    Some(text.to_vec())
}

/// The key of a pair, unless one of its halves is refused.
fn shared(secret: &[u8; 32], public: &[u8; 32]) -> Option<SharedKey> {
    let secret = SecretKey::from_bytes(secret).ok()?;
    SharedKey::agree(&secret, &PublicKey::from_bytes(*public).ok()?).ok()
}

/// Seals a cookie.
#[must_use]
pub fn seal_cookie(
    key: &[u8; 32],
    nonce: &[u8; 24],
    context: &[u8],
    text: &[u8; 64],
) -> [u8; SEALED_COOKIE_LEN] {
    CookieBox::new(key, nonce).seal(context, &Zeroizing::new(*text))
}

/// Opens a cookie.
#[must_use]
pub fn open_cookie(
    key: &[u8; 32],
    nonce: &[u8; 24],
    context: &[u8],
    sealed: &[u8; SEALED_COOKIE_LEN],
) -> Option<[u8; 64]> {
    let text = CookieBox::new(key, nonce).open(context, sealed)?;
    Some(*text)
}

/// The code that multiplies points for one kind of processor.
#[derive(Clone, Copy, Debug)]
pub struct PointCode(Code);

impl PointCode {
    /// The portable code, and the processor's best if that is another.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self(Code::Portable)];
        let fastest = Code::fastest();
        if !matches!(fastest, Code::Portable) {
            all.push(Self(fastest));
        }
        all
    }

    /// X25519. All zero if the point is of low order.
    #[must_use]
    pub fn multiply(self, secret: &[u8; 32], point: &[u8; 32]) -> [u8; 32] {
        *self.0.multiply(secret, point)
    }

    /// X25519 with the base point.
    #[must_use]
    pub fn multiply_base(self, secret: &[u8; 32]) -> [u8; 32] {
        self.0.multiply_base(secret)
    }
}

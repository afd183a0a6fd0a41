//! The crates of RustCrypto, with X25519 of dalek.
#![forbid(unsafe_code)]

use crate::judge::{BLOCK_LEN, Judge, Key, Nonce, Tag};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use crypto_secretbox::XSalsa20Poly1305;
use poly1305::Poly1305;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

/// The crates as one judge.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct RustCrypto;

/// What an encryption may not fail with: these texts are short.
const FITS: &str = "a text that is not too long";

#[allow(clippy::expect_used)]
impl Judge for RustCrypto {
    fn name(&self) -> &str {
        "RustCrypto"
    }

    fn multiply(&self, secret: &Key, point: &Key) -> Option<Key> {
        let product = x25519_dalek::x25519(*secret, *point);
        (product != [0; 32]).then_some(product)
    }

    fn public_key(&self, secret: &Key) -> Key {
        x25519_dalek::x25519(*secret, x25519_dalek::X25519_BASEPOINT_BYTES)
    }

    fn seal_box(&self, secret: &Key, public: &Key, nonce: &Nonce, text: &[u8]) -> Option<Vec<u8>> {
        self.multiply(secret, public)?;
        let shared = SalsaBox::new(&PublicKey::from(*public), &SecretKey::from(*secret));
        Some(shared.encrypt(nonce.into(), text).expect(FITS))
    }

    fn seal(&self, key: &Key, nonce: &Nonce, text: &[u8]) -> Vec<u8> {
        let key = XSalsa20Poly1305::new(key.into());
        key.encrypt(nonce.into(), text).expect(FITS)
    }

    fn open(&self, key: &Key, nonce: &Nonce, boxed: &[u8]) -> Option<Vec<u8>> {
        let key = XSalsa20Poly1305::new(key.into());
        key.decrypt(nonce.into(), boxed).ok()
    }

    fn block(&self, key: &Key, nonce: &Nonce, number: u32) -> [u8; BLOCK_LEN] {
        let mut stream = XSalsa20::new(key.into(), nonce.into());
        stream.seek(u64::from(number) * BLOCK_LEN as u64);
        let mut block = [0; BLOCK_LEN];
        stream.apply_keystream(&mut block);
        block
    }

    fn mac(&self, key: &Key, text: &[u8]) -> Tag {
        Poly1305::new(key.into()).compute_unpadded(text).into()
    }

    fn seal_cookie(&self, key: &Key, nonce: &Nonce, context: &[u8], text: &[u8]) -> Vec<u8> {
        let text = Payload {
            msg: text,
            aad: context,
        };
        let key = XChaCha20Poly1305::new(key.into());
        key.encrypt(nonce.into(), text).expect(FITS)
    }

    fn open_cookie(
        &self,
        key: &Key,
        nonce: &Nonce,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let sealed = Payload {
            msg: sealed,
            aad: context,
        };
        let key = XChaCha20Poly1305::new(key.into());
        key.decrypt(nonce.into(), sealed).ok()
    }
}

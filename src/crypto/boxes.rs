//! NaCl's `crypto_box` with the shared key computed once, and the cookie's secret box.
#![forbid(unsafe_code)]

use crate::crypto::constant_time::same;
use crate::crypto::keys::{PublicKey, SecretKey};
use crate::crypto::nonce::{self, Nonce};
use crate::crypto::secretbox::backend::Backend;
use crate::crypto::secretbox::batch::TrafficKey;
use crate::crypto::secretbox::salsa20::StreamKey;
use crate::crypto::stack_wipe::{SHORT, with_clean_shallow_stack, with_clean_stack};
use crate::crypto::x25519;
use crate::crypto::xchacha20poly1305::{OneTimeStream, TEXT_LEN};
use bytes::{BufMut, BytesMut};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

pub(crate) use crate::crypto::secretbox::poly1305::TAG_LEN;

/// The public key was of low order: every side would compute a shared secret of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LowOrder;

/// The key that a secret and a public key have in common, ready for boxes in both directions.
/// It lives in one place on the heap and is wiped when the last owner drops it.
#[derive(Clone)]
pub(crate) struct SharedKey(Arc<Zeroizing<[u8; 32]>>);

impl SharedKey {
    /// X25519 and HSalsa20, as NaCl's `crypto_box_beforenm`.
    ///
    /// # Errors
    /// Returns [`LowOrder`] if the shared secret is all zero. RFC 7748, section 6.1, leaves this
    /// check to the protocol. Without it a peer could force a key that everyone knows.
    pub(crate) fn agree(secret: &SecretKey, public: &PublicKey) -> Result<Self, LowOrder> {
        let mut key = Arc::new(Zeroizing::new([0_u8; 32]));
        x25519::with_clean_stack(|| {
            let shared = x25519::multiply(secret.expose(), public.as_bytes());
            if same(&shared, &[0; 32]) {
                return Err(LowOrder);
            }
            StreamKey::derive(&shared, &[0; 16]).write_to(&mut *Arc::make_mut(&mut key));
            Ok(())
        })?;
        Ok(Self(key))
    }

    /// The key of all boxes whose nonces begin with `prefix`.
    #[must_use]
    pub(crate) fn traffic(&self, prefix: &[u8; 16]) -> TrafficKey {
        TrafficKey::derive(&self.0, prefix)
    }

    /// Appends the box of `parts`, one after the other, to `out`: tag, then ciphertext.
    pub(crate) fn seal(&self, nonce: &Nonce, parts: &[&[u8]], out: &mut BytesMut) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        out.reserve(TAG_LEN + len);
        self.seal_written(nonce, out, |out| {
            for part in parts {
                out.put_slice(part);
            }
        });
    }

    /// Appends the box of what `write` appends.
    pub(crate) fn seal_written(
        &self,
        nonce: &Nonce,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let start = out.len();
        out.put_bytes(0, TAG_LEN);
        write(out);
        if let Some((tag, text)) = out[start..].split_first_chunk_mut() {
            self.once(nonce, text, |backend, key, nonce, text| {
                *tag = backend.seal(key, nonce, text);
            });
        }
    }

    /// Opens a copy of a box. The plaintext is wiped on drop. `None` if the box is too short,
    /// altered, or not made with this key.
    #[must_use]
    pub(crate) fn open(&self, nonce: &Nonce, boxed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (tag, text) = boxed.split_first_chunk()?;
        let mut text = Zeroizing::new(text.to_vec());
        self.once(nonce, &mut text, |backend, key, nonce, text| {
            backend.open(key, nonce, text, tag)
        })
        .then_some(text)
    }

    /// Whether a box holds `expected`, which is not secret. `None` if the box does not open.
    #[must_use]
    pub(crate) fn opens_to<const BOX: usize, const TEXT: usize>(
        &self,
        nonce: &Nonce,
        boxed: &[u8; BOX],
        expected: &[u8; TEXT],
    ) -> Option<bool> {
        const { assert!(BOX == TEXT + TAG_LEN) };
        let (tag, text) = (boxed.first_chunk()?, boxed.last_chunk::<TEXT>()?);
        let mut text = *text;
        self.once(nonce, &mut text, |backend, key, nonce, text| {
            backend.open(key, nonce, text, tag)
        })
        .then(|| same(&text, expected))
    }

    /// Derives the key of one box, runs `work` with it, and wipes the stack that both have used.
    fn once<T>(
        &self,
        nonce: &Nonce,
        text: &mut [u8],
        work: impl FnOnce(Backend, &StreamKey, [u8; 8], &mut [u8]) -> T,
    ) -> T {
        let (prefix, rest) = nonce::split(nonce);
        let len = text.len();
        let work = || {
            let key = StreamKey::derive(&self.0, &prefix);
            work(Backend::fastest(), &key, rest, text)
        };
        if len <= SHORT {
            with_clean_shallow_stack(work)
        } else {
            with_clean_stack(work)
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Bytes in the sealed part of a cookie: 64 and a tag (RFC 26, WELCOME).
pub(crate) const SEALED_COOKIE_LEN: usize = TEXT_LEN + TAG_LEN;

/// Seals and opens one connection's cookie with XChaCha20-Poly1305. Holds the key stream instead of
/// the key, so that it is made once. Wiped when the connection is dropped.
pub(crate) struct CookieBox(OneTimeStream);

impl CookieBox {
    /// Takes a key and a nonce that must be used for nothing else.
    #[must_use]
    pub(crate) fn new(key: &[u8; 32], nonce: &Nonce) -> Self {
        Self(with_clean_shallow_stack(|| OneTimeStream::new(key, nonce)))
    }

    /// Seals 64 bytes, bound to `context`. Call it once: two texts under the same key stream reveal
    /// their difference.
    #[must_use]
    pub(crate) fn seal(
        &self,
        context: &[u8],
        secret: &Zeroizing<[u8; TEXT_LEN]>,
    ) -> [u8; SEALED_COOKIE_LEN] {
        let mut sealed = [0; SEALED_COOKIE_LEN];
        if let Some((text, tag)) = sealed.split_first_chunk_mut() {
            text.copy_from_slice(&secret[..]);
            with_clean_shallow_stack(|| tag.copy_from_slice(&self.0.seal(context, text)));
        }
        sealed
    }

    /// Opens what [`CookieBox::seal`] made with the same context.
    #[must_use]
    pub(crate) fn open(
        &self,
        context: &[u8],
        sealed: &[u8; SEALED_COOKIE_LEN],
    ) -> Option<Zeroizing<[u8; TEXT_LEN]>> {
        let (text, tag) = (sealed.first_chunk()?, sealed.last_chunk()?);
        let mut secret = Zeroizing::new(*text);
        with_clean_shallow_stack(|| self.0.open(context, &mut secret, tag)).then_some(secret)
    }
}

impl fmt::Debug for CookieBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieBox(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn hex_array<const N: usize>(text: &str) -> [u8; N] {
        hex(text).try_into().unwrap()
    }

    /// The keys of RFC 7748, section 6.1, which NaCl's published box example uses too.
    fn alice() -> SecretKey {
        SecretKey::from_bytes(&hex_array(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ))
        .unwrap()
    }

    fn bob() -> SecretKey {
        SecretKey::from_bytes(&hex_array(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ))
        .unwrap()
    }

    #[test]
    fn rfc_7748_public_keys() {
        assert_eq!(
            alice().public_key().as_bytes()[..],
            hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        );
        assert_eq!(
            bob().public_key().as_bytes()[..],
            hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        );
    }

    #[test]
    fn nacl_box_example() {
        let nonce = hex_array("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let message = hex(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc",
            "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864",
            "5e0705"
        ));
        let expected = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce",
            "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972",
            "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae",
            "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3",
            "7973f622a43d14a6599b1f654cb45a74e355a5"
        ));
        let shared = SharedKey::agree(&alice(), &bob().public_key()).unwrap();
        let mut out = BytesMut::new();
        shared.seal(&nonce, &[&message[..100], &message[100..]], &mut out);
        assert_eq!(out, expected);
        let other_side = SharedKey::agree(&bob(), &alice().public_key()).unwrap();
        assert_eq!(&other_side.open(&nonce, &out).unwrap()[..], message);
    }

    #[test]
    fn agrees_with_crypto_box_at_every_short_length() {
        use crypto_box::aead::Aead as _;
        let judge = crypto_box::SalsaBox::new(
            &crypto_box::PublicKey::from(*bob().public_key().as_bytes()),
            &crypto_box::SecretKey::from(*alice().expose()),
        );
        let shared = SharedKey::agree(&alice(), &bob().public_key()).unwrap();
        for len in 0..2100_usize {
            let message: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let nonce = [len as u8; 24];
            let mut out = BytesMut::from(&b"before"[..]);
            shared.seal(&nonce, &[&message], &mut out);
            assert_eq!(
                out[6..],
                judge.encrypt(&nonce.into(), &message[..]).unwrap()
            );
        }
    }

    #[test]
    fn every_flipped_bit_closes_the_box() {
        let shared = SharedKey::agree(&alice(), &bob().public_key()).unwrap();
        let nonce = [3; 24];
        let mut sealed = BytesMut::new();
        shared.seal(&nonce, &[b"attack at dawn"], &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(shared.open(&nonce, &changed).is_none(), "{bit}");
        }
        for len in 0..TAG_LEN {
            assert!(shared.open(&nonce, &sealed[..len]).is_none());
        }
    }

    #[test]
    fn a_cookie_opens_only_with_its_key_nonce_and_context() {
        let cookie_box = CookieBox::new(&[7; 32], &[1; 24]);
        let secret = Zeroizing::new([9; 64]);
        let sealed = cookie_box.seal(b"here", &secret);
        assert_eq!(cookie_box.open(b"here", &sealed).unwrap()[..], secret[..]);
        assert!(cookie_box.open(b"there", &sealed).is_none());
        for other in [
            CookieBox::new(&[7; 32], &[2; 24]),
            CookieBox::new(&[8; 32], &[1; 24]),
        ] {
            assert!(other.open(b"here", &sealed).is_none());
        }
    }
}

//! XChaCha20-Poly1305 (RFC 8439, section 2.8, with a nonce of 24 bytes) for one text of one block.
//!
//! The stream comes from crate chacha20. The authenticator is our own, which costs next to nothing
//! for short texts.
#![forbid(unsafe_code)]

use crate::crypto::nonce::Nonce;
use crate::crypto::secretbox::poly1305::{self, Poly1305, TAG_LEN};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a text: one block of the stream.
pub(crate) const TEXT_LEN: usize = 64;

/// The key stream of a key and a nonce that are used for nothing else: the Poly1305 key, which is
/// the first half of the first block, and the second block, which encrypts the text. It lives in
/// one place on the heap and is wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct OneTimeStream(Box<[u8; poly1305::KEY_LEN + TEXT_LEN]>);

impl OneTimeStream {
    /// Makes both blocks.
    pub(crate) fn new(key: &[u8; 32], nonce: &Nonce) -> Self {
        let mut stream = Self(Box::new([0; poly1305::KEY_LEN + TEXT_LEN]));
        let mut blocks = Zeroizing::new([0; 2 * TEXT_LEN]);
        XChaCha20::new(key.into(), nonce.into()).apply_keystream(&mut *blocks);
        let (mac_key, text_stream) = stream.0.split_at_mut(poly1305::KEY_LEN);
        mac_key.copy_from_slice(&blocks[..poly1305::KEY_LEN]);
        text_stream.copy_from_slice(&blocks[TEXT_LEN..]);
        stream
    }

    /// Encrypts the text in place and returns the tag of `context` and text.
    pub(crate) fn seal(&self, context: &[u8], text: &mut [u8; TEXT_LEN]) -> [u8; TAG_LEN] {
        self.apply(text);
        self.tag(context, text)
    }

    /// Decrypts `text` in place if `tag` is the tag of `context` and text. Otherwise leaves it
    /// unchanged.
    pub(crate) fn open(
        &self,
        context: &[u8],
        text: &mut [u8; TEXT_LEN],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let is_right = poly1305::same_tag(&self.tag(context, text), tag);
        if is_right {
            self.apply(text);
        }
        is_right
    }

    fn apply(&self, text: &mut [u8; TEXT_LEN]) {
        for (byte, stream) in text.iter_mut().zip(&self.0[poly1305::KEY_LEN..]) {
            *byte ^= stream;
        }
    }

    /// The tag of context and text: each is padded with zeros to whole Poly1305 blocks, and both
    /// lengths follow.
    fn tag(&self, context: &[u8], text: &[u8; TEXT_LEN]) -> [u8; TAG_LEN] {
        let mut key = Zeroizing::new([0; poly1305::KEY_LEN]);
        key.copy_from_slice(&self.0[..poly1305::KEY_LEN]);
        let mut mac = Poly1305::new(&key);
        let (blocks, rest) = context.as_chunks();
        mac.blocks(blocks);
        if !rest.is_empty() {
            let mut last = [0; poly1305::BLOCK_LEN];
            last[..rest.len()].copy_from_slice(rest);
            mac.blocks(&[last]);
        }
        mac.blocks(text.as_chunks().0);
        let mut lengths = [0; poly1305::BLOCK_LEN];
        lengths[..8].copy_from_slice(&(context.len() as u64).to_le_bytes());
        lengths[8..].copy_from_slice(&(TEXT_LEN as u64).to_le_bytes());
        mac.blocks(&[lengths]);
        mac.finish(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::XChaCha20Poly1305;
    use chacha20poly1305::aead::{AeadInPlace, KeyInit};

    #[test]
    fn agrees_with_the_crate_for_contexts_of_every_length() {
        // An interpreter takes a second for each: the lengths around one block of the MAC, and a long one.
        let lengths: Vec<usize> = if cfg!(miri) {
            vec![0, 1, 15, 16, 17, 299]
        } else {
            (0..300).collect()
        };
        for len in lengths {
            let context: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            let (key, nonce) = ([len as u8; 32], [!len as u8; 24]);
            let plain: [u8; TEXT_LEN] = std::array::from_fn(|at| (at + len) as u8);
            let mut text = plain;
            let stream = OneTimeStream::new(&key, &nonce);
            let tag = stream.seal(&context, &mut text);
            let mut theirs = plain;
            let judge = XChaCha20Poly1305::new(&key.into());
            let their_tag = judge
                .encrypt_in_place_detached(&nonce.into(), &context, &mut theirs)
                .unwrap();
            assert_eq!((text, &tag[..]), (theirs, &their_tag[..]), "{len}");
            assert!(stream.open(&context, &mut text, &tag));
            assert_eq!(text, plain);
        }
    }

    #[test]
    fn every_flipped_bit_closes_it_and_leaves_the_text_sealed() {
        let (key, nonce, context) = ([1; 32], [2; 24], [3; 41]);
        let mut sealed = [4; TEXT_LEN];
        let tag = OneTimeStream::new(&key, &nonce).seal(&context, &mut sealed);
        let refuses = |key: &[u8; 32], nonce: &Nonce, context: &[u8], text, tag: &[u8; TAG_LEN]| {
            let mut here: [u8; TEXT_LEN] = text;
            let stream = OneTimeStream::new(key, nonce);
            !stream.open(context, &mut here, tag) && here == text
        };
        assert!(!refuses(&key, &nonce, &context, sealed, &tag));
        assert!(refuses(&key, &nonce, &context[1..], sealed, &tag));
        assert!(refuses(
            &key,
            &nonce,
            &[&context[..], &[0]].concat(),
            sealed,
            &tag
        ));
        for bit in 0..8 * TEXT_LEN {
            let (at, mask) = (bit / 8, 1 << (bit % 8));
            let mut text = sealed;
            text[at] ^= mask;
            assert!(refuses(&key, &nonce, &context, text, &tag), "{bit}");
            if at < context.len() {
                let mut context = context;
                context[at] ^= mask;
                assert!(refuses(&key, &nonce, &context, sealed, &tag), "{bit}");
            }
            if at < nonce.len() {
                let mut nonce = nonce;
                nonce[at] ^= mask;
                assert!(refuses(&key, &nonce, &context, sealed, &tag), "{bit}");
            }
            if at < tag.len() {
                let mut tag = tag;
                tag[at] ^= mask;
                assert!(refuses(&key, &nonce, &context, sealed, &tag), "{bit}");
            }
        }
    }

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_the_text_of_a_cookie_or_how_much_of_a_tag_is_right() {
        use crate::timing::{assert_same_time, of_class};
        let stream = OneTimeStream::new(&[3; 32], &[4; 24]);
        assert_same_time(
            "cookie, seal, text fixed or random",
            100_000,
            |class, random| of_class(class, [0; TEXT_LEN], random.array()),
            |text| stream.seal(b"127.0.0.1", text),
        );
        let mut sealed = [9; TEXT_LEN];
        let tag = stream.seal(b"127.0.0.1", &mut sealed);
        let [mut first, mut last] = [tag; 2];
        first[0] ^= 1;
        last[TAG_LEN - 1] ^= 1;
        assert_same_time(
            "cookie, open, tag wrong in its first or last byte",
            100_000,
            |class, _| (sealed, of_class(class, first, last)),
            |(text, tag)| stream.open(b"127.0.0.1", text, tag),
        );
    }
}

//! Boxes whose nonces have their first 16 bytes in common: all of a direction's MESSAGEs.
#![forbid(unsafe_code)]

use crate::crypto::backend::{Backend, Job};
use crate::crypto::poly1305::TAG_LEN;
use crate::crypto::residue::{SHORT, without_residue, without_shallow_residue};
use crate::crypto::salsa20::StreamKey;
use std::fmt;

/// The HSalsa20 subkey of a shared key and the first 16 bytes of a nonce. XSalsa20 uses the other
/// 8 bytes as Salsa20's nonce under this key, so it is derived once for all of them. It lives in
/// one place on the heap and is wiped on drop.
pub struct TrafficKey {
    stream: Box<StreamKey>,
    backend: Backend,
}

impl TrafficKey {
    /// Derives the key.
    pub(crate) fn derive(key: &[u8; 32], prefix: &[u8; 16]) -> Self {
        let mut stream = Box::new(StreamKey([0; 8]));
        without_residue(|| *stream = StreamKey::derive(key, prefix));
        Self {
            stream,
            backend: Backend::fastest(),
        }
    }

    /// Makes `boxed` a box in place: [`TAG_LEN`] bytes of room for the tag, then the text.
    /// Anything shorter has no room and is left alone.
    pub fn seal_in_place(&self, nonce: [u8; 8], boxed: &mut [u8]) {
        if let Some((tag, text)) = boxed.split_first_chunk_mut() {
            let len = text.len();
            let seal = || *tag = self.backend.seal(&self.stream, nonce, text);
            if len <= SHORT {
                without_shallow_residue(seal);
            } else {
                without_residue(seal);
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
            without_shallow_residue(open)
        } else {
            without_residue(open)
        }
    }
}

impl TrafficKey {
    /// [`seal_in_place`](Self::seal_in_place) for several boxes.
    pub(crate) fn seal_many(&self, jobs: &mut [Job<'_>]) {
        without_residue(|| self.backend.seal_many(&self.stream, jobs));
    }

    /// [`open_in_place`](Self::open_in_place) for several boxes in order, up to the first that
    /// does not open; tells how many did.
    pub(crate) fn open_many(&self, jobs: &mut [Job<'_>]) -> usize {
        without_residue(|| self.backend.open_many(&self.stream, jobs))
    }
}

impl fmt::Debug for TrafficKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficKey(..)")
    }
}

//! What a judge can compute.
#![forbid(unsafe_code)]

/// Bytes of a key, of a secret key and of a point.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce of XSalsa20 or XChaCha20.
pub const NONCE_LEN: usize = 24;
/// Bytes of a tag of Poly1305.
pub const TAG_LEN: usize = 16;
/// Bytes of one block of key stream.
pub const BLOCK_LEN: usize = 64;

/// A key, a secret key or a point.
pub type Key = [u8; KEY_LEN];
/// A nonce.
pub type Nonce = [u8; NONCE_LEN];
/// A tag.
pub type Tag = [u8; TAG_LEN];

/// Another implementation of what CURVE is made of.
pub trait Judge: Sync {
    /// Its name and, if it was loaded, its version.
    fn name(&self) -> &str;
    /// X25519. `None` if the point is of low order.
    fn multiply(&self, secret: &Key, point: &Key) -> Option<Key>;
    /// X25519 with the base point.
    fn public_key(&self, secret: &Key) -> Key;
    /// The box of a text between two pairs, as NaCl's `crypto_box`. `None` if the public key is of
    /// low order.
    fn seal_box(&self, secret: &Key, public: &Key, nonce: &Nonce, text: &[u8]) -> Option<Vec<u8>>;
    /// The box of a text: tag, then XSalsa20's ciphertext.
    fn seal(&self, key: &Key, nonce: &Nonce, text: &[u8]) -> Vec<u8>;
    /// The text of a box.
    fn open(&self, key: &Key, nonce: &Nonce, boxed: &[u8]) -> Option<Vec<u8>>;
    /// A block of XSalsa20's key stream.
    fn block(&self, key: &Key, nonce: &Nonce, number: u32) -> [u8; BLOCK_LEN];
    /// Poly1305 of a text.
    fn mac(&self, key: &Key, text: &[u8]) -> Tag;
    /// XChaCha20-Poly1305: ciphertext, then tag.
    fn seal_cookie(&self, key: &Key, nonce: &Nonce, context: &[u8], text: &[u8]) -> Vec<u8>;
    /// The text of what [`seal_cookie`](Self::seal_cookie) makes.
    fn open_cookie(
        &self,
        key: &Key,
        nonce: &Nonce,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>>;
}

//! Keyed BLAKE2b (RFC 7693), used to compare stored passwords.
#![forbid(unsafe_code)]

use crate::crypto::random::RandomSource;
use crate::crypto::stack_wipe::with_clean_stack;
use crate::error::LocalError;
use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::generic_array::GenericArray;
use blake2::digest::{FixedOutput, KeyInit, Update};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A random key, wiped on drop, never shown.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HashKey(Box<[u8; 64]>);

/// A keyed hash of a name and its secret. Without the key it reveals nothing about either. All tags
/// have the same length, however long the secret is.
#[derive(Clone, Copy)]
pub(crate) struct Tag([u8; 32]);

impl HashKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the source fails.
    pub(crate) fn generate(source: &dyn RandomSource) -> Result<Self, LocalError> {
        let mut key = Self(Box::new([0; 64]));
        source.fill(&mut key.0[..])?;
        Ok(key)
    }

    /// The tag of `secret` for `name`. The name's length comes first, so that no two pairs hash the
    /// same bytes. The name is hashed too, so that users with equal secrets have different tags.
    pub(crate) fn tag(&self, name: &[u8], secret: &[u8]) -> Tag {
        with_clean_stack(|| {
            let mut hash = Blake2bMac::<U32>::new(GenericArray::from_slice(&self.0[..]));
            hash.update(&(name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update(secret);
            Tag(hash.finalize_fixed().into())
        })
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl Tag {
    /// A tag that no secret has, for comparisons whose result is ignored.
    pub(crate) const NONE: Self = Self([0; 32]);
}

impl ConstantTimeEq for Tag {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> HashKey {
        HashKey(Box::new([byte; 64]))
    }

    fn equal(one: Tag, other: Tag) -> bool {
        one.ct_eq(&other).into()
    }

    #[test]
    fn the_hash_is_keyed_blake2b_with_32_bytes() {
        // Judged by Python's hashlib.blake2b(data, key=bytes(64), digest_size=32), where data is
        // 00 00 00 00 00 00 00 05 "admin" "secret".
        let expected = [
            0xae, 0x71, 0x44, 0x4e, 0x73, 0xef, 0xb2, 0xa6, 0x15, 0x19, 0x72, 0xd5, 0x0f, 0xf9,
            0x0e, 0x96, 0x96, 0x8c, 0xa0, 0xe5, 0x25, 0xb4, 0x31, 0x1c, 0xbe, 0x11, 0x2b, 0xca,
            0x9d, 0xaa, 0x10, 0x22,
        ];
        assert_eq!(key(0).tag(b"admin", b"secret").0, expected);
    }

    #[test]
    fn equal_only_for_the_same_key_name_and_secret() {
        let tag = key(1).tag(b"ab", b"c");
        assert!(equal(tag, key(1).tag(b"ab", b"c")));
        assert!(!equal(tag, key(2).tag(b"ab", b"c")));
        assert!(!equal(tag, key(1).tag(b"a", b"bc")));
        assert!(!equal(tag, key(1).tag(b"ab", b"cc")));
        assert!(!equal(tag, Tag::NONE));
    }
}

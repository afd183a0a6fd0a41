//! CURVE key types (RFC 26; Curve25519 as in RFC 7748).
#![forbid(unsafe_code)]

use crate::crypto::random::{self, RandomSource};
use crate::crypto::x25519;
use crate::error::LocalError;
use crate::wire::z85::{self, Z85Error};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Why bytes or a text are not a key. Every key goes through these checks, whatever it is read
/// from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not Z85.
    #[error(transparent)]
    Z85(#[from] Z85Error),
    /// The number of bytes is not 32.
    #[error("a key has 32 bytes, not {0}")]
    Length(usize),
    /// A public key of low order, all zeros included. Every secret key agrees with it on the same
    /// shared secret, which everyone knows.
    #[error("the public key is of low order, so it protects nothing")]
    LowOrder,
    /// A second encoding of another public key. X25519 treats the two as the same key, but policy
    /// would treat them as different keys.
    #[error("the public key is not in canonical form")]
    NotCanonical,
    /// A secret key of zeros only, which stands for "no key".
    #[error("the secret key is all zeros: there is no key")]
    NoSecret,
}

/// All little-endian u-coordinates below 2^255 whose points are of low order on the curve or its
/// twist, canonical or not: 0 (order 2), 1 and -1 (order 4), two of order 8, and the second
/// encodings of 0 and 1.
const LOW_ORDER: [[u8; 32]; 7] = [
    edge(0, 0, 0),
    edge(1, 0, 0),
    edge(0xEC, 0xFF, 0x7F),
    edge(0xED, 0xFF, 0x7F),
    edge(0xEE, 0xFF, 0x7F),
    *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\
       \xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
    *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\
       \x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
];

/// A little-endian number with first byte `low`, last byte `high`, and the 30 bytes between them
/// all `middle`.
const fn edge(low: u8, middle: u8, high: u8) -> [u8; 32] {
    let mut number = [middle; 32];
    number[0] = low;
    number[31] = high;
    number
}

/// Whether `bytes` are a number below p = 2^255 - 19, the form that X25519 returns (RFC 7748,
/// section 5). Public keys are not secret, so this does not take constant time.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    *high < 0x7F || *high == 0x7F && (*low < 0xED || middle.iter().any(|byte| *byte != 0xFF))
}

/// A Curve25519 public key, 32 bytes. `Display` and `FromStr` use 40 characters of Z85 (RFC 32).
///
/// Each key has exactly one encoding. X25519 ignores the top bit and reduces the rest modulo p, so
/// without this rule a peer could prove one key under several byte strings, and policy would be
/// asked about a different key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the raw 32 bytes.
    ///
    /// # Errors
    /// Returns [`KeyError::LowOrder`] if the point is of low order, [`KeyError::NotCanonical`] if
    /// bit 255 is set or the number is not below 2^255 - 19.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let mut number = bytes;
        number[31] &= 0x7F;
        // The last byte tells nearly every key from these.
        let mut alike = LOW_ORDER.iter().filter(|low| low[31] == number[31]);
        if alike.any(|low| *low == number) {
            return Err(KeyError::LowOrder);
        }
        if !is_canonical(&bytes) {
            return Err(KeyError::NotCanonical);
        }
        Ok(Self(bytes))
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 40 characters of Z85.
    ///
    /// # Errors
    /// Returns [`KeyError::Z85`] if the text is not 40 characters of Z85, and the errors of
    /// [`PublicKey::from_bytes`].
    pub fn from_z85(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(*z85::decode_key(text.as_bytes())?)
    }

    /// The key as 40 characters of Z85.
    #[must_use]
    pub fn to_z85(&self) -> String {
        self.z85_bytes().map(char::from).iter().collect()
    }

    /// The same 40 characters as bytes.
    pub(crate) fn z85_bytes(&self) -> [u8; 40] {
        z85::encode_public_key(&self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_z85())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_z85(text)
    }
}

impl TryFrom<[u8; 32]> for PublicKey {
    type Error = KeyError;

    fn try_from(bytes: [u8; 32]) -> Result<Self, Self::Error> {
        Self::from_bytes(bytes)
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let array = bytes
            .try_into()
            .map_err(|_| KeyError::Length(bytes.len()))?;
        Self::from_bytes(array)
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// With feature `serde` a public key is a string of 40 characters of Z85.
#[cfg(feature = "serde")]
impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_z85())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_z85(&text).map_err(serde::de::Error::custom)
    }
}

/// A Curve25519 secret key, 32 bytes. It lives in one place on the heap, so a move copies nothing.
/// It is wiped on drop, and `Debug` does not show it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(Box<[u8; 32]>);

impl SecretKey {
    /// Copies the raw 32 bytes. The caller wipes the original.
    ///
    /// # Errors
    /// Returns [`KeyError::NoSecret`] if all bytes are zero.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let mut key = Self(Box::new([0; 32]));
        key.0.copy_from_slice(bytes);
        key.checked().ok_or(KeyError::NoSecret)
    }

    /// The key, unless it is all zeros.
    fn checked(self) -> Option<Self> {
        (!bool::from(self.0[..].ct_eq(&[0; 32]))).then_some(self)
    }

    /// Draws a fresh key.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the source fails, or gives zeros only.
    pub fn generate(source: &dyn RandomSource) -> Result<Self, LocalError> {
        let mut key = Self(Box::new([0; 32]));
        source.fill(&mut key.0[..])?;
        key.checked().ok_or(LocalError::Random)
    }

    /// Parses 40 characters of Z85.
    ///
    /// # Errors
    /// Returns [`KeyError::Z85`] if the text is not 40 characters of Z85, and the errors of
    /// [`SecretKey::from_bytes`].
    pub fn from_z85(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&*z85::decode_key(text.as_bytes())?)
    }

    /// The key as 40 characters of Z85, wiped on drop.
    #[must_use]
    pub fn to_z85(&self) -> Zeroizing<String> {
        z85::encode_key(&self.0)
    }

    /// The raw 32 bytes. Do not copy them into anything that is not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that belongs to this secret key: the base point multiplied by it (RFC 7748).
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        x25519::with_clean_stack(|| PublicKey(x25519::multiply_base(&self.0)))
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_z85(text)
    }
}

impl ConstantTimeEq for SecretKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0[..].ct_eq(&other.0[..])
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A secret key and its public key, which always belong together.
#[derive(Clone, Debug)]
pub struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    /// Computes the public key of `secret`.
    #[must_use]
    pub fn from_secret(secret: SecretKey) -> Self {
        let public = secret.public_key();
        Self { secret, public }
    }

    /// Draws a fresh pair from the operating system.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the operating system's random source fails.
    pub fn generate() -> Result<Self, LocalError> {
        Self::generate_from(&random::OsRandom)
    }

    /// Draws a fresh pair from `source`.
    ///
    /// # Errors
    /// Returns [`LocalError::Random`] if the source fails.
    pub fn generate_from(source: &dyn RandomSource) -> Result<Self, LocalError> {
        SecretKey::generate(source).map(Self::from_secret)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The secret half.
    #[must_use]
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_convert_and_parse_back() {
        let pair = KeyPair::generate().unwrap();
        let key = pair.public_key();
        assert_eq!(PublicKey::try_from(*key.as_bytes()), Ok(key));
        assert_eq!(PublicKey::try_from(key.as_ref()), Ok(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        let secret: SecretKey = pair.secret_key().to_z85().parse().unwrap();
        assert!(bool::from(secret.ct_eq(pair.secret_key())));
        assert_eq!(PublicKey::try_from(&[7; 31][..]), Err(KeyError::Length(31)));
        assert_eq!(PublicKey::try_from([0; 32]), Err(KeyError::LowOrder));
        assert_eq!(
            "".parse::<SecretKey>().err(),
            Some(Z85Error::KeyLength(0).into())
        );
    }

    /// C in INITIATE, a ZAP request, a certificate and a policy all come through here.
    #[test]
    fn a_public_key_has_one_encoding_and_no_low_order() {
        let key = *KeyPair::generate().unwrap().public_key().as_bytes();
        assert!(PublicKey::from_bytes(key).is_ok());
        let mut with_top_bit = key;
        with_top_bit[31] |= 0x80;
        let refused = Err(KeyError::NotCanonical);
        assert_eq!(PublicKey::from_bytes(with_top_bit), refused);
        let text = z85::encode(&with_top_bit).unwrap();
        assert_eq!(PublicKey::from_z85(&text), refused);
        // 2^255 - 19 + n, for every n that fits: 0 and 1 are of low order.
        for low in 0xEF..=0xFF {
            assert_eq!(PublicKey::from_bytes(edge(low, 0xFF, 0x7F)), refused);
        }
        for low in 2..=0xEB {
            assert!(PublicKey::from_bytes(edge(low, 0xFF, 0x7F)).is_ok());
            assert_eq!(PublicKey::from_bytes(edge(low, 0xFF, 0xFF)), refused);
        }
        for number in LOW_ORDER {
            for top in [0, 0x80] {
                let mut number = number;
                number[31] |= top;
                assert_eq!(PublicKey::from_bytes(number), Err(KeyError::LowOrder));
            }
        }
    }

    #[test]
    fn a_secret_key_of_zeros_is_no_key_wherever_it_comes_from() {
        struct Zeros;
        impl RandomSource for Zeros {
            fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
                buffer.fill(0);
                Ok(())
            }
        }
        let zeros = z85::encode(&[0; 32]).unwrap();
        assert_eq!(
            SecretKey::from_bytes(&[0; 32]).err(),
            Some(KeyError::NoSecret)
        );
        assert_eq!(SecretKey::from_z85(&zeros).err(), Some(KeyError::NoSecret));
        assert_eq!(SecretKey::generate(&Zeros).err(), Some(LocalError::Random));
        assert!(SecretKey::from_bytes(&edge(1, 0, 0)).is_ok());
    }

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_where_secret_keys_differ() {
        use crate::timing::{Class, assert_same_time};
        let own = SecretKey::from_bytes(&[0x5a; 32]).unwrap();
        assert_same_time(
            "secret keys, first or last byte",
            100_000,
            |class, _| {
                let mut given = [0x5a; 32];
                given[if class == Class::One { 0 } else { 31 }] ^= 1;
                SecretKey::from_bytes(&given).unwrap()
            },
            |given| bool::from(own.ct_eq(given)),
        );
    }
}

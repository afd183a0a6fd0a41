//! CURVE key types (RFC 26; Curve25519 as in RFC 7748).
#![forbid(unsafe_code)]

use crate::crypto::random::{self, RandomSource};
use crate::crypto::x25519;
use crate::error::LocalError;
use crate::wire::z85::{self, Z85Error};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A Curve25519 public key, 32 bytes. Shown and parsed as 40 characters of Z85 (RFC 32).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the raw 32 bytes. Any 32 bytes are a public key; those of low order are refused
    /// when a secret is agreed with them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 40 characters of Z85.
    ///
    /// # Errors
    /// [`Z85Error`] for another length, a character outside the alphabet, or an overflow.
    pub fn from_z85(text: &str) -> Result<Self, Z85Error> {
        z85::decode_key(text.as_bytes()).map(|key| Self(*key))
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
    type Err = Z85Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_z85(text)
    }
}

/// A Curve25519 secret key, 32 bytes: boxed once, so that a move copies no secret, wiped on
/// drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(Box<[u8; 32]>);

impl SecretKey {
    /// Takes a copy of the raw 32 bytes; the caller wipes his own.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut key = Box::new([0; 32]);
        key.copy_from_slice(bytes);
        Self(key)
    }

    /// Draws a fresh key.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the source fails.
    pub fn generate(source: &dyn RandomSource) -> Result<Self, LocalError> {
        let mut key = Self(Box::new([0; 32]));
        source.fill(&mut key.0[..])?;
        Ok(key)
    }

    /// Parses 40 characters of Z85.
    ///
    /// # Errors
    /// [`Z85Error`] for another length, a character outside the alphabet, or an overflow.
    pub fn from_z85(text: &str) -> Result<Self, Z85Error> {
        z85::decode_key(text.as_bytes()).map(|key| Self::from_bytes(&key))
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

    /// The public key that belongs to this secret key (RFC 7748: multiplication of the base).
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        x25519::apart(|| PublicKey(x25519::multiply_base(&self.0)))
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
    /// [`LocalError::Random`] if the system has no randomness.
    pub fn generate() -> Result<Self, LocalError> {
        Self::generate_from(&random::OsRandom)
    }

    /// Draws a fresh pair from `source`.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the source fails.
    pub fn generate_from(source: &dyn RandomSource) -> Result<Self, LocalError> {
        SecretKey::generate(source).map(Self::from_secret)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret half.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

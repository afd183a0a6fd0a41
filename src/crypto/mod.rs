//! Cryptography. No other folder names a cipher crate.

pub(crate) mod boxes;
pub(crate) mod constant_time;
#[cfg(feature = "test-ciphers")]
pub mod judged;
pub(crate) mod keyed_hash;
pub(crate) mod keys;
pub(crate) mod nonce;
pub(crate) mod password;
pub(crate) mod password_hash;
pub(crate) mod random;
pub(crate) mod secretbox;
pub(crate) mod stack_wipe;
pub(crate) mod x25519;
pub(crate) mod xchacha20poly1305;

//! Implementations of the ciphers that are not ours, behind one safe interface. Tests and fuzzing
//! compare every code of the library with two of them.
#![deny(unsafe_code)]

pub mod agreement;
pub mod damage;
pub mod judge;
pub mod rust_crypto;
pub mod sodium;
pub mod wheel;

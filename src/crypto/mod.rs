//! Floor 3: the only place that names a cipher crate.

pub(crate) mod ahead;
pub(crate) mod backend;
pub mod boxes;
mod equal;
pub mod keyed_hash;
pub mod keys;
pub mod nonce;
pub mod password;
pub mod password_hash;
pub(crate) mod poly1305;
pub(crate) mod portable;
pub mod random;
pub(crate) mod residue;
pub(crate) mod salsa20;
#[cfg(target_arch = "x86_64")]
mod simd;
pub mod traffic;
pub(crate) mod x25519;
mod xchacha20poly1305;

//! XSalsa20-Poly1305, the box of CURVE: one interface over portable code and vector code.

pub(crate) mod backend;
pub(crate) mod batch;
#[cfg(feature = "test-ciphers")]
pub(crate) mod cipher_choice;
pub(crate) mod job;
pub(crate) mod poly1305;
pub(crate) mod portable;
pub(crate) mod precomputed;
pub(crate) mod salsa20;
#[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
pub(crate) mod simd;

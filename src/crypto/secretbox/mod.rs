//! XSalsa20-Poly1305, the box of CURVE: one interface over portable code and vector code.

pub(crate) mod backend;
pub(crate) mod batch;
pub(crate) mod job;
pub(crate) mod poly1305;
pub(crate) mod portable;
pub(crate) mod precomputed;
pub(crate) mod salsa20;
#[cfg(target_arch = "x86_64")]
pub(crate) mod simd;

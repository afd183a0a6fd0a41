//! What is compared.

pub mod boxes;
pub mod handshake;
pub mod heap;
pub mod idle;
pub mod policy;
pub mod storm;
pub mod topics;
pub mod traffic;
pub mod zap;

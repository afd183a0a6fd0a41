//! The tunnel in memory: handshakes that pause, nested handshakes, and traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../pair/mod.rs"]
mod pair;

mod handoffs;
mod pauses;
mod rig;
mod traffic;

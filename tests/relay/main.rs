//! The tunnel in memory: handshakes that pause, two of them in one another, and their traffic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../pair/mod.rs"]
mod pair;

mod handoffs;
mod pauses;
mod rig;
mod traffic;

//! Tests against live peers: libzmq through pyzmq, and other implementations.
#![cfg(feature = "live-interop")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[cfg(feature = "test-ciphers")]
#[path = "../named_cipher/mod.rs"]
mod named_cipher;
#[path = "../peer/omq.rs"]
mod omq;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../tiny/mod.rs"]
mod tiny;

mod certificates;
mod differential;
mod embedding;
mod implementations;
mod ironhouse;
mod links;
mod matrix;
mod peers;
mod policy;
mod porting;
mod refusals;

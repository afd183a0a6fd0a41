//! Handshakes without I/O: what completes, what is refused, and what it costs a peer.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../pair/mod.rs"]
mod pair;

mod handshakes;
mod split_points;
mod tampering;
mod wrong_states;

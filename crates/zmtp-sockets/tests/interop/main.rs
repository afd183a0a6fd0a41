//! Our sockets and live libzmq.
#![cfg(feature = "live-interop")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../../../../tests/peer/omq.rs"]
mod omq;
#[path = "../../../../tests/peer/mod.rs"]
mod peer;
// The other test program uses the rest.
#[allow(dead_code)]
#[path = "../patterns/securities.rs"]
mod securities;

mod both_sides;
mod matrix;
mod options;
mod publishing;
mod restarts;
mod rules;

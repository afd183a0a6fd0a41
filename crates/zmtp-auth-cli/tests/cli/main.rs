//! The program, end to end: each test runs the binary and reads what it says.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod ignored;
#[cfg(feature = "live-interop")]
mod interop;
mod local;
#[path = "../../../../tests/net_peers/mod.rs"]
mod net_peers;
mod options;
mod passwd;
mod patterns;
#[cfg(feature = "live-interop")]
#[path = "../../../../tests/peer/mod.rs"]
mod peer;
mod peers;
mod permitted;
mod policies;
mod probe;
mod program;
mod sockets;
mod tunnel;
mod undrained;
mod zap;

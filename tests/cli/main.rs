//! The program, end to end: each test runs the binary and reads what it says.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[cfg(feature = "live-interop")]
mod interop;
mod local;
mod options;
mod passwd;
#[cfg(feature = "live-interop")]
#[path = "../peer/mod.rs"]
mod peer;
mod probe;
mod program;
mod sockets;
mod undrained;
mod zap;

//! Tunnels over sockets: which traffic crosses them, which peers they refuse, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(feature = "tokio")]

#[path = "../net_peers/mod.rs"]
mod net_peers;
#[cfg(feature = "live-interop")]
#[path = "../peer/mod.rs"]
mod peer;

mod crossing;
mod endings;
#[cfg(feature = "live-interop")]
mod interop;
#[cfg(unix)]
mod killed;
mod load;
mod refusals;
mod rig;

#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

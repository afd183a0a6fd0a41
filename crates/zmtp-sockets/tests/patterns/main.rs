//! The patterns over loopback, between our own sockets.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod cancelled;
mod churn;
mod closing;
mod dying;
mod events;
mod fairness;
mod floods;
mod forged;
mod forwarding;
mod inproc;
mod measured;
#[path = "../../../../tests/net_peers/mod.rs"]
mod net_peers;
mod options;
mod pair;
mod permitted;
mod pipeline;
mod publishing;
mod request_reply;
mod revoked;
mod routing;
mod securities;
mod streams;
mod user_ids;
mod withdrawn;

/// Counts the live bytes of all threads.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

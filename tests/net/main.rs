//! Sockets on tokio: clients, servers, refusals, revocation, traffic.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]
#![cfg(feature = "tokio")]

#[path = "../log_lines/mod.rs"]
mod log_lines;
#[path = "../net_peers/mod.rs"]
mod net_peers;

mod clients;
#[cfg(unix)]
mod descriptors;
mod ends;
mod grants;
mod in_process;
mod log_spans;
mod mechanisms;
mod pubsub;
mod queues;
mod refusals;
mod revocation;
mod traffic;

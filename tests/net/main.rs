//! Sockets on tokio: clients, servers, refusals, revocation, traffic.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

#[path = "../net_peers/mod.rs"]
mod net_peers;

#[cfg(feature = "tokio")]
mod clients;
#[cfg(all(unix, feature = "tokio"))]
mod descriptors;
#[cfg(feature = "tokio")]
mod grants;
#[cfg(feature = "tokio")]
mod mechanisms;
#[cfg(feature = "tokio")]
mod pubsub;
#[cfg(feature = "tokio")]
mod refusals;
#[cfg(feature = "tokio")]
mod revocation;
#[cfg(feature = "tokio")]
mod traffic;

//! Sockets that someone else has written, secured by `host`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

mod any_runtime;
#[cfg(feature = "tokio")]
mod auth_stream;
#[cfg(feature = "tokio")]
mod conduct;
#[cfg(feature = "tokio")]
mod failures;
#[cfg(feature = "futures-io")]
mod futures_stream;
#[cfg(feature = "tokio")]
mod messages;
#[cfg(feature = "tokio")]
mod parties;
#[cfg(feature = "tokio")]
mod sockets;

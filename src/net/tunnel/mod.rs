//! A tunnel over sockets.
//!
//! `acceptor.rs` accepts connections, `session.rs` conducts the handshakes on both sides, and
//! `forward.rs` carries the messages that follow. `far_side_backoff.rs` decides when a far side
//! that failed is dialled again. `user_ids.rs` finds peers that share a user id, and
//! `rate_limited_log.rs` bounds the log lines that peers can cause.

pub(crate) mod acceptor;
pub(crate) mod far_side_backoff;
pub(crate) mod forward;
pub(crate) mod options;
pub(crate) mod rate_limited_log;
pub(crate) mod session;
pub(crate) mod user_ids;

pub use acceptor::Tunnel;
pub use options::TunnelOptions;

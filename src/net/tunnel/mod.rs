//! A tunnel over sockets: `listening.rs` takes connections, `meeting.rs` shakes hands on both
//! sides, `traffic.rs` carries what follows. `backoff.rs` says when a far side is asked again,
//! `names.rs` which peers would have one identity.

mod backoff;
mod listening;
mod meeting;
mod names;
pub(crate) mod options;
mod sparse_log;
mod traffic;

pub use listening::Tunnel;
pub use options::{TunnelError, TunnelOptions};

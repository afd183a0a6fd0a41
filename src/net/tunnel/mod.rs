//! A tunnel over sockets: `listening.rs` takes connections, `meeting.rs` shakes hands on both
//! sides, `traffic.rs` carries what follows.

mod listening;
mod meeting;
pub(crate) mod options;
mod traffic;

pub use listening::Tunnel;
pub use options::{TunnelError, TunnelOptions};

//! A tunnel over sockets: `acceptor.rs` takes connections, `session.rs` shakes hands on both
//! sides, `forward.rs` carries what follows. `backoff.rs` says when a far side is asked again,
//! `names.rs` which peers would have one identity.

pub(crate) mod acceptor;
pub(crate) mod backoff;
pub(crate) mod forward;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod session;
pub(crate) mod sparse_log;

pub use acceptor::Tunnel;
pub use options::TunnelOptions;

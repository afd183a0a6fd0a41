//! Accepting connections, and the bounds on handshakes and connections.

pub(crate) mod acceptor;
pub(crate) mod connection_limit;
pub(crate) mod crowd;
pub(crate) mod descriptors;
pub(crate) mod eviction;
pub(crate) mod inbound;
pub(crate) mod slots;

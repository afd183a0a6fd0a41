//! Clients that connect again when a connection is lost.

pub(crate) mod connector;
pub(crate) mod reconnecting;
pub(crate) mod retry_delay;

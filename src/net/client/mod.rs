//! Clients that connect again and again.

pub(crate) mod backoff;
pub(crate) mod connector;
pub(crate) mod reconnecting;

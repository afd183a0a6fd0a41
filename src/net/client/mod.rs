//! Clients that connect again and again.

pub(crate) mod connector;
pub(crate) mod reconnecting;
pub(crate) mod retry_delay;

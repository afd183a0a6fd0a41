//! Address rules and lists of a policy, with blocks of addresses and IPv6 zones.

pub(crate) mod block;
mod difference;
pub(crate) mod list;
pub(crate) mod rule;
pub(crate) mod zone;

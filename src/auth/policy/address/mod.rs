//! Addresses as a policy names them: rules, blocks, lists, zones.

pub(crate) mod block;
pub(crate) mod list;
pub(crate) mod rule;
pub(crate) mod zone;

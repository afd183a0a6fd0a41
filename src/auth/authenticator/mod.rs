//! The `Authenticator`: its handle, and one file for each group of methods.

pub(crate) mod auditing;
mod change_keys;
pub(crate) mod changes;
pub(crate) mod configure_addresses;
pub(crate) mod configure_curve;
pub(crate) mod configure_plain;
pub(crate) mod configure_topics;
pub(crate) mod configured;
pub(crate) mod decision;
pub(crate) mod ending;
pub(crate) mod explain;
pub(crate) mod handle;

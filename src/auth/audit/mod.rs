//! Audit events of an `Authenticator`: its decisions and changes.

pub(crate) mod event;
pub(crate) mod log;

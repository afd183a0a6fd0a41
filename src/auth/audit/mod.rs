//! Audit events of an `Authenticator`: its decisions and changes.

pub(crate) mod event;
#[cfg(feature = "serde")]
pub(crate) mod json;
pub(crate) mod log;

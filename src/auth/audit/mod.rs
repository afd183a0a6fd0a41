//! What an `Authenticator` tells of its decisions and changes.

pub(crate) mod event;
pub(crate) mod log;

//! PLAIN (RFC 24): a name and a password, in clear.

pub(super) mod client;
pub(super) mod commands;
pub(super) mod server;

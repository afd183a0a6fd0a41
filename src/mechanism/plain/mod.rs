//! PLAIN (RFC 24): a user name and a password, sent in clear.

pub(super) mod client;
pub(super) mod commands;
pub(super) mod server;

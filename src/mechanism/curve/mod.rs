//! CURVE (RFC 25 and 26): mutual authentication and encryption.

pub(super) mod client;
pub(super) mod commands;
mod cookie;
pub(super) mod server;

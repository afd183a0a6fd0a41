//! The types of sockets.

#[macro_use]
mod common;
pub(crate) mod pull;
pub(crate) mod push;

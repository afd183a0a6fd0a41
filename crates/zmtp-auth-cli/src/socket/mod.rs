//! What a socket is told and tells: its arguments, lines of stdin, messages.
#![forbid(unsafe_code)]

pub(crate) mod arguments;
pub(crate) mod conversation;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod outlet;
pub(crate) mod socket_type;

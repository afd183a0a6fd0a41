//! A socket's options, the lines that it sends, and the messages that it receives.
#![forbid(unsafe_code)]

pub(crate) mod arguments;
pub(crate) mod conversation;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod outlet;
pub(crate) mod socket_type;

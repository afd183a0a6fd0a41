//! A socket's options, the lines that it sends, and the messages that it receives.
#![forbid(unsafe_code)]

pub(crate) mod any_socket;
pub(crate) mod arguments;
pub(crate) mod bound;
pub(crate) mod dialled;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod outgoing;
pub(crate) mod peers;
pub(crate) mod socket_type;
pub(crate) mod stop;

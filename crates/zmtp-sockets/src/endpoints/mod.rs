//! The endpoints of a socket: listeners, dialled peers, and the tasks that run them.

pub(crate) mod bound;
pub(crate) mod dialled;
pub(crate) mod handle;
pub(crate) mod hub;
pub(crate) mod inproc;
pub(crate) mod pattern;
pub(crate) mod source;

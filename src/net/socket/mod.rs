//! Streams over tcp and ipc: how they are bound, read and written.

pub(crate) mod bind;
pub(crate) mod open_stream;
#[cfg(unix)]
pub(crate) mod socket_file;
pub(crate) mod stream;

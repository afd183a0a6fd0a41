//! Messages over a host's own buffers: the two halves of a secured connection.

pub(crate) mod halves;
pub(crate) mod reader;
pub(crate) mod replies_ready;
pub(crate) mod shared;
pub(crate) mod writer;

pub use reader::MessageReader;
pub use replies_ready::RepliesReady;
pub use writer::MessageWriter;

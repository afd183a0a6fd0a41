//! An established connection without I/O: bodies sealed and opened, frames, messages, heartbeats.

pub mod frames;
pub mod heartbeat;
pub(crate) mod heartbeat_queue;
#[cfg(feature = "tokio")]
pub(crate) mod inbox;
pub(crate) mod input;
#[cfg(feature = "tokio")]
pub(crate) mod message;
pub(crate) mod outbox;
#[cfg(feature = "tokio")]
pub(crate) mod outgoing;
pub(crate) mod parts;
pub mod seal;

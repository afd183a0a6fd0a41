//! An established connection without I/O.
//!
//! [`Channel`] does everything: it turns bytes into messages and messages into bytes, and answers and
//! sends heartbeats. [`frames`], [`heartbeat`] and [`seal`] are its parts, for hosts that need only
//! one of them.

pub(crate) mod channel;
pub mod frames;
pub mod heartbeat;
pub(crate) mod heartbeat_queue;
pub(crate) mod inbox;
pub(crate) mod input;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod outgoing;
pub(crate) mod parts;
pub mod seal;

pub use channel::Channel;
pub use inbox::Incoming;
pub use message::Message;
pub use outgoing::Outgoing;

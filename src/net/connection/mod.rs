//! One established connection: its handle, its halves, and the task that drives it.

pub(crate) mod activity;
pub(crate) mod driver;
pub(crate) mod ending;
mod futures;
pub(crate) mod halves;
pub(crate) mod handle;
pub(crate) mod link;
pub(crate) mod queue;
pub(crate) mod queues;
pub(crate) mod send_queue;
pub(crate) mod sendable;
pub(crate) mod try_error;
pub(crate) mod wake;

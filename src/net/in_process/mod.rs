//! Connections between two sockets of one process: queues and a task, and no wire.

pub(crate) mod passing;
pub(crate) mod side;

//! The libraries that ours is compared with.

pub mod pyzmq;
pub mod zmq;

//! Messages a second, and what they cost.

pub mod auth_stream;
pub mod fan_out;
pub mod links;
pub mod many_connections;
pub mod sockets;
pub mod tunnel;

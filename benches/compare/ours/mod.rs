//! Ends of connections of this library.

pub mod in_memory;
pub mod over_tcp;

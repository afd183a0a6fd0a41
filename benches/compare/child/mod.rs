//! Child processes: each end of a connection has one.

pub mod handle;
pub mod job;
pub mod under_load;

//! The queues of a connection: without waiting, bounded, and beyond the connection.

mod outliving;
mod polling;

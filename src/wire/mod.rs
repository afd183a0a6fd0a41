//! Bytes to values and back. No crypto, no state, no allocation by a length that the
//! peer merely claims.

pub mod command;
pub(crate) mod curve_message;
pub mod frame;
pub mod greeting;
pub mod metadata;
pub(crate) mod reader;
pub mod socket_type;
pub mod z85;

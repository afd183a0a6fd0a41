//! The wire formats of ZMTP 3.1: bytes to values and back. No cryptography, no state, and no
//! allocation by a length that a peer merely claims.

pub mod command;
pub(crate) mod curve_message;
pub mod frame;
pub mod greeting;
pub mod metadata;
pub(crate) mod reader;
pub mod socket_type;
pub mod z85;

//! The output of the program, on stdout and stderr.
#![forbid(unsafe_code)]

pub(crate) mod console;
pub(crate) mod decisions;
pub(crate) mod events;
pub(crate) mod printable;
pub(crate) mod refused;
pub(crate) mod repeats;
pub(crate) mod stderr;

//! Times and their medians.

pub mod pairing;
pub mod stopwatch;

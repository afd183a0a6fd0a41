//! What several types of sockets share.

#[macro_use]
mod combinators;
#[macro_use]
pub(crate) mod both_ways;

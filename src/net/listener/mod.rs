//! A bound endpoint, and what it tells of the peers that come.

pub(crate) mod events;
pub(crate) mod handle;

//! The peers of a socket: the news of them, and the events about them.
#![forbid(unsafe_code)]

pub(crate) mod dropped;
pub(crate) mod known;
pub(crate) mod news;
pub(crate) mod table;
pub(crate) mod told;
pub(crate) mod who;

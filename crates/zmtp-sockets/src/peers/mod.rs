//! The peers of one socket: fair receiving, and sending in turn.

pub(crate) mod admission;
pub(crate) mod fair_queue;
pub(crate) mod held;
pub(crate) mod news;
pub(crate) mod outlet;
pub(crate) mod picking;
pub(crate) mod round_robin;
pub(crate) mod routes;
pub(crate) mod routing_ids;
pub(crate) mod sending;
pub(crate) mod turns;

//! What threads and tasks wait by: an event count, a promise of one value, a few threads, a poll loop.

pub(crate) mod block_on;
pub(crate) mod event_count;
pub(crate) mod thread_pool;

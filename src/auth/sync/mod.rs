//! What threads and tasks share: an event count, a pool of threads, a registry, a poll loop.

pub(crate) mod block_on;
pub(crate) mod event_count;
pub(crate) mod thread_pool;
pub(crate) mod weak_registry;

//! Synchronisation between threads and tasks: an event count, a thread pool, a registry, and a
//! `block_on`.

pub(crate) mod block_on;
pub(crate) mod event_count;
pub(crate) mod thread_pool;
pub(crate) mod weak_registry;

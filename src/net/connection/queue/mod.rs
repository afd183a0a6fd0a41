//! A queue between one producer and one consumer, bounded by bytes instead of by items.
//!
//! The producer waits for room and then pushes, and the consumer waits and then takes. So an item
//! is never inside a future that may be dropped, and both waits are cancel-safe.
//!
//! # One lock for many items
//!
//! The consumer swaps the whole list of items for an empty one and takes them from its own copy.
//! The two sides meet at the lock once for many items, and hold it for a few instructions. Fetched
//! items count against the limit until they are taken. A lock-free list was measured instead: it
//! takes twice the time on one thread and three times on two, since it passes each item on alone.
//!
//! # One item for many queues
//!
//! An item may grow while it is the last one of a queue: a [`MessageRun`], which many queues share. Its
//! growth ends when another item follows it, or the consumer of one of these queues fetches it. What it has
//! grown by counts from then on, in each queue.
//!
//! # Wake-ups
//!
//! Each side registers its waker under the lock, in the same critical section that finds nothing
//! to do. The other side changes the state under the lock and takes the waker there, so no change
//! can fall between a check and the registration. It calls the waker after the lock is released,
//! because a waker is foreign code.
//!
//! Waking for every item would cost more than the item. So both sides delay wake-ups:
//!
//! - A deferred consumer is woken at the end of the producer's turn, or at once when half of the
//!   limit waits ([`Waiting`]).
//! - A producer that waits for room learns of taken items only when the consumer has emptied its
//!   copy, or has taken a quarter of the limit in bytes or half of the limit in items.
//!
//! [`MessageRun`]: crate::net::connection::queue::run::MessageRun
//! [`Waiting`]: crate::net::connection::wake::Waiting

pub(crate) mod consumer;
pub(crate) mod item;
pub(crate) mod pair;
pub(crate) mod producer;
pub(crate) mod refused;
pub(crate) mod run;
pub(crate) mod shared;

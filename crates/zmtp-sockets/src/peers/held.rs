//! Counts connections, and those whose messages a socket holds.
#![forbid(unsafe_code)]

use crate::peers::admission::is_admitted;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use zmtp_auth::net::RecvHalf;

/// A number of connections that tasks can wait for.
#[derive(Debug, Clone)]
pub(crate) struct Count(Arc<watch::Sender<usize>>);

/// Counts one connection until it is released, or all its clones are dropped.
#[derive(Clone)]
pub(crate) struct Counted(Arc<Entry>);

struct Entry {
    count: Count,
    is_counted: AtomicBool,
}

/// Where messages of one connection come from. It counts as held until the socket drops it, or until
/// it has ended without an unread message.
pub(crate) struct Held {
    pub(crate) half: RecvHalf,
    _counted: Counted,
}

/// Where messages of one connection come from, with what the socket knows about its peer.
pub(crate) struct Inlet<D> {
    pub(crate) receiver: Held,
    pub(crate) data: D,
}

impl<D> Inlet<D> {
    /// Whether something may still be received.
    pub(crate) fn is_open(&self) -> bool {
        !self.receiver.half.is_finished()
    }

    /// Whether the peer is still admitted.
    pub(crate) fn is_admitted(&self) -> bool {
        is_admitted(self.receiver.half.peer())
    }
}

impl Count {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn add(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(Arc::new(Entry {
            count: self.clone(),
            is_counted: AtomicBool::new(true),
        }))
    }

    pub(crate) fn get(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until `is_it` holds for the number.
    pub(crate) async fn wait_for(&self, mut is_it: impl FnMut(usize) -> bool) {
        // The sender is here, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|count| is_it(*count)).await;
    }
}

impl Counted {
    /// Counts the connection no longer.
    pub(crate) fn release(&self) {
        self.0.release();
    }
}

impl Entry {
    fn release(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.count.0.send_modify(|count| *count -= 1);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.release();
    }
}

impl Held {
    pub(crate) const fn new(half: RecvHalf, counted: Counted) -> Self {
        Self {
            half,
            _counted: counted,
        }
    }
}

//! Counts the connections whose messages a socket holds.
#![forbid(unsafe_code)]

use std::sync::Arc;
use tokio::sync::watch;
use zmtp_auth::net::RecvHalf;

/// A number of connections that tasks can wait for.
#[derive(Debug, Clone)]
pub(crate) struct Count(Arc<watch::Sender<usize>>);

/// Counts one connection until it is dropped.
pub(crate) struct Counted(Count);

/// Where messages of one connection come from. It counts as held until the socket drops it: the
/// connection may have ended long before, and its messages wait to be received.
pub(crate) struct Held {
    pub(crate) half: RecvHalf,
    _counted: Counted,
}

impl Count {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn add(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
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

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
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

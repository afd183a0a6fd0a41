//! The table of handshakes in progress, shared by the tasks that conduct them.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::net::pending::{Admission, Pending, PlaceId, Progress};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Table = Mutex<Pending<oneshot::Sender<()>>>;

/// The places of one listener. Dropped, it clears all of them.
#[derive(Debug)]
pub(crate) struct Places(Arc<Table>);

/// A handshake's place, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    id: PlaceId,
}

/// Resolves when the place was cleared: to `Ok` for somebody else, to an error because the
/// listener is gone.
pub(crate) type Evicted = oneshot::Receiver<()>;

impl Places {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Pending::new(capacity))))
    }

    /// A place for a newcomer, cleared if need be; `None` if there is none to clear.
    pub(crate) fn admit(&self, address: &PeerAddress) -> Option<(Place, Evicted)> {
        let (evict, evicted) = oneshot::channel();
        let id = match lock(&self.0).admit(address, evict) {
            Admission::Free(id) => id,
            Admission::Cleared(id, loser) => {
                // A handshake that has just ended by itself needs no telling.
                let _ = loser.send(());
                id
            }
            Admission::Full(_) => return None,
        };
        let table = Arc::clone(&self.0);
        Some((Place { table, id }, evicted))
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        lock(&self.0).clear();
    }
}

impl Place {
    /// Notes how far the handshake is.
    pub(crate) fn progress(&self, progress: Progress) {
        lock(&self.table).progress(self.id, progress);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.table).leave(self.id);
    }
}

fn lock(table: &Table) -> MutexGuard<'_, Pending<oneshot::Sender<()>>> {
    // No code that holds the lock can panic half-way.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

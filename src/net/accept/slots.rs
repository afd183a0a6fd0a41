//! The table of handshakes in progress, shared by the tasks that conduct them.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::error::{Error, LimitExceeded};
use crate::lock::lock;
use crate::net::accept::descriptors::Descriptors;
use crate::net::accept::eviction::{Admission, Pending, Progress, SlotId, TooManyPause};
use crate::status::{DenialStatus, Denied, DeniedBy};
use std::future::pending;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

type Table = Mutex<Pending<oneshot::Sender<Loss>>>;

/// The places of one listener. Dropped, it clears all of them.
#[derive(Debug)]
pub(crate) struct Slots {
    table: Arc<Table>,
    most: usize,
    descriptors: Arc<Descriptors>,
}

/// A handshake's place, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    table: Arc<Table>,
    id: SlotId,
}

/// Why a place was cleared.
#[derive(Debug)]
pub(crate) enum Loss {
    /// For another handshake; what the refusal says.
    Evicted(Error),
    /// The listener is gone.
    Closed,
}

/// Where a handshake hears that its place was cleared.
#[derive(Debug)]
pub(crate) struct Evicted(Option<oneshot::Receiver<Loss>>);

impl Evicted {
    /// Waits for the loss of the place, which is told once. It never comes if the place was given
    /// back. Cancel-safe.
    pub(crate) async fn lost(&mut self) -> Loss {
        if let Some(told) = &mut self.0 {
            let told = told.await;
            self.0 = None;
            if let Ok(loss) = told {
                return loss;
            }
        }
        pending().await
    }
}

impl Slots {
    /// At most so many, and no more than the process has descriptors for.
    pub(crate) fn new(most: usize, descriptors: Arc<Descriptors>) -> Self {
        Self {
            table: Arc::new(Mutex::new(Pending::new(most))),
            most,
            descriptors,
        }
    }

    /// A place for a newcomer, cleared if need be; `None` if there is none to clear.
    pub(crate) fn admit(&self, address: &PeerAddress) -> Option<(Slot, Evicted)> {
        let (evict, evicted) = oneshot::channel();
        let capacity = self.most.min(self.descriptors.handshakes());
        let admission = {
            let mut table = lock(&self.table);
            table.set_capacity(capacity);
            table.admit(address, evict)
        };
        let id = match admission {
            Admission::Free(id) => id,
            Admission::Cleared(id, loser) => {
                // A handshake that has just ended by itself needs no telling.
                let _ = loser.send(Loss::Evicted(LimitExceeded::Evicted.into()));
                id
            }
            Admission::Full(_) => return None,
        };
        let table = Arc::clone(&self.table);
        Some((Slot { table, id }, Evicted(Some(evicted))))
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for handshake in lock(&self.table).clear() {
            let _ = handshake.send(Loss::Closed);
        }
    }
}

impl Slot {
    /// Notes how far the handshake is.
    pub(crate) fn progress(&self, progress: Progress) {
        lock(&self.table).progress(self.id, progress);
    }

    /// Notes that the handshake waits for a verdict, and ends another one for it if need be.
    ///
    /// # Errors
    /// Returns a refusal for now if too many wait already.
    pub(crate) fn pause(&self) -> Result<(), Denied> {
        let paused = lock(&self.table).pause(self.id);
        let displaced = paused.map_err(|TooManyPause| too_many_wait())?;
        if let Some(loser) = displaced {
            let _ = loser.send(Loss::Evicted(Error::Denied(too_many_wait())));
        }
        Ok(())
    }

    /// Gives the place back before the handshake is over.
    pub(crate) fn release(&self) {
        lock(&self.table).leave(self.id);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

fn too_many_wait() -> Denied {
    Denied {
        status: DenialStatus::Temporary,
        reason: "too many handshakes wait for verdicts".to_owned(),
        by: Some(Box::new(DeniedBy::new("max_pending_handshakes"))),
    }
}

//! The table of handshakes in progress, shared by the tasks that conduct them.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::error::{Error, LimitExceeded};
use crate::host::clock::{Clock, TokioClock};
use crate::lock::lock;
use crate::net::accept::crowd::SlotId;
use crate::net::accept::descriptors::Descriptors;
use crate::net::accept::eviction::{Admission, EvictionTable, Progress, TooManyPause};
use crate::status::{DenialStatus, Denied, DeniedBy};
use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::oneshot;

type Table = Mutex<EvictionTable<oneshot::Sender<Loss>>>;

/// The slots of one listener or tunnel, one for each handshake in progress.
///
/// The acceptor owns this value. The task of each handshake owns its [`Slot`] and its [`Eviction`].
/// A task reports the progress of its handshake to the slot, and the table decides by that which
/// handshake loses its slot when all are taken. The losing task learns of it through its
/// `Eviction`, which it must await together with the handshake. Every call on a lost slot does
/// nothing, so a task need not know whether it has lost its slot already.
///
/// Dropping this value ends all handshakes.
#[derive(Debug)]
pub(crate) struct Slots {
    table: Arc<Table>,
    max: usize,
    descriptors: Arc<Descriptors>,
}

/// The slot of one handshake. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    table: Arc<Table>,
    id: SlotId,
    /// Kept once the slot is freed, because dropping it wakes the task that waits for it.
    unused: OnceLock<oneshot::Sender<Loss>>,
}

/// What a handshake holds.
#[derive(Debug)]
pub(crate) struct Place {
    // Dropped before the slot. Otherwise a task that frees its slot would be told so, and be woken.
    pub(crate) eviction: Eviction,
    pub(crate) slot: Slot,
}

/// Why a handshake lost its slot.
#[derive(Debug)]
pub(crate) enum Loss {
    /// Another handshake has the slot now; the error says why.
    Evicted(Error),
    /// The listener is gone.
    Closed,
}

/// Tells a handshake that it has lost its slot.
#[derive(Debug)]
pub(crate) struct Eviction(Option<oneshot::Receiver<Loss>>);

impl Eviction {
    /// Waits for the loss of the slot, which is reported once. Never returns if the slot was freed.
    /// Cancel-safe.
    pub(crate) async fn lost(&mut self) -> Loss {
        if let Some(receiver) = &mut self.0 {
            let received = receiver.await;
            self.0 = None;
            if let Ok(loss) = received {
                return loss;
            }
        }
        pending().await
    }
}

impl Slots {
    /// At most `max` slots, and no more than the process has descriptors for.
    pub(crate) fn new(max: usize, descriptors: Arc<Descriptors>) -> Self {
        Self {
            table: Arc::new(Mutex::new(EvictionTable::new(max))),
            max,
            descriptors,
        }
    }

    /// Whether the next connection takes the slot of another handshake.
    pub(crate) fn is_full(&self) -> bool {
        lock(&self.table).is_full()
    }

    /// A slot for a new connection, for which another handshake may lose its own. `None` if every
    /// handshake is paused.
    pub(crate) fn admit(&self, address: &PeerAddress) -> Option<Place> {
        let (evict, eviction) = oneshot::channel();
        let capacity = self.max.min(self.descriptors.handshakes());
        let now = TokioClock.now();
        let (in_excess, admission) = {
            let mut table = lock(&self.table);
            let in_excess = table.set_capacity(capacity, now);
            (in_excess, table.admit(address, now, evict))
        };
        let (id, evicted) = match admission {
            Admission::Free(id) => (Some(id), None),
            Admission::Evicted(id, loser) => (Some(id), Some(loser)),
            Admission::Full(_) => (None, None),
        };
        for loser in in_excess.into_iter().chain(evicted) {
            // Fails if that handshake has just ended by itself.
            let _ = loser.send(Loss::Evicted(LimitExceeded::Evicted.into()));
        }
        let id = id?;
        let table = Arc::clone(&self.table);
        Some(Place {
            eviction: Eviction(Some(eviction)),
            slot: Slot {
                table,
                id,
                unused: OnceLock::new(),
            },
        })
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
    /// Notes how far the handshake has come.
    pub(crate) fn progress(&self, progress: Progress) {
        lock(&self.table).progress(self.id, progress, TokioClock.now());
    }

    /// Notes that the handshake waits for a verdict, and ends another one if too many wait.
    ///
    /// # Errors
    /// Returns a temporary denial if too many wait and this one may displace none of them.
    pub(crate) fn pause(&self) -> Result<(), Denied> {
        let paused = lock(&self.table).pause(self.id, TokioClock.now());
        let displaced = paused.map_err(|TooManyPause| too_many_wait())?;
        if let Some(loser) = displaced {
            let _ = loser.send(Loss::Evicted(Error::Denied(too_many_wait())));
        }
        Ok(())
    }

    /// Frees the slot before the handshake is over.
    pub(crate) fn release(&self) {
        let evict = lock(&self.table).leave(self.id);
        if let Some(evict) = evict {
            // A slot is freed once, so the cell is empty.
            let _ = self.unused.set(evict);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    struct Asleep;

    impl Wake for Asleep {
        fn wake(self: Arc<Self>) {
            panic!("the task that frees its slot is woken");
        }
    }

    #[test]
    fn a_handshake_that_is_over_does_not_wake_its_own_task() {
        let slots = Slots::new(1, Arc::default());
        let address = PeerAddress::from_zap(b"192.0.2.1");
        for is_freed_early in [false, true] {
            let mut place = slots.admit(&address).unwrap();
            let waker = Waker::from(Arc::new(Asleep));
            let mut lost = || {
                let lost = pin!(place.eviction.lost());
                lost.poll(&mut Context::from_waker(&waker)).is_pending()
            };
            assert!(lost());
            if is_freed_early {
                place.slot.release();
                assert!(!slots.is_full());
                assert!(lost());
            }
            drop(place);
            assert!(!slots.is_full());
        }
    }
}

//! Tells an audience whose topic permissions have changed.
#![forbid(unsafe_code)]

use crate::peers::news::PipeId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The peers that are to be judged again. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Judging(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there is a peer to judge. It spares the lock.
    has_some: AtomicBool,
    pipes: Mutex<BTreeSet<PipeId>>,
}

impl Judging {
    fn pipes(&self) -> MutexGuard<'_, BTreeSet<PipeId>> {
        // A panic under the lock leaves whole entries behind.
        let pipes = self.0.pipes.lock();
        pipes.unwrap_or_else(PoisonError::into_inner)
    }

    /// The permissions of a peer have changed.
    pub(crate) fn add(&self, pipe: PipeId) {
        let mut pipes = self.pipes();
        pipes.insert(pipe);
        self.0.has_some.store(true, Ordering::Release);
    }

    /// A peer is gone.
    pub(crate) fn remove(&self, pipe: PipeId) {
        self.pipes().remove(&pipe);
    }

    /// Whether [`Judging::take`] has something to return. It costs one load.
    pub(crate) fn has_some(&self) -> bool {
        self.0.has_some.load(Ordering::Acquire)
    }

    /// Takes the peers whose permissions have changed.
    pub(crate) fn take(&self) -> BTreeSet<PipeId> {
        let mut pipes = self.pipes();
        self.0.has_some.store(false, Ordering::Relaxed);
        std::mem::take(&mut pipes)
    }
}

//! What the reader and the writer of one connection share: its peer, and answers to PINGs.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::access::revoked::RevocationGuard;
use crate::host::traffic_error::TrafficError;
use crate::lock::lock;
use crate::traffic::heartbeat_queue::Pings;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

/// What the two halves share.
pub(crate) struct Shared {
    pub(crate) peer: Peer,
    /// Set as soon as the admission is revoked.
    revoked: Arc<AtomicBool>,
    replies: Mutex<Replies>,
    /// Sets `revoked`. It may be dropped with the last half.
    _guard: Option<RevocationGuard>,
}

/// Answers to PINGs, which the reader queues and the writer sends.
#[derive(Default)]
pub(crate) struct Replies {
    pub(crate) pings: Pings,
    /// Waits for an answer to be sent.
    pub(crate) writer: Option<Waker>,
    /// Waits for room for another answer.
    pub(crate) reader: Option<Waker>,
}

impl Shared {
    pub(crate) fn new(peer: Peer) -> Self {
        let revoked = Arc::new(AtomicBool::new(false));
        let guard = peer.grant().map(|grant| {
            let revoked = Arc::clone(&revoked);
            grant.on_revoked(move || revoked.store(true, Ordering::Release))
        });
        Self {
            peer,
            revoked,
            replies: Mutex::default(),
            _guard: guard,
        }
    }

    pub(crate) fn replies(&self) -> MutexGuard<'_, Replies> {
        lock(&self.replies)
    }

    /// Checks what the issuer of the grant has told.
    pub(crate) fn require_not_revoked(&self) -> Result<(), TrafficError> {
        if self.revoked.load(Ordering::Acquire) {
            return Err(TrafficError::Revoked);
        }
        Ok(())
    }

    /// Asks the issuer of the grant. This also finds the end of a validity that no timer has told.
    pub(crate) fn require_admitted(&self) -> Result<(), TrafficError> {
        self.require_not_revoked()?;
        if self.peer.grant().is_some_and(|grant| !grant.still_valid()) {
            self.revoked.store(true, Ordering::Release);
            return Err(TrafficError::Revoked);
        }
        Ok(())
    }
}

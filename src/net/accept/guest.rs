//! A peer that has come to us: its place among the handshakes, and then among the connections.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::net::accept::connection_limit::{ConnectionLimit, Permit, User};
use crate::net::accept::eviction::Progress;
use crate::net::accept::slots::Slot;
use crate::status::{DenialStatus, Denied, DeniedBy};

/// What bounds a handshake that a listener conducts.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) address: &'a PeerAddress,
    pub(crate) place: &'a Slot,
    pub(crate) connections: &'a ConnectionLimit,
}

impl Guest<'_> {
    /// Notes that the peer has sent a valid command, or has its verdict.
    pub(crate) fn spoke(self) {
        self.place.progress(Progress::Spoke);
    }

    /// Notes that the peer waits for a verdict.
    ///
    /// # Errors
    /// Returns a refusal for now if too many wait already.
    pub(crate) fn pause(self) -> Result<(), Denied> {
        self.place.pause()
    }

    /// Counts the peer among the connections.
    ///
    /// # Errors
    /// Returns a refusal for now if a bound is reached.
    pub(crate) fn enter(self, user: Option<User>) -> Result<Permit, Denied> {
        self.connections
            .take(self.address, user)
            .map_err(|crowded| {
                // Policy has just admitted the user, or was not asked.
                let by = DeniedBy {
                    knows_user: true,
                    ..DeniedBy::new(crowded.rule())
                };
                Denied {
                    status: DenialStatus::Temporary,
                    reason: crowded.to_string(),
                    by: Some(Box::new(by)),
                }
            })
    }
}

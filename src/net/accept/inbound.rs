//! A peer that connected to us: its slot during the handshake, and its permit as a connection after
//! that.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::net::accept::connection_limit::{ConnectionLimit, Permit, User};
use crate::net::accept::eviction::Progress;
use crate::net::accept::slots::Slot;
use crate::status::{DenialStatus, Denied, DeniedBy};

/// What bounds the handshake of a peer that connected to us.
#[derive(Clone, Copy)]
pub(crate) struct InboundPeer<'a> {
    pub(crate) address: &'a PeerAddress,
    pub(crate) slot: &'a Slot,
    pub(crate) connections: &'a ConnectionLimit,
}

impl InboundPeer<'_> {
    /// Notes that the peer has sent a valid command, or that its verdict has come.
    pub(crate) fn spoke(self) {
        self.slot.progress(Progress::Spoke);
    }

    /// Notes that the peer waits for a verdict.
    ///
    /// # Errors
    /// Returns a temporary denial if too many wait already.
    pub(crate) fn pause(self) -> Result<(), Denied> {
        self.slot.pause()
    }

    /// Counts the peer among the connections, for as long as the permit lives.
    ///
    /// # Errors
    /// Returns a temporary denial if a bound is reached.
    pub(crate) fn acquire_permit(self, user: Option<User>) -> Result<Permit, Denied> {
        self.connections
            .acquire(self.address, user)
            .map_err(|reached| {
                // Policy has just admitted this user, or was not asked at all.
                let by = DeniedBy {
                    knows_user: true,
                    ..DeniedBy::new(reached.rule())
                };
                Denied {
                    status: DenialStatus::Temporary,
                    reason: reached.to_string(),
                    by: Some(Box::new(by)),
                }
            })
    }
}

//! What the owner of a socket adds to a handshake.
#![forbid(unsafe_code)]

use crate::access::request::AccessRequest;
use crate::access::verdict::Approval;
use crate::status::Denied;

/// What the owner of a socket adds to the handshake of one peer: bounds over all its peers. `net`
/// has slots and permits. `()` has no such bounds.
pub(crate) trait HandshakeOwner {
    /// The peer has sent a valid command, or its verdict has come.
    fn spoke(&self);

    /// The handshake begins to wait for a verdict, or for the metadata of a relay.
    ///
    /// # Errors
    /// Returns a temporary denial if too many wait already.
    fn pause(&self) -> Result<(), Denied>;

    /// The peer is about to be admitted, but has not learnt so. `approved` is present if policy was
    /// asked about the peer.
    ///
    /// # Errors
    /// Returns a temporary denial if a bound is reached.
    fn admit(&mut self, approved: Option<(&AccessRequest, &Approval)>) -> Result<(), Denied>;
}

impl HandshakeOwner for () {
    fn spoke(&self) {}

    fn pause(&self) -> Result<(), Denied> {
        Ok(())
    }

    fn admit(&mut self, _: Option<(&AccessRequest, &Approval)>) -> Result<(), Denied> {
        Ok(())
    }
}

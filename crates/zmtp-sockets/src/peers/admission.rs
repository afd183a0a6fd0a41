//! Whether a peer is still admitted.
//!
//! A revocation is told by [`Pattern::revoked`](crate::endpoints::pattern::Pattern::revoked) before the
//! call that withdraws the admission returns. A peer that is revoked while it is on its way to the
//! socket is found by this check when the socket takes it.
#![forbid(unsafe_code)]

use zmtp_auth::{Grant, Peer};

pub(crate) fn is_admitted(peer: &Peer) -> bool {
    peer.grant().is_none_or(Grant::still_valid)
}

//! Who a peer is.
#![forbid(unsafe_code)]

use crate::socket::frames::Shown;
use serde::Serialize;
use zmtp_auth::Peer;

/// The identity that the policy gave to a peer. Without a policy there is only a mechanism.
#[derive(Serialize)]
pub(crate) struct Who {
    user_id: Option<Shown>,
    mechanism: &'static str,
    domain: Option<Shown>,
}

impl Who {
    pub(crate) fn of(peer: &Peer, mechanism: &'static str) -> Self {
        let authenticated = peer.authenticated.as_ref();
        Self {
            user_id: authenticated.map(|peer| Shown::of(&peer.user_id)),
            mechanism,
            domain: authenticated.map(|peer| Shown::of(peer.domain.as_bytes())),
        }
    }
}

//! What identifies the peer of a handshake, for refusals and logs.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::domain::Domain;
#[cfg(feature = "tokio")]
use crate::access::peer::Peer;
use crate::access::request::AccessRequest;
use crate::crypto::keys::PublicKey;

/// What identifies a peer, as far as its handshake has come and a log may show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) domain: Option<Domain>,
    pub(crate) credential: Option<Credential>,
}

impl Subject {
    /// A peer that policy is asked about. `knows_user` says whether policy knows its user name.
    pub(crate) fn asked(request: &AccessRequest, knows_user: bool) -> Self {
        Self {
            domain: Some(request.domain.clone()),
            credential: Credential::for_log(&request.credentials, knows_user),
        }
    }

    /// The same, with the proven key if nothing else is known.
    pub(crate) fn or_key(mut self, key: Option<&PublicKey>) -> Self {
        if self.credential.is_none() {
            self.credential = key.copied().map(Credential::Key);
        }
        self
    }

    /// A peer whose handshake is complete.
    #[cfg(feature = "tokio")]
    pub(crate) fn of(peer: &Peer) -> Self {
        let authenticated = peer.authenticated.as_ref();
        Self {
            domain: authenticated.map(|known| known.domain.clone()),
            credential: match authenticated {
                Some(known) => Some(known.credential.clone()),
                None => peer.proven_key.map(Credential::Key),
            },
        }
    }
}

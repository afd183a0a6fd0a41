//! Ends admissions of one user or key, whatever has admitted them.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::decide::AdmittedPeer;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most ended users and keys that are remembered apart. 1024: a decision takes seconds, in which an
/// application ends a few; what is beyond them costs a question, and no admission.
const MAX_REMEMBERED: usize = 1024;

/// Whose admissions a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    User {
        mechanism: MechanismKind,
        domain: Domain,
        user_id: Bytes,
    },
    Key(PublicKey),
}

impl Ended {
    fn is(&self, peer: &AdmittedPeer<'_>) -> bool {
        match self {
            Self::User {
                mechanism,
                domain,
                user_id,
            } => {
                peer.credential.mechanism() == *mechanism
                    && peer.domain == domain
                    && peer.user_id == user_id
            }
            Self::Key(key) => *peer.credential == Credential::Key(*key),
        }
    }
}

/// Which decisions are made again because admissions have ended since they were begun.
#[derive(Clone, Default)]
pub(crate) struct Endings {
    /// Those begun under a policy before this version, whoever the peer is.
    all_before: u64,
    /// Those of these peers begun before the version beside, the last one at the end.
    recent: Arc<VecDeque<(u64, Ended)>>,
}

impl Endings {
    /// From `version` on, no decision counts that was begun before it.
    pub(crate) fn end_all(&mut self, version: u64) {
        self.all_before = version;
        self.recent = Arc::default();
    }

    fn end(&mut self, version: u64, ended: Ended) {
        let recent = Arc::make_mut(&mut self.recent);
        recent.retain(|(_, other)| *other != ended);
        recent.push_back((version, ended));
        if recent.len() > MAX_REMEMBERED
            && let Some((forgotten, _)) = recent.pop_front()
        {
            // It is not known any more whom it meant, so that it speaks for all.
            self.all_before = forgotten;
        }
    }

    /// Whether a decision begun under the policy of that version counts, which admits `peer`.
    pub(crate) fn spare(&self, version: u64, peer: &AdmittedPeer<'_>) -> bool {
        let since = self.recent.iter().rev();
        let mut since = since.take_while(|(ended_at, _)| *ended_at > version);
        version >= self.all_before && !since.any(|(_, ended)| ended.is(peer))
    }
}

impl Authenticator {
    /// Ends the admissions of a user, which is mechanism, domain and user id together; `domain` is
    /// the one that its peers asked for. Returns how many have ended.
    ///
    /// It is for what no table holds: a user that a provider has admitted. Let the provider say no
    /// first, since the policy stays as it is and a peer that comes back is judged by it. The user's
    /// decisions in progress are made again, so that none escapes that was begun before the call.
    pub fn end_admissions(
        &self,
        mechanism: MechanismKind,
        domain: impl Into<Domain>,
        user_id: impl Into<Bytes>,
    ) -> usize {
        let (domain, user_id) = (domain.into(), user_id.into());
        let change = Change::EndedUser {
            mechanism,
            domain: domain.clone(),
            user_id: user_id.clone(),
        };
        let ended = Ended::User {
            mechanism,
            domain,
            user_id,
        };
        self.end(change, ended)
    }

    /// Ends the admissions of a CURVE key in every domain, as [`Authenticator::end_admissions`]
    /// does those of a user. Returns how many have ended.
    pub fn end_admissions_of_key(&self, key: &PublicKey) -> usize {
        self.end(Change::EndedKey(*key), Ended::Key(*key))
    }

    fn end(&self, change: Change, meant: Ended) -> usize {
        // In this order: a decision in progress either has its grant by now, and it is found, or
        // it meets a policy under which it does not count.
        self.change(|policy| {
            policy.endings.end(policy.version, meant.clone());
            change
        });
        let ended = self.live().end(|terms| meant.is(&terms.peer()));
        let count = ended.len();
        ended.tell();
        count
    }
}

//! Which decisions in progress no longer count, because a call has ended admissions meanwhile.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::admission::AdmittedPeer;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most ended users and keys that are remembered apart. 1024: a decision takes seconds, in which an
/// application ends a few; what is beyond them costs a question, and no admission.
const MAX_REMEMBERED: usize = 1024;

/// Whose admissions a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    User {
        mechanism: MechanismKind,
        domain: Domain,
        user_id: Bytes,
    },
    Key(PublicKey),
}

impl Ended {
    /// Whether the call means `peer`.
    pub(crate) fn is(&self, peer: &AdmittedPeer<'_>) -> bool {
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
    /// Those begun under a policy before this version, for all peers.
    all_before: u64,
    /// Those of these peers begun before the version given with them, the latest at the end.
    recent: Arc<VecDeque<(u64, Ended)>>,
}

impl Endings {
    /// From `version` on, no decision counts that was begun before it.
    pub(crate) fn end_all(&mut self, version: u64) {
        self.all_before = version;
        self.recent = Arc::default();
    }

    /// From `version` on, no decision over these peers counts that was begun before it.
    pub(crate) fn end(&mut self, version: u64, ended: Ended) {
        let recent = Arc::make_mut(&mut self.recent);
        recent.retain(|(_, other)| *other != ended);
        recent.push_back((version, ended));
        if recent.len() > MAX_REMEMBERED
            && let Some((forgotten, _)) = recent.pop_front()
        {
            // What it meant is forgotten, so its version counts for all peers.
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

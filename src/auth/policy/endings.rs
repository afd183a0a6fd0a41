//! Decisions in progress that no longer count, because a call has ended admissions meanwhile.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::admission::AdmittedPeer;
use crate::auth::policy::comparison::affected::Affected;
use crate::crypto::keys::PublicKey;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of ended users and keys that are remembered individually. 1024: a decision takes
/// a few seconds, in which an application ends the admissions of a few users. Beyond the maximum,
/// decisions about other peers are repeated as well, which costs time but refuses no one.
const MAX_REMEMBERED: usize = 1024;

/// The peers whose admissions a call ends.
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
    /// A set that holds all admissions that the call ends.
    pub(crate) fn affected(&self) -> Affected {
        match self {
            Self::User {
                mechanism,
                domain,
                user_id,
            } => Affected::User(domain.clone(), *mechanism, user_id.clone()),
            Self::Key(key) => Affected::Credential(Domain::ALL, Credential::Key(*key)),
        }
    }

    /// Whether the call ends admissions of `peer`.
    pub(crate) fn applies_to(&self, peer: &AdmittedPeer<'_>) -> bool {
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

/// The calls that have ended admissions, each with the version of the policy that recorded it.
/// Decisions about these peers that began under an older policy are repeated.
#[derive(Clone, Default)]
pub(crate) struct Endings {
    /// Decisions about any peer that began before this version do not count.
    all_before: u64,
    /// Decisions about these peers that began before the given version do not count. The latest
    /// call is last.
    recent: Arc<VecDeque<(u64, Ended)>>,
}

impl Endings {
    /// Records at `version` that no decision in progress counts.
    pub(crate) fn end_all(&mut self, version: u64) {
        self.all_before = version;
        self.recent = Arc::default();
    }

    /// Records at `version` that no decision in progress about these peers counts.
    pub(crate) fn end(&mut self, version: u64, ended: Ended) {
        let recent = Arc::make_mut(&mut self.recent);
        recent.retain(|(_, other)| *other != ended);
        recent.push_back((version, ended));
        if recent.len() > MAX_REMEMBERED
            && let Some((forgotten, _)) = recent.pop_front()
        {
            // The peers of the dropped call are no longer known, so its version has to apply to
            // all peers.
            self.all_before = forgotten;
        }
    }

    /// Whether a decision to admit `peer` counts that began under the policy of that version.
    pub(crate) fn allow(&self, version: u64, peer: &AdmittedPeer<'_>) -> bool {
        let since = self.recent.iter().rev();
        let mut since = since.take_while(|(ended_at, _)| *ended_at > version);
        version >= self.all_before && !since.any(|(_, ended)| ended.applies_to(peer))
    }
}

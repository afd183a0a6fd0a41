//! What an audit log is told: decisions, ends of admissions, changes of the policy. No secrets.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::address::rule::AddressRule;
use crate::auth::policy::outcome::Outcome;
use crate::auth::policy::rule::Rule;
#[cfg(feature = "reload")]
use crate::auth::reload::event::ReloadEvent;
use crate::crypto::keys::PublicKey;
use crate::zap::request::RequestId;
use bytes::Bytes;
use std::time::{Duration, SystemTime};

/// Something that an audit log should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When, by the system's clock.
    pub at: SystemTime,
    /// The policy in force.
    pub policy_version: u64,
    /// What.
    pub what: Audited,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audited {
    /// A request was decided.
    Decision(AuditedDecision),
    /// What should have been a request of RFC 27 was refused, or dropped if it had no id.
    Malformed {
        /// The request id.
        id: Option<RequestId>,
        /// The text of the ZAP reply.
        reason: &'static str,
    },
    /// An admission has ended: a change has withdrawn it, or its validity is over.
    Ended(AuditedAdmission),
    /// The policy was changed.
    Change(Change),
    /// None of the calls to the provider of this rule returns, and no thread is left to stand in.
    /// Told once until it answers again.
    ProviderStuck(Rule),
    /// A directory or file was loaded again by itself, or could not be.
    #[cfg(feature = "reload")]
    Reloaded(ReloadEvent),
}

/// A request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditedDecision {
    /// The request's id.
    pub id: RequestId,
    /// Its domain.
    pub domain: Domain,
    /// Where the peer comes from.
    pub address: PeerAddress,
    /// Its TCP port, if it was asked about in this process: a ZAP request in frames has none.
    pub port: Option<u16>,
    /// The mechanism's name as it came.
    pub mechanism: Bytes,
    /// Who the peer is by its credentials; of a refused PLAIN peer only the name of a user who
    /// exists, since any other may be a password in the wrong place.
    pub credential: Option<Credential>,
    /// Whether it comes in.
    pub outcome: Outcome,
    /// What decided.
    pub rule: Rule,
    /// How long it took.
    pub took: Duration,
}

/// An admission that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditedAdmission {
    /// The domain that the peer had asked for.
    pub domain: Domain,
    /// Where it came from.
    pub address: PeerAddress,
    /// Who it is by its credentials.
    pub credential: Credential,
    /// The user id that it was given.
    pub user_id: Bytes,
    /// The rule that had admitted it.
    pub rule: Rule,
}

/// A change of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A domain was claimed for a mechanism, before what rules it is loaded.
    Claimed(MechanismKind, Domain),
    /// A rule was put in force for its domain. Of users and keys: those that are new, those with
    /// another password or other metadata, and those that are no more.
    #[non_exhaustive]
    Ruled {
        /// The rule.
        rule: Rule,
        /// New users or keys.
        added: Vec<Credential>,
        /// Users with another password, keys with other metadata.
        changed: Vec<Credential>,
        /// Users or keys that are no more.
        removed: Vec<Credential>,
    },
    /// A policy file has replaced all rules and address lists; these are the domains that it
    /// rules.
    PolicyFile(Vec<Domain>),
    /// A domain was given back to `*`.
    Unconfigured(Domain),
    /// An address list was changed.
    #[non_exhaustive]
    Addresses {
        /// The domain whose list it is; `None` for the one for all.
        domain: Option<Domain>,
        /// How.
        how: AddressChange,
        /// The rules that were given.
        rules: Vec<AddressRule>,
    },
    /// What was loaded again by itself no longer is, because another call rules by now, or the
    /// watch was given up: for these mechanisms of these domains.
    WatchEnded(Vec<(MechanismKind, Domain)>),
    /// Another mapping of keys to user ids.
    UserIds,
    /// [`Authenticator::end_admissions`](crate::auth::Authenticator::end_admissions): the
    /// admissions that have ended are told of one by one.
    #[non_exhaustive]
    EndedUser {
        /// The mechanism.
        mechanism: MechanismKind,
        /// The domain that the peers had asked for.
        domain: Domain,
        /// Their user id.
        user_id: Bytes,
    },
    /// [`Authenticator::end_admissions_of_key`](crate::auth::Authenticator::end_admissions_of_key).
    EndedKey(PublicKey),
    /// [`Authenticator::stop`](crate::auth::Authenticator::stop).
    Stopped,
    /// [`Authenticator::start`](crate::auth::Authenticator::start).
    Started,
}

/// What was done to an address list: the methods of
/// [`AddressList`](crate::auth::AddressList).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressChange {
    /// Rules were added to the allow list.
    Allow,
    /// Rules were added to the deny list.
    Deny,
    /// Rules were taken from the allow list.
    RemoveAllowed,
    /// Rules were taken from the deny list.
    RemoveDenied,
    /// The list was lifted.
    Clear,
}

impl Change {
    /// What the rule of a domain, now `rule`, has that it had not before, by the versions of its
    /// entries: those of version `fresh` are new, or not what they were.
    pub(crate) fn ruled(
        rule: Rule,
        before: &[(Credential, u64)],
        after: &[(Credential, u64)],
        fresh: u64,
    ) -> Self {
        use std::collections::HashSet;
        let names = |entries: &[(Credential, u64)]| -> HashSet<Credential> {
            entries.iter().map(|(name, _)| name.clone()).collect()
        };
        let (known, kept) = (names(before), names(after));
        let new = after.iter().filter(|(_, version)| *version == fresh);
        let new = new.map(|(name, _)| name.clone());
        let (changed, added) = new.partition(|name| known.contains(name));
        let gone = before.iter().filter(|(name, _)| !kept.contains(name));
        Self::Ruled {
            rule,
            added,
            changed,
            removed: gone.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl Audited {
    /// How much of the bounded stream it takes up.
    pub(crate) const fn weight(&self) -> usize {
        match self {
            Self::Change(Change::Ruled {
                added,
                changed,
                removed,
                ..
            }) => 1 + added.len() + changed.len() + removed.len(),
            Self::Change(Change::Addresses { rules, .. }) => 1 + rules.len(),
            Self::Change(Change::PolicyFile(domains)) => 1 + domains.len(),
            Self::Change(Change::WatchEnded(rules)) => 1 + rules.len(),
            #[cfg(feature = "reload")]
            Self::Reloaded(event) => 1 + event.issues.len(),
            _ => 1,
        }
    }
}

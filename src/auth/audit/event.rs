//! Audit events: decisions, ends of admissions, changes of the policy. They hold no secrets.
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

/// An event for an audit log.
///
/// With feature `serde` it can be serialized. An event is one flat object, such as this decision as
/// JSON:
///
/// ```json
/// {"at": "2026-01-31T12:00:00.000000Z", "policy_version": 3, "event": "decision", "id": "1",
///  "domain": "billing", "address": "192.0.2.1", "port": 50123, "mechanism": "PLAIN",
///  "credential": {"type": "user_name", "value": "alice"}, "outcome": "refused", "status": "400",
///  "reason": "Invalid password",
///  "rule": {"kind": "passwords", "mechanism": null, "domain": "billing", "address": null},
///  "took_us": 12}
/// ```
///
/// `event` is [`Audited::name`], and the other names are those of the fields, with these exceptions:
/// a change has its name in `change`, a decision that admits has `user_id`, `metadata`,
/// `entry_version` and `valid_until` in place of `status` and `reason`, a refused decision has a
/// `user_id` only if the policy names a user for the key, an ended admission has `user_id`, `users`
/// of a change is an object of keys and user ids, `took_us` is in microseconds, and issues are texts. Times are in RFC 3339. A field without a value is `null`. Bytes are text in the form of
/// [`Domain`]. Names that exist stay in later versions, and new ones may be added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The time of the event by the system clock.
    pub at: SystemTime,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// What has happened.
    pub what: Audited,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audited {
    /// A request was decided.
    Decision(AuditedDecision),
    /// Frames that are not a request of RFC 27 were refused, or dropped if they have no request id.
    Malformed {
        /// The request id.
        id: Option<RequestId>,
        /// The text of the ZAP reply.
        reason: &'static str,
    },
    /// An admission has ended: a change has withdrawn it, or its validity has ended.
    Ended(AuditedAdmission),
    /// The policy was changed.
    Change(Change),
    /// No call to the provider of this rule returns, and no spare thread is left. Reported once
    /// until the provider answers again.
    ProviderStuck(Rule),
    /// A watched directory or file was reloaded, or could not be.
    #[cfg(feature = "reload")]
    Reloaded(ReloadEvent),
}

/// A request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditedDecision {
    /// The request's id.
    pub id: RequestId,
    /// Its domain.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The peer's TCP port, if the request was made in this process. Frames carry no port.
    pub port: Option<u16>,
    /// The mechanism's name as received.
    pub mechanism: Bytes,
    /// The public part of the peer's credentials. The name of a refused PLAIN peer is given only
    /// if that user exists: any other name may be a password typed in the wrong place.
    pub credential: Option<Credential>,
    /// Whether the peer is admitted.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: Rule,
    /// The duration of the decision. Zero if nothing read events or logged when it began.
    pub took: Duration,
}

/// An admission that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AuditedAdmission {
    /// The domain of the peer's request.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The public part of the peer's credentials.
    pub credential: Credential,
    /// The user id that the policy gave the peer.
    pub user_id: Bytes,
    /// The rule that had admitted the peer.
    pub rule: Rule,
}

/// A change of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// A domain was claimed for a mechanism, before its users or keys are loaded.
    Claimed(MechanismKind, Domain),
    /// A rule came into force for its domain. The lists give the users or keys that it adds,
    /// changes and removes.
    #[non_exhaustive]
    Ruled {
        /// The rule.
        rule: Rule,
        /// New users or keys.
        added: Vec<Credential>,
        /// Users with another password, keys with another user or other metadata.
        changed: Vec<Credential>,
        /// Removed users or keys.
        removed: Vec<Credential>,
        /// The users of the keys in these lists, as far as the rule names them, or named them before
        /// it removed the key.
        users: Vec<(PublicKey, Bytes)>,
    },
    /// A policy file has replaced all rules, address lists and topic tables. These are its domains.
    PolicyFile(Vec<Domain>),
    /// The configuration of a domain was removed, and `*` rules it again.
    Unconfigured(Domain),
    /// An address list was changed.
    #[non_exhaustive]
    Addresses {
        /// The domain of the list; `None` for the list for all domains.
        domain: Option<Domain>,
        /// The method that was called.
        how: AddressChange,
        /// The rules that it was called with.
        rules: Vec<AddressRule>,
    },
    /// The topic table of a domain was replaced or removed.
    #[non_exhaustive]
    Topics {
        /// The domain of the table.
        domain: Domain,
        /// Whether the domain has a table now.
        is_table: bool,
        /// The users whose entries are new, changed or removed.
        users: Vec<(MechanismKind, Bytes)>,
        /// Whether the permissions of all users without an entry have changed.
        others: bool,
    },
    /// The files for these mechanisms and domains are no longer watched, because another call has
    /// configured them, or the watch was dropped.
    WatchEnded(Vec<(MechanismKind, Domain)>),
    /// The mapping of keys to user ids was replaced.
    UserIds,
    /// [`Authenticator::end_admissions`](crate::auth::Authenticator::end_admissions) was called.
    /// Each admission that has ended has an event of its own.
    #[non_exhaustive]
    EndedUser {
        /// The mechanism.
        mechanism: MechanismKind,
        /// The domain of the peers' requests.
        domain: Domain,
        /// The user id of the peers.
        user_id: Bytes,
    },
    /// [`Authenticator::end_admissions_of_key`](crate::auth::Authenticator::end_admissions_of_key)
    /// was called.
    EndedKey(PublicKey),
    /// [`Authenticator::stop`](crate::auth::Authenticator::stop) was called.
    Stopped,
    /// [`Authenticator::start`](crate::auth::Authenticator::start) was called.
    Started,
}

/// How an address list was changed: one variant for each method of
/// [`AddressList`](crate::auth::AddressList).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressChange {
    /// Rules were added to the allow list.
    Allow,
    /// Rules were added to the deny list.
    Deny,
    /// Rules were removed from the allow list.
    RemoveAllowed,
    /// Rules were removed from the deny list.
    RemoveDenied,
    /// The list was removed.
    Clear,
}

impl Audited {
    /// The kind of the event, for counting and as a label: `decision`, `malformed`, `ended`,
    /// `change`, `provider_stuck` or `reloaded`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::Malformed { .. } => "malformed",
            Self::Ended(_) => "ended",
            Self::Change(_) => "change",
            Self::ProviderStuck(_) => "provider_stuck",
            #[cfg(feature = "reload")]
            Self::Reloaded(_) => "reloaded",
        }
    }

    /// The share of the bounded log that it takes up.
    pub(crate) const fn weight(&self) -> usize {
        match self {
            Self::Change(Change::Ruled {
                added,
                changed,
                removed,
                users,
                ..
            }) => 1 + added.len() + changed.len() + removed.len() + users.len(),
            Self::Change(Change::Addresses { rules, .. }) => 1 + rules.len(),
            Self::Change(Change::Topics { users, .. }) => 1 + users.len(),
            Self::Change(Change::PolicyFile(domains)) => 1 + domains.len(),
            Self::Change(Change::WatchEnded(rules)) => 1 + rules.len(),
            #[cfg(feature = "reload")]
            Self::Reloaded(event) => 1 + event.issues.len(),
            _ => 1,
        }
    }
}

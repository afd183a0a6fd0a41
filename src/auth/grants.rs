//! Grants of the Authenticator: what it remembers of a peer it has admitted, and when that ends.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::access::grant::GrantTerms;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::decide::{Admission, AdmittedPeer, Policy};
use crate::auth::policy::rule::Rule;
use crate::auth::sync::event_count::EventCount;
use crate::lock::lock;
use crate::zap::bounds::within;
use crate::zap::request::ZapRequest;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime};

/// Longest sleep towards the end of a validity. A minute: timers follow a clock of their own,
/// and the system's may be set, or run on while the machine sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Grants looked at in one hold of the lock that decisions take to add theirs.
const CHUNK: usize = 64;

/// What an [`Authenticator`] has admitted a peer by: [`Grant::terms`](crate::Grant::terms) gives
/// it to whoever holds the grant.
///
/// The admission stands while each of these still holds, and is over for ever once one does not:
///
/// - the address lists let its address pass;
/// - the entry that rules its domain, mechanism and credential is the one that has admitted it.
///   An entry with another password or other metadata is another one, and so is one that was
///   removed and put back, or that stands in for it in a domain claimed since. An entry that a
///   change has left as it was, or moved to another end of its validity, is still the same;
/// - its validity has not ended;
/// - no call has ended it: [`Authenticator::end_admissions`],
///   [`Authenticator::end_admissions_of_key`].
///
/// [`Authenticator::stop`] and [`Authenticator::set_curve_user_id`] are about peers to come and
/// end no admission.
///
/// With feature `tokio`, [`Grant::revoked`](crate::Grant::revoked) resolves at the end of the
/// validity too, if it is awaited on tokio's runtime, with its timers on; should the system's clock
/// be set forward, at most a minute late. Elsewhere there is no timer, and it resolves by changes of the policy
/// alone: ask [`Grant::still_valid`](crate::Grant::still_valid) at
/// [`AdmissionTerms::valid_until`].
pub struct AdmissionTerms {
    issuer: Authenticator,
    id: u64,
    entry_version: u64,
    domain: Domain,
    credential: Credential,
    user_id: Bytes,
    address: PeerAddress,
    rule: Rule,
    standing: Mutex<AdmissionState>,
    /// Rung when the admission ends, and when its validity ends at another time than before.
    changed: EventCount,
}

/// What may change about an admission.
#[derive(Debug, Clone, Copy)]
struct AdmissionState {
    revoked: bool,
    /// The policy since which it has stood without a break.
    since: u64,
    /// The policy under which the admission was last found to stand.
    checked: u64,
    valid_until: Option<SystemTime>,
}

impl AdmissionTerms {
    /// The Authenticator that has admitted the peer.
    #[must_use]
    pub const fn issuer(&self) -> &Authenticator {
        &self.issuer
    }

    /// The policy that admitted it; [`Authenticator::policy_version`] counts them. Where changes
    /// have overtaken the decision, the last of them, if it admits as before.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.standing().since
    }

    /// The version of the entry that admitted it: that of the policy in which the entry was
    /// new; 0 where the mechanism has no entries.
    #[must_use]
    pub const fn entry_version(&self) -> u64 {
        self.entry_version
    }

    /// The domain that it was asked for.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The mechanism. A user is mechanism, domain and user id together.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        self.credential.mechanism()
    }

    /// What the peer was authenticated by.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The user id that it was given.
    #[must_use]
    pub const fn user_id(&self) -> &Bytes {
        &self.user_id
    }

    /// Where it came from.
    #[must_use]
    pub const fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// The rule that admitted it.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The end of its validity, as the policy has it now.
    #[must_use]
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.standing().valid_until
    }

    pub(crate) const fn peer(&self) -> AdmittedPeer<'_> {
        AdmittedPeer {
            domain: &self.domain,
            user_id: &self.user_id,
            address: &self.address,
            credential: &self.credential,
            entry_version: self.entry_version,
        }
    }

    fn standing(&self) -> MutexGuard<'_, AdmissionState> {
        lock(&self.standing)
    }

    /// Holds the admission against `policy` and the clock; true if whoever waits must be told.
    fn check(&self, policy: &Policy, now: Option<SystemTime>) -> bool {
        let mut standing = self.standing();
        if standing.revoked {
            return false;
        }
        // Without a clock nothing is known to be valid still.
        let over = |until| now.is_none_or(|now| now >= until);
        let before = standing.valid_until;
        standing.revoked = before.is_some_and(over);
        // An older policy has nothing to say any more.
        if !standing.revoked && standing.checked < policy.version {
            standing.checked = policy.version;
            match policy.standing_of(&self.peer(), || now) {
                Some(valid_until) => standing.valid_until = valid_until,
                None => standing.revoked = true,
            }
        }
        standing.revoked || standing.valid_until != before
    }

    /// Tells whoever waits, and the audit log if the admission has ended.
    fn tell(&self) {
        self.changed.notify_all();
        let AdmissionState {
            revoked, checked, ..
        } = *self.standing();
        if revoked {
            self.issuer.audit_end(checked, self);
        }
    }

    /// How long to sleep towards the end of the validity.
    fn sleep(&self) -> Option<Duration> {
        let until = self.valid_until()?;
        let left = until.duration_since(self.issuer.now()?).unwrap_or_default();
        Some(left.min(LONGEST_SLEEP))
    }
}

impl GrantTerms for AdmissionTerms {
    fn still_valid(&self) -> bool {
        if self.check(&self.issuer.policy(), self.issuer.now()) {
            self.tell();
        }
        !self.standing().revoked
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let heard = self.changed.count();
                if !self.still_valid() {
                    return;
                }
                let notified = self.changed.notified_after(heard);
                match self.sleep() {
                    None => notified.await,
                    Some(time) => {
                        // Rung or slept: both mean to look again.
                        let _rung = within(time, notified).await;
                    }
                }
            }
        })
    }
}

impl Drop for AdmissionTerms {
    fn drop(&mut self) {
        self.issuer.live().remove(self.id);
    }
}

impl fmt::Debug for AdmissionTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionTerms")
            .field("entry_version", &self.entry_version)
            .field("domain", &self.domain)
            .field("credential", &self.credential)
            .field("address", &self.address)
            .field("rule", &self.rule)
            .field("standing", &*self.standing())
            .finish_non_exhaustive()
    }
}

/// The grants of admissions that somebody still holds, by number in the order of issue.
#[derive(Default)]
pub(crate) struct LiveGrants(Mutex<Live>);

#[derive(Default)]
struct Live {
    next: u64,
    grants: BTreeMap<u64, Weak<AdmissionTerms>>,
}

/// A new grant.
pub(crate) struct Issued {
    pub(crate) terms: Arc<AdmissionTerms>,
    /// Whether the admission was withdrawn before there was a grant.
    pub(crate) is_withdrawn: bool,
}

/// Admissions that a change has ended or moved, whose holders are still to be told.
#[must_use]
pub(crate) struct PendingNotices(Vec<Arc<AdmissionTerms>>);

impl PendingNotices {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells them. Wakers are foreign code: no lock may be held.
    pub(crate) fn tell(self) {
        for terms in self.0 {
            terms.tell();
        }
    }
}

impl LiveGrants {
    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.0)
    }

    /// Issues a grant for the peer of `request`, which the policy of that version has admitted.
    pub(crate) fn issue(
        &self,
        issuer: &Authenticator,
        policy_version: u64,
        request: &ZapRequest,
        admission: &Admission,
    ) -> Issued {
        let terms = {
            let mut live = self.live();
            let id = live.next;
            live.next += 1;
            let terms = Arc::new(AdmissionTerms {
                issuer: issuer.clone(),
                id,
                entry_version: admission.entry_version,
                domain: request.domain.clone(),
                credential: admission.credential.clone(),
                user_id: admission.user_id.clone(),
                address: request.address.clone(),
                rule: admission.rule.clone(),
                standing: Mutex::new(AdmissionState {
                    revoked: false,
                    since: policy_version,
                    checked: policy_version,
                    valid_until: admission.valid_until,
                }),
                changed: EventCount::default(),
            });
            live.grants.insert(id, Arc::downgrade(&terms));
            terms
        };
        // A change that looked through the grants before this one was among them is in force by
        // now, and one that comes later will find it. Of the changes between, the last speaks for
        // all: what it admits it admits from now on.
        let policy = issuer.policy();
        let is_withdrawn = policy.version != policy_version && {
            terms.check(&policy, issuer.now());
            let mut standing = terms.standing();
            if !policy.endings.spare(policy_version, &terms.peer()) {
                standing.revoked = true;
            }
            if !standing.revoked {
                standing.since = standing.checked;
            }
            standing.revoked
        };
        Issued {
            terms,
            is_withdrawn,
        }
    }

    fn remove(&self, id: u64) {
        self.live().grants.remove(&id);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live().grants.len()
    }

    /// Holds every admission against `policy`, which is in force already. Decisions add theirs
    /// meanwhile; those look at the policy in force for themselves.
    pub(crate) fn check(&self, policy: &Policy, now: Option<SystemTime>) -> PendingNotices {
        self.each(|terms| terms.check(policy, now))
    }

    /// Ends the admissions that `is_meant` picks.
    pub(crate) fn end(&self, is_meant: impl Fn(&AdmissionTerms) -> bool) -> PendingNotices {
        self.each(|terms| {
            is_meant(terms) && !std::mem::replace(&mut terms.standing().revoked, true)
        })
    }

    /// Does something with every admission; those for which it gives true are to be told.
    fn each(&self, act: impl Fn(&AdmissionTerms) -> bool) -> PendingNotices {
        let mut untold = Vec::new();
        let end = self.live().next;
        let mut from = 0;
        while from < end {
            let chunk: Vec<_> = self
                .live()
                .grants
                .range(from..end)
                .take(CHUNK)
                .map(|(id, terms)| (*id, Weak::clone(terms)))
                .collect();
            from = chunk.last().map_or(end, |(id, _)| id + 1);
            for (_, terms) in chunk {
                // Dropped outside the lock: the last owner takes itself off the list.
                if let Some(terms) = terms.upgrade()
                    && act(&terms)
                {
                    untold.push(terms);
                }
            }
        }
        PendingNotices(untold)
    }
}

//! Grants of the Authenticator: what it remembers of a peer it has admitted, and when that ends.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::access::grant::GrantTerms;
use crate::auth::audit::event::{Audited, AuditedAdmission};
use crate::auth::audit::log::EventLog;
use crate::auth::policy::admission::{Admission, AdmittedPeer};
use crate::auth::policy::decide::Policy;
use crate::auth::policy::rule::Rule;
use crate::auth::sync::event_count::EventCount;
use crate::auth::sync::weak_registry::WeakRegistry;
use crate::lock::lock;
use crate::printable::printable;
use crate::zap::bounds::within;
use crate::zap::contain::contain;
use crate::zap::request::ZapRequest;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Longest sleep towards the end of a validity. A minute: timers follow a clock of their own,
/// and the system's may be set, or run on while the machine sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What an [`Authenticator`](crate::auth::Authenticator) has admitted a peer by: the holder of a grant gets it from
/// [`Grant::terms`](crate::Grant::terms).
///
/// The admission stands while each of these still holds, and is over for ever once one does not:
///
/// - the address lists let its address pass;
/// - the entry that rules its domain, mechanism and credential is the one that has admitted it.
///   An entry with another password or other metadata is another one, and so is one that was
///   removed and put back, or that stands in for it in a domain claimed since. An entry that a
///   change has left as it was, or moved to another end of its validity, is still the same;
/// - its validity has not ended;
/// - no call has ended it: [`end_admissions`], [`end_admissions_of_key`].
///
/// [`stop`](crate::auth::Authenticator::stop) and
/// [`set_curve_user_id`](crate::auth::Authenticator::set_curve_user_id) are about peers to come and
/// end no admission.
///
/// With feature `tokio`, [`Grant::revoked`](crate::Grant::revoked) resolves at the end of the
/// validity too, if it is awaited on tokio's runtime, with its timers on; should the system's clock
/// be set forward, at most a minute late. Elsewhere there is no timer, and it resolves by changes of
/// the policy alone: ask [`Grant::still_valid`](crate::Grant::still_valid) at
/// [`AdmissionTerms::valid_until`].
///
/// [`end_admissions`]: crate::auth::Authenticator::end_admissions
/// [`end_admissions_of_key`]: crate::auth::Authenticator::end_admissions_of_key
pub struct AdmissionTerms {
    ledger: Arc<Ledger>,
    /// Keeps the Authenticator, so that it goes on to load files again.
    _issuer: Arc<dyn Any + Send + Sync>,
    id: u64,
    entry_version: u64,
    domain: Domain,
    credential: Credential,
    user_id: Bytes,
    address: PeerAddress,
    rule: Rule,
    state: Mutex<AdmissionState>,
    /// Notified when the admission ends, and when its validity ends at another time than before.
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
    /// Whose admission it is.
    pub(crate) const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The policy that admitted it;
    /// [`Authenticator::policy_version`](crate::auth::Authenticator::policy_version) counts them.
    /// Where changes have overtaken the decision, the last of them, if it admits as before.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.state().since
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
        self.state().valid_until
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

    fn state(&self) -> MutexGuard<'_, AdmissionState> {
        lock(&self.state)
    }

    /// Holds the admission against `policy` and the clock; true if waiters must be notified.
    fn check(&self, policy: &Policy, now: Option<SystemTime>) -> bool {
        let mut state = self.state();
        if state.revoked {
            return false;
        }
        // Without a clock nothing is known to be valid still.
        let over = |until| now.is_none_or(|now| now >= until);
        let before = state.valid_until;
        state.revoked = before.is_some_and(over);
        // An older policy no longer counts.
        if !state.revoked && state.checked < policy.version {
            state.checked = policy.version;
            match policy.still_admits(&self.peer(), || now) {
                Some(valid_until) => state.valid_until = valid_until,
                None => state.revoked = true,
            }
        }
        state.revoked || state.valid_until != before
    }

    /// Notifies waiters, and tells the audit log if the admission has ended.
    fn notify(&self) {
        self.changed.notify_all();
        let AdmissionState {
            revoked, checked, ..
        } = *self.state();
        if revoked {
            self.audit_end(checked);
        }
    }

    /// Tells the audit log of the end, by the policy of that version.
    fn audit_end(&self, policy_version: u64) {
        tracing::info!(domain = %self.domain, address = %self.address,
            mechanism = %self.mechanism(), user_id = printable(&self.user_id),
            rule = %self.rule, "admission ended");
        self.ledger.log.tell(policy_version, || {
            Audited::Ended(AuditedAdmission {
                domain: self.domain.clone(),
                address: self.address.clone(),
                credential: self.credential.clone(),
                user_id: self.user_id.clone(),
                rule: self.rule.clone(),
            })
        });
    }

    /// How long to sleep towards the end of the validity.
    fn sleep(&self) -> Option<Duration> {
        let until = self.valid_until()?;
        let left = until.duration_since(self.ledger.now()?).unwrap_or_default();
        Some(left.min(LONGEST_SLEEP))
    }
}

impl GrantTerms for AdmissionTerms {
    fn still_valid(&self) -> bool {
        if self.check(&self.ledger.policy(), self.ledger.now()) {
            self.notify();
        }
        !self.state().revoked
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
                        // Notified or slept: both mean to look again.
                        let _was_notified = within(time, notified).await;
                    }
                }
            }
        })
    }
}

impl Drop for AdmissionTerms {
    fn drop(&mut self) {
        self.ledger.live.remove(self.id);
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
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

/// What an [`Authenticator`](crate::auth::Authenticator) and its admissions share.
pub(crate) struct Ledger {
    /// The policy in force.
    pub(crate) policy: ArcSwap<Policy>,
    clock: Clock,
    /// The grants that are still held.
    live: WeakRegistry<AdmissionTerms>,
    /// What readers of audit events read.
    pub(crate) log: Arc<EventLog>,
}

/// What time it is, for the validity of keys.
type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

impl Drop for Ledger {
    fn drop(&mut self) {
        self.log.close();
    }
}

impl Ledger {
    /// Nothing configured, no peer admitted.
    pub(crate) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self {
            policy: ArcSwap::default(),
            clock: Box::new(clock),
            live: WeakRegistry::default(),
            log: Arc::default(),
        }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// What time it is; `None` if the clock panics.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        contain(|| (self.clock)()).ok()
    }

    /// Issues a grant for the peer of `request`, which the policy of that version has admitted.
    /// The grant keeps `issuer`.
    pub(crate) fn issue(
        self: &Arc<Self>,
        issuer: Arc<dyn Any + Send + Sync>,
        policy_version: u64,
        request: &ZapRequest,
        admission: &Admission,
    ) -> Issued {
        let terms = self.live.add(|id| AdmissionTerms {
            ledger: Arc::clone(self),
            _issuer: issuer,
            id,
            entry_version: admission.entry_version,
            domain: request.domain.clone(),
            credential: admission.credential.clone(),
            user_id: admission.user_id.clone(),
            address: request.address.clone(),
            rule: admission.rule.clone(),
            state: Mutex::new(AdmissionState {
                revoked: false,
                since: policy_version,
                checked: policy_version,
                valid_until: admission.valid_until,
            }),
            changed: EventCount::default(),
        });
        // Registration races with policy changes. Earlier changes are in `self.policy()`, later
        // ones find this grant, so one check covers the rest.
        let policy = self.policy();
        let is_withdrawn = policy.version != policy_version && {
            terms.check(&policy, self.now());
            let mut state = terms.state();
            if !policy.endings.spare(policy_version, &terms.peer()) {
                state.revoked = true;
            }
            if !state.revoked {
                state.since = state.checked;
            }
            state.revoked
        };
        Issued {
            terms,
            is_withdrawn,
        }
    }

    /// How many grants are still held.
    pub(crate) fn live_grants(&self) -> usize {
        self.live.len()
    }

    /// Holds every admission against `policy`, which is in force already. Decisions add theirs
    /// meanwhile; those look at the policy in force for themselves.
    pub(crate) fn check(&self, policy: &Policy, now: Option<SystemTime>) -> PendingNotices {
        PendingNotices(self.live.select(|terms| terms.check(policy, now)))
    }

    /// Ends the admissions that `is_meant` picks.
    pub(crate) fn end(&self, is_meant: impl Fn(&AdmissionTerms) -> bool) -> PendingNotices {
        PendingNotices(self.live.select(|terms| {
            is_meant(terms) && !std::mem::replace(&mut terms.state().revoked, true)
        }))
    }
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
    pub(crate) fn notify(self) {
        for terms in self.0 {
            terms.notify();
        }
    }
}

//! Grants of the Authenticator: its record of an admitted peer, and the end of the admission.
//!
//! Decisions issue grants, changes of the policy end them, and holders check them, all at the same
//! time. A change first stores the new policy and then checks the registered grants that it can affect.
//! A decision first registers its grant and then checks it against the policy in force. Whichever comes second
//! sees the other's effect, so no grant misses a change. A change holds the Authenticator's lock
//! until all grants are checked: otherwise the next change could undo it before that. A grant never
//! goes back: `revoked` is only ever set, and a check against an older policy than the last does
//! nothing. Holders are notified after all locks are released, because wakers are foreign code.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::access::topics::TopicPermissions;
use crate::auth::admission_state::{AdmissionState, LiveTopics};
use crate::auth::audit::log::EventLog;
use crate::auth::grant_places::PlaceFinder;
use crate::auth::policy::admission::{Admission, AdmittedPeer};
use crate::auth::policy::comparison::affected::Affected;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::rule::Rule;
use crate::auth::sync::event_count::EventCount;
use crate::auth::sync::weak_registry::{Slot, WeakRegistry};
use crate::lock::lock;
use crate::zap::contain::contain;
use crate::zap::request::ZapRequest;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use std::any::Any;
#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// The record of an admission by an [`Authenticator`](crate::auth::Authenticator): who was admitted,
/// and by which entry of the policy. The holder of a grant gets it from
/// [`Grant::terms`](crate::Grant::terms).
///
/// The admission stands while all of the following are true. Once one of them is false, it has
/// ended for ever:
///
/// - The address lists let the peer's address pass, and so do the addresses of its key.
/// - The entry for its domain, mechanism and credential is the one that admitted it. An entry with
///   another password, another user or other metadata is a different entry. So is an entry that was removed and
///   added again, or one that takes its place because the domain was claimed or released. An entry that a
///   change leaves as it was, or that gets another end of its validity, stays the same entry.
/// - Its validity has not ended.
/// - No call has ended it: [`end_admissions`], [`end_admissions_of_key`].
///
/// The topics that the peer may use follow the topic tables at each moment
/// ([`Grant::topics`](crate::Grant::topics)). They end with the admission, and a change of a table ends
/// no admission.
///
/// [`stop`](crate::auth::Authenticator::stop) and
/// [`set_curve_user_id`](crate::auth::Authenticator::set_curve_user_id) apply to future peers and
/// end no admission.
///
/// On tokio's runtime with timers, [`Grant::revoked`](crate::Grant::revoked) also resolves at the end
/// of the validity, at most 60 s late if the system clock is set forward. Without a timer it resolves
/// only when the policy changes: check [`Grant::still_valid`](crate::Grant::still_valid) at
/// [`AdmissionTerms::valid_until`].
///
/// [`end_admissions`]: crate::auth::Authenticator::end_admissions
/// [`end_admissions_of_key`]: crate::auth::Authenticator::end_admissions_of_key
pub struct AdmissionTerms {
    ledger: Arc<Ledger>,
    /// Keeps the Authenticator alive, so that it continues to reload its files.
    _issuer: Arc<dyn Any + Send + Sync>,
    slot: Slot,
    entry_version: u64,
    domain: Domain,
    credential: Credential,
    user_id: Bytes,
    address: PeerAddress,
    rule: Rule,
    state: Mutex<AdmissionState>,
    topics: LiveTopics,
    /// Notified when the admission ends, and when its topics or the end of its validity change.
    changed: EventCount,
}

impl AdmissionTerms {
    /// The ledger of the Authenticator that issued it.
    pub(crate) const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The [`policy_version`](crate::auth::Authenticator::policy_version) that admitted the peer: the
    /// version after the change if the policy changed during the decision and still admits the peer.
    #[must_use]
    pub fn policy_version(&self) -> u64 {
        self.state().since
    }

    /// The version of the policy that introduced the entry; 0 if the mechanism has no entries.
    #[must_use]
    pub const fn entry_version(&self) -> u64 {
        self.entry_version
    }

    /// The domain of the request.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The mechanism. Mechanism, domain and user id together identify a user.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        self.credential.mechanism()
    }

    /// The public part of the peer's credentials.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The user id that the policy gave the peer.
    #[must_use]
    pub const fn user_id(&self) -> &Bytes {
        &self.user_id
    }

    /// The peer's address.
    #[must_use]
    pub const fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// The rule that admitted the peer.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The end of the validity according to the current policy; `None` if it has no end.
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
            rule: &self.rule,
            entry_version: self.entry_version,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, AdmissionState> {
        lock(&self.state)
    }

    pub(crate) const fn live_topics(&self) -> &LiveTopics {
        &self.topics
    }

    /// Notified when the admission ends, and when its topics or the end of its validity change.
    pub(crate) const fn changed(&self) -> &EventCount {
        &self.changed
    }

    /// Checks the admission against `policy` and the clock. True if waiters must be notified.
    pub(crate) fn check(&self, policy: &Policy, now: Option<SystemTime>) -> bool {
        self.change(|state| state.check(policy, &self.peer(), &self.topics, now))
    }

    /// Ends the admission. True if it stood before.
    fn revoke(&self) -> bool {
        self.change(|state| state.revoke(&self.topics))
    }

    /// Changes the state, and tells the ledger when the admission is due.
    fn change<R>(&self, change: impl FnOnce(&mut AdmissionState) -> R) -> R {
        let (outcome, is_due_anew) = {
            let mut state = self.state();
            let before = state.due();
            let outcome = change(&mut state);
            (outcome, state.due() != before)
        };
        if is_due_anew {
            self.tell_due();
        }
        outcome
    }

    fn tell_due(&self) {
        let live = &self.ledger.live;
        live.set_due(self.slot, || self.state().due());
    }
}

impl Drop for AdmissionTerms {
    fn drop(&mut self) {
        self.ledger.live.remove(self.slot);
    }
}

/// The state that an [`Authenticator`](crate::auth::Authenticator) and its admissions share.
pub(crate) struct Ledger {
    policy: ArcSwap<Policy>,
    /// The version of the policy in force, or of the one that is about to be.
    version: AtomicU64,
    clock: Clock,
    /// The grants that are still held, including revoked ones.
    live: WeakRegistry<AdmissionTerms>,
    places: PlaceFinder,
    /// The number of admissions that changes have checked.
    #[cfg(test)]
    pub(crate) checked: AtomicUsize,
    /// The log of audit events.
    pub(crate) log: Arc<EventLog>,
}

/// The clock for the validity of keys.
type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

impl Drop for Ledger {
    fn drop(&mut self) {
        self.log.close();
    }
}

impl Ledger {
    pub(crate) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self {
            policy: ArcSwap::default(),
            version: AtomicU64::new(Policy::default().version),
            clock: Box::new(clock),
            live: WeakRegistry::default(),
            places: PlaceFinder::default(),
            #[cfg(test)]
            checked: AtomicUsize::new(0),
            log: Arc::default(),
        }
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// The version of the policy in force. A decision by the policy of that version stands, without
    /// another look at the policy.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Puts a policy into force, and returns the one before.
    pub(crate) fn replace(&self, policy: Arc<Policy>) -> Arc<Policy> {
        // The version is first. A decision that still finds the one before was made before the change.
        self.version.store(policy.version, Ordering::SeqCst);
        self.policy.swap(policy)
    }

    /// `None` if the clock panics.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        contain(|| (self.clock)()).ok()
    }

    /// Issues a grant, which keeps `issuer` alive, for a peer that the policy of that version admits.
    pub(crate) fn issue(
        self: &Arc<Self>,
        issuer: Arc<dyn Any + Send + Sync>,
        policy_version: u64,
        request: &ZapRequest,
        admission: &Admission,
    ) -> Issued {
        let peer = admission.of(request);
        let places = self.places.of(&peer, admission.is_named_by_key);
        let topics = {
            let policy = self.policy();
            let is_same = policy.version == policy_version;
            is_same.then(|| policy.topics_of(&peer))
        };
        let terms = self.live.add(places, |slot| AdmissionTerms {
            ledger: Arc::clone(self),
            _issuer: issuer,
            slot,
            entry_version: admission.entry_version,
            domain: request.domain.clone(),
            credential: admission.credential.clone(),
            user_id: admission.user_id.clone(),
            address: request.address.clone(),
            rule: admission.rule.clone(),
            state: Mutex::new(AdmissionState::new(policy_version, admission.valid_until)),
            topics: LiveTopics::new(topics.unwrap_or_else(TopicPermissions::none)),
            changed: EventCount::default(),
        });
        if admission.valid_until.is_some() {
            terms.tell_due();
        }
        // Registration races with policy changes. A change that is stored before the load below is
        // seen by it, and a later one finds the registered grant, so one check covers all changes.
        // `endings` is asked as well, because `end_admissions` leaves the rules as they are.
        // Without a change since the decision the topics are those from above.
        let policy = self.policy();
        let is_withdrawn = policy.version != policy_version && {
            terms.check(&policy, self.now());
            if !policy.endings.allow(policy_version, &terms.peer()) {
                terms.revoke();
            }
            let mut state = terms.state();
            if !state.revoked {
                state.since = state.checked;
            }
            state.begin_topics(&policy, &terms.peer(), &terms.topics);
            state.revoked
        };
        Issued {
            terms,
            is_withdrawn,
        }
    }

    /// The number of grants that are still held.
    pub(crate) fn live_grants(&self) -> usize {
        self.live.len()
    }

    /// Checks the admissions that a change can affect against `policy`, which must be in force
    /// already, and those whose validity has ended.
    pub(crate) fn check(
        &self,
        policy: &Policy,
        affected: &[Affected],
        now: Option<SystemTime>,
    ) -> PendingNotices {
        let check = |terms: &AdmissionTerms| {
            #[cfg(test)]
            self.checked.fetch_add(1, Ordering::SeqCst);
            terms.check(policy, now)
        };
        let mut notices = self.select(affected, check);
        notices.extend(self.live.select_due(now, check));
        PendingNotices(notices)
    }

    /// Ends the admissions in a set for which `is_meant` returns true.
    pub(crate) fn end(
        &self,
        affected: Affected,
        is_meant: impl Fn(&AdmissionTerms) -> bool,
    ) -> PendingNotices {
        let end = |terms: &AdmissionTerms| is_meant(terms) && terms.revoke();
        PendingNotices(self.select(&[affected], end))
    }

    /// Calls `act` for the admissions in these sets, and returns those for which it returns true.
    fn select(
        &self,
        affected: &[Affected],
        act: impl Fn(&AdmissionTerms) -> bool,
    ) -> Vec<Arc<AdmissionTerms>> {
        let mut selected = Vec::new();
        let searches = affected.iter().flat_map(|one| self.places.searches(one));
        for search in searches.flatten() {
            selected.extend(self.live.select(&search, &act));
        }
        selected
    }
}

/// A new grant.
pub(crate) struct Issued {
    pub(crate) terms: Arc<AdmissionTerms>,
    /// Whether a change has withdrawn the admission since the decision began.
    pub(crate) is_withdrawn: bool,
}

/// Admissions that a change has ended or moved, whose holders are not notified yet.
#[must_use]
pub(crate) struct PendingNotices(Vec<Arc<AdmissionTerms>>);

impl PendingNotices {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Notifies the holders. No lock may be held, because wakers are foreign code.
    pub(crate) fn notify(self) {
        for terms in self.0 {
            terms.notify();
        }
    }
}

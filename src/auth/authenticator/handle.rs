//! The Authenticator: `zmq.auth`'s policy, shared by any number of tasks and threads.
#![forbid(unsafe_code)]

use crate::auth::audit::event::Change;
use crate::auth::audit::log::EventLog;
use crate::auth::grants::{AdmissionTerms, Issued, Ledger};
use crate::auth::policy::admission::Admission;
use crate::auth::policy::decide::Policy;
use crate::auth::sync::event_count::EventCount;
use crate::auth::sync::thread_pool::{PoolSettings, Replacement, ThreadPool};
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::keys::PublicKey;
use crate::limits::Limits;
use crate::lock::lock;
use crate::zap::bounds::Permits;
use crate::zap::hold_back::HeldBack;
use crate::zap::request::ZapRequest;
use arc_swap::Guard;
use bytes::Bytes;
#[cfg(all(feature = "policy-file", feature = "reload"))]
use std::any::Any;
use std::convert::Infallible;
use std::fmt;
#[cfg(all(feature = "policy-file", feature = "reload"))]
use std::sync::MutexGuard;
#[cfg(feature = "reload")]
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

/// Who may come in, by address, password, key or principal. Cheap to clone; all clones are the
/// same Authenticator, and every method takes `&self`.
///
/// Until configured, NULL peers are admitted from everywhere, and no PLAIN or CURVE peer is.
/// Policy is immutable and replaced as a whole: a decision never waits for a change, and sees
/// all of it or nothing.
///
/// A `configure_*` call claims its domain for its mechanism before anything is loaded. What the
/// domain has since lost, or never got because loading failed, admits no peer. A domain that is
/// not claimed is ruled by `*` ([`Domain::ALL`](crate::Domain::ALL)); only [`Authenticator::unconfigure`] gives a
/// claimed domain back to it. Of several `configure_*` calls for one domain and mechanism the
/// last rules. The empty domain is one like any other.
///
/// Every peer it admits comes with a [`Grant`](crate::Grant), which ends when the policy would
/// no longer admit the peer in the same way: see [`AdmissionTerms`].
///
/// ```
/// use zmtp_auth::auth::Authenticator;
/// use zmtp_auth::zap::ZapRouter;
///
/// let auth = Authenticator::new();
/// auth.allow(["127.0.0.1", "10.0.0.0/8"])?;
/// auth.configure_plain("*", [("admin", "secret")])?;
///
/// let router = ZapRouter::new();
/// router.bind("*", auth.clone())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

/// An [`Authenticator`] that may be gone.
#[cfg(feature = "reload")]
#[derive(Clone)]
pub(crate) struct WeakAuthenticator(Weak<Inner>);

#[cfg(feature = "reload")]
impl WeakAuthenticator {
    pub(crate) fn upgrade(&self) -> Option<Authenticator> {
        self.0.upgrade().map(Authenticator)
    }
}

struct Inner {
    ledger: Arc<Ledger>,
    /// Held by a call that changes the policy, never by a decision.
    changing: Mutex<()>,
    /// Made with the first password table; one key for all of them, so that an unchanged
    /// password has an unchanged tag in the next table.
    hash_key: OnceLock<Arc<HashKey>>,
    provider_permits: Permits,
    provider_time: Duration,
    /// Refusals that replies in frames cannot say to hold back.
    held_back: HeldBack,
    max_waiting: usize,
    /// Threads that may stand in for those that providers never return.
    spare_threads: Arc<AtomicUsize>,
    /// Where hashed passwords are verified.
    verifiers: Arc<ThreadPool>,
    /// Notified after each change.
    changed: EventCount,
    /// What a policy file has loaded again.
    #[cfg(all(feature = "policy-file", feature = "reload"))]
    watching: Mutex<Watching>,
}

/// What loads files again until it is dropped.
#[cfg(all(feature = "policy-file", feature = "reload"))]
type Watching = Option<Box<dyn Any + Send>>;

/// Threads for each provider that blocks. 16: they wait for databases and directory services rather
/// than for a core, and such services take few connections.
const BLOCKING_THREADS: usize = 16;

/// Threads that stand in for those that never return, for all providers together. 64: a service
/// that hangs for a minute costs no more, and no provider has any to lose to another's.
const SPARE_THREADS: usize = 64;

impl Authenticator {
    /// An Authenticator without any configuration, with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// An Authenticator without any configuration. Of the limits it uses
    /// [`Limits::max_pending_verdicts`], [`Limits::max_remembered_failures`],
    /// [`Limits::max_held_back`] and [`Limits::verdict_timeout`], for its providers and hashed
    /// passwords.
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self::with_clock(limits, SystemTime::now)
    }

    /// As [`Authenticator::with_limits`], with another clock than the system's for the validity
    /// of keys: for tests, and where the system's is not to be trusted. While it panics, no key
    /// with a validity is admitted.
    #[must_use]
    pub fn with_clock(
        limits: &Limits,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        // A job waits from its question's first pause on, just before the question gets a place or
        // makes room. Were there as many places in the queue as for questions, the queue would
        // refuse a newcomer before the fair choice among the questions.
        let max_waiting = limits.max_pending_verdicts.saturating_mul(2);
        Self(Arc::new(Inner {
            ledger: Arc::new(Ledger::new(clock)),
            changing: Mutex::new(()),
            hash_key: OnceLock::new(),
            provider_permits: Permits::new(limits),
            provider_time: limits.verdict_timeout,
            held_back: HeldBack::new(limits.max_held_back),
            max_waiting,
            spare_threads: Arc::new(AtomicUsize::new(SPARE_THREADS)),
            verifiers: Arc::new(ThreadPool::new(PoolSettings {
                name: "zmtp-auth password",
                // Each is one core at full load, and the last one is for everything else.
                max_threads: available_parallelism()
                    .map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
                max_waiting,
                replacement: None,
            })),
            changed: EventCount::default(),
            #[cfg(all(feature = "policy-file", feature = "reload"))]
            watching: Mutex::default(),
        }))
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Guard<Arc<Policy>> {
        self.0.ledger.policy()
    }

    /// What reloading holds, so that reloading keeps no Authenticator alive.
    #[cfg(feature = "reload")]
    pub(crate) fn downgrade(&self) -> WeakAuthenticator {
        WeakAuthenticator(Arc::downgrade(&self.0))
    }

    /// What a policy file has loaded again.
    #[cfg(all(feature = "policy-file", feature = "reload"))]
    pub(crate) fn watching(&self) -> MutexGuard<'_, Watching> {
        lock(&self.0.watching)
    }

    /// What it shares with its admissions.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Issues a grant for the peer of `request`, which the policy of that version has admitted.
    pub(crate) fn issue(
        &self,
        policy_version: u64,
        request: &ZapRequest,
        admission: &Admission,
    ) -> Issued {
        let issuer = Arc::clone(&self.0);
        let ledger = &self.0.ledger;
        ledger.issue(issuer, policy_version, request, admission)
    }

    /// What is notified after each change.
    pub(crate) fn changed(&self) -> &EventCount {
        &self.0.changed
    }

    /// One key for the passwords of all tables.
    pub(crate) fn hash_key_cell(&self) -> &OnceLock<Arc<HashKey>> {
        &self.0.hash_key
    }

    /// The permits of questions that pause.
    pub(crate) fn provider_permits(&self) -> &Permits {
        &self.0.provider_permits
    }

    /// Threads for one provider that blocks.
    pub(crate) fn blocking_threads(&self) -> ThreadPool {
        ThreadPool::new(PoolSettings {
            name: "zmtp-auth provider",
            max_threads: BLOCKING_THREADS,
            max_waiting: self.0.max_waiting,
            replacement: Some(Replacement {
                after: self.0.provider_time,
                spare: Arc::clone(&self.0.spare_threads),
            }),
        })
    }

    /// Refusals that are held back here.
    pub(crate) fn held_back(&self) -> &HeldBack {
        &self.0.held_back
    }

    /// Where hashed passwords are verified.
    pub(crate) fn verifiers(&self) -> Arc<ThreadPool> {
        Arc::clone(&self.0.verifiers)
    }

    /// How long a provider may take.
    pub(crate) fn provider_time(&self) -> Duration {
        self.0.provider_time
    }

    /// What time it is; `None` if the clock panics.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        self.0.ledger.now()
    }

    /// What readers of audit events read.
    pub(crate) fn event_log(&self) -> &Arc<EventLog> {
        &self.0.ledger.log
    }

    /// Replaces the policy by a changed copy; the change says what it was.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Policy) -> Change) {
        match self.try_change(|policy| Ok::<_, Infallible>(((), change(policy)))) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    /// Replaces the policy by a changed copy, unless the change fails. When it returns, every
    /// admission that the change ends has ended. `change` may call no foreign code.
    pub(crate) fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut Policy) -> Result<(T, Change), E>,
    ) -> Result<T, E> {
        let now = self.now();
        // A change that panicked has stored nothing, so the policy behind a poisoned lock is whole.
        let alone = lock(&self.0.changing);
        let mut policy = Policy::clone(&self.policy());
        policy.version += 1;
        let version = policy.version;
        let (outcome, change) = change(&mut policy)?;
        let policy = Arc::new(policy);
        let before = self.0.ledger.policy.swap(Arc::clone(&policy));
        #[cfg(feature = "reload")]
        let ended = match change {
            Change::WatchEnded(_) => Vec::new(),
            _ => policy.watches.ended_since(&before.watches),
        };
        // Within the lock, so that no admission can miss a change that the next one takes back.
        let notices = self.0.ledger.check(&policy, now);
        drop(alone);
        // From here on runs foreign code, which may want to change the policy itself: wakers, and
        // providers that are dropped with the policy that held them.
        self.audit_change(version, change);
        #[cfg(feature = "reload")]
        if !ended.is_empty() {
            self.audit_change(version, Change::WatchEnded(ended));
        }
        notices.notify();
        self.0.changed.notify_all();
        drop(before);
        Ok(outcome)
    }

    /// The user id of a CURVE key: 40 characters of Z85, unless
    /// [`Authenticator::set_curve_user_id`] says otherwise.
    /// `None` if that mapping panics.
    #[must_use]
    pub fn curve_user_id(&self, key: &PublicKey) -> Option<Bytes> {
        self.policy().curve_user_id(key).ok()
    }

    /// Replaces the mapping of keys to user ids, for every key that is admitted by a table, or
    /// by a provider that names no user. At most 255 bytes; a longer id, or a panic, refuses
    /// the peer with 500.
    pub fn set_curve_user_id<U: Into<Bytes>>(
        &self,
        user_id: impl Fn(&PublicKey) -> U + Send + Sync + 'static,
    ) {
        let user_id = Arc::new(move |key: &PublicKey| user_id(key).into());
        self.change(|policy| {
            policy.user_ids = Some(user_id);
            Change::UserIds
        });
    }

    /// Grants that are still held, revoked ones too.
    #[must_use]
    pub fn live_grants(&self) -> usize {
        self.0.ledger.live_grants()
    }

    /// Refuses every request with 300, until [`Authenticator::start`]; those that are in progress
    /// when it returns, too. Peers that are in stay in.
    pub fn stop(&self) {
        self.change(|policy| {
            policy.stopped = true;
            policy.endings.end_all(policy.version);
            Change::Stopped
        });
    }

    /// Decides again after [`Authenticator::stop`]. A new Authenticator is started already.
    pub fn start(&self) {
        self.change(|policy| {
            policy.stopped = false;
            Change::Started
        });
    }
}

impl AdmissionTerms {
    /// Whether `auth` has admitted the peer: that Authenticator, or a clone of it.
    #[must_use]
    pub fn was_issued_by(&self, auth: &Authenticator) -> bool {
        Arc::ptr_eq(self.ledger(), &auth.0.ledger)
    }
}

impl Default for Authenticator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("policy", &**self.policy())
            .field("live_grants", &self.live_grants())
            .finish_non_exhaustive()
    }
}

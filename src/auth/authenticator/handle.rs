//! The Authenticator: the policy of `zmq.auth`, shared by any number of tasks and threads.
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

/// Decides which peers are admitted, by address, password, key or principal. Cloning is cheap, all
/// clones are the same Authenticator, and every method takes `&self`.
///
/// Without configuration it admits NULL peers from all addresses, and no PLAIN or CURVE peer. The
/// policy is immutable and is replaced as a whole, so a decision never waits for a change, and
/// sees either all of it or nothing.
///
/// A `configure_*` call claims its domain for its mechanism before it loads anything. A domain
/// whose first load fails therefore admits no peer, and does not fall back to `*`. The rule of `*`
/// ([`Domain::ALL`](crate::Domain::ALL)) applies to domains that are not claimed. Only
/// [`Authenticator::unconfigure`] releases a claimed domain. If several `configure_*` calls name
/// the same domain and mechanism, the last one applies. The empty domain is a domain like any
/// other.
///
/// Every admitted peer gets a [`Grant`](crate::Grant), which ends when the policy would no longer
/// admit the peer in the same way: see [`AdmissionTerms`].
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

/// A weak reference to an [`Authenticator`].
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
    /// Held by calls that change the policy, never by decisions.
    changing: Mutex<()>,
    /// The key of all password tables, created with the first one. All tables share it, so that
    /// an unchanged password has the same tag in the next table.
    hash_key: OnceLock<Arc<HashKey>>,
    provider_permits: Permits,
    provider_time: Duration,
    /// Refusals in frames that are delayed here, because frames cannot carry the delay.
    held_back: HeldBack,
    max_waiting: usize,
    /// The number of threads that may still replace those of calls that do not return.
    spare_threads: Arc<AtomicUsize>,
    /// The threads that verify hashed passwords.
    verifiers: Arc<ThreadPool>,
    /// Notified after each change.
    changed: EventCount,
    /// The watch of the files that a policy file names.
    #[cfg(all(feature = "policy-file", feature = "reload"))]
    watching: Mutex<Watching>,
}

/// Reloads files until it is dropped.
#[cfg(all(feature = "policy-file", feature = "reload"))]
type Watching = Option<Box<dyn Any + Send>>;

/// Number of threads for each blocking provider. 16: they wait for databases and directory services
/// and not for a core, and such services accept few connections.
const BLOCKING_THREADS: usize = 16;

/// Number of spare threads for all blocking providers together. They replace threads whose call
/// does not return. 64: this bounds the threads that a hanging service can use up, and providers do
/// not lose their own 16 threads to each other.
const SPARE_THREADS: usize = 64;

impl Authenticator {
    /// An Authenticator without configuration, with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// An Authenticator without configuration. Its providers and the verification of hashed
    /// passwords are bounded by [`Limits::max_pending_verdicts`],
    /// [`Limits::max_remembered_failures`], [`Limits::max_held_back`] and
    /// [`Limits::verdict_timeout`].
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self::with_clock(limits, SystemTime::now)
    }

    /// As [`Authenticator::with_limits`], with `clock` instead of the system clock for the validity
    /// of keys: for tests, and for machines whose system clock is not trustworthy. While the clock
    /// panics, no key with a validity is admitted.
    #[must_use]
    pub fn with_clock(
        limits: &Limits,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        // A job enters the thread queue shortly before its request takes a permit or evicts another
        // request. If the queue had only as many places as there are permits, it could be full and
        // refuse the new request before the fair choice among requests is made.
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
                // Each verification uses a whole core. One core is left for everything else.
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

    /// A weak reference, so that reloading does not keep the Authenticator alive.
    #[cfg(feature = "reload")]
    pub(crate) fn downgrade(&self) -> WeakAuthenticator {
        WeakAuthenticator(Arc::downgrade(&self.0))
    }

    /// The watch of the files that a policy file names.
    #[cfg(all(feature = "policy-file", feature = "reload"))]
    pub(crate) fn watching(&self) -> MutexGuard<'_, Watching> {
        lock(&self.0.watching)
    }

    /// The state that it shares with its admissions.
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

    /// Notified after each change.
    pub(crate) fn changed(&self) -> &EventCount {
        &self.0.changed
    }

    /// The key of all password tables, if it exists.
    pub(crate) fn hash_key_cell(&self) -> &OnceLock<Arc<HashKey>> {
        &self.0.hash_key
    }

    /// The permits of requests that wait for a provider or a verification.
    pub(crate) fn provider_permits(&self) -> &Permits {
        &self.0.provider_permits
    }

    /// Creates the threads for one blocking provider.
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

    /// The refusals in frames that are delayed.
    pub(crate) fn held_back(&self) -> &HeldBack {
        &self.0.held_back
    }

    /// The threads that verify hashed passwords.
    pub(crate) fn verifiers(&self) -> Arc<ThreadPool> {
        Arc::clone(&self.0.verifiers)
    }

    /// The maximum time of a provider or a verification.
    pub(crate) fn provider_time(&self) -> Duration {
        self.0.provider_time
    }

    /// The current time; `None` if the clock panics.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        self.0.ledger.now()
    }

    /// The log of audit events.
    pub(crate) fn event_log(&self) -> &Arc<EventLog> {
        &self.0.ledger.log
    }

    /// Replaces the policy by a changed copy. `change` returns what it did, for the audit log.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Policy) -> Change) {
        match self.try_change(|policy| Ok::<_, Infallible>(((), change(policy)))) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }

    /// Replaces the policy by a changed copy, unless the change fails. When it returns, every
    /// admission that the change withdraws has ended. `change` must not call foreign code.
    pub(crate) fn try_change<T, E>(
        &self,
        change: impl FnOnce(&mut Policy) -> Result<(T, Change), E>,
    ) -> Result<T, E> {
        let now = self.now();
        // A change that panics stores nothing, so a poisoned lock does not mean a broken policy.
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
        // The grants are checked while the lock is held. Otherwise a second change could undo this
        // one before the grants are checked, and an admission would survive that this change ends.
        let notices = self.0.ledger.check(&policy, now);
        drop(alone);
        // The rest runs foreign code, which may change the policy itself: wakers of readers and
        // holders, and the drop of providers together with the policy before.
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

    /// The user id of a CURVE key that no row or certificate gives a name: its 40 characters of Z85, or what
    /// [`Authenticator::set_curve_user_id`] maps it to. `None` if that mapping panics.
    #[must_use]
    pub fn curve_user_id(&self, key: &PublicKey) -> Option<Bytes> {
        self.policy().curve_user_id(key).ok()
    }

    /// Replaces the mapping of keys to user ids. It applies to keys that a table admits without naming
    /// a user, and to keys that a provider admits without naming a user. A user id has at most 255 bytes. If it is
    /// longer, or the mapping panics, the peer is refused with 500.
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

    /// The number of grants that are still held, including revoked ones.
    #[must_use]
    pub fn live_grants(&self) -> usize {
        self.0.ledger.live_grants()
    }

    /// Refuses every request with 300 until [`Authenticator::start`], including requests in
    /// progress. Admitted peers stay admitted.
    pub fn stop(&self) {
        self.change(|policy| {
            policy.stopped = true;
            policy.endings.end_all(policy.version);
            Change::Stopped
        });
    }

    /// Resumes decisions after [`Authenticator::stop`]. A new Authenticator is started.
    pub fn start(&self) {
        self.change(|policy| {
            policy.stopped = false;
            Change::Started
        });
    }
}

impl AdmissionTerms {
    /// Whether `auth`, or a clone of it, has admitted the peer.
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

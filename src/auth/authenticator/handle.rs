//! The Authenticator: the policy of `zmq.auth`, shared by any number of tasks and threads.
#![forbid(unsafe_code)]

use crate::auth::audit::event::Change;
use crate::auth::audit::log::EventLog;
use crate::auth::grants::{AdmissionTerms, Issued, Ledger};
use crate::auth::policy::admission::Admission;
use crate::auth::policy::comparison::ruled::Made;
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
/// use zmtp_auth::{Config, Security};
///
/// let auth = Authenticator::new();
/// auth.allow(["127.0.0.1", "10.0.0.0/8"])?;
/// auth.configure_plain("*", [("admin", "secret")])?;
///
/// let config = Config::untyped_builder().plain_server().authorize("billing").finish()?;
/// let security = Security::from((config, auth.clone()));
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

    /// Replaces the policy by a changed copy. `change` returns what it did, for the audit log. Returns how
    /// many admissions it has ended, or given other topics or another end of their validity.
    pub(crate) fn change<C: Into<Made>>(&self, change: impl FnOnce(&mut Policy) -> C) -> usize {
        match self.try_change_counting(|policy| Ok::<_, Infallible>(((), change(policy)))) {
            Ok(((), admissions)) => admissions,
            Err(never) => match never {},
        }
    }

    /// Replaces the policy by a changed copy, unless the change fails. When it returns, every
    /// admission that the change withdraws has ended. `change` must not call foreign code.
    pub(crate) fn try_change<T, C: Into<Made>, E>(
        &self,
        change: impl FnOnce(&mut Policy) -> Result<(T, C), E>,
    ) -> Result<T, E> {
        self.try_change_counting(change).map(|(outcome, _)| outcome)
    }

    /// As [`Authenticator::try_change`]. Also returns how many admissions the change has changed.
    fn try_change_counting<T, C: Into<Made>, E>(
        &self,
        change: impl FnOnce(&mut Policy) -> Result<(T, C), E>,
    ) -> Result<(T, usize), E> {
        let now = self.now();
        // A change that panics stores nothing, so a poisoned lock does not mean a broken policy.
        let alone = lock(&self.0.changing);
        let mut policy = Policy::clone(&self.policy());
        policy.version += 1;
        let (outcome, made) = change(&mut policy)?;
        let made = made.into();
        let policy = Arc::new(policy);
        let before = self.0.ledger.replace(Arc::clone(&policy));
        #[cfg(feature = "reload")]
        let ended = match made {
            Made::Told(Change::WatchEnded(_)) => Vec::new(),
            _ => policy.watches.ended_since(&before.watches),
        };
        // The grants are checked while the lock is held. Otherwise a second change could undo this
        // one before the grants are checked, and an admission would survive that this change ends.
        // The policies are compared after the new one is stored. A grant that is registered later than
        // the count of grants is taken finds the new policy by itself.
        let affected = match self.live_grants() {
            0 => Vec::new(),
            live => policy.affected_since(&before, live),
        };
        let notices = self.0.ledger.check(&policy, &affected, now);
        drop(alone);
        // The rest runs foreign code, which may change the policy itself: wakers of readers and
        // holders, and the drop of providers together with the policy before.
        self.audit_made(&before, &policy, made);
        #[cfg(feature = "reload")]
        if !ended.is_empty() {
            self.audit_change(policy.version, Change::WatchEnded(ended));
        }
        let admissions = notices.len();
        notices.notify();
        self.0.changed.notify_all();
        drop(before);
        Ok((outcome, admissions))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::credentials::{Credentials, MechanismKind};
    use crate::access::grant::Grant;
    use crate::access::request::AccessRequest;
    use crate::access::topics::TopicPermissions;
    use crate::auth::policy::comparison::affected::Affected;
    use crate::auth::policy::curve::row::CurveKey;
    use crate::auth::policy::provider::{CurveQuestion, ProviderAnswer, ProviderError};
    use crate::auth::policy::topics::TopicTable;
    use crate::auth::sync::block_on::block_on;
    use crate::crypto::password::Password;
    use crate::wire::metadata::Metadata;
    use crate::zap::request::RequestId;
    use crate::zap::router::ZapHandler;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// With more of them this test takes long.
    fn cases() -> u32 {
        let is_full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
        if is_full { 1000 } else { 32 }
    }

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number + 9; 32]).unwrap()
    }

    fn admit(
        auth: &Authenticator,
        domain: &'static str,
        address: &str,
        credentials: Credentials,
    ) -> Option<Grant> {
        let address = PeerAddress::from_zap(address.as_bytes());
        let request = AccessRequest::new(domain, address, credentials);
        let asked = auth.handle(ZapRequest::new(RequestId::from(0), &request));
        block_on(asked, PATIENCE).unwrap().grant
    }

    fn curve(auth: &Authenticator, domain: &'static str, number: u8) -> Option<Grant> {
        let address = format!("10.0.0.{number}");
        admit(
            auth,
            domain,
            &address,
            Credentials::Curve { key: key(number) },
        )
    }

    fn plain(auth: &Authenticator, domain: &'static str, number: u8) -> Option<Grant> {
        let credentials = Credentials::Plain {
            username: format!("user{number}").into(),
            password: Password::from("secret"),
        };
        admit(auth, domain, &format!("10.0.1.{number}"), credentials)
    }

    /// A provider that admits every key under one user id.
    async fn same_user(_: CurveQuestion) -> Result<ProviderAnswer, ProviderError> {
        Ok(ProviderAnswer::YesAs {
            user_id: Bytes::from_static(b"same"),
            metadata: Metadata::new(),
        })
    }

    const DOMAINS: [&str; 4] = ["a", "b", "c", "*"];

    #[derive(Debug, Clone)]
    enum Step {
        SetKeys(usize, Vec<u8>),
        AddKey(usize, u8, Option<u8>),
        RemoveKeys(usize, Vec<u8>),
        AnyKey(usize),
        Provider(usize),
        SetUsers(usize, Vec<u8>, bool),
        Unconfigure(usize),
        Addresses(Option<usize>, u8, Vec<u8>),
        Topics(usize, Option<u8>, bool),
        End(usize, u8),
        Time(u64),
        #[cfg(feature = "policy-file")]
        File(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (domain, number) = (0..DOMAINS.len(), 0..6_u8);
        let numbers = proptest::collection::vec(0..6_u8, 0..6);
        let one = (domain.clone(), number.clone());
        let list = (
            proptest::option::of(domain.clone()),
            0..5_u8,
            numbers.clone(),
        );
        let addresses = list.prop_map(|(at, how, numbers)| Step::Addresses(at, how, numbers));
        let step = prop_oneof![
            (domain.clone(), numbers.clone()).prop_map(|(at, keys)| Step::SetKeys(at, keys)),
            (one.clone(), proptest::option::of(0..2_u8))
                .prop_map(|((at, key), user)| Step::AddKey(at, key, user)),
            (domain.clone(), numbers.clone()).prop_map(|(at, keys)| Step::RemoveKeys(at, keys)),
            domain.clone().prop_map(Step::AnyKey),
            domain.clone().prop_map(Step::Provider),
            (domain.clone(), numbers, any::<bool>())
                .prop_map(|(at, users, other)| Step::SetUsers(at, users, other)),
            domain.clone().prop_map(Step::Unconfigure),
            addresses.clone(),
            addresses,
            (domain, proptest::option::of(number), any::<bool>())
                .prop_map(|(at, user, all)| Step::Topics(at, user, all)),
            one.prop_map(|(at, number)| Step::End(at, number)),
            (1..9_u64).prop_map(Step::Time),
        ];
        #[cfg(feature = "policy-file")]
        let step = prop_oneof![12 => step, 1 => (0..3_u8).prop_map(Step::File)];
        proptest::collection::vec(step, 1..40)
    }

    /// A rule of one of six forms, which matches some addresses of [`addresses`].
    fn rule(number: u8) -> String {
        let (form, number) = (number / 6, number % 6);
        match form {
            0 => format!("10.0.0.0/{}", 32 - number),
            1 => format!("10.0.1.{number}"),
            2 => format!("2001:db8::/{}", 128 - number),
            3 => format!("fe80::{number}"),
            4 => format!("fe80::{number}%eth0"),
            _ => format!("uid:{number}"),
        }
    }

    /// Addresses of all forms.
    fn addresses(number: u8) -> Vec<String> {
        vec![
            format!("10.0.0.{number}"),
            format!("::ffff:10.0.0.{number}"),
            format!("2001:db8::{number}"),
            format!("fe80::{number}"),
            format!("fe80::{number}%eth0"),
            format!("localhost:{number}:100:1"),
            format!("unknown {number}"),
        ]
    }

    fn apply(auth: &Authenticator, clock: &AtomicU64, step: Step) {
        match step {
            Step::SetKeys(at, keys) => {
                auth.configure_curve_keys(DOMAINS[at], keys.into_iter().map(key));
            }
            Step::AddKey(at, number, user) => {
                let row = CurveKey::new(key(number));
                let row = match user {
                    Some(user) => row.with_user(vec![b'u', user]),
                    None => row,
                };
                auth.add_curve_users(DOMAINS[at], [row]).unwrap();
            }
            Step::RemoveKeys(at, keys) => {
                auth.remove_curve_keys(DOMAINS[at], keys.into_iter().map(key));
            }
            Step::AnyKey(at) => {
                auth.configure_curve_any(DOMAINS[at]);
            }
            Step::Provider(at) => {
                auth.configure_curve_callback(DOMAINS[at], same_user);
            }
            Step::SetUsers(at, users, other) => {
                let password = if other { "other" } else { "secret" };
                let users = users
                    .into_iter()
                    .map(|user| (format!("user{user}"), password));
                auth.configure_plain(DOMAINS[at], users).unwrap();
            }
            Step::Unconfigure(at) => {
                auth.unconfigure(DOMAINS[at]);
            }
            Step::Addresses(at, how, numbers) => {
                let list = match at {
                    Some(at) => auth.addresses_of(DOMAINS[at]),
                    None => auth.addresses(),
                };
                let rules: Vec<String> = numbers.into_iter().map(rule).collect();
                // There may be the other list.
                let _both = match how {
                    0 => list.deny(&rules),
                    1 => list.remove_denied(&rules).map(drop),
                    2 => list.allow(&rules),
                    3 => list.remove_allowed(&rules).map(drop),
                    _ => {
                        list.clear();
                        Ok(())
                    }
                };
            }
            Step::Topics(at, user, all) => {
                let topics = if all {
                    TopicPermissions::all()
                } else {
                    TopicPermissions::none()
                };
                let table = TopicTable::new();
                let table = match user {
                    Some(user) => {
                        let name = key(user).to_z85();
                        let table = table.with_user(MechanismKind::Curve, name, topics.clone());
                        table.with_user(MechanismKind::Plain, format!("user{user}"), topics)
                    }
                    None => table.with_others(topics),
                };
                auth.configure_topics(DOMAINS[at], table);
            }
            Step::End(at, number) => {
                let name = key(number).to_z85();
                auth.end_admissions(MechanismKind::Curve, DOMAINS[at], name);
                auth.end_admissions(MechanismKind::Curve, DOMAINS[at], "same");
                auth.end_admissions_of_key(&key(number));
            }
            Step::Time(second) => {
                clock.fetch_add(second, Ordering::SeqCst);
                auth.start();
            }
            #[cfg(feature = "policy-file")]
            Step::File(number) => {
                let text = match number {
                    0 => "[domain.a]\nnull = true\n",
                    1 => "[domain.\"*\"]\nnull = true\ncurve = { any = true }\n",
                    _ => "[deny]\naddresses = []\n[domain.b]\nnull = true\n",
                };
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("policy.toml");
                std::fs::write(&path, text).unwrap();
                let file = crate::auth::policy_file::file::PolicyFile::load(&path);
                if let Ok(file) = file {
                    auth.load_policy(&file).unwrap();
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        // The check of all admissions finds what the check of those that a change can affect has missed.
        #[test]
        fn a_change_checks_every_admission_that_it_affects(steps in steps()) {
            let clock = Arc::new(AtomicU64::new(0));
            let now = Arc::clone(&clock);
            let auth = Authenticator::with_clock(&Limits::default(), move || {
                UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst))
            });
            let mut grants = Vec::new();
            for step in steps {
                for domain in ["a", "b", "other"] {
                    for number in 0..6 {
                        grants.extend(curve(&auth, domain, number));
                        grants.extend(plain(&auth, domain, number));
                    }
                    for address in (0..6).flat_map(addresses) {
                        grants.extend(admit(&auth, domain, &address, Credentials::Null));
                    }
                }
                apply(&auth, &clock, step);
                prop_assert_eq!(auth.ledger().version(), auth.policy_version());
                let missed = auth.ledger().check(&auth.policy(), &[Affected::All], auth.now());
                prop_assert_eq!(missed.len(), 0);
                grants.retain(Grant::still_valid);
                grants.truncate(400);
            }
        }
    }

    /// How many admissions a change checks.
    fn checked(auth: &Authenticator, change: impl FnOnce(&Authenticator)) -> usize {
        let before = auth.ledger().checked.load(Ordering::SeqCst);
        change(auth);
        auth.ledger().checked.load(Ordering::SeqCst) - before
    }

    #[test]
    fn a_call_tells_how_many_admissions_it_has_changed() {
        let auth = Authenticator::new();
        auth.configure_curve_keys("a", [key(1), key(2)]);
        let held = [1, 1, 2].map(|number| curve(&auth, "a", number));
        assert!(held.iter().all(Option::is_some));
        let all = || TopicTable::new().with_others(TopicPermissions::all());
        let but_one = || {
            let none = TopicPermissions::none();
            all().with_user(MechanismKind::Curve, key(1).to_z85(), none)
        };
        let topics = |table| auth.configure_topics("a", table).changed_admissions;
        assert_eq!(topics(all()), 0);
        assert_eq!(topics(but_one()), 2);
        assert_eq!(topics(but_one()), 0);
        assert_eq!(auth.clear_topics("a").changed_admissions, 2);
        let configured = auth.configure_curve_keys("a", [key(2)]);
        assert_eq!(configured.changed_admissions, 2);
        let configured = auth.remove_curve_keys("a", [key(2)]);
        assert_eq!(
            (configured.removed_keys, configured.changed_admissions),
            (1, 1)
        );
        // A domain that a call configures for the first time no longer falls back to `*`.
        auth.configure_curve_keys("*", [key(1)]);
        let held = ["b", "c"].map(|domain| curve(&auth, domain, 1));
        assert!(held.iter().all(Option::is_some));
        let configured = auth.configure_curve_users("b", [key(2)]).unwrap();
        assert_eq!(configured.changed_admissions, 1);
        let configured = auth.add_curve_users("c", [key(2)]).unwrap();
        assert_eq!(configured.changed_admissions, 1);
    }

    #[test]
    fn a_change_checks_only_admissions_that_it_can_affect() {
        let auth = Authenticator::new();
        let all: Vec<PublicKey> = (0..100).map(key).collect();
        let users = || (0..100).map(|user| (format!("user{user}"), "secret"));
        auth.configure_curve_keys("a", all.iter().copied());
        auth.configure_curve_keys("*", all.iter().copied());
        auth.configure_plain("a", users()).unwrap();
        let mut held = Vec::new();
        for number in 0..100 {
            held.extend([curve(&auth, "a", number), curve(&auth, "other", number)]);
            held.push(plain(&auth, "a", number));
        }
        held.push(curve(&auth, "a", 7));
        assert!(held.iter().all(Option::is_some));
        let checks = |change: fn(&Authenticator)| checked(&auth, change);
        // A new key has no admissions, and the same keys again change none.
        assert_eq!(checks(|auth| _ = auth.add_curve_users("a", [key(110)])), 0);
        assert_eq!(checks(|auth| _ = auth.add_curve_users("a", [key(3)])), 0);
        let again = || auth.configure_curve_keys("*", all.iter().copied());
        assert_eq!(checked(&auth, |_| _ = again()), 0);
        assert_eq!(checks(|auth| _ = auth.remove_curve_keys("a", [key(7)])), 2);
        // The rule of `*` admits keys of other domains.
        let named = || [CurveKey::new(key(8)).with_user("alice")];
        assert_eq!(
            checked(&auth, |auth| _ = auth.add_curve_users("*", named())),
            2
        );
        let but_one = users().skip(1);
        assert_eq!(
            checked(&auth, |auth| _ = auth.configure_plain("a", but_one)),
            1
        );
        assert_eq!(checks(|auth| _ = auth.configure_curve_any("fresh")), 0);
        assert_eq!(checks(|auth| _ = auth.configure_curve_any("other")), 100);
        let name = key(4).to_z85();
        let table = TopicTable::new().with_others(TopicPermissions::all());
        assert_eq!(
            checked(&auth, |auth| _ = auth.configure_topics("a", table.clone())),
            201
        );
        let table = table.with_user(MechanismKind::Curve, name, TopicPermissions::none());
        assert_eq!(
            checked(&auth, |auth| _ = auth.configure_topics("a", table)),
            1
        );
        // A block that holds the addresses of two keys, in two domains.
        assert_eq!(checks(|auth| auth.deny(["10.0.0.2/31"]).unwrap()), 4);
        assert_eq!(
            checks(|auth| _ = auth.addresses().remove_denied(["10.0.0.2/31"])),
            0
        );
        assert_eq!(checks(|auth| auth.stop()), 0);
    }

    #[test]
    fn a_change_checks_the_admissions_whose_validity_has_ended() {
        let clock = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&clock);
        let auth = Authenticator::with_clock(&Limits::default(), move || {
            UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst))
        });
        let directory = tempfile::tempdir().unwrap();
        for (number, end) in [(1, 10), (2, 20), (3, 30)] {
            let text = format!(
                "metadata\n    not-after = \"1970-01-01T00:00:{end}Z\"\ncurve\n    public-key = \"{}\"\n",
                key(number).to_z85()
            );
            std::fs::write(directory.path().join(format!("{number}.key")), text).unwrap();
        }
        auth.configure_curve("a", directory.path()).unwrap();
        let held: Vec<_> = (1..4)
            .map(|number| curve(&auth, "a", number).unwrap())
            .collect();
        assert_eq!(checked(&auth, Authenticator::start), 0);
        clock.store(10, Ordering::SeqCst);
        assert_eq!(checked(&auth, Authenticator::start), 1);
        // It has ended and is not due again.
        assert_eq!(checked(&auth, Authenticator::start), 0);
        clock.store(30, Ordering::SeqCst);
        assert_eq!(checked(&auth, Authenticator::start), 2);
        assert!(held.iter().all(|grant| !grant.still_valid()));
        assert_eq!(auth.live_grants(), 3);
        drop(held);
        assert_eq!(auth.live_grants(), 0);
    }
}

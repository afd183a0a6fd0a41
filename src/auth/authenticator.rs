//! The Authenticator: `zmq.auth`'s policy, shared by any number of tasks and threads.
#![forbid(unsafe_code)]

use crate::auth::address::{AddressError, AddressRule};
use crate::auth::policy::Policy;
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::keys::PublicKey;
use crate::limits::Limits;
use crate::zap::bounds::Places;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Who may come in, by address, password, key or principal. Cheap to clone; all clones are the
/// same Authenticator, and every method takes `&self`.
///
/// Until configured, NULL peers are admitted from everywhere, and no PLAIN or CURVE peer is.
/// Policy is immutable and replaced as a whole: a decision never waits for a change, and sees
/// all of it or nothing.
///
/// A `configure_*` call claims its domain for its mechanism before anything is loaded. What the
/// domain has since lost, or never got because loading failed, means nobody. A domain that is
/// not claimed is ruled by `*` ([`Domain::ALL`]); only [`Authenticator::unconfigure`] gives a
/// claimed domain back to it. Of several `configure_*` calls for one domain and mechanism the
/// last rules. The empty domain is one like any other.
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
pub struct Authenticator(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) policy: ArcSwap<Policy>,
    /// Held by whoever changes the policy, never by a decision.
    changing: Mutex<()>,
    /// Made with the first password table; one key for all of them, so that an unchanged
    /// password has an unchanged tag in the next table.
    pub(crate) hash_key: OnceLock<Arc<HashKey>>,
    pub(crate) provider_places: Places,
    pub(crate) provider_time: Duration,
}

impl Authenticator {
    /// An Authenticator without any configuration, with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// An Authenticator without any configuration. Of the limits it uses
    /// [`Limits::max_pending_verdicts`] and [`Limits::verdict_timeout`], for its providers.
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            policy: ArcSwap::default(),
            changing: Mutex::new(()),
            hash_key: OnceLock::new(),
            provider_places: Places::new(limits.max_pending_verdicts),
            provider_time: limits.verdict_timeout,
        }))
    }

    /// Replaces the policy by a changed copy.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Policy) -> T) -> T {
        // A change that panicked has stored nothing, so the policy behind a poisoned lock is whole.
        let alone = self
            .0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut policy = Policy::clone(&self.0.policy.load());
        let outcome = change(&mut policy);
        let before = self.0.policy.swap(Arc::new(policy));
        // Providers are dropped with the policy that held them, and their drop is foreign code,
        // which may want to change the policy itself.
        drop(alone);
        drop(before);
        outcome
    }

    /// Adds to the allow list: from then on other addresses are refused. Under PLAIN, CURVE and
    /// GSSAPI an allowed peer must still authenticate. No addresses at all make no list.
    ///
    /// # Errors
    /// [`AddressError`] if there is a deny list, or a rule is none; nothing is added then.
    pub fn allow<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.change(|policy| Arc::make_mut(&mut policy.addresses).allow(rules))
    }

    /// Adds to the deny list: addresses on it are refused, all others may authenticate.
    ///
    /// # Errors
    /// [`AddressError`] if there is an allow list, or a rule is none; nothing is added then.
    pub fn deny<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.change(|policy| Arc::make_mut(&mut policy.addresses).deny(rules))
    }

    /// The user id of a CURVE key: 40 characters of Z85, unless
    /// [`Authenticator::set_curve_user_id`] says otherwise.
    /// `None` if that mapping panics.
    #[must_use]
    pub fn curve_user_id(&self, key: &PublicKey) -> Option<Bytes> {
        self.0.policy.load().curve_user_id(key).ok()
    }

    /// Replaces the mapping of keys to user ids, for every key that is admitted by a table, or
    /// by a provider that names no user. At most 255 bytes; a longer id, or a panic, refuses
    /// the peer with 500.
    pub fn set_curve_user_id<U: Into<Bytes>>(
        &self,
        user_id: impl Fn(&PublicKey) -> U + Send + Sync + 'static,
    ) {
        let user_id = Arc::new(move |key: &PublicKey| user_id(key).into());
        self.change(|policy| policy.user_ids = Some(user_id));
    }

    /// Refuses every request with 300, until [`Authenticator::start`].
    pub fn stop(&self) {
        self.change(|policy| policy.stopped = true);
    }

    /// Decides again after [`Authenticator::stop`]. A new Authenticator is started already.
    pub fn start(&self) {
        self.change(|policy| policy.stopped = false);
    }
}

fn collect<R>(rules: impl IntoIterator<Item = R>) -> Result<Vec<AddressRule>, AddressError>
where
    R: TryInto<AddressRule>,
    AddressError: From<R::Error>,
{
    rules
        .into_iter()
        .map(|rule| rule.try_into().map_err(AddressError::from))
        .collect()
}

impl Default for Authenticator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("policy", &self.0.policy.load())
            .finish_non_exhaustive()
    }
}

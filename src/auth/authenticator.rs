//! The Authenticator: `zmq.auth`'s policy, shared by any number of tasks and threads.
#![forbid(unsafe_code)]

use crate::access::request::Domain;
use crate::auth::address::{AddressError, AddressRule};
use crate::auth::curve::CurveRule;
use crate::auth::plain::{PasswordTable, PlainRule};
use crate::auth::policy::{Admission, Policy, Ruling};
use crate::auth::provider::CurveProvider;
use crate::auth::refusal::Refusal;
use crate::cert::directory::{DirectoryReport, load_certificates};
use crate::cert::problem::CertificateError;
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::keys::PublicKey;
use crate::crypto::random::OsRandom;
use crate::error::{LocalError, printable};
use crate::limits::Limits;
use crate::status::{DenialStatus, Status};
use crate::zap::bounds::Places;
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::reply::ZapReply;
use crate::zap::request::{ZapRequest, ZapRequestError};
use crate::zap::router::ZapHandler;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::fmt;
use std::path::Path;
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
pub struct Authenticator(Arc<Inner>);

struct Inner {
    policy: ArcSwap<Policy>,
    /// Held by whoever changes the policy, never by a decision.
    changing: Mutex<()>,
    /// Made with the first password table; one key for all of them, so that an unchanged
    /// password has an unchanged tag in the next table.
    hash_key: OnceLock<Arc<HashKey>>,
    provider_places: Places,
    provider_time: Duration,
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

    fn change<T>(&self, change: impl FnOnce(&mut Policy) -> T) -> T {
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

    /// Lets these users into `domain` by PLAIN, and no others. Names and passwords are bytes, at
    /// most 255 of each; passwords are kept as keyed hashes only.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the system has no randomness for the key of those hashes: the
    /// domain has what it had, which at first is nobody.
    pub fn configure_plain<U, P>(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<(), LocalError>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let domain = domain.into();
        self.change(|policy| {
            policy
                .plain
                .entry(domain.clone())
                .or_insert(PlainRule::Nobody);
        });
        let table = Arc::new(PasswordTable::new(self.hash_key()?, users));
        self.change(|policy| policy.plain.insert(domain, PlainRule::Table(table)));
        Ok(())
    }

    fn hash_key(&self) -> Result<Arc<HashKey>, LocalError> {
        if let Some(key) = self.0.hash_key.get() {
            return Ok(Arc::clone(key));
        }
        let fresh = Arc::new(HashKey::generate(&OsRandom)?);
        Ok(Arc::clone(self.0.hash_key.get_or_init(|| fresh)))
    }

    /// Lets the holders of the certificates in `directory` into `domain` by CURVE, and no
    /// others: every `*.key` file, as [`load_certificates`](crate::cert::load_certificates) takes
    /// it. Reads files, so it blocks. A bad file is left out and reported. Certificate metadata
    /// becomes the peer's ZAP metadata. The directory is not watched: call again after a change.
    ///
    /// # Errors
    /// [`CertificateError`] if the directory cannot be listed: the domain keeps what it had, which
    /// at first is nobody.
    pub fn configure_curve(
        &self,
        domain: impl Into<Domain>,
        directory: impl AsRef<Path>,
    ) -> Result<DirectoryReport, CertificateError> {
        let domain = domain.into();
        self.change(|policy| {
            policy
                .curve
                .entry(domain.clone())
                .or_insert_with(CurveRule::nobody);
        });
        let report = load_certificates(directory)?;
        self.rule_curve(domain, CurveRule::certificates(&report.certificates));
        Ok(report)
    }

    /// Lets the holders of these keys into `domain` by CURVE, and no others.
    pub fn configure_curve_keys(
        &self,
        domain: impl Into<Domain>,
        keys: impl IntoIterator<Item = PublicKey>,
    ) {
        self.rule_curve(domain.into(), CurveRule::keys(keys));
    }

    /// Lets every CURVE peer into `domain`: `CURVE_ALLOW_ANY`. Peers are encrypted and hold the
    /// key they show, no more.
    pub fn configure_curve_any(&self, domain: impl Into<Domain>) {
        self.rule_curve(domain.into(), CurveRule::AnyKey);
    }

    /// Lets `provider` decide over the CURVE peers of `domain`.
    pub fn configure_curve_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl CurveProvider,
    ) {
        self.rule_curve(domain.into(), CurveRule::Provider(Arc::new(provider)));
    }

    fn rule_curve(&self, domain: Domain, rule: CurveRule) {
        self.change(|policy| policy.curve.insert(domain, rule));
    }

    /// Does nothing: a GSSAPI peer has been authenticated by its socket, and every principal is
    /// admitted, as in `pyzmq`. Address lists apply.
    pub fn configure_gssapi(&self, _domain: impl Into<Domain>) {}

    /// Forgets what was configured for `domain`, all mechanisms: `*` rules it again.
    pub fn unconfigure(&self, domain: &Domain) {
        self.change(|policy| {
            policy.plain.remove(domain);
            policy.curve.remove(domain);
        });
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

    /// Answers a raw ZAP request without address envelope and delimiter: its frames from the
    /// version on give the six frames of the reply. `None` if there are fewer than two frames,
    /// so that there is no request id to reply to.
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => return Some(self.answer(&request).await.to_frames()),
            Err(ZapRequestError::NotEnoughFrames { id: None, frames }) => {
                tracing::warn!(frames, "ZAP request without a request id dropped");
                return None;
            }
            Err(ZapRequestError::NotEnoughFrames { id: Some(id), .. }) => {
                (id, Refusal::NotEnoughFrames)
            }
            Err(ZapRequestError::Version { id }) => (id, Refusal::InvalidVersion),
        };
        tracing::warn!(%id, status = %refusal.status(), "ZAP request refused: {}", refusal.text());
        Some(ZapReply::denial(id, refusal.status(), refusal.text()).to_frames())
    }

    /// Answers a raw ZAP request as a ROUTER receives it: routing frames, an empty delimiter,
    /// the request. The reply has the same envelope. `None` if there is no delimiter, or fewer
    /// than two frames after it.
    pub async fn handle_zap_envelope(&self, frames: Vec<Bytes>) -> Option<Vec<Bytes>> {
        let Some((mut envelope, message)) = split_envelope(frames) else {
            tracing::warn!("ZAP request without a delimiter dropped");
            return None;
        };
        envelope.extend(self.handle_zap_message(message).await?);
        Some(envelope)
    }

    async fn answer(&self, request: &ZapRequest) -> ZapReply {
        let policy = self.0.policy.load_full();
        let reply = match self.decide(&policy, request).await {
            Ok(admission) => ZapReply {
                metadata: admission.metadata,
                ..request.allow(admission.user_id)
            },
            Err(refusal) => request.deny(refusal.status(), refusal.text()),
        };
        // A user id or metadata that no reply may carry comes from a provider, or from the mapping.
        let reply = match reply.check(&request.id) {
            Ok(()) => reply,
            Err(invalid) => {
                tracing::error!(id = %request.id, "{invalid}");
                request.deny(DenialStatus::Internal, Refusal::Failed.text())
            }
        };
        log(request, &reply);
        reply
    }

    async fn decide(&self, policy: &Policy, request: &ZapRequest) -> Result<Admission, Refusal> {
        let (provider, question) = match policy.judge(request)? {
            Ruling::Admit(admission) => return Ok(admission),
            Ruling::Ask(provider, question) => (provider, question),
        };
        let _place = self.0.provider_places.take().ok_or(Refusal::Busy)?;
        let key = question.key;
        let answer = Contained::new(provider.ask(question, self.0.provider_time))
            .await
            .map_err(|Panicked| Refusal::Failed)?
            .ok_or(Refusal::TimedOut)?
            .map_err(|error| {
                tracing::error!(id = %request.id, "CURVE provider: {error}");
                Refusal::Failed
            })?;
        policy.judge_answer(answer, &key)
    }
}

/// Tells of a decision, without credentials: of a refused PLAIN peer not even the name, which
/// may be a password in the wrong place.
fn log(request: &ZapRequest, reply: &ZapReply) {
    let mechanism = printable(&request.mechanism);
    if reply.status == Status::Success {
        tracing::debug!(id = %request.id, domain = %request.domain, address = %request.address,
            mechanism, user_id = printable(&reply.user_id), "peer allowed");
    } else {
        tracing::info!(id = %request.id, domain = %request.domain, address = %request.address,
            mechanism, status = %reply.status, "peer refused: {}", printable(&reply.text));
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

impl ZapHandler for Authenticator {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        self.answer(&request).await
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
            .field("policy", &self.0.policy.load())
            .finish_non_exhaustive()
    }
}

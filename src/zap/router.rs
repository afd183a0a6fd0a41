//! The ZAP router inside the process: passes requests to handlers, and turns every failure into a
//! refusal.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::access::request::AccessRequest;
use crate::access::verdict::{Verdict, log_denial};
use crate::limits::Limits;
use crate::status::{DenialStatus, Status};
use crate::with_causes::WithCauses;
use crate::zap::bounds::{Permits, within};
use crate::zap::contain::{Contained, Panicked};
use crate::zap::failures::Asker;
use crate::zap::hold_back::HeldBack;
use crate::zap::reply::{ZapReply, ZapReplyError};
use crate::zap::request::{RequestId, ZapRequest};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;

/// A handler of RFC 27, which decides which peers are admitted. Every `Fn(ZapRequest)` whose future
/// returns a [`ZapReply`] is a handler.
///
/// A handler is called concurrently. If it panics, hangs, or returns an invalid reply, the peer is
/// refused. Its future is dropped when no task waits for the reply any longer. A handler that
/// blocks its thread blocks the task that calls it.
pub trait ZapHandler: Send + Sync + 'static {
    /// Answers `request`. [`ZapRequest::allow`] and [`ZapRequest::deny`] create the reply.
    fn handle(&self, request: ZapRequest) -> impl Future<Output = ZapReply> + Send;
}

impl<F, Fut> ZapHandler for F
where
    F: Fn(ZapRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ZapReply> + Send,
{
    fn handle(&self, request: ZapRequest) -> impl Future<Output = ZapReply> + Send {
        self(request)
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A question to a handler.
struct Question<'a> {
    id: RequestId,
    request: &'a AccessRequest,
    /// The maximum time of the handler.
    time: Duration,
    /// The place of the reply, which stays empty if the handler takes too long. A reply is long, and each
    /// future on its way would move it.
    reply: &'a mut Option<ZapReply>,
}

/// [`ZapHandler`] without its future's type.
trait AnyHandler: Send + Sync {
    /// Puts the question. No code of the handler runs before the first poll.
    fn ask<'a>(self: Arc<Self>, question: Question<'a>) -> Asking<'a>;
}

impl<H: ZapHandler> AnyHandler for H {
    fn ask<'a>(self: Arc<Self>, question: Question<'a>) -> Asking<'a> {
        let Question {
            id,
            request,
            time,
            reply,
        } = question;
        Box::pin(async move {
            // Pinned in place, because a handler's future may be large and must not be moved again.
            let answer = pin!(async {
                *reply = Some(self.handle(ZapRequest::new(id, request)).await);
            });
            let _in_time = within(time, answer).await;
        })
    }
}

/// Handlers by domain. A handler bound to [`Domain::ALL`] (`*`) answers for every domain that has
/// never had a handler of its own. Cloning is cheap, and all clones are the same router.
///
/// ```
/// use zmtp_auth::DenialStatus;
/// use zmtp_auth::zap::{ZapRequest, ZapRouter};
///
/// let router = ZapRouter::new();
/// router.bind("billing", async |request: ZapRequest| request.allow("alice"))?;
/// router.bind("*", async |request: ZapRequest| request.deny(DenialStatus::Failure, "no"))?;
/// # Ok::<(), zmtp_auth::zap::AlreadyBound>(())
/// ```
///
/// Every failure refuses the peer:
///
/// | failure | status |
/// |---|---|
/// | too many requests in progress ([`Limits::max_pending_verdicts`]), most of them from the peer's address | 300 |
/// | no reply within [`Limits::verdict_timeout`] | 300 |
/// | the domain's handler was unbound, before or during the request | 300 |
/// | no handler was ever bound to the domain or to `*` | 500 |
/// | the handler panicked | 500 |
/// | the reply is for another request, or is not valid ([`ZapReplyError`]) | 500 |
///
/// A request takes a permit only if the handler's future is not ready at its first poll, so a reply
/// that is ready at once is never refused for lack of a permit. When all permits are in use,
/// addresses share them fairly, and addresses with recent failures come last
/// ([`Limits::max_remembered_failures`]). Loopback and ipc peers are exempt.
///
/// The time-out and the delay of refusals ([`ZapReply::hold_back`]) need feature `tokio` and a
/// caller on tokio's runtime with timers enabled. Otherwise the caller has to bound the time by
/// dropping the future, and refusals are not delayed.
#[derive(Clone)]
pub struct ZapRouter(Arc<Shared>);

struct Shared {
    table: ArcSwap<Table>,
    permits: Permits,
    held_back: HeldBack,
    time: Duration,
    next_id: AtomicU64,
}

/// Domains with a handler, and domains whose handler was unbound (`None`).
#[derive(Clone, Default)]
struct Table(BTreeMap<Domain, Option<Arc<dyn AnyHandler>>>);

/// The domain has a handler already.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[error("domain \"{0}\" has a ZAP handler already: unbind it first")]
#[expect(clippy::exhaustive_structs, reason = "it is the domain")]
pub struct AlreadyBound(
    /// The domain.
    pub Domain,
);

/// Why a request has no valid reply.
#[derive(Debug, Error)]
enum NoReply {
    #[error("no ZAP handler was ever bound for the domain \"{0}\"")]
    NeverBound(Domain),
    #[error("the ZAP handler was unbound")]
    Gone,
    #[error("too many ZAP requests are in progress")]
    TooMany,
    #[error("the ZAP handler did not answer in time")]
    TimedOut,
    #[error("the ZAP handler panicked")]
    Panicked,
    #[error(transparent)]
    Invalid(#[from] ZapReplyError),
}

impl NoReply {
    const fn status(&self) -> DenialStatus {
        match self {
            Self::Gone | Self::TooMany | Self::TimedOut => DenialStatus::Temporary,
            Self::NeverBound(_) | Self::Panicked | Self::Invalid(_) => DenialStatus::Internal,
        }
    }
}

impl Table {
    /// The handler that answers for `domain`.
    fn find(&self, domain: &Domain) -> Result<&Arc<dyn AnyHandler>, NoReply> {
        // A domain whose own handler was unbound does not fall back to `*`: the handler of `*`
        // was configured for other domains.
        self.0
            .get(domain)
            .or_else(|| self.0.get(&Domain::ALL))
            .ok_or_else(|| NoReply::NeverBound(domain.clone()))?
            .as_ref()
            .ok_or(NoReply::Gone)
    }

    fn is_bound(&self, domain: &Domain) -> bool {
        self.0.get(domain).is_some_and(Option::is_some)
    }

    fn with(&self, domain: &Domain, handler: Option<Arc<dyn AnyHandler>>) -> Self {
        let mut table = self.clone();
        table.0.insert(domain.clone(), handler);
        table
    }
}

impl ZapRouter {
    /// A router without handlers, with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// A router without handlers. It uses the limits [`Limits::max_pending_verdicts`],
    /// [`Limits::max_remembered_failures`], [`Limits::max_held_back`] and
    /// [`Limits::verdict_timeout`].
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            table: ArcSwap::default(),
            permits: Permits::new(limits),
            held_back: HeldBack::new(limits.max_held_back),
            time: limits.verdict_timeout,
            next_id: AtomicU64::new(1),
        }))
    }

    /// Binds `handler` to `domain`. A handler bound to [`Domain::ALL`] answers for every domain
    /// that has never had a handler of its own.
    ///
    /// # Errors
    /// Returns [`AlreadyBound`] if the domain has a handler.
    pub fn bind(
        &self,
        domain: impl Into<Domain>,
        handler: impl ZapHandler,
    ) -> Result<(), AlreadyBound> {
        let domain = domain.into();
        let handler: Arc<dyn AnyHandler> = Arc::new(handler);
        let before = self.0.table.rcu(|table| {
            if table.is_bound(&domain) {
                Arc::clone(table)
            } else {
                Arc::new(table.with(&domain, Some(Arc::clone(&handler))))
            }
        });
        if before.is_bound(&domain) {
            return Err(AlreadyBound(domain));
        }
        Ok(())
    }

    /// Unbinds the handler of `domain`. Peers of the domain are refused with 300, including those
    /// whose request is in progress, until another handler is bound. True if there was a handler.
    pub fn unbind(&self, domain: impl Into<Domain>) -> bool {
        let domain = domain.into();
        let before = self.0.table.rcu(|table| {
            if table.is_bound(&domain) {
                Arc::new(table.with(&domain, None))
            } else {
                Arc::clone(table)
            }
        });
        before.is_bound(&domain)
    }

    /// Asks the domain's handler, and logs a denial.
    ///
    /// Cancel-safe: dropping the future cancels the request and releases its permit, and ends the
    /// delay of a refusal.
    pub async fn authorize(&self, request: &AccessRequest) -> Verdict {
        let verdict = self.verdict(request).await;
        if let Verdict::Deny(denied) = &verdict {
            log_denial(request, denied);
        }
        verdict
    }

    /// As [`ZapRouter::authorize`], for a caller that logs each refusal itself.
    pub(crate) async fn verdict(&self, request: &AccessRequest) -> Verdict {
        let id = RequestId::from(self.0.next_id.fetch_add(1, Ordering::Relaxed));
        match self.ask(&id, request).await {
            Ok(reply) => {
                tracing::debug!(%id, domain = %request.domain, address = %request.address,
                    mechanism = %request.credentials.mechanism(), status = %reply.status,
                    "ZAP reply");
                if reply.status == Status::TemporaryError
                    && let Some(time) = reply.hold_back
                {
                    self.0.held_back.wait(time).await;
                }
                reply.into()
            }
            Err(trouble) => Verdict::deny(trouble.status(), WithCauses(&trouble).to_string()),
        }
    }

    async fn ask(&self, id: &RequestId, request: &AccessRequest) -> Result<ZapReply, NoReply> {
        let shared = &*self.0;
        let handler = Arc::clone(shared.table.load().find(&request.domain)?);
        let asker = Asker::new(&request.address, Credential::of(&request.credentials));
        // The handler is moved into the contained future. If this request is its last owner, its
        // drop runs there too, and a panic in it is caught.
        let asked = Arc::downgrade(&handler);
        let mut reply = None;
        let asking = Contained::new(handler.ask(Question {
            id: id.clone(),
            request,
            time: shared.time,
            reply: &mut reply,
        }));
        let mut paused = false;
        shared
            .permits
            .wait(
                || {
                    paused = true;
                    shared.permits.priority(&asker)
                },
                asking,
            )
            .await
            .ok_or(NoReply::TooMany)?
            .map_err(|Panicked| NoReply::Panicked)?;
        let reply = reply.ok_or(NoReply::TimedOut)?;
        reply.check(id)?;
        // A key that is admitted at the first poll does not compete for permits, so it need not be
        // remembered.
        if paused || reply.status != Status::Success || asker.is_user() {
            shared.permits.note(&asker, reply.status);
        }
        // If the handler was unbound or replaced during the request, its reply no longer counts.
        let table = shared.table.load();
        let ruling = table.find(&request.domain)?;
        if std::ptr::addr_eq(Arc::as_ptr(ruling), asked.as_ptr()) {
            Ok(reply)
        } else {
            Err(NoReply::Gone)
        }
    }

    /// The number of requests that hold a permit. Refusals that are held back are not counted.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.0.permits.taken()
    }
}

impl Default for ZapRouter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ZapRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZapRouter")
            .field("in_progress", &self.in_progress())
            .finish_non_exhaustive()
    }
}

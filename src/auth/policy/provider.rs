//! Providers: policy beyond tables, asked for each peer.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::domain::Domain;
use crate::access::peer::Claims;
use crate::auth::policy::refusal::Refusal;
use crate::auth::sync::thread_pool::{NoRoom, ThreadPool};
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::wire::metadata::Metadata;
use crate::zap::bounds::within;
use crate::zap::contain::Panicked;
use crate::zap::failures::Turn;
use crate::zap::hold_back::Outage;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What a CURVE provider is asked: the whole request, its key proven to be the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurveQuestion {
    /// The socket's domain, as the request has it: possibly empty.
    pub domain: Domain,
    /// Where the peer comes from.
    pub address: PeerAddress,
    /// The identity that it claims, possibly empty. Proves nothing.
    pub identity: Bytes,
    /// Its long-term public key.
    pub key: PublicKey,
    /// What it says of itself in INITIATE: socket type, identity and every other property, `X-`
    /// ones too. Proves nothing. `None` where the question came in frames (RFC 27), which carry no
    /// more than the identity.
    pub claims: Option<Claims>,
}

/// What a PLAIN provider is asked: the whole request. Neither name nor password is proven to be
/// anything yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlainQuestion {
    /// The socket's domain, as the request has it: possibly empty.
    pub domain: Domain,
    /// Where the peer comes from.
    pub address: PeerAddress,
    /// The identity that it claims, possibly empty. Proves nothing.
    pub identity: Bytes,
    /// The user name, 0 to 255 bytes.
    pub username: Bytes,
    /// The password, 0 to 255 bytes, wiped on drop.
    pub password: Password,
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// The peer is refused with 400.
    No,
    /// The peer comes in, under the user id that the
    /// [`Authenticator`](crate::auth::Authenticator) gives its credential.
    Yes,
    /// The peer comes in under this user id, with these properties for the application.
    YesAs {
        /// At most 255 bytes.
        user_id: Bytes,
        /// Any names but `Identity`, `Socket-Type` and `User-Id`.
        metadata: Metadata,
    },
    /// The provider cannot say now. The peer is refused with 300 and comes back, a while later: see
    /// [`Provider`].
    Later,
}

impl From<bool> for ProviderAnswer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A provider could not decide. The peer is refused with 300, and the text goes to the log,
/// shortened and escaped: no secrets in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ProviderError(
    /// What failed.
    pub String,
);

/// What a provider's closure may return: `bool`, [`ProviderAnswer`], or a `Result` of either
/// with an error that can be shown.
pub trait IntoProviderResult {
    /// The answer.
    ///
    /// # Errors
    /// Returns [`ProviderError`] if the provider could not decide.
    fn into_result(self) -> Result<ProviderAnswer, ProviderError>;
}

impl IntoProviderResult for bool {
    fn into_result(self) -> Result<ProviderAnswer, ProviderError> {
        Ok(self.into())
    }
}

impl IntoProviderResult for ProviderAnswer {
    fn into_result(self) -> Result<ProviderAnswer, ProviderError> {
        Ok(self)
    }
}

impl<A: Into<ProviderAnswer>, E: std::fmt::Display> IntoProviderResult for Result<A, E> {
    fn into_result(self) -> Result<ProviderAnswer, ProviderError> {
        self.map(Into::into)
            .map_err(|error| ProviderError(error.to_string()))
    }
}

/// Decides for each peer: for CURVE keys as a `Provider<CurveQuestion>`, for PLAIN users as a
/// `Provider<PlainQuestion>`. Any `Fn(Q)` whose future gives an [`IntoProviderResult`] is one.
/// Under PLAIN, [`ProviderAnswer::Yes`] admits under the user's name.
///
/// It is asked concurrently. [`ProviderAnswer::Later`], an error, a panic, and silence for longer
/// than [`Limits::verdict_timeout`](crate::Limits::verdict_timeout) refuse the peer with 300, after
/// which it comes back. The refusal is sent after 0.5 to 5 s, the later the longer the provider has
/// failed: a libzmq peer is back 100 ms after a 300, and a database that is away would be asked ever
/// more. Such a peer holds no place that others need. There is no wait without feature `tokio`,
/// outside tokio's runtime, and in
/// [`Authenticator::authorize_blocking`](crate::auth::Authenticator::authorize_blocking) and
/// [`ThreadAuthenticator::authorize`](crate::auth::ThreadAuthenticator::authorize). The log gets one
/// line a minute for each provider.
///
/// How long a PLAIN provider takes shows to the peer. It should take as long for users that do not
/// exist as for those that do, so that its time does not tell which users exist.
pub trait Provider<Q>: Send + Sync + 'static {
    /// Decides. The future is dropped when its answer is no longer needed.
    fn decide(
        &self,
        question: Q,
    ) -> impl Future<Output = Result<ProviderAnswer, ProviderError>> + Send;
}

impl<Q, F, Fut> Provider<Q> for F
where
    Q: Send,
    F: Fn(Q) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoProviderResult> + Send,
{
    async fn decide(&self, question: Q) -> Result<ProviderAnswer, ProviderError> {
        self(question).await.into_result()
    }
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The provider says so.
    Error(ProviderError),
    /// It never came to an end, or nowhere near one.
    Refusal(Refusal),
}

impl From<ProviderError> for NoAnswer {
    fn from(error: ProviderError) -> Self {
        Self::Error(error)
    }
}

impl From<NoRoom> for NoAnswer {
    fn from(no_room: NoRoom) -> Self {
        Self::Refusal(match no_room {
            NoRoom::Full => Refusal::Busy,
            NoRoom::Stuck => Refusal::ProviderStuck,
        })
    }
}

pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<ProviderAnswer, NoAnswer>> + Send>>;

/// A question ready to be put, with the time that it may take and where it stands among others.
/// Nothing foreign runs before the first poll.
pub(crate) type Asking = Box<dyn FnOnce(Duration, Turn) -> Deciding + Send>;

/// A provider for questions of type `Q`, whatever its own type is.
pub(crate) trait AnyProvider<Q>: Send + Sync {
    /// Asks for at most `time`. Nothing of the provider runs before the first poll.
    fn ask(self: Arc<Self>, question: Q, time: Duration, turn: Turn) -> Deciding;

    /// How it fares.
    fn outage(&self) -> &Arc<Outage>;

    /// Whether it runs on a thread of its own, so that every question pauses.
    fn is_blocking(&self) -> bool;
}

/// A [`Provider`], asked on the task of the request.
pub(crate) struct Async<P> {
    provider: P,
    outage: Arc<Outage>,
}

impl<P> Async<P> {
    pub(crate) fn new(provider: P) -> Self {
        let outage = Arc::default();
        Self { provider, outage }
    }
}

impl<Q: Send + 'static, P: Provider<Q>> AnyProvider<Q> for Async<P> {
    fn ask(self: Arc<Self>, question: Q, time: Duration, _: Turn) -> Deciding {
        Box::pin(async move { answer(within(time, self.provider.decide(question)).await) })
    }

    fn outage(&self) -> &Arc<Outage> {
        &self.outage
    }

    fn is_blocking(&self) -> bool {
        false
    }
}

fn answer(
    within_time: Option<Result<ProviderAnswer, ProviderError>>,
) -> Result<ProviderAnswer, NoAnswer> {
    let answer = within_time.ok_or(NoAnswer::Refusal(Refusal::ProviderTimedOut))?;
    Ok(answer?)
}

/// A function that blocks, asked on threads of its own.
pub(crate) struct Blocking<F> {
    call: F,
    threads: ThreadPool,
    outage: Arc<Outage>,
}

impl<F> Blocking<F> {
    pub(crate) fn new(call: F, threads: ThreadPool) -> Self {
        let outage = Arc::default();
        Self {
            call,
            threads,
            outage,
        }
    }
}

impl<Q, F, R> AnyProvider<Q> for Blocking<F>
where
    Q: Send + 'static,
    F: Fn(Q) -> R + Send + Sync + 'static,
    R: IntoProviderResult,
{
    fn ask(self: Arc<Self>, question: Q, time: Duration, turn: Turn) -> Deciding {
        Box::pin(async move {
            let asked = Arc::clone(&self);
            let running = self
                .threads
                .run(turn, move || (asked.call)(question).into_result())?;
            answer(match within(time, running).await {
                Some(Err(Panicked)) => return Err(NoAnswer::Refusal(Refusal::ProviderFailed)),
                Some(Ok(answer)) => Some(answer),
                None => None,
            })
        })
    }

    fn outage(&self) -> &Arc<Outage> {
        &self.outage
    }

    fn is_blocking(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::credentials::Credentials;
    use crate::access::request::AccessRequest;
    use crate::auth::authenticator::handle::Authenticator;
    use crate::limits::Limits;
    use crate::wire::metadata::SOCKET_TYPE;
    use crate::zap::request::{RequestId, ZapRequest};
    use crate::zap::router::ZapHandler;
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_curve_provider_sees_what_the_peer_claims_where_the_socket_is_in_this_process() {
        let mut properties = Metadata::new();
        properties.push(SOCKET_TYPE, "PUSH").unwrap();
        properties.push("X-Site", "north").unwrap();
        let claims = Claims::from_metadata(properties, "INITIATE", &Limits::default()).unwrap();
        let auth = Authenticator::new();
        auth.configure_curve_callback("*", |question: CurveQuestion| {
            let claims = question.claims;
            let site = claims.and_then(|claims| claims.properties.get("X-Site").cloned());
            ready(site.is_some_and(|site| site == "north"))
        });
        let key = PublicKey::from_bytes([7; 32]).unwrap();
        let address = PeerAddress::from_zap(b"192.0.2.1");
        let request = AccessRequest::new(Domain::EMPTY, address, Credentials::Curve { key });
        let asked = request.clone().with_claims(claims);
        let status = |request: ZapRequest| match pin!(auth.handle(request))
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(reply) => reply.status.as_str(),
            Poll::Pending => panic!("not decided"),
        };
        let asked = ZapRequest::new(RequestId::from(1), &asked);
        let frames = asked.to_frames();
        assert_eq!(status(asked), "200");
        assert_eq!(status(ZapRequest::from_frames(frames).unwrap()), "400");
    }
}

//! Providers: application code that decides about each peer.
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
use crate::zap::failures::Priority;
use crate::zap::hold_back::Outage;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A question to a CURVE provider. The peer has proven that it holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurveQuestion {
    /// The socket's domain, possibly empty.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The identity that the peer claims, possibly empty. It is not proven.
    pub identity: Bytes,
    /// The peer's long-term public key.
    pub key: PublicKey,
    /// What the peer says about itself in INITIATE: socket type, identity and all other properties,
    /// including `X-` ones. It is not proven. `None` if the request came in frames (RFC 27), which
    /// carry only the identity.
    pub claims: Option<Claims>,
}

/// A question to a PLAIN provider. The user name and the password are not checked yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlainQuestion {
    /// The socket's domain, possibly empty.
    pub domain: Domain,
    /// The peer's address.
    pub address: PeerAddress,
    /// The identity that the peer claims, possibly empty. It is not proven.
    pub identity: Bytes,
    /// The user name, 0 to 255 bytes.
    pub username: Bytes,
    /// The password, 0 to 255 bytes, wiped on drop.
    pub password: Password,
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderAnswer {
    /// The peer is refused with 400.
    No,
    /// The peer is admitted under the user id that the
    /// [`Authenticator`](crate::auth::Authenticator) gives its credential.
    Yes,
    /// The peer is admitted under this user id.
    YesAs {
        /// The user id, at most 255 bytes.
        user_id: Bytes,
        /// Properties for the application. `Identity`, `Socket-Type` and `User-Id` are not allowed.
        metadata: Metadata,
    },
    /// The provider cannot decide now. The peer is refused with 300 and retries later: see
    /// [`Provider`].
    TemporaryFailure,
}

impl From<bool> for ProviderAnswer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The error of a provider that could not decide. The peer is refused with 300. The text is logged,
/// shortened and escaped, so it must not contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
#[expect(clippy::exhaustive_structs, reason = "a provider makes it from a text")]
pub struct ProviderError(
    /// What failed.
    pub String,
);

/// The types that a provider's closure may return: `bool`, [`ProviderAnswer`], or a `Result` of
/// either with an error that implements `Display`.
pub trait IntoProviderResult {
    /// Converts into the result of [`Provider::decide`].
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

/// Application code that decides about each peer: CURVE keys as a `Provider<CurveQuestion>`, PLAIN
/// users as a `Provider<PlainQuestion>`. Every `Fn(Q)` whose future returns an
/// [`IntoProviderResult`] is a provider. Under PLAIN, [`ProviderAnswer::Yes`] admits the peer under
/// its user name.
///
/// A provider is called concurrently. The peer is refused with 300, and may retry, if the provider
/// answers [`ProviderAnswer::TemporaryFailure`], returns an error, panics, or does not answer within
/// [`Limits::verdict_timeout`](crate::Limits::verdict_timeout). There is at most one log line a
/// minute for each provider.
///
/// Such a refusal is sent after 0.5 to 5 s, and later the longer the provider has failed. A libzmq
/// peer retries 100 ms after a 300, and without the delay a database that is down would get more
/// and more requests. A delayed refusal holds no permit. There is no delay without feature `tokio`,
/// outside tokio's runtime, in
/// [`Authenticator::authorize_blocking`](crate::auth::Authenticator::authorize_blocking), and in
/// [`ThreadAuthenticator::authorize`](crate::auth::ThreadAuthenticator::authorize).
///
/// The peer can measure how long a PLAIN provider takes. It should take as long for users that do
/// not exist as for users that do, so that its duration does not reveal which users exist.
pub trait Provider<Q>: Send + Sync + 'static {
    /// Decides about a peer. The future is dropped when its answer is no longer needed.
    ///
    /// # Errors
    /// Returns [`ProviderError`] if the provider could not decide.
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
    /// The provider returned an error.
    Error(ProviderError),
    /// The question was not put, or not answered in time.
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

/// A question that is ready to be put. It takes the maximum time and the priority of the request.
/// No foreign code runs before the first poll.
pub(crate) type Asking = Box<dyn FnOnce(Duration, Priority) -> Deciding + Send>;

/// A provider for questions of type `Q`, without its own type.
pub(crate) trait AnyProvider<Q>: Send + Sync {
    /// Asks for at most `time`. No code of the provider runs before the first poll.
    fn ask(self: Arc<Self>, question: Q, time: Duration, priority: Priority) -> Deciding;

    /// The record of its outages.
    fn outage(&self) -> &Arc<Outage>;

    /// Whether it runs on threads of its own, so that no answer is ready at the first poll.
    fn is_blocking(&self) -> bool;
}

/// A [`Provider`] that runs on the task of the request.
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
    fn ask(self: Arc<Self>, question: Q, time: Duration, _: Priority) -> Deciding {
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

/// A function that may block, and runs on threads of its own.
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
    fn ask(self: Arc<Self>, question: Q, time: Duration, priority: Priority) -> Deciding {
        Box::pin(async move {
            let asked = Arc::clone(&self);
            let running = self
                .threads
                .run(priority, move || (asked.call)(question).into_result())?;
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
    fn a_curve_provider_sees_the_peers_claims_if_the_socket_is_in_this_process() {
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

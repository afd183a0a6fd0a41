//! Providers: policy beyond tables, asked for each peer.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::request::Domain;
use crate::auth::refusal::Refusal;
use crate::auth::workers::{Full, Workers};
use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::wire::metadata::Metadata;
use crate::zap::bounds::within;
use crate::zap::contain::Panicked;
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
}

impl From<bool> for ProviderAnswer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A provider could not decide. The peer is refused with 500, and the text goes to the log: no
/// secrets in it.
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
    /// [`ProviderError`] if the provider could not decide.
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

/// Decides for each CURVE key. Any `Fn(CurveQuestion)` whose future gives an
/// [`IntoProviderResult`] is one.
///
/// It is asked concurrently; an error or a panic refuses the peer with 500, and silence for
/// longer than [`Limits::verdict_timeout`](crate::Limits::verdict_timeout) with 300.
pub trait CurveProvider: Send + Sync + 'static {
    /// Decides. The future is dropped when nobody waits for the answer any more.
    fn decide(
        &self,
        question: CurveQuestion,
    ) -> impl Future<Output = Result<ProviderAnswer, ProviderError>> + Send;
}

impl<F, Fut> CurveProvider for F
where
    F: Fn(CurveQuestion) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoProviderResult> + Send,
{
    async fn decide(&self, question: CurveQuestion) -> Result<ProviderAnswer, ProviderError> {
        self(question).await.into_result()
    }
}

/// Decides for each PLAIN user. Any `Fn(PlainQuestion)` whose future gives an
/// [`IntoProviderResult`] is one. [`ProviderAnswer::Yes`] admits under the user's name.
///
/// It is asked as a [`CurveProvider`] is. How long it takes shows to the peer: to tell nobody
/// which users exist, it should take as long for those that do not.
pub trait PlainProvider: Send + Sync + 'static {
    /// Decides. The future is dropped when nobody waits for the answer any more.
    fn decide(
        &self,
        question: PlainQuestion,
    ) -> impl Future<Output = Result<ProviderAnswer, ProviderError>> + Send;
}

impl<F, Fut> PlainProvider for F
where
    F: Fn(PlainQuestion) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoProviderResult> + Send,
{
    async fn decide(&self, question: PlainQuestion) -> Result<ProviderAnswer, ProviderError> {
        self(question).await.into_result()
    }
}

/// Why a provider gave no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// It says so.
    Error(ProviderError),
    /// It never came to an end, or nowhere near one.
    Refusal(Refusal),
}

impl From<ProviderError> for NoAnswer {
    fn from(error: ProviderError) -> Self {
        Self::Error(error)
    }
}

impl From<Panicked> for NoAnswer {
    fn from(Panicked: Panicked) -> Self {
        Self::Refusal(Refusal::Failed)
    }
}

impl From<Full> for NoAnswer {
    fn from(Full: Full) -> Self {
        Self::Refusal(Refusal::Busy)
    }
}

pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<ProviderAnswer, NoAnswer>> + Send>>;

/// A question ready to be put, with the time that it may take. Nothing foreign runs before the
/// first poll.
pub(crate) type Asking = Box<dyn FnOnce(Duration) -> Deciding + Send>;

/// A provider for questions of type `Q`, whatever its own type is.
pub(crate) trait AnyProvider<Q>: Send + Sync {
    /// Asks for at most `time`. Nothing of the provider runs before the first poll.
    fn ask(self: Arc<Self>, question: Q, time: Duration) -> Deciding;
}

/// Those of the trait that they carry in their name.
pub(crate) struct Async<P>(pub(crate) P);

impl<P: CurveProvider> AnyProvider<CurveQuestion> for Async<P> {
    fn ask(self: Arc<Self>, question: CurveQuestion, time: Duration) -> Deciding {
        Box::pin(async move { answer(within(time, self.0.decide(question)).await) })
    }
}

impl<P: PlainProvider> AnyProvider<PlainQuestion> for Async<P> {
    fn ask(self: Arc<Self>, question: PlainQuestion, time: Duration) -> Deciding {
        Box::pin(async move { answer(within(time, self.0.decide(question)).await) })
    }
}

fn answer(
    within_time: Option<Result<ProviderAnswer, ProviderError>>,
) -> Result<ProviderAnswer, NoAnswer> {
    let answer = within_time.ok_or(NoAnswer::Refusal(Refusal::TimedOut))?;
    Ok(answer?)
}

/// A function that blocks, asked on threads of its own.
pub(crate) struct Blocking<F> {
    pub(crate) call: F,
    pub(crate) workers: Arc<Workers>,
}

impl<Q, F, R> AnyProvider<Q> for Blocking<F>
where
    Q: Send + 'static,
    F: Fn(Q) -> R + Send + Sync + 'static,
    R: IntoProviderResult,
{
    fn ask(self: Arc<Self>, question: Q, time: Duration) -> Deciding {
        Box::pin(async move {
            let asked = Arc::clone(&self);
            let running = self
                .workers
                .run(move || (asked.call)(question).into_result())?;
            let answer = within(time, running).await;
            Ok(answer.ok_or(NoAnswer::Refusal(Refusal::TimedOut))???)
        })
    }
}

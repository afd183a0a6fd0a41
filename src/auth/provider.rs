//! Providers: policy beyond tables, asked for each peer.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::request::Domain;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::Metadata;
use crate::zap::bounds::within;
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

pub(crate) type Deciding =
    Pin<Box<dyn Future<Output = Option<Result<ProviderAnswer, ProviderError>>> + Send>>;

/// [`CurveProvider`] without its future's type.
pub(crate) trait AnyCurveProvider: Send + Sync {
    /// Asks for at most `time`; `None` if it took longer. Nothing of the provider runs before
    /// the first poll.
    fn ask(self: Arc<Self>, question: CurveQuestion, time: Duration) -> Deciding;
}

impl<P: CurveProvider> AnyCurveProvider for P {
    fn ask(self: Arc<Self>, question: CurveQuestion, time: Duration) -> Deciding {
        Box::pin(async move { within(time, self.decide(question)).await })
    }
}

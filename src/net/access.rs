//! What a configuration comes with: one that asks policy comes with a ZAP router.
#![forbid(unsafe_code)]

use crate::access::request::AccessRequest;
use crate::access::verdict::Verdict;
use crate::config::settings::{Authorizing, NoPolicy};
use crate::status::DenialStatus;
use crate::zap::router::ZapRouter;
use std::future::Future;

/// Ties `Config<Authorizing>` to a [`ZapRouter`] and `Config<NoPolicy>` to nothing, at compile time: a
/// socket that asks cannot be bound without the router that it asks. Sealed.
///
/// ```compile_fail
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use zmtp_auth::{Config, Domain, SocketType, net::Listener};
///
/// let config = Config::builder(SocketType::Pull).plain_server().authorize(Domain::EMPTY).finish()?;
/// Listener::bind("tcp://127.0.0.1:*", config, ()).await?;
/// # Ok(()) }
/// ```
pub trait Access: sealed::Ask {
    /// Who is asked: [`ZapRouter`] or `()`.
    type Router: Clone + Send + Sync + 'static;

    /// Asks, and leaves the log to the caller. Dropping the future takes the question back.
    #[doc(hidden)]
    fn ask(router: &Self::Router, request: &AccessRequest) -> impl Future<Output = Verdict> + Send;
}

mod sealed {
    /// Keeps [`super::Access`] from being implemented elsewhere.
    pub trait Ask: Send + Sync + 'static {}
}

impl sealed::Ask for Authorizing {}

impl Access for Authorizing {
    type Router = ZapRouter;

    fn ask(router: &ZapRouter, request: &AccessRequest) -> impl Future<Output = Verdict> + Send {
        router.verdict(request)
    }
}

impl sealed::Ask for NoPolicy {}

impl Access for NoPolicy {
    type Router = ();

    /// Such a configuration never asks. If it did, there would be no handler to say yes.
    async fn ask((): &(), _request: &AccessRequest) -> Verdict {
        Verdict::deny(DenialStatus::Internal, "nobody to ask")
    }
}

//! What an explicit call has put an end to.
#![forbid(unsafe_code)]

#[cfg(not(feature = "reload"))]
use crate::access::credentials::MechanismKind;
#[cfg(not(feature = "reload"))]
use crate::access::domain::Domain;
#[cfg(not(feature = "reload"))]
use crate::auth::policy::decide::Policy;
#[cfg(feature = "reload")]
use crate::auth::reload::source::{Reading, Source};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a call of the [`Authenticator`](crate::auth::Authenticator) that configures a domain has
/// put an end to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Configured {
    /// Whether a directory or file was loaded again by itself for this domain and mechanism, and
    /// no longer is: no later change of it takes back what this call has said.
    pub ended_watch: bool,
}

/// An explicit call, by its place in the order of all such calls of this process. Loading a policy
/// file has its place from its beginning on, every other call from when it comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Call(u64);

impl Call {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::SeqCst))
    }
}

/// What an explicit call has loaded, and from where.
#[cfg(feature = "reload")]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) reading: Reading,
}

/// What an explicit call has loaded, which nothing asks for where nothing is watched.
#[cfg(not(feature = "reload"))]
pub(crate) enum Loaded {}

#[cfg(not(feature = "reload"))]
impl Policy {
    /// An explicit call rules now. Nothing is watched that it could end.
    pub(crate) fn rule_explicitly(
        &mut self,
        _: &(MechanismKind, Domain),
        _: Option<Loaded>,
    ) -> bool {
        self.ruling_call = Call::next();
        false
    }
}

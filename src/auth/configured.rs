//! What an explicit call has put an end to.
#![forbid(unsafe_code)]

#[cfg(not(feature = "reload"))]
use crate::access::request::{Domain, MechanismKind};
#[cfg(not(feature = "reload"))]
use crate::auth::policy::Policy;
#[cfg(feature = "reload")]
use crate::auth::reload_source::{Reading, Source};

/// What a call of the [`Authenticator`](crate::auth::Authenticator) that configures a domain has
/// put an end to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Configured {
    /// Whether a directory or file was loaded again by itself for this domain and mechanism, and
    /// no longer is: no later change of it takes back what this call has said.
    pub ended_watch: bool,
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
        false
    }
}

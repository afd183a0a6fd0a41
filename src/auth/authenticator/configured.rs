//! What an explicit call has put an end to.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::call::Call;
use crate::auth::policy::decide::Policy;
#[cfg(feature = "reload")]
use crate::auth::policy::watched::watches::Loaded;

/// What a call of the [`Authenticator`](crate::auth::Authenticator) that configures a domain has
/// put an end to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Configured {
    /// Whether a directory or file was loaded again by itself for this domain and mechanism, and
    /// no longer is: no later change of it takes back what this call has said.
    pub ended_watch: bool,
}

/// What an explicit call has loaded, which nothing asks for where nothing is watched.
#[cfg(not(feature = "reload"))]
pub(crate) enum Loaded {}

impl Policy {
    /// An explicit call rules `ruled` now. Its watch goes on if the call has loaded what is
    /// watched, and ends otherwise, so that no later reload takes back what the call has said.
    /// Whether it has ended one.
    pub(crate) fn rule_explicitly(
        &mut self,
        ruled: &(MechanismKind, Domain),
        loaded: Option<Loaded>,
    ) -> bool {
        self.ruling_call = Call::next();
        #[cfg(feature = "reload")]
        let ended_watch = self.watches.rule_explicitly(ruled, loaded, self.version);
        #[cfg(not(feature = "reload"))]
        let ended_watch = {
            let _nothing_is_watched = (ruled, loaded);
            false
        };
        ended_watch
    }
}

//! The effect of an explicit configuration call on watches.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::decide::Policy;
#[cfg(feature = "reload")]
use crate::auth::policy::watched::watches::Loaded;

/// The effect of a call that configures a domain of an
/// [`Authenticator`](crate::auth::Authenticator), apart from its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Configured {
    /// Whether the call has ended the watch of a directory or file for this domain and mechanism.
    /// Later changes of the file then do not replace what the call has configured.
    pub ended_watch: bool,
    /// The number of keys that [`remove_curve_keys`] has removed. Other calls leave it at 0.
    ///
    /// [`remove_curve_keys`]: crate::auth::Authenticator::remove_curve_keys
    pub removed_keys: usize,
    /// The number of users that [`remove_plain_users`] has removed. Other calls leave it at 0.
    ///
    /// [`remove_plain_users`]: crate::auth::Authenticator::remove_plain_users
    pub removed_users: usize,
    /// How many live admissions the call has changed: it has ended them, or given them other topics or
    /// another end of their validity.
    pub changed_admissions: usize,
}

impl Configured {
    /// Adds admissions that another step of the same call has changed.
    pub(crate) const fn plus(mut self, changed_admissions: usize) -> Self {
        self.changed_admissions += changed_admissions;
        self
    }
}

/// The files that an explicit call has loaded. Without feature `reload` nothing needs to know them.
#[cfg(not(feature = "reload"))]
pub(crate) enum Loaded {}

impl Authenticator {
    /// Changes the rule of `domain` for an explicit call, which may have `loaded` it from files.
    pub(crate) fn rule_by_call(
        &self,
        mechanism: MechanismKind,
        domain: Domain,
        loaded: Option<Loaded>,
        change: impl FnOnce(&mut Policy, Domain, &mut Configured) -> Made,
    ) -> Configured {
        let mut configured = Configured::default();
        let changed_admissions = self.change(|policy| {
            let ruled = (mechanism, domain.clone());
            configured.ended_watch = policy.rule_explicitly(&ruled, loaded);
            change(policy, domain, &mut configured)
        });
        Configured {
            changed_admissions,
            ..configured
        }
    }
}

impl Policy {
    /// Records that an explicit call has configured `ruled`. A watch continues if the call has
    /// loaded the same files, and ends otherwise, so that no later reload replaces what the call
    /// has configured. Returns whether a watch has ended.
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

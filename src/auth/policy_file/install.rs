//! Puts a policy file in force, either all of it in one change or nothing.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::call::Call;
use crate::auth::policy::decide::Policy;
use crate::auth::policy_file::compile::Rules;
use crate::auth::policy_file::error::{PolicyFileError, PolicyFileErrorKind};
use crate::auth::policy_file::file::PolicyFile;
use crate::auth::policy_file::warning::PolicyWarning;
#[cfg(feature = "reload")]
use crate::auth::reload::settings::ReloadSettings;
#[cfg(feature = "reload")]
use crate::auth::reload::thread::Watch;
use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "reload")]
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Authenticator {
    /// An Authenticator that admits exactly the peers that a policy file allows. See
    /// [`PolicySettings`](crate::auth::PolicySettings) for the contents of the file, and
    /// [`PolicyFile`] for loading it again.
    ///
    /// A certificate that cannot be loaded is left out, with a warning in the log.
    ///
    /// ```
    /// use zmtp_auth::auth::Authenticator;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("policy.toml");
    /// std::fs::write(&path, "[domain.billing]\ncurve = { any = true }\n")?;
    /// let auth = Authenticator::from_policy_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if the file, or a file or directory that it names, cannot be
    /// used.
    pub fn from_policy_file(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        let auth = Self::new();
        auth.load_policy(&PolicyFile::load(path)?)?;
        Ok(auth)
    }

    /// Puts a policy file in force. It reads the files that the policy names, and replaces all
    /// rules, address lists and topic tables, whether they came from a policy file or from `configure_*` calls.
    /// Peers that the new policy would not admit in the same way lose their admission, and all
    /// others keep it. It logs the warnings of [`PolicyFile::lint`] and returns them.
    ///
    /// The file also rules NULL and GSSAPI from then on. Files of domains with `reload = true` are
    /// reloaded as by `auth::Reload` (feature `reload`), as long as this Authenticator lives and until
    /// another policy file replaces this one. `configure_*` calls still work, and change single
    /// domains. An earlier watch that this policy does not continue ends with a
    /// [`PolicyWarning::WatchEnded`].
    ///
    /// A policy never undoes what another explicit call has configured since this call began. The
    /// call blocks while it reads, which may take for ever if a disk hangs, but other calls do not
    /// wait for it.
    ///
    /// # Errors
    /// Returns [`PolicyFileError`] if something that the policy names cannot be used. Returns
    /// [`PolicyFileErrorKind::Overtaken`] if a call that configures a domain or changes an address
    /// list has come into force since this call began, or a policy whose load began later. The
    /// policy before stays in force.
    pub fn load_policy(&self, policy: &PolicyFile) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        let call = Call::next();
        let rules = policy.compile(self)?;
        self.put_in_force(policy, rules, call)
    }

    /// Puts the rules of a policy in force, which `call` has read, and watches its files.
    #[cfg(feature = "reload")]
    pub(super) fn put_in_force(
        &self,
        file: &PolicyFile,
        mut rules: Rules,
        call: Call,
    ) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        // No file is read while this lock is held, so a disk that hangs does not block other calls.
        let mut watching = self.watching();
        let mut warnings = std::mem::take(&mut rules.warnings);
        let mut watched = std::mem::take(&mut rules.sources);
        watched.retain(|named| named.is_watched);
        let next = if watched.is_empty() {
            None
        } else {
            let watch = Watch::start(self, ReloadSettings::default(), Box::new(|_| {}));
            let failed = |error: io::Error| PolicyFileErrorKind::Thread((&error).into());
            Some(watch.map_err(|error| file.error(String::new(), failed(error)))?)
        };
        let mut ended = Vec::new();
        self.try_change(|policy| {
            let before = std::mem::take(&mut policy.watches);
            if let Some(watch) = &next {
                for named in watched {
                    let version = policy.version;
                    policy
                        .watches
                        .follow(watch.id, named.source, Some(named.reading), version);
                }
            }
            ended = policy.watches.ended_since(&before);
            Ok(((), rules.replace(policy, file, call)?))
        })?;
        if let Some(watch) = &next {
            watch.hint();
        }
        *watching = next.map(|watch| Box::new(watch) as _);
        let ended = ended.into_iter();
        warnings
            .extend(ended.map(|(mechanism, domain)| PolicyWarning::WatchEnded(domain, mechanism)));
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(warnings)
    }

    /// Puts the rules of a policy in force.
    #[cfg(not(feature = "reload"))]
    pub(super) fn put_in_force(
        &self,
        file: &PolicyFile,
        mut rules: Rules,
        call: Call,
    ) -> Result<Vec<PolicyWarning>, PolicyFileError> {
        let warnings = std::mem::take(&mut rules.warnings);
        self.try_change(|policy| Ok(((), rules.replace(policy, file, call)?)))?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(warnings)
    }
}

impl Rules {
    /// Replaces all rules by these, which `call` has read, unless a later call takes precedence.
    fn replace(
        self,
        policy: &mut Policy,
        file: &PolicyFile,
        call: Call,
    ) -> Result<Change, PolicyFileError> {
        if policy.ruling_call > call {
            return Err(file.error(String::new(), PolicyFileErrorKind::Overtaken));
        }
        policy.ruling_call = call;
        let fresh = policy.version;
        policy.addresses = Arc::new(self.addresses);
        let mut domains: BTreeSet<Domain> = self.topics.0.keys().cloned().collect();
        policy.topics = Arc::new(self.topics);
        let mut plain = self.plain;
        for (domain, rule) in &mut plain {
            rule.inherit(policy.plain.get(domain), fresh);
        }
        let mut curve = self.curve;
        for (domain, rule) in &mut curve {
            rule.inherit(policy.curve.get(domain), fresh);
        }
        let (mut null, mut gssapi) = (self.null, self.gssapi);
        for (rules, before) in [(&mut null, &policy.null), (&mut gssapi, &policy.gssapi)] {
            let none = BTreeMap::new();
            let before = before.as_ref().unwrap_or(&none);
            for (domain, rule) in rules {
                rule.inherit(before.get(domain), fresh);
            }
        }
        domains.extend(plain.keys().chain(curve.keys()).cloned());
        domains.extend(null.keys().chain(gssapi.keys()).cloned());
        policy.plain = plain;
        policy.curve = curve;
        policy.null = Some(null);
        policy.gssapi = Some(gssapi);
        Ok(Change::PolicyFile(domains.into_iter().collect()))
    }
}

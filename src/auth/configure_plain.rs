//! Which users an Authenticator admits by PLAIN.
#![forbid(unsafe_code)]

use crate::access::request::Domain;
use crate::auth::authenticator::Authenticator;
use crate::auth::plain::{PasswordTable, PlainRule};
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::random::OsRandom;
use crate::error::LocalError;
use std::sync::Arc;

impl Authenticator {
    /// Lets these users into `domain` by PLAIN, and no others. Names and passwords are bytes, at
    /// most 255 of each; passwords are kept as keyed hashes only.
    ///
    /// # Errors
    /// [`LocalError::Random`] if the system has no randomness for the key of those hashes: the
    /// domain has what it had, which at first is nobody.
    pub fn configure_plain<U, P>(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<(), LocalError>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let domain = domain.into();
        self.claim_plain(&domain);
        let table = PasswordTable::new(self.hash_key()?, users);
        self.rule_plain(domain, PlainRule::Table(Arc::new(table)));
        Ok(())
    }

    /// Keeps `domain` from falling to `*`, whatever comes of what is to be loaded for it.
    pub(crate) fn claim_plain(&self, domain: &Domain) {
        if !self.policy().plain.contains_key(domain) {
            self.change(|policy| {
                let claimed = policy.plain.entry(domain.clone());
                claimed.or_insert(PlainRule::Nobody);
            });
        }
    }

    /// Puts `rule` in force.
    pub(crate) fn rule_plain(&self, domain: Domain, mut rule: PlainRule) {
        self.change(|policy| {
            rule.inherit(policy.plain.get(&domain), policy.version);
            policy.plain.insert(domain, rule);
        });
    }

    fn hash_key(&self) -> Result<Arc<HashKey>, LocalError> {
        let cell = self.hash_key_cell();
        if let Some(key) = cell.get() {
            return Ok(Arc::clone(key));
        }
        let fresh = Arc::new(HashKey::generate(&OsRandom)?);
        Ok(Arc::clone(cell.get_or_init(|| fresh)))
    }
}

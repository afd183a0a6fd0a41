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
        self.change(|policy| {
            policy
                .plain
                .entry(domain.clone())
                .or_insert(PlainRule::Nobody);
        });
        let table = Arc::new(PasswordTable::new(self.hash_key()?, users));
        self.change(|policy| policy.plain.insert(domain, PlainRule::Table(table)));
        Ok(())
    }

    fn hash_key(&self) -> Result<Arc<HashKey>, LocalError> {
        if let Some(key) = self.0.hash_key.get() {
            return Ok(Arc::clone(key));
        }
        let fresh = Arc::new(HashKey::generate(&OsRandom)?);
        Ok(Arc::clone(self.0.hash_key.get_or_init(|| fresh)))
    }
}

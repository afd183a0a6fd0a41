//! Which users an Authenticator admits by PLAIN.
#![forbid(unsafe_code)]

use crate::access::request::{Domain, MechanismKind};
use crate::auth::audit::Change;
use crate::auth::authenticator::Authenticator;
use crate::auth::password_file::{PasswordFileError, Passwords};
use crate::auth::plain::{Given, PasswordTable, PlainRule};
use crate::auth::provider::{Async, Blocking, IntoProviderResult, PlainProvider, PlainQuestion};
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::password_hash::BadPasswordHash;
use crate::crypto::random::OsRandom;
use crate::error::{LocalError, printable};
use std::path::Path;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why names and passwords cannot be put in force. No variant holds or shows a password.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum BadPlainUsers {
    /// The system has no randomness for the key that passwords are hashed under.
    #[error("the random source failed")]
    Random,
    /// A password has the form of a hash, and is not one that is verified here.
    #[error("the password of '{user}': {reason}")]
    Hash {
        /// The user's name, shortened and escaped.
        user: String,
        /// What is wrong with the hash.
        reason: BadPasswordHash,
    },
}

impl Authenticator {
    /// Lets these users into `domain` by PLAIN, and no others. Names and passwords are bytes, at
    /// most 255 of each; passwords are kept as keyed hashes only. A password may be an argon2id
    /// hash, as in a file: see [`Authenticator::configure_plain_file`].
    ///
    /// # Errors
    /// [`BadPlainUsers`] if a password has the form of a hash and is none that is verified here,
    /// or if the system has no randomness for the key of the keyed hashes: the domain has what it
    /// had, which at first is nobody.
    pub fn configure_plain<U, P>(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<(), BadPlainUsers>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let domain = domain.into();
        self.claim_plain(&domain);
        let users: Vec<(U, P)> = users.into_iter().collect();
        let given = users.iter().map(|(name, password)| {
            let given = Given::written(password.as_ref());
            let given = given.map_err(|reason| BadPlainUsers::Hash {
                user: printable(name.as_ref()),
                reason,
            });
            Ok((name, given?))
        });
        let given = given.collect::<Result<Vec<_>, _>>()?;
        let key = self.hash_key().map_err(|_| BadPlainUsers::Random)?;
        let table = PasswordTable::new(key, self.verifiers(), given);
        self.rule_plain(domain, PlainRule::Table(Arc::new(table)));
        Ok(())
    }

    /// Lets the users of a password file into `domain` by PLAIN, and no others. Reads the file,
    /// so it blocks. It is not watched: call again after a change.
    ///
    /// A line is `name=password`, as czmq has it: blank lines and those that start with `#` do not
    /// count, the line may end in CRLF, and the password is everything behind the first `=`,
    /// blanks and quotes included. It may be an argon2id hash as a PHC string
    /// (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`) with m at most 262144 (256 MiB), t at most 10
    /// and p at most 4; whatever else has the form of a hash is an error. Hashes are verified on
    /// threads of their own, one fewer than there are cores; where one entry of the file is
    /// hashed, each check takes the time of its dearest hash, so that nobody learns which users
    /// exist. An unoptimised build takes 0.6 s for one check where an optimised one takes some tens
    /// of milliseconds; `[profile.dev.package.argon2] opt-level = 3` in the program's `Cargo.toml`
    /// avoids that.
    ///
    /// # Errors
    /// [`PasswordFileError`] if the file cannot be read, or one line is bad: the domain keeps what
    /// it had, which at first is nobody.
    pub fn configure_plain_file(
        &self,
        domain: impl Into<Domain>,
        path: impl AsRef<Path>,
    ) -> Result<(), PasswordFileError> {
        let domain = domain.into();
        self.claim_plain(&domain);
        let table = self.load_passwords(path.as_ref())?;
        self.rule_plain(domain, PlainRule::Table(Arc::new(table)));
        Ok(())
    }

    /// Reads a password file.
    pub(crate) fn load_passwords(&self, path: &Path) -> Result<PasswordTable, PasswordFileError> {
        let passwords = Passwords::load(path)?;
        let key = self
            .hash_key()
            .map_err(|_| passwords.without_randomness())?;
        Ok(PasswordTable::new(key, self.verifiers(), passwords.users()))
    }

    /// Lets `provider` decide over the PLAIN peers of `domain`.
    pub fn configure_plain_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl PlainProvider,
    ) {
        self.rule_plain(
            domain.into(),
            PlainRule::provider(Arc::new(Async::new(provider))),
        );
    }

    /// Lets a function that may block decide over the PLAIN peers of `domain`, on threads for it:
    /// see [`Authenticator::configure_curve_callback_blocking`].
    pub fn configure_plain_callback_blocking<R: IntoProviderResult>(
        &self,
        domain: impl Into<Domain>,
        provider: impl Fn(PlainQuestion) -> R + Send + Sync + 'static,
    ) {
        let provider = Blocking::new(provider, self.blocking_workers());
        self.rule_plain(domain.into(), PlainRule::provider(Arc::new(provider)));
    }

    /// Keeps `domain` from falling to `*`, whatever comes of what is to be loaded for it.
    pub(crate) fn claim_plain(&self, domain: &Domain) {
        if !self.policy().plain.contains_key(domain) {
            self.change(|policy| {
                let claimed = policy.plain.entry(domain.clone());
                claimed.or_insert(PlainRule::Nobody);
                Change::Claimed(MechanismKind::Plain, domain.clone())
            });
        }
    }

    /// Puts `rule` in force.
    pub(crate) fn rule_plain(&self, domain: Domain, mut rule: PlainRule) {
        self.change(|policy| {
            let (before, fresh) = (policy.plain.get(&domain), policy.version);
            rule.inherit(before, fresh);
            let users = before.map(PlainRule::users).unwrap_or_default();
            let name = rule.name(domain.clone());
            let change = Change::ruled(name, &users, &rule.users(), fresh);
            policy.plain.insert(domain, rule);
            change
        });
    }

    /// The key of all tables of passwords.
    pub(crate) fn hash_key(&self) -> Result<Arc<HashKey>, LocalError> {
        let cell = self.hash_key_cell();
        if let Some(key) = cell.get() {
            return Ok(Arc::clone(key));
        }
        let fresh = Arc::new(HashKey::generate(&OsRandom)?);
        Ok(Arc::clone(cell.get_or_init(|| fresh)))
    }
}

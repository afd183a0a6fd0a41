//! Configures which users PLAIN admits.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::authenticator::configured::Configured;
#[cfg(not(feature = "reload"))]
use crate::auth::authenticator::configured::Loaded;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::comparison::ruled::Made;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::password_file::{PasswordFileError, Passwords};
use crate::auth::policy::plain::rule::PlainRule;
#[cfg(feature = "reload")]
use crate::auth::policy::plain::table::Stored;
use crate::auth::policy::plain::table::{PasswordInput, PasswordTable};
use crate::auth::policy::provider::{Async, Blocking, IntoProviderResult, PlainQuestion, Provider};
#[cfg(feature = "reload")]
use crate::auth::policy::watched::{reading::Reading, source::Source, watches::Loaded};
use crate::crypto::keyed_hash::HashKey;
use crate::crypto::password_hash::PasswordHashError;
use crate::crypto::random::OsRandom;
use crate::error::LocalError;
use crate::printable::printable;
use crate::secret_file::open_to_others;
use bytes::Bytes;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// Why users and passwords cannot be put in force. No variant holds or shows a password.
#[derive(Debug, Clone, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum PlainUsersError {
    /// The operating system gave no random bytes for the key of the keyed hashes.
    #[error("the system's random source failed, which keyed hashes of passwords need")]
    Random,
    /// A password has the form of a hash that this crate does not verify.
    #[error("the password of '{user}' has the form of a hash that cannot be verified")]
    Hash {
        /// The user's name, shortened and escaped.
        user: String,
        /// What is wrong with the hash.
        #[source]
        reason: PasswordHashError,
    },
}

impl Authenticator {
    /// Admits these users to `domain` by PLAIN, and no others. Names and passwords are at most 255
    /// bytes each. Passwords are kept only as keyed hashes. A password may be an argon2id hash, as
    /// in a password file: see [`Authenticator::configure_plain_file`].
    ///
    /// # Errors
    /// Returns [`PlainUsersError`] if a password has the form of a hash that this crate does not
    /// verify, or if the operating system gives no random bytes. The domain then keeps its
    /// configuration; without one it admits no peer.
    pub fn configure_plain<U, P>(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<Configured, PlainUsersError>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let domain = domain.into();
        let claimed = self.claim(MechanismKind::Plain, &domain);
        let table = self.table_of(users)?;
        let configured = self.rule_plain(domain, PlainRule::Table(Arc::new(table)), None);
        Ok(configured.plus(claimed))
    }

    /// Admits these users to `domain` by PLAIN, in addition to the users that the domain has. A user that
    /// it has already gets the new password, and loses its admissions if the password is another. Names and
    /// passwords are as in [`configure_plain`](Authenticator::configure_plain), which replaces all users.
    ///
    /// A domain that was not configured is claimed, and admits these users alone. So does a domain that
    /// has asked a provider. A watch of the domain's password file ends. Only connections of the users given
    /// are judged again, but the domain's table is copied, which takes about a millisecond for 10,000 users,
    /// and 20 ms for 100,000.
    ///
    /// ```
    /// use zmtp_auth::auth::Authenticator;
    ///
    /// let auth = Authenticator::new();
    /// auth.configure_plain("billing", [("ada", "secret")])?;
    /// auth.add_plain_users("billing", [("bob", "other")])?;
    /// assert_eq!(auth.remove_plain_users("billing", ["ada"]).removed_users, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`PlainUsersError`] if a password has the form of a hash that this crate does not
    /// verify, or if the operating system gives no random bytes. The domain then keeps its
    /// configuration; without one it admits no peer.
    pub fn add_plain_users<U, P>(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<Configured, PlainUsersError>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let domain = domain.into();
        let plain = MechanismKind::Plain;
        let claimed = self.claim(plain, &domain);
        let added = self.table_of(users)?;
        let configured = self.rule_by_call(plain, domain, None, |policy, domain, _| {
            let before = policy.plain.get(&domain).and_then(PlainRule::table);
            let table = match before {
                Some(before) => before.edited(&HashSet::new(), Some(&added)),
                None => added,
            };
            policy.rule_plain(domain, PlainRule::Table(Arc::new(table)))
        });
        Ok(configured.plus(claimed))
    }

    /// Removes users from the users of `domain`. Their admissions end at once. Users that the domain does
    /// not have are passed over: [`Configured::removed_users`] says how many were there.
    ///
    /// A domain without users left admits no peer. A domain that was not configured, or that asks a
    /// provider, has no users and stays as it is. A watch of the domain's password file ends. The cost is
    /// that of [`add_plain_users`](Authenticator::add_plain_users).
    pub fn remove_plain_users(
        &self,
        domain: impl Into<Domain>,
        users: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Configured {
        let names = users.into_iter();
        let names: HashSet<Bytes> = names
            .map(|name| Bytes::copy_from_slice(name.as_ref()))
            .collect();
        let plain = MechanismKind::Plain;
        self.rule_by_call(plain, domain.into(), None, |policy, domain, configured| {
            let before = policy.plain.get(&domain).and_then(PlainRule::table);
            match before {
                Some(before) => {
                    let table = before.edited(&names, None);
                    configured.removed_users = before.len() - table.len();
                    policy.rule_plain(domain, PlainRule::Table(Arc::new(table)))
                }
                None => Made::Ruled(plain, domain),
            }
        })
    }

    /// Creates the table of users that an application gives.
    fn table_of<U, P>(
        &self,
        users: impl IntoIterator<Item = (U, P)>,
    ) -> Result<PasswordTable, PlainUsersError>
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let users: Vec<(U, P)> = users.into_iter().collect();
        let given = users.iter().map(|(name, password)| {
            let given = PasswordInput::written(password.as_ref());
            let given = given.map_err(|reason| PlainUsersError::Hash {
                user: printable(name.as_ref()),
                reason,
            });
            Ok((name, given?))
        });
        let given = given.collect::<Result<Vec<_>, _>>()?;
        let key = self.hash_key().map_err(|_| PlainUsersError::Random)?;
        Ok(PasswordTable::new(key, self.verifiers(), given))
    }

    /// Admits the users of a password file to `domain` by PLAIN, and no others. It reads the file,
    /// so it blocks. The file is not watched: call again after a change, or use feature `reload`.
    ///
    /// Each line is `name=password`, as in czmq. Blank lines and lines that start with `#` are
    /// ignored, and a line may end in CRLF. The password is everything after the first `=`,
    /// including blanks and quotes. It may be an argon2id hash as a PHC string
    /// (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`) with m at most 262144 (256 MiB), t at most 10
    /// and p at most 4. Anything else in the form of a hash is an error.
    ///
    /// Hashes are verified on separate threads, one fewer than there are cores. If any entry of the
    /// file is hashed, every check takes as long as the most expensive hash, so that the time does
    /// not reveal which users exist. Without optimisation a check takes 0.6 s instead of some tens
    /// of milliseconds: set `[profile.dev.package.argon2] opt-level = 3` in the program's
    /// `Cargo.toml`.
    ///
    /// # Errors
    /// Returns [`PasswordFileError`] if the file cannot be read, or a line is not valid. The domain
    /// then keeps its configuration; without one it admits no peer.
    pub fn configure_plain_file(
        &self,
        domain: impl Into<Domain>,
        path: impl AsRef<Path>,
    ) -> Result<Configured, PasswordFileError> {
        let domain = domain.into();
        let claimed = self.claim(MechanismKind::Plain, &domain);
        let path = path.as_ref();
        let passwords = Passwords::load(path)?;
        if let Some(mode) = passwords.loose_mode {
            tracing::warn!("{}", open_to_others(path, mode));
        }
        let table = self.password_table(&passwords)?;
        #[cfg(feature = "reload")]
        let loaded = Some(Loaded {
            source: Source::PasswordFile(domain.clone(), path.to_owned()),
            reading: Reading::of_table(&table, passwords.loose_mode),
        });
        #[cfg(not(feature = "reload"))]
        let loaded: Option<Loaded> = None;
        let configured = self.rule_plain(domain, PlainRule::Table(Arc::new(table)), loaded);
        Ok(configured.plus(claimed))
    }

    /// Creates the table for a password file.
    pub(crate) fn password_table(
        &self,
        passwords: &Passwords,
    ) -> Result<PasswordTable, PasswordFileError> {
        let key = self
            .hash_key()
            .map_err(|_| passwords.without_randomness())?;
        Ok(PasswordTable::new(key, self.verifiers(), passwords.users()))
    }

    /// Lets `provider` decide about the PLAIN peers of `domain`.
    pub fn configure_plain_callback(
        &self,
        domain: impl Into<Domain>,
        provider: impl Provider<PlainQuestion>,
    ) -> Configured {
        let rule = PlainRule::provider(Arc::new(Async::new(provider)));
        self.rule_plain(domain.into(), rule, None)
    }

    /// Lets a function that may block decide about the PLAIN peers of `domain`. It is called on its
    /// own threads: see [`Authenticator::configure_curve_callback_blocking`].
    pub fn configure_plain_callback_blocking<R: IntoProviderResult>(
        &self,
        domain: impl Into<Domain>,
        provider: impl Fn(PlainQuestion) -> R + Send + Sync + 'static,
    ) -> Configured {
        let provider = Blocking::new(provider, self.blocking_threads());
        let rule = PlainRule::provider(Arc::new(provider));
        self.rule_plain(domain.into(), rule, None)
    }

    /// The rule for the users of a watched password file.
    #[cfg(feature = "reload")]
    pub(crate) fn settled_users(&self, users: Vec<(Bytes, Stored)>) -> PlainRule {
        match self.hash_key() {
            Ok(key) => {
                let table =
                    PasswordTable::of_stored(key, self.verifiers(), users.into_iter().collect());
                PlainRule::Table(Arc::new(table))
            }
            // Without a key no keyed hash was ever made, so there are no users.
            Err(_) => PlainRule::NoUsers,
        }
    }

    /// Puts `rule` in force for an explicit call, which may have `loaded` it from a file.
    fn rule_plain(&self, domain: Domain, rule: PlainRule, loaded: Option<Loaded>) -> Configured {
        let plain = MechanismKind::Plain;
        self.rule_by_call(plain, domain, loaded, |policy, domain, _| {
            policy.rule_plain(domain, rule)
        })
    }

    /// The key of all password tables, created on first use.
    pub(crate) fn hash_key(&self) -> Result<Arc<HashKey>, LocalError> {
        let cell = self.hash_key_cell();
        if let Some(key) = cell.get() {
            return Ok(Arc::clone(key));
        }
        let fresh = Arc::new(HashKey::generate(&OsRandom)?);
        Ok(Arc::clone(cell.get_or_init(|| fresh)))
    }
}

impl Policy {
    /// Puts `rule` in force.
    pub(crate) fn rule_plain(&mut self, domain: Domain, mut rule: PlainRule) -> Made {
        rule.inherit(self.plain.get(&domain), self.version);
        self.plain.insert(domain.clone(), rule);
        Made::Ruled(MechanismKind::Plain, domain)
    }
}

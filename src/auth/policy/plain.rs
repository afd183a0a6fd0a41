//! PLAIN rules: which users a domain admits, and tables of users and passwords.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::provider::{AnyProvider, Asking, NoAnswer, PlainQuestion, ProviderAnswer};
use crate::auth::policy::refusal::Refusal;
use crate::auth::policy::rule::Rule;
use crate::auth::sync::thread_pool::ThreadPool;
use crate::crypto::keyed_hash::{HashKey, Tag};
use crate::crypto::password::Password;
use crate::crypto::password_hash::{Cost, OutOfMemory, PasswordHash, PasswordHashError, spend};
use crate::zap::bounds::within;
use crate::zap::contain::Panicked;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The rule of one domain. [`PlainRule::inherit`] sets the versions when the rule comes into force.
#[derive(Clone)]
pub(crate) enum PlainRule {
    /// The domain is claimed, but no table was ever loaded. It admits no peer.
    NoUsers,
    /// The users of this table.
    Table(Arc<PasswordTable>),
    /// The users that the provider admits.
    Provider {
        provider: Arc<dyn AnyProvider<PlainQuestion>>,
        version: u64,
    },
}

impl PlainRule {
    /// The users that `provider` admits.
    pub(crate) const fn provider(provider: Arc<dyn AnyProvider<PlainQuestion>>) -> Self {
        Self::Provider {
            provider,
            version: 0,
        }
    }

    /// Sets the versions of a rule that replaces `before`. An entry that is the same as before keeps
    /// its version, and every other entry gets the version `fresh`. Grants of unchanged entries
    /// stay valid that way.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        match self {
            Self::NoUsers => {}
            Self::Table(table) => {
                let before = match before {
                    Some(Self::Table(before)) => Some(&**before),
                    _ => None,
                };
                Arc::make_mut(table).inherit(before, fresh);
            }
            Self::Provider { version, .. } => *version = fresh,
        }
    }

    /// The [`Rule`] that stands for it in `domain`.
    pub(crate) const fn name(&self, domain: Domain) -> Rule {
        match self {
            Self::NoUsers | Self::Table(_) => Rule::Passwords(domain),
            Self::Provider { .. } => Rule::Provider(MechanismKind::Plain, domain),
        }
    }

    /// Its users, each with the version of the user's entry.
    pub(crate) fn users(&self) -> Vec<(Credential, u64)> {
        match self {
            Self::NoUsers | Self::Provider { .. } => Vec::new(),
            Self::Table(table) => {
                let users = table.users.iter();
                users
                    .map(|(name, user)| (Credential::UserName(name.clone()), user.version))
                    .collect()
            }
        }
    }

    /// The version of the user's entry, if there is one.
    pub(crate) fn version_of(&self, name: &[u8]) -> Option<u64> {
        match self {
            Self::NoUsers => None,
            Self::Table(table) => table.users.get(name).map(|user| user.version),
            Self::Provider { version, .. } => Some(*version),
        }
    }
}

impl fmt::Debug for PlainRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsers => f.write_str("NoUsers"),
            Self::Table(table) => f.debug_tuple("Table").field(table).finish(),
            Self::Provider { .. } => f.write_str("Provider(..)"),
        }
    }
}

/// The users of one domain. Passwords are kept only as hashes: as keyed hashes, or as the argon2id
/// hashes they were given as.
#[derive(Debug, Clone)]
pub(crate) struct PasswordTable {
    key: Arc<HashKey>,
    users: HashMap<Bytes, User>,
    /// The cost of each check: that of the most expensive hash. Zero if all passwords were given in
    /// the clear.
    cost: Cost,
    verifiers: Arc<ThreadPool>,
}

#[derive(Debug, Clone)]
struct User {
    stored: Stored,
    /// The version of the policy that introduced this name with this password.
    version: u64,
}

/// A password as a table keeps it.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    Tag(Tag),
    Hash(Box<PasswordHash>),
}

/// A password as it is given to a table.
pub(crate) enum PasswordInput<'a> {
    InTheClear(&'a [u8]),
    Hashed(Box<PasswordHash>),
}

impl<'a> PasswordInput<'a> {
    /// Parses a password as an operator writes it. A text in the form of a hash must be a hash.
    pub(crate) fn written(value: &'a [u8]) -> Result<Self, PasswordHashError> {
        if PasswordHash::looks_like_one(value) {
            Ok(Self::Hashed(Box::new(PasswordHash::parse(value)?)))
        } else {
            Ok(Self::InTheClear(value))
        }
    }
}

impl PasswordTable {
    /// Creates a table. If a name is given twice, the last entry applies. Without users it admits no
    /// peer. `verifiers` are the threads that verify hashes.
    pub(crate) fn new<'a, U: AsRef<[u8]>>(
        key: Arc<HashKey>,
        verifiers: Arc<ThreadPool>,
        users: impl IntoIterator<Item = (U, PasswordInput<'a>)>,
    ) -> Self {
        let mut table = Self {
            key,
            users: HashMap::new(),
            cost: Cost::default(),
            verifiers,
        };
        for (name, password) in users {
            let name = Bytes::copy_from_slice(name.as_ref());
            let stored = match password {
                PasswordInput::InTheClear(password) => Stored::Tag(table.key.tag(&name, password)),
                PasswordInput::Hashed(hash) => {
                    table.cost = table.cost.max(hash.cost());
                    Stored::Hash(hash)
                }
            };
            table.users.insert(name, User { stored, version: 0 });
        }
        table
    }

    /// The table of these users, whose keyed hashes were created with this key.
    #[cfg(feature = "reload")]
    pub(crate) fn of_stored(
        key: Arc<HashKey>,
        verifiers: Arc<ThreadPool>,
        users: Vec<(Bytes, Stored)>,
    ) -> Self {
        let cost = users.iter().map(|(_, stored)| match stored {
            Stored::Tag(_) => Cost::default(),
            Stored::Hash(hash) => hash.cost(),
        });
        Self {
            key,
            cost: cost.fold(Cost::default(), Cost::max),
            verifiers,
            users: users
                .into_iter()
                .map(|(name, stored)| (name, User { stored, version: 0 }))
                .collect(),
        }
    }

    /// Whether a check takes too long to run on the caller's thread.
    pub(crate) fn is_costly(&self) -> bool {
        self.cost != Cost::default()
    }

    /// Checks a password, and returns the version of the user's entry.
    ///
    /// Its duration reveals neither whether the user exists, nor the length of the right password,
    /// nor how much of it was right. Every check computes one keyed hash of the given password and
    /// compares it in constant time, with an unused tag if there is no such user. If any user's
    /// password is an argon2id hash, every check also does as much work as the most expensive hash
    /// takes, for users with cheaper hashes and for unknown users as well.
    pub(crate) fn check(&self, name: &[u8], password: &[u8]) -> Result<u64, Refusal> {
        let given = self.key.tag(name, password);
        let known = self.users.get(name);
        let (tag, hash) = match known.map(|user| &user.stored) {
            None => (&Tag::NONE, None),
            Some(Stored::Tag(tag)) => (tag, None),
            Some(Stored::Hash(hash)) => (&Tag::NONE, Some(hash)),
        };
        let is_tag = bool::from(given.ct_eq(tag));
        let right = match hash {
            Some(hash) => hash.verify(password, self.cost),
            None => spend(password, self.cost).map(|()| is_tag),
        };
        // A lack of memory passes, so this is a temporary refusal.
        let right = right.map_err(|OutOfMemory| Refusal::Busy)?;
        match (known, right) {
            (None, _) => Err(Refusal::InvalidUsername),
            (Some(_), false) => Err(Refusal::InvalidPassword),
            (Some(user), true) => Ok(user.version),
        }
    }

    /// [`PasswordTable::check`] on a thread of `verifiers`.
    pub(crate) fn asking(self: Arc<Self>, name: Bytes, password: Password) -> Asking {
        Box::new(move |time, priority| {
            Box::pin(async move {
                let verifiers = Arc::clone(&self.verifiers);
                let checked =
                    verifiers.run(priority, move || self.check(&name, password.expose()))?;
                let refusal = match within(time, checked).await {
                    Some(Ok(Ok(_version))) => return Ok(ProviderAnswer::Yes),
                    Some(Ok(Err(refusal))) => refusal,
                    Some(Err(Panicked)) => Refusal::Failed,
                    None => Refusal::TimedOut,
                };
                Err(NoAnswer::Refusal(refusal))
            })
        })
    }

    /// Users with an empty password, except those whose password is an argon2id hash.
    #[cfg(feature = "policy-file")]
    pub(crate) fn users_without_password(&self) -> impl Iterator<Item = &Bytes> {
        let users = self.users.iter().filter(|(name, user)| match &user.stored {
            Stored::Tag(tag) => bool::from(tag.ct_eq(&self.key.tag(name, b""))),
            Stored::Hash(_) => false,
        });
        users.map(|(name, _)| name)
    }

    /// Whether it has no users.
    #[cfg(feature = "policy-file")]
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Its users, each with the stored password.
    #[cfg(feature = "reload")]
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&Bytes, &Stored)> {
        self.users.iter().map(|(name, user)| (name, &user.stored))
    }

    fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        for (name, user) in &mut self.users {
            let same = before
                .and_then(|before| before.users.get(name))
                .filter(|before| before.stored.is_same(&user.stored));
            user.version = same.map_or(fresh, |before| before.version);
        }
    }
}

impl Stored {
    /// Whether both are known to be the same password. One password hashed twice with different
    /// salts counts as two.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tag(tag), Self::Tag(other)) => tag.ct_eq(other).into(),
            (Self::Hash(hash), Self::Hash(other)) => hash == other,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::sync::thread_pool::PoolSettings;
    use crate::crypto::random::OsRandom;

    fn table(users: &[(impl AsRef<[u8]>, &str)]) -> PasswordTable {
        let key = Arc::new(HashKey::generate(&OsRandom).unwrap());
        let verifiers = Arc::new(ThreadPool::new(PoolSettings {
            name: "verifier",
            max_threads: 1,
            max_waiting: 1,
            replacement: None,
        }));
        let users = users
            .iter()
            .map(|(name, password)| (name, PasswordInput::written(password.as_bytes()).unwrap()));
        PasswordTable::new(key, verifiers, users)
    }

    /// `secret`, hashed by the reference implementation.
    const HASH: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$5LzeVGGgdolhHzjGHA6qSDNYHLw5RyGqPPxPFSSG6tI";

    #[test]
    fn an_unknown_user_costs_as_much_work_as_the_dearest_hash() {
        // One pass each, so that the memory filled is the work done. 4 MiB: far more than
        // everything else that a check does.
        let dear = HASH.replace("m=64,t=2", "m=4096,t=1");
        let cheap = HASH.replace("t=2", "t=1");
        let table = table(&[
            ("cheap", cheap.as_str()),
            ("clear", "secret"),
            ("dear", &dear),
        ]);
        for name in ["cheap", "clear", "dear", "stranger"] {
            let measured = allocation_counter::measure(|| {
                assert!(table.check(name.as_bytes(), b"wrong").is_err());
            });
            let filled = measured.bytes_total / 1024;
            assert!((4096..4096 + 16).contains(&filled), "{name}: {filled} KiB");
        }
    }

    #[test]
    fn hashed_passwords_and_others_may_share_a_table() {
        let table = table(&[("hashed", HASH), ("plain", "secret")]);
        assert!(table.is_costly());
        for name in ["hashed", "plain"] {
            assert_eq!(table.check(name.as_bytes(), b"secret"), Ok(0));
            for wrong in ["", "Secret", HASH] {
                assert_eq!(
                    table.check(name.as_bytes(), wrong.as_bytes()),
                    Err(Refusal::InvalidPassword)
                );
            }
        }
        assert_eq!(
            table.check(b"unknown", b"secret"),
            Err(Refusal::InvalidUsername)
        );
    }

    #[test]
    fn an_entry_keeps_its_version_while_name_and_password_stay() {
        let key = Arc::new(HashKey::generate(&OsRandom).unwrap());
        let with = |users: &[(&str, &str)]| {
            let mut table = table(users);
            table.key = Arc::clone(&key);
            let users = users
                .iter()
                .filter(|(_, password)| !password.starts_with('$'));
            for (name, password) in users {
                let tag = key.tag(name.as_bytes(), password.as_bytes());
                table.users.get_mut(name.as_bytes()).unwrap().stored = Stored::Tag(tag);
            }
            table
        };
        let mut before = with(&[("a", "1"), ("b", HASH), ("c", "3")]);
        before.inherit(None, 1);
        let mut after = with(&[("a", "1"), ("b", HASH), ("c", HASH), ("d", "4")]);
        after.inherit(Some(&before), 2);
        let versions = ["a", "b", "c", "d"].map(|name| after.users[name.as_bytes()].version);
        assert_eq!(versions, [1, 1, 2, 2]);
    }

    #[test]
    fn the_right_password_of_the_right_user_and_nothing_else() {
        let table = table(&[("admin", "secret"), ("empty", "")]);
        assert_eq!(table.check(b"admin", b"secret"), Ok(0));
        assert_eq!(table.check(b"empty", b""), Ok(0));
        for wrong in ["", "secre", "secret\0", "Secret"] {
            assert_eq!(
                table.check(b"admin", wrong.as_bytes()),
                Err(Refusal::InvalidPassword)
            );
        }
        assert_eq!(
            table.check(b"Admin", b"secret"),
            Err(Refusal::InvalidUsername)
        );
        assert_eq!(table.check(b"", b""), Err(Refusal::InvalidUsername));
    }

    #[test]
    fn names_are_bytes() {
        let table = table(&[(b"\xFF", "a")]);
        assert_eq!(table.check(b"\xFF", b"a"), Ok(0));
        assert_eq!(table.check(b"\xFE", b"a"), Err(Refusal::InvalidUsername));
        assert_eq!(
            table.check("\u{FFFD}".as_bytes(), b"a"),
            Err(Refusal::InvalidUsername)
        );
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!("{:?}", table(&[("admin", "hunter2")]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

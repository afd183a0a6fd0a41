//! PLAIN: tables of names and passwords.
#![forbid(unsafe_code)]

use crate::auth::refusal::Refusal;
use crate::crypto::keyed_hash::{HashKey, Tag};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The rule of one domain.
#[derive(Debug, Clone)]
pub(crate) enum PlainRule {
    /// The domain is configured, and its table never came to be.
    Nobody,
    /// The users of this table.
    Table(Arc<PasswordTable>),
}

impl PlainRule {
    /// Checks a password; gives the version of the user's entry.
    pub(crate) fn check(&self, name: &[u8], password: &[u8]) -> Result<u64, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::InvalidUsername),
            Self::Table(table) => table.check(name, password),
        }
    }

    /// Gives versions to a rule that takes the place of `before`: what is the same as before
    /// keeps the version that it had, what is new gets `fresh`.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        if let Self::Table(table) = self {
            let before = match before {
                Some(Self::Table(before)) => Some(&**before),
                _ => None,
            };
            Arc::make_mut(table).inherit(before, fresh);
        }
    }

    /// The version of the user's entry, if there is one.
    pub(crate) fn version_of(&self, name: &[u8]) -> Option<u64> {
        match self {
            Self::Nobody => None,
            Self::Table(table) => table.users.get(name).map(|user| user.version),
        }
    }
}

/// The users of one domain. Passwords are kept as keyed hashes alone.
#[derive(Debug, Clone)]
pub(crate) struct PasswordTable {
    key: Arc<HashKey>,
    users: HashMap<Bytes, User>,
}

#[derive(Debug, Clone)]
struct User {
    tag: Tag,
    /// That of the policy in which this name with this password was new.
    version: u64,
}

impl PasswordTable {
    /// A table; of a name given twice, the last counts. No users: nobody.
    pub(crate) fn new<U, P>(key: Arc<HashKey>, users: impl IntoIterator<Item = (U, P)>) -> Self
    where
        U: AsRef<[u8]>,
        P: AsRef<[u8]>,
    {
        let users = users
            .into_iter()
            .map(|(name, password)| {
                let name = Bytes::copy_from_slice(name.as_ref());
                let tag = key.tag(&name, password.as_ref());
                (name, User { tag, version: 0 })
            })
            .collect();
        Self { key, users }
    }

    /// Checks a password. Its time tells neither whether the user exists nor how long or how
    /// similar the right password is: one hash of what was given, one comparison of tags.
    /// Gives the version of the user's entry.
    pub(crate) fn check(&self, name: &[u8], password: &[u8]) -> Result<u64, Refusal> {
        let given = self.key.tag(name, password);
        let known = self.users.get(name);
        let right = bool::from(given.ct_eq(known.map_or(&Tag::NONE, |user| &user.tag)));
        match (known, right) {
            (None, _) => Err(Refusal::InvalidUsername),
            (Some(_), false) => Err(Refusal::InvalidPassword),
            (Some(user), true) => Ok(user.version),
        }
    }

    fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        for (name, user) in &mut self.users {
            let same = before
                .and_then(|before| before.users.get(name))
                .filter(|before| before.tag.ct_eq(&user.tag).into());
            user.version = same.map_or(fresh, |before| before.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::OsRandom;

    fn table(users: &[(&str, &str)]) -> PasswordTable {
        let key = Arc::new(HashKey::generate(&OsRandom).unwrap());
        PasswordTable::new(key, users.iter().copied())
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
        let key = Arc::new(HashKey::generate(&OsRandom).unwrap());
        let table = PasswordTable::new(key, [(b"\xFF", "a")]);
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

//! Tables of users and their passwords.
#![forbid(unsafe_code)]

use crate::auth::policy::provider::{Asking, NoAnswer, ProviderAnswer};
use crate::auth::policy::refusal::Refusal;
use crate::auth::sync::thread_pool::ThreadPool;
use crate::crypto::keyed_hash::{HashKey, Tag};
use crate::crypto::password::Password;
use crate::crypto::password_hash::{Cost, OutOfMemory, PasswordHash, PasswordHashError, spend};
use crate::zap::bounds::within;
use crate::zap::contain::Panicked;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ptr;
use std::sync::{Arc, LazyLock};
use subtle::ConstantTimeEq;

/// Hashes names to places in the order of users. All tables of this process share its key, so that a
/// table and the one that replaces it have the same order.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The users of one domain. Passwords are kept only as hashes: as keyed hashes, or as the argon2id
/// hashes they were given as.
#[derive(Debug, Clone)]
pub(crate) struct PasswordTable {
    key: Arc<HashKey>,
    /// The place of each user, in ascending order.
    places: Vec<u64>,
    /// The users in the order of their places.
    users: Vec<User>,
    /// The cost of each check: that of the most expensive hash. Zero if all passwords were given in
    /// the clear.
    cost: Cost,
    verifiers: Arc<ThreadPool>,
}

#[derive(Debug, Clone)]
struct User {
    name: Bytes,
    stored: Stored,
    /// The version of the policy that introduced this name with this password.
    version: u64,
}

/// A user whose entries differ between two tables: the version of the entry before and of the one
/// after. `None` stands for no entry.
pub(crate) struct Difference<'a> {
    pub(crate) name: &'a Bytes,
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
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
        let users = users.into_iter().map(|(name, password)| {
            let stored = match password {
                PasswordInput::InTheClear(password) => {
                    Stored::Tag(key.tag(name.as_ref(), password))
                }
                PasswordInput::Hashed(hash) => Stored::Hash(hash),
            };
            (Bytes::copy_from_slice(name.as_ref()), stored)
        });
        let users = users.collect();
        Self::of_stored(key, verifiers, users)
    }

    /// The table of these users, whose keyed hashes were created with this key.
    pub(crate) fn of_stored(
        key: Arc<HashKey>,
        verifiers: Arc<ThreadPool>,
        users: HashMap<Bytes, Stored>,
    ) -> Self {
        let costs = users.values().map(Stored::cost);
        let cost = costs.fold(Cost::default(), Cost::max);
        let users = users.into_iter().map(|(name, stored)| {
            let place = place_of(&name);
            let version = 0;
            let user = User {
                name,
                stored,
                version,
            };
            (place, user)
        });
        let mut users: Vec<_> = users.collect();
        users.sort_unstable_by(|(one_place, one), (other_place, other)| {
            (one_place, &one.name).cmp(&(other_place, &other.name))
        });
        let (places, users) = users.into_iter().unzip();
        Self {
            key,
            places,
            users,
            cost,
            verifiers,
        }
    }

    /// A table without the users of these names, and with those of `added`, whose passwords apply.
    pub(crate) fn edited(&self, gone: &HashSet<Bytes>, added: Option<&Self>) -> Self {
        let gone = gone.iter().filter_map(|name| self.number_of(name));
        let gone: BTreeSet<usize> = gone.collect();
        let mut gone = gone.into_iter().peekable();
        let kept = self.in_places().zip(0..);
        let kept = kept.filter(|(_, at)| gone.next_if_eq(at).is_none());
        let mut kept = kept.map(|(user, _)| user).peekable();
        let mut added_users = added.into_iter().flat_map(Self::in_places).peekable();
        let len = self.len() + added.map_or(0, Self::len);
        let mut edited = Self {
            key: Arc::clone(&self.key),
            places: Vec::with_capacity(len),
            users: Vec::with_capacity(len),
            cost: Cost::default(),
            verifiers: Arc::clone(&self.verifiers),
        };
        loop {
            let order = order(kept.peek(), added_users.peek());
            let before = kept.next_if(|_| order.is_le());
            let added = added_users.next_if(|_| order.is_ge());
            let Some((place, user)) = added.or(before) else {
                return edited;
            };
            edited.cost = edited.cost.max(user.stored.cost());
            edited.places.push(place);
            edited.users.push(user.clone());
        }
    }

    /// The number of users.
    pub(crate) const fn len(&self) -> usize {
        self.users.len()
    }

    /// The first user at the place of `name` or after it, or the last of all, and whether it is at
    /// that place. The search does the same whether there is a user of that name.
    fn nearest(&self, name: &[u8]) -> (Option<&User>, bool) {
        let place = place_of(name);
        let at = self.places.partition_point(|other| *other < place);
        let at = at.min(self.places.len().saturating_sub(1));
        (self.users.get(at), self.places.get(at) == Some(&place))
    }

    fn get(&self, name: &[u8]) -> Option<&User> {
        let (user, _) = self.nearest(name);
        user.filter(|user| user.name == name)
    }

    /// The version of the user's entry, if there is one.
    pub(crate) fn version_of(&self, name: &[u8]) -> Option<u64> {
        self.get(name).map(|user| user.version)
    }

    /// The number of the user of that name in their order.
    fn number_of(&self, name: &[u8]) -> Option<usize> {
        let place = place_of(name);
        let first = self.places.partition_point(|other| *other < place);
        let mut same = self.users.iter().zip(&self.places).skip(first);
        let mut same = same.by_ref().take_while(|(_, other)| **other == place);
        let at = same.position(|(user, _)| user.name == name)?;
        Some(first + at)
    }

    /// Whether a check takes too long to run on the caller's thread.
    pub(crate) fn is_costly(&self) -> bool {
        self.cost != Cost::default()
    }

    /// Checks a password, and returns the version of the user's entry.
    ///
    /// Its duration reveals neither whether the user exists, nor the length of the right password,
    /// nor how much of it was right. Every check finds some user, computes one keyed hash of the
    /// given password, and compares it in constant time with that user's. For an unknown name this
    /// is another user, whose match counts for nothing. If any user's password is an argon2id hash,
    /// every check also does as much work as the most expensive hash takes.
    pub(crate) fn check(&self, name: &[u8], password: &[u8]) -> Result<u64, Refusal> {
        let given = self.key.tag(name, password);
        let (nearest, is_known) = self.nearest(name);
        let (tag, hash) = match nearest.map(|user| &user.stored) {
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
        match (nearest.filter(|_| is_known), right) {
            (None, _) => Err(Refusal::InvalidUsername),
            (Some(_), false) => Err(Refusal::InvalidPassword),
            // Two names may have the same place, though not by intent.
            (Some(user), true) if user.name != name => Err(Refusal::InvalidUsername),
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
        let users = self.users.iter().filter(|user| match &user.stored {
            Stored::Tag(tag) => bool::from(tag.ct_eq(&self.key.tag(&user.name, b""))),
            Stored::Hash(_) => false,
        });
        users.map(|user| &user.name)
    }

    /// Whether it has no users.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Its users, each with the stored password.
    #[cfg(feature = "reload")]
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&Bytes, &Stored)> {
        self.users.iter().map(|user| (&user.name, &user.stored))
    }

    /// Sets the versions of a table that replaces `before`. An entry that is the same as before keeps its
    /// version, and every other entry gets the version `fresh`.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        let mut before = before.into_iter().flat_map(Self::in_places).peekable();
        for (place, user) in self.places.iter().zip(&mut self.users) {
            let order = |(other_place, other): &(u64, &User)| {
                (other_place, &other.name).cmp(&(place, &user.name))
            };
            while before.next_if(|other| order(other).is_lt()).is_some() {}
            let same = before.next_if(|other| order(other).is_eq());
            let same = same.filter(|(_, before)| before.stored.is_same(&user.stored));
            user.version = same.map_or(fresh, |(_, before)| before.version);
        }
    }

    /// Calls `each` for every user whose entries differ between two tables. No table is one without
    /// users.
    pub(crate) fn differences(
        before: Option<&Self>,
        after: Option<&Self>,
        mut each: impl FnMut(Difference<'_>),
    ) {
        if before.map(ptr::from_ref) == after.map(ptr::from_ref) {
            return;
        }
        let mut before = before.into_iter().flat_map(Self::in_places).peekable();
        let mut after = after.into_iter().flat_map(Self::in_places).peekable();
        loop {
            let order = order(before.peek(), after.peek());
            let before = before.next_if(|_| order.is_le()).map(|(_, user)| user);
            let after = after.next_if(|_| order.is_ge()).map(|(_, user)| user);
            if before.is_none() && after.is_none() {
                return;
            }
            let version = |user: Option<&User>| Some(user?.version);
            if version(before) != version(after)
                && let Some(user) = after.or(before)
            {
                each(Difference {
                    name: &user.name,
                    before: version(before),
                    after: version(after),
                });
            }
        }
    }

    /// Its users in their order, each with its place.
    fn in_places(&self) -> impl Iterator<Item = (u64, &User)> {
        self.places.iter().copied().zip(&self.users)
    }
}

/// The place of a user of that name.
fn place_of(name: &[u8]) -> u64 {
    #[cfg(test)]
    tests::PLACES_SOUGHT.set(tests::PLACES_SOUGHT.get() + 1);
    HASHER.hash_one(name)
}

/// Which of the next users of two tables comes first. One that is there comes before none.
fn order(one: Option<&(u64, &User)>, other: Option<&(u64, &User)>) -> Ordering {
    match (one, other) {
        (Some((one_place, one)), Some((other_place, other))) => {
            (one_place, &one.name).cmp(&(other_place, &other.name))
        }
        _ => one.is_none().cmp(&other.is_none()),
    }
}

impl Stored {
    /// The cost of a check of the password.
    fn cost(&self) -> Cost {
        match self {
            Self::Tag(_) => Cost::default(),
            Self::Hash(hash) => hash.cost(),
        }
    }

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
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    thread_local! {
        /// The names whose places this thread has computed.
        pub(super) static PLACES_SOUGHT: Cell<usize> = const { Cell::new(0) };
    }

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
                let user = table.users.iter_mut().find(|user| user.name == *name);
                user.unwrap().stored = Stored::Tag(tag);
            }
            table
        };
        let mut before = with(&[("a", "1"), ("b", HASH), ("c", "3")]);
        before.inherit(None, 1);
        let mut after = with(&[("a", "1"), ("b", HASH), ("c", HASH), ("d", "4")]);
        after.inherit(Some(&before), 2);
        let versions = ["a", "b", "c", "d"].map(|name| after.get(name.as_bytes()).unwrap().version);
        assert_eq!(versions, [1, 1, 2, 2]);
    }

    #[test]
    fn a_change_of_users_computes_the_places_of_those_alone_and_copies_the_table_once() {
        for count in [100, 3000] {
            let names: Vec<String> = (0..count).map(|at| format!("user{at}")).collect();
            let users: Vec<_> = names.iter().map(|name| (name, "secret")).collect();
            let before = table(&users);
            // The first copy of a name lets it be shared.
            let before = before.edited(&HashSet::new(), None);
            let added = table(&[("user7", "other"), ("user", "secret")]);
            let added = added.edited(&HashSet::new(), None);
            let gone = ["user8", "user9", "stranger"].map(Bytes::from).into();
            let sought = PLACES_SOUGHT.get();
            let mut after = None;
            let work = allocation_counter::measure(|| {
                let mut edited = before.edited(&gone, Some(&added));
                edited.inherit(Some(&before), 1);
                after = Some(edited);
            });
            assert_eq!(PLACES_SOUGHT.get() - sought, gone.len());
            assert!(work.count_total <= 4, "{}", work.count_total);
            assert_eq!(after.unwrap().len(), count - 2 + 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_table_that_is_edited_is_the_table_of_the_users_that_are_left(
            users in proptest::collection::btree_map(0..40_u8, any::<bool>(), 0..30),
            gone in proptest::collection::btree_set(0..40_u8, 0..9),
            added in proptest::collection::btree_map(0..40_u8, any::<bool>(), 0..9),
            hashed in proptest::collection::btree_set(0..40_u8, 0..2),
        ) {
            let of = |users: &BTreeMap<u8, bool>| {
                let password = |user, is_one| match is_one {
                    _ if hashed.contains(&user) => HASH,
                    true => "one",
                    false => "other",
                };
                let users = users.iter();
                let users = users.map(|(user, is_one)| ([*user], password(*user, *is_one)));
                users.collect::<Vec<_>>()
            };
            let key = Arc::new(HashKey::generate(&OsRandom).unwrap());
            let table = |users: &BTreeMap<u8, bool>| {
                let users = of(users).into_iter();
                let users = users.map(|(user, password)| {
                    (user, PasswordInput::written(password.as_bytes()).unwrap())
                });
                PasswordTable::new(Arc::clone(&key), self::table(&[("", "")]).verifiers, users)
            };
            let names = gone.iter().map(|user| Bytes::copy_from_slice(&[*user])).collect();
            let mut before = table(&users);
            before.inherit(None, 1);
            let mut edited = before.edited(&names, Some(&table(&added)));
            edited.inherit(Some(&before), 2);
            let mut left = users.clone();
            left.retain(|user, _| !gone.contains(user));
            left.extend(added);
            let expected = table(&left);
            prop_assert_eq!(&edited.places, &expected.places);
            prop_assert!(edited.cost == expected.cost);
            let old = table(&users);
            for (user, expected) in edited.users.iter().zip(&expected.users) {
                prop_assert_eq!(&user.name, &expected.name);
                prop_assert!(user.stored.is_same(&expected.stored));
                let is_as_before = old.get(&user.name).is_some_and(|old| old.stored.is_same(&user.stored));
                prop_assert_eq!(user.version, if is_as_before { 1 } else { 2 });
            }
        }
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

    /// Two names whose hashes are equal cannot be found, so the names are exchanged.
    #[test]
    fn a_name_with_the_place_of_another_is_not_that_user() {
        let mut table = table(&[("hashed", HASH)]);
        table.users[0].name = Bytes::from_static(b"other");
        assert_eq!(
            table.check(b"hashed", b"secret"),
            Err(Refusal::InvalidUsername)
        );
        assert!(table.get(b"hashed").is_none());
    }

    #[test]
    fn every_user_of_a_large_table_is_found_and_no_neighbour_is_taken_for_another() {
        let names: Vec<String> = (0..300).map(|at| format!("user{at}")).collect();
        let users: Vec<_> = names.iter().map(|name| (name, "secret")).collect();
        let table = table(&users);
        for name in &names {
            assert_eq!(table.check(name.as_bytes(), b"secret"), Ok(0));
            let stranger = format!("{name}x");
            assert_eq!(
                table.check(stranger.as_bytes(), b"secret"),
                Err(Refusal::InvalidUsername)
            );
        }
        // With a hashed password the name is not part of what is compared.
        let users: Vec<_> = names[..20].iter().map(|name| (name, HASH)).collect();
        let hashed = self::table(&users);
        for name in &names {
            let expected = match hashed.get(name.as_bytes()) {
                Some(_) => Ok(0),
                None => Err(Refusal::InvalidUsername),
            };
            assert_eq!(hashed.check(name.as_bytes(), b"secret"), expected);
        }
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

    #[test]
    #[ignore = "measures: ./test --full timing"]
    fn time_does_not_show_users_or_how_much_of_a_password_is_right() {
        use crate::timing::{assert_same_time, of_class};
        const USERS: usize = 64;
        let names =
            |kind: &str| -> Vec<String> { (0..USERS).map(|at| format!("{kind}{at:02}")).collect() };
        let known = names("known");
        let clear: Vec<_> = known.iter().map(|name| (name, "correct horse")).collect();
        let hashed: Vec<_> = known.iter().map(|name| (name, HASH)).collect();
        let (clear, hashed) = (table(&clear), table(&hashed));
        for (kind, table, samples) in [("clear", &clear, 100_000), ("argon2id", &hashed, 10_000)] {
            // An unknown name, and the user that is found for it. Both are equally often in caches.
            let unknown = names("other").into_iter();
            let pairs: Vec<(Bytes, Bytes)> = unknown
                .map(|name| {
                    let (nearest, _) = table.nearest(name.as_bytes());
                    (nearest.unwrap().name.clone(), Bytes::from(name))
                })
                .collect();
            assert_same_time(
                &format!("passwords in {kind}, user known or not"),
                samples,
                |class, random| {
                    let (known, unknown) = &pairs[random.below(USERS)];
                    of_class(class, known, unknown).to_vec()
                },
                |name| table.check(name, b"wrong password"),
            );
            // Many passwords of each class: argon2id reads memory at places that follow from the given
            // password, so any two have times of their own.
            assert_same_time(
                &format!("passwords in {kind}, nearly right or all wrong"),
                samples,
                |class, random| {
                    let mut near = *b"correct horse";
                    near[random.below(near.len())] ^= 1 + random.below(255) as u8;
                    let password = of_class(class, near, random.array());
                    (known[random.below(USERS)].clone(), password)
                },
                |(name, password)| table.check(name.as_bytes(), password),
            );
        }
    }
}

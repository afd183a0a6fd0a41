//! Tables of admitted keys. Copies share what is the same in both, so a changed copy of a large table
//! costs little, and two copies are compared by what differs between them.
#![forbid(unsafe_code)]

use crate::auth::policy::curve::entry::KeyEntry;
use crate::auth::policy::curve::key_hash::hash_of;
use crate::auth::policy::curve::node::{Difference, Edit, Node, Slot};
use crate::crypto::keys::PublicKey;
#[cfg(feature = "reload")]
use std::collections::BTreeSet;
use std::fmt;
use std::slice;

/// The least number of keys of a table whose memory is asked for early. 8192: with 56 bytes each they take
/// about half a megabyte, and the second-level caches of today's processors hold one or two.
const LARGE: usize = 8192;

/// Keys with their entries. A trie by the bits of the keys' hashes, from the highest down, so that its
/// keys are in the order of their hashes.
#[derive(Clone, Default)]
pub(crate) struct KeyTable {
    root: Node,
    len: usize,
}

impl KeyTable {
    /// A table of these keys. The last entry of a key applies.
    pub(crate) fn new(entries: impl IntoIterator<Item = (PublicKey, KeyEntry)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        // The hashes are sorted and not the entries, which are longer.
        let hashes = entries.iter().map(|(key, _)| hash_of(key));
        let mut places: Vec<(u64, usize)> = hashes.zip(0..).collect();
        places.sort_unstable();
        places.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0 && entries[later.1].0 == entries[earlier.1].0;
            if is_same {
                *earlier = *later;
            }
            is_same
        });
        let slot = |&(hash, at): &(u64, usize)| {
            let (key, entry) = &entries[at];
            Slot {
                hash,
                key: *key,
                entry: entry.clone(),
            }
        };
        Self {
            root: Node::of(&places, |(hash, _)| *hash, slot, 0),
            len: places.len(),
        }
    }

    /// The number of keys.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<&KeyEntry> {
        self.root.get(0, hash_of(key), key)
    }

    /// Asks for the slots that [`KeyTable::get`] will read, and does not wait for them. A small table is
    /// near at hand.
    pub(crate) fn prefetch(&self, key: &PublicKey) {
        if self.len >= LARGE {
            self.root.prefetch(hash_of(key));
        }
    }

    /// All keys, in no order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            above: Vec::new(),
            slots: slice::Iter::default(),
            next: Some(&self.root),
        }
    }

    /// Sets the entries of these keys. An entry that is the same as before keeps its version, and every
    /// other entry gets the version `fresh`. The last entry of a key applies.
    pub(crate) fn insert(
        &mut self,
        entries: impl IntoIterator<Item = (PublicKey, KeyEntry)>,
        fresh: u64,
    ) {
        let mut changes: Vec<Edit> = entries
            .into_iter()
            .map(|(key, entry)| Edit::new(key, Some(entry)))
            .collect();
        Edit::sort(&mut changes);
        changes.retain_mut(|Edit { hash, key, entry }| {
            let before = self.root.get(0, *hash, key);
            let is_kept = entry
                .as_mut()
                .is_some_and(|entry| entry.inherit(before, fresh));
            self.len += usize::from(before.is_none());
            !is_kept
        });
        self.root.edit(0, &changes);
    }

    /// Removes these keys, and returns how many of them were there.
    pub(crate) fn remove<'a>(&mut self, keys: impl IntoIterator<Item = &'a PublicKey>) -> usize {
        let mut changes: Vec<Edit> = keys.into_iter().map(|key| Edit::new(*key, None)).collect();
        Edit::sort(&mut changes);
        changes.retain(|Edit { hash, key, .. }| self.root.get(0, *hash, key).is_some());
        self.root.edit(0, &changes);
        self.len -= changes.len();
        changes.len()
    }

    /// Makes what this table says of `keys` the same as what `other` says of them. See
    /// [`KeyTable::insert`] for the versions.
    #[cfg(feature = "reload")]
    pub(crate) fn replace(&mut self, keys: &BTreeSet<PublicKey>, other: &Self, fresh: u64) {
        self.remove(keys.iter().filter(|key| other.get(key).is_none()));
        let entries = keys
            .iter()
            .filter_map(|key| Some((*key, other.get(key)?.clone())));
        self.insert(entries, fresh);
    }

    /// Sets the versions of a table that replaces `before`. An entry that is the same as before keeps
    /// its version, and every other entry gets the version `fresh`. Parts that are the same in both
    /// are shared from then on.
    pub(crate) fn inherit(&mut self, before: &Self, fresh: u64) {
        self.root.inherit(0, &before.root, fresh);
    }

    /// Calls `each` for every key whose entries differ between `before` and this table. It looks only
    /// at parts that the two do not share.
    pub(crate) fn differences<'a>(
        &'a self,
        before: &'a Self,
        mut each: impl FnMut(Difference<'a>),
    ) {
        Node::differences(&before.root, &self.root, 0, &|_| true, &mut each);
    }
}

impl FromIterator<(PublicKey, KeyEntry)> for KeyTable {
    fn from_iter<T: IntoIterator<Item = (PublicKey, KeyEntry)>>(entries: T) -> Self {
        Self::new(entries)
    }
}

/// See [`KeyTable::iter`].
pub(crate) struct Iter<'a> {
    above: Vec<slice::Iter<'a, Node>>,
    slots: slice::Iter<'a, Slot>,
    next: Option<&'a Node>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a PublicKey, &'a KeyEntry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(slot) = self.slots.next() {
                return Some((&slot.key, &slot.entry));
            }
            match self.next.take() {
                Some(Node::Leaf(slots)) => self.slots = slots.iter(),
                Some(Node::Branch(children)) => self.above.push(children.iter()),
                None => {
                    self.next = self.above.last_mut()?.next();
                    if self.next.is_none() {
                        self.above.pop();
                    }
                }
            }
        }
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::policy::curve::node::{CHILDREN, LEAF_MAX};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(number: u32) -> PublicKey {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(key).unwrap()
    }

    fn table(keys: impl IntoIterator<Item = u32>) -> KeyTable {
        keys.into_iter()
            .map(|number| (key(number), KeyEntry::default()))
            .collect()
    }

    /// The nodes of a table that another one does not share.
    fn own_nodes(node: &Node, other: &Node) -> usize {
        match (node, other) {
            _ if node.is_same(other) => 0,
            (Node::Branch(children), Node::Branch(others)) => {
                let children = children.iter().zip(&**others);
                1 + children
                    .map(|(one, other)| own_nodes(one, other))
                    .sum::<usize>()
            }
            _ => 1,
        }
    }

    fn numbers(differences: &[(PublicKey, bool, bool)]) -> Vec<PublicKey> {
        differences.iter().map(|(key, ..)| *key).collect()
    }

    /// The keys that differ, each with whether it was there and is there.
    fn differences(before: &KeyTable, after: &KeyTable) -> Vec<(PublicKey, bool, bool)> {
        let mut all = Vec::new();
        after.differences(before, |found| {
            all.push((*found.key, found.before.is_some(), found.after.is_some()));
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn a_change_of_a_key_copies_one_path_however_many_keys_there_are() {
        for count in [10, 1000, 30_000] {
            let before = table(0..count);
            let mut more = before.clone();
            more.insert([(key(count), KeyEntry::default())], 1);
            let mut fewer = before.clone();
            assert_eq!(fewer.remove([&key(3), &key(3)]), 1);
            for (after, changed) in [(more, key(count)), (fewer, key(3))] {
                // Some branches, and a leaf. It was full if it has become a branch with new leaves.
                let own = own_nodes(&after.root, &before.root);
                assert!(own <= 4 + CHILDREN, "{count}: {own}");
                let compared = numbers(&differences(&before, &after));
                assert_eq!(compared, [changed]);
            }
        }
    }

    #[test]
    fn a_table_that_is_set_again_is_the_one_before() {
        for count in [0, 1, 100, 20_000] {
            let mut before = table(0..count);
            before.inherit(&KeyTable::default(), 1);
            let mut again = table((0..count).rev());
            again.inherit(&before, 2);
            assert!(again.root.is_same(&before.root), "{count}");
            let mut other = table(1..count + 1);
            other.inherit(&before, 2);
            let own = own_nodes(&other.root, &before.root);
            assert!(own <= 2 * (4 + CHILDREN), "{count}: {own}");
        }
    }

    #[test]
    fn a_key_costs_little_more_than_its_entry() {
        for count in [1000, 30_000] {
            let mut made = None;
            let held = allocation_counter::measure(|| made = Some(table(0..count)));
            let each = held.bytes_current as f64 / f64::from(count);
            assert!((56.0..68.0).contains(&each), "{count}: {each}");
        }
    }

    #[test]
    fn keys_with_the_same_hash_share_a_leaf() {
        let slots = |keys: std::ops::Range<u32>| -> Vec<Slot> {
            let entry = KeyEntry::default();
            keys.map(|number| Slot {
                hash: 9,
                key: key(number),
                entry: entry.clone(),
            })
            .collect()
        };
        let many = LEAF_MAX as u32 * 3;
        let mut node = Node::of(&slots(0..many), |slot| slot.hash, Slot::clone, 0);
        let more = slots(many..many + 5).into_iter();
        let more = more.map(|Slot { hash, key, entry }| Edit {
            hash,
            key,
            entry: Some(entry),
        });
        node.edit(0, &more.collect::<Vec<_>>());
        let gone = Edit {
            hash: 9,
            key: key(1),
            entry: None,
        };
        node.edit(0, &[gone]);
        for number in 0..many + 5 {
            let is_there = node.get(0, 9, &key(number)).is_some();
            assert_eq!(is_there, number != 1, "{number}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Vec<u32>),
        Remove(Vec<u32>),
        Set(Vec<u32>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Around the sizes at which leaves and branches turn into each other.
        let numbers = |most| proptest::collection::vec(0..700_u32, 0..most);
        let few = numbers(3);
        let step = prop_oneof![
            few.clone().prop_map(Step::Insert),
            few.prop_map(Step::Remove),
            numbers(600).prop_map(Step::Set),
            numbers(300).prop_map(Step::Insert),
            numbers(300).prop_map(Step::Remove),
        ];
        proptest::collection::vec(step, 0..40)
    }

    /// In an unoptimised build more of them take long.
    const CASES: u32 = 16;

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

        #[test]
        fn a_table_is_a_map_whose_versions_say_when_a_key_came(steps in steps()) {
            let mut table = KeyTable::default();
            let mut model: BTreeMap<PublicKey, u64> = BTreeMap::new();
            for (fresh, step) in (1..).zip(steps) {
                let (before, model_before) = (table.clone(), model.clone());
                match step {
                    Step::Insert(numbers) => {
                        let entries = numbers.iter().map(|number| (key(*number), KeyEntry::default()));
                        table.insert(entries, fresh);
                        for number in numbers {
                            model.entry(key(number)).or_insert(fresh);
                        }
                    }
                    Step::Remove(numbers) => {
                        let keys: Vec<_> = numbers.into_iter().map(key).collect();
                        let gone = keys.iter().filter(|key| model.remove(key).is_some());
                        let gone = gone.count();
                        prop_assert_eq!(table.remove(&keys), gone);
                    }
                    Step::Set(numbers) => {
                        table = self::table(numbers.iter().copied());
                        table.inherit(&before, fresh);
                        let keys = numbers.into_iter().map(key);
                        let version = |key| (key, *model_before.get(&key).unwrap_or(&fresh));
                        model = keys.map(version).collect();
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                let found: BTreeMap<_, _> =
                    table.iter().map(|(key, entry)| (*key, entry.version)).collect();
                prop_assert_eq!(&found, &model);
                for (key, version) in &model {
                    table.root.prefetch(hash_of(key));
                    prop_assert_eq!(table.get(key).map(|entry| entry.version), Some(*version));
                }
                let keys = model.keys().chain(model_before.keys());
                let mut differ: Vec<_> = keys
                    .filter(|key| model.get(key) != model_before.get(key))
                    .map(|key| (*key, model_before.contains_key(key), model.contains_key(key)))
                    .collect();
                differ.sort_unstable();
                differ.dedup();
                prop_assert_eq!(differences(&before, &table), differ);
            }
        }
    }
}

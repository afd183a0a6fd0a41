//! Tables of admitted keys. Copies share what is the same in both, so a changed copy of a large table
//! costs little, and two copies are compared by what differs between them.
#![forbid(unsafe_code)]

use crate::auth::policy::curve::entry::KeyEntry;
use crate::crypto::keys::PublicKey;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem::replace;
use std::slice;
use std::sync::{Arc, LazyLock};

/// The random numbers by which keys are hashed: one for each eight bytes of a key, and one more. All
/// tables of this process have the same, so that a table and the one that replaces it have the same form.
static FACTORS: LazyLock<[u128; 5]> = LazyLock::new(|| {
    let random = RandomState::new();
    let half = |number: usize| u128::from(random.hash_one(number));
    std::array::from_fn(|at| half(2 * at) << 64 | half(2 * at + 1))
});

/// Maximum number of keys in a leaf. 128: a change of one key copies one leaf, with keys of 56 bytes, and
/// a lookup passes at most three branches among a million keys. A leaf's own cost is a few bytes for each
/// of its keys.
const LEAF_MAX: usize = 128;

/// Number of bits of a hash that a branch decides by.
const BITS: u32 = 5;

/// Number of children of a branch.
const CHILDREN: usize = 1 << BITS;

/// Maximum number of branches above a leaf: the hash has no more bits. A leaf below that many holds
/// keys of equal hashes, however many there are.
const MAX_DEPTH: u32 = u64::BITS / BITS;

/// Keys with their entries. A trie by the bits of the keys' hashes, from the highest down, so that its
/// keys are in the order of their hashes.
#[derive(Clone, Default)]
pub(crate) struct KeyTable {
    root: Node,
    len: usize,
}

#[derive(Clone)]
enum Node {
    /// Keys in the order of their hashes.
    Leaf(Arc<[Slot]>),
    Branch(Arc<[Node; CHILDREN]>),
}

#[derive(Clone)]
struct Slot {
    hash: u64,
    key: PublicKey,
    entry: KeyEntry,
}

/// A key whose entries differ between two tables: the entry before and the one after. `None` stands
/// for no entry.
pub(crate) struct Difference<'a> {
    pub(crate) key: &'a PublicKey,
    pub(crate) before: Option<&'a KeyEntry>,
    pub(crate) after: Option<&'a KeyEntry>,
}

impl Default for Node {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

/// The child for a hash below that many branches.
const fn child_of(hash: u64, depth: u32) -> usize {
    (hash << (depth * BITS) >> (u64::BITS - BITS)) as usize
}

/// The place of `key` among the slots of a leaf, or the place where it belongs.
fn search(slots: &[Slot], depth: u32, hash: u64, key: &PublicKey) -> Result<usize, usize> {
    // The hashes of a leaf are spread evenly over its part of all hashes, so the place is near this
    // guess, and a search from there reads less memory than one from the middle.
    let part = u128::from(hash.checked_shl(depth * BITS).unwrap_or(0));
    let mut at = ((part * slots.len() as u128) >> u64::BITS) as usize;
    while at > 0 && slots[at - 1].hash >= hash {
        at -= 1;
    }
    while at < slots.len() && slots[at].hash < hash {
        at += 1;
    }
    while let Some(slot) = slots.get(at)
        && slot.hash == hash
    {
        if slot.key == *key {
            return Ok(at);
        }
        at += 1;
    }
    Err(at)
}

impl Node {
    /// The node for `slots`, which are in order.
    fn of(slots: Vec<Slot>, depth: u32) -> Self {
        if slots.len() <= LEAF_MAX || depth == MAX_DEPTH {
            return Self::Leaf(slots.into());
        }
        let mut rest = slots.into_iter().peekable();
        Self::Branch(Arc::new(std::array::from_fn(|child| {
            let part: Vec<Slot> =
                std::iter::from_fn(|| rest.next_if(|slot| child_of(slot.hash, depth) == child))
                    .collect();
            Self::of(part, depth + 1)
        })))
    }

    fn get(&self, depth: u32, hash: u64, key: &PublicKey) -> Option<&KeyEntry> {
        let (mut node, mut depth) = (self, depth);
        loop {
            match node {
                Self::Branch(children) => node = &children[child_of(hash, depth)],
                Self::Leaf(slots) => {
                    let at = search(slots, depth, hash, key).ok()?;
                    return Some(&slots[at].entry);
                }
            }
            depth += 1;
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(one), Self::Leaf(other)) => Arc::ptr_eq(one, other),
            (Self::Branch(one), Self::Branch(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The part of this node that corresponds to a child of a node in the same place.
    fn part(&self, child: usize) -> &Self {
        match self {
            Self::Branch(children) => &children[child],
            // A leaf holds the keys of all children.
            Self::Leaf(_) => self,
        }
    }

    fn insert(&mut self, depth: u32, slot: Slot) -> Option<KeyEntry> {
        match self {
            Self::Branch(children) => {
                let child = child_of(slot.hash, depth);
                Arc::make_mut(children)[child].insert(depth + 1, slot)
            }
            Self::Leaf(slots) => match search(slots, depth, slot.hash, &slot.key) {
                Ok(at) => {
                    let entry = &mut Arc::make_mut(slots)[at].entry;
                    Some(replace(entry, slot.entry))
                }
                Err(at) => {
                    let mut more = Vec::with_capacity(slots.len() + 1);
                    more.extend_from_slice(&slots[..at]);
                    more.push(slot);
                    more.extend_from_slice(&slots[at..]);
                    *self = Self::of(more, depth);
                    None
                }
            },
        }
    }

    /// Removes a key that the node has.
    fn remove(&mut self, depth: u32, hash: u64, key: &PublicKey) {
        match self {
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                children[child_of(hash, depth)].remove(depth + 1, hash, key);
                let is_empty = |node: &Self| matches!(node, Self::Leaf(slots) if slots.is_empty());
                if children.iter().all(is_empty) {
                    *self = Self::default();
                }
            }
            Self::Leaf(slots) => {
                let kept = slots.iter().filter(|slot| slot.key != *key);
                *slots = kept.cloned().collect();
            }
        }
    }

    /// See [`KeyTable::inherit`].
    fn inherit(&mut self, depth: u32, before: &Self, fresh: u64) {
        let is_as_before = match self {
            Self::Branch(children) => {
                for (child, node) in Arc::make_mut(children).iter_mut().enumerate() {
                    node.inherit(depth + 1, before.part(child), fresh);
                }
                matches!(before, Self::Branch(before)
                    if children.iter().zip(&**before).all(|(one, other)| one.is_same(other)))
            }
            Self::Leaf(slots) => {
                let mut same = 0;
                for slot in Arc::make_mut(slots) {
                    let before = before.get(depth, slot.hash, &slot.key);
                    if slot.entry.inherit(before, fresh) {
                        same += 1;
                    }
                }
                matches!(before, Self::Leaf(before) if before.len() == same && slots.len() == same)
            }
        };
        if is_as_before {
            *self = before.clone();
        }
    }

    /// See [`KeyTable::differences`]. `is_part` says which keys of a leaf that stands in for several
    /// children belong to this one.
    fn differences<'a>(
        before: &'a Self,
        after: &'a Self,
        depth: u32,
        is_part: &dyn Fn(u64) -> bool,
        each: &mut dyn FnMut(Difference<'a>),
    ) {
        match (before, after) {
            _ if before.is_same(after) => {}
            (Self::Leaf(ours), Self::Leaf(theirs)) => {
                let part = |slot: &&Slot| is_part(slot.hash);
                for Slot { hash, key, entry } in ours.iter().filter(part) {
                    let after = after.get(depth, *hash, key);
                    if after.is_none_or(|after| !after.is_kept(entry)) {
                        let before = Some(entry);
                        each(Difference { key, before, after });
                    }
                }
                for Slot { hash, key, entry } in theirs.iter().filter(part) {
                    if before.get(depth, *hash, key).is_none() {
                        let (before, after) = (None, Some(entry));
                        each(Difference { key, before, after });
                    }
                }
            }
            _ => {
                for child in 0..CHILDREN {
                    let is_part = |hash| is_part(hash) && child_of(hash, depth) == child;
                    let (before, after) = (before.part(child), after.part(child));
                    Self::differences(before, after, depth + 1, &is_part, each);
                }
            }
        }
    }
}

impl KeyTable {
    /// A table of these keys. The last entry of a key applies.
    pub(crate) fn new(entries: impl IntoIterator<Item = (PublicKey, KeyEntry)>) -> Self {
        let slots = entries
            .into_iter()
            .map(|(key, entry)| Slot::new(key, entry));
        let mut slots: Vec<Slot> = slots.collect();
        // Stable, so that the entries of one key keep their order.
        slots.sort_by_key(|slot| (slot.hash, slot.key));
        slots.dedup_by(|later, earlier| {
            let is_same = later.key == earlier.key;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        let len = slots.len();
        let root = Node::of(slots, 0);
        Self { root, len }
    }

    /// The number of keys.
    #[cfg(any(feature = "policy-file", test))]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &PublicKey) -> Option<&KeyEntry> {
        self.root.get(0, hash_of(key), key)
    }

    /// All keys, in no order.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            above: Vec::new(),
            slots: slice::Iter::default(),
            next: Some(&self.root),
        }
    }

    /// Sets the entry of `key`. An entry that is the same as before keeps its version, and every other
    /// entry gets the version `fresh`.
    pub(crate) fn insert(&mut self, key: PublicKey, mut entry: KeyEntry, fresh: u64) {
        let is_kept = entry.inherit(self.get(&key), fresh);
        if !is_kept && self.root.insert(0, Slot::new(key, entry)).is_none() {
            self.len += 1;
        }
    }

    /// Removes `key`. True if it was there.
    pub(crate) fn remove(&mut self, key: &PublicKey) -> bool {
        let hash = hash_of(key);
        let was_there = self.root.get(0, hash, key).is_some();
        if was_there {
            self.root.remove(0, hash, key);
            self.len -= 1;
        }
        was_there
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

impl Slot {
    fn new(key: PublicKey, entry: KeyEntry) -> Self {
        let hash = hash_of(&key);
        Self { hash, key, entry }
    }
}

/// Multilinear hashing modulo 2^128: any two keys have the same upper 64 bits with a probability of 2^-64,
/// also if they are chosen, as long as the factors are not known. It takes a fifth of the time of SipHash.
pub(crate) fn hash_of(key: &PublicKey) -> u64 {
    let [factors @ .., start] = &*FACTORS;
    let (words, _) = key.as_bytes().as_chunks();
    let products = words
        .iter()
        .zip(factors)
        .map(|(word, factor)| factor.wrapping_mul(u128::from(u64::from_le_bytes(*word))));
    (products.fold(*start, u128::wrapping_add) >> 64) as u64
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
            more.insert(key(count), KeyEntry::default(), 1);
            let mut fewer = before.clone();
            assert!(fewer.remove(&key(3)));
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
        let mut node = Node::of(slots(0..many), 0);
        for slot in slots(many..many + 5) {
            node.insert(0, slot);
        }
        node.remove(0, 9, &key(1));
        for number in 0..many + 5 {
            let is_there = node.get(0, 9, &key(number)).is_some();
            assert_eq!(is_there, number != 1, "{number}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32),
        Remove(u32),
        Set(Vec<u32>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Around the sizes at which leaves and branches turn into each other.
        let step = prop_oneof![
            (0..700_u32).prop_map(Step::Insert),
            (0..700_u32).prop_map(Step::Remove),
            proptest::collection::vec(0..700_u32, 0..600).prop_map(Step::Set),
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
                    Step::Insert(number) => {
                        table.insert(key(number), KeyEntry::default(), fresh);
                        model.entry(key(number)).or_insert(fresh);
                    }
                    Step::Remove(number) => {
                        let was_there = model.remove(&key(number)).is_some();
                        prop_assert_eq!(table.remove(&key(number)), was_there);
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

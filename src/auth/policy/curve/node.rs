//! Nodes of the trie that a table of keys is.
#![forbid(unsafe_code)]

use crate::auth::policy::curve::entry::KeyEntry;
use crate::auth::policy::curve::key_hash::hash_of;
use crate::crypto::keys::PublicKey;
#[cfg(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable")))]
use crate::crypto::secretbox::simd::prefetch;
use std::mem::swap;
use std::sync::Arc;

/// Maximum number of keys in a leaf. 128: a change of one key copies one leaf, with keys of 56 bytes, and
/// a lookup passes at most three branches among a million keys. A leaf's own cost is a few bytes for each
/// of its keys.
pub(crate) const LEAF_MAX: usize = 128;

/// How many slots before and after a guess are asked for. 4: among [`LEAF_MAX`] slots few guesses miss by
/// more, and to ask for more was no faster.
const AROUND: usize = 4;

/// Number of bits of a hash that a branch decides by.
const BITS: u32 = 5;

/// Number of children of a branch.
pub(crate) const CHILDREN: usize = 1 << BITS;

/// Maximum number of branches above a leaf: the hash has no more bits. A leaf below that many holds
/// keys of equal hashes, however many there are.
const MAX_DEPTH: u32 = u64::BITS / BITS;

#[derive(Clone)]
pub(crate) enum Node {
    /// Keys in the order of their hashes.
    Leaf(Arc<[Slot]>),
    Branch(Arc<[Node; CHILDREN]>),
}

#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) hash: u64,
    pub(crate) key: PublicKey,
    pub(crate) entry: KeyEntry,
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

/// About where a hash is among the slots of a leaf. The hashes of a leaf are spread evenly over its part of
/// all hashes.
fn guess(slots: &[Slot], depth: u32, hash: u64) -> usize {
    let part = u128::from(hash.checked_shl(depth * BITS).unwrap_or(0));
    ((part * slots.len() as u128) >> u64::BITS) as usize
}

/// Elsewhere this takes unsafe code, or unstable Rust.
#[cfg(not(all(target_arch = "x86_64", not(zmtp_auth_cipher = "portable"))))]
fn prefetch<T>(_: &T) {}

/// The place of `key` among the slots of a leaf, or the place where it belongs.
fn search(slots: &[Slot], depth: u32, hash: u64, key: &PublicKey) -> Result<usize, usize> {
    // The place is near this guess, and a search from there reads less memory than one from the middle.
    let mut at = guess(slots, depth, hash);
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
    /// The node for the slots at these places, which are in order. `slot` makes the slot of a place.
    pub(crate) fn of<P>(
        places: &[P],
        hash_at: impl Fn(&P) -> u64 + Copy,
        slot: impl Fn(&P) -> Slot + Copy,
        depth: u32,
    ) -> Self {
        if places.len() <= LEAF_MAX || depth == MAX_DEPTH {
            return Self::Leaf(places.iter().map(slot).collect());
        }
        let mut rest = places;
        Self::Branch(Arc::new(std::array::from_fn(|child| {
            let is_within = |place: &P| child_of(hash_at(place), depth) == child;
            let (part, others) = rest.split_at(rest.partition_point(is_within));
            rest = others;
            Self::of(part, hash_at, slot, depth + 1)
        })))
    }

    pub(crate) fn get(&self, depth: u32, hash: u64, key: &PublicKey) -> Option<&KeyEntry> {
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

    /// Asks for the slots in which a search for this hash will look, and does not wait for them.
    pub(crate) fn prefetch(&self, hash: u64) {
        let (mut node, mut depth) = (self, 0);
        while let Self::Branch(children) = node {
            node = &children[child_of(hash, depth)];
            depth += 1;
        }
        let Self::Leaf(slots) = node else {
            return;
        };
        let first = guess(slots, depth, hash).saturating_sub(AROUND);
        for slot in slots.iter().skip(first).take(2 * AROUND + 1) {
            prefetch(&slot.hash);
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
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

    /// Makes changes, which are in order. A node that none of them concerns stays shared.
    pub(crate) fn edit(&mut self, depth: u32, changes: &[Edit]) {
        match self {
            _ if changes.is_empty() => {}
            Self::Branch(children) => {
                let mut rest = changes;
                let children = Arc::make_mut(children);
                for (child, node) in children.iter_mut().enumerate() {
                    let is_within = |edit: &Edit| child_of(edit.hash, depth) == child;
                    let (part, others) = rest.split_at(rest.partition_point(is_within));
                    rest = others;
                    node.edit(depth + 1, part);
                }
                let is_empty = |node: &Self| matches!(node, Self::Leaf(slots) if slots.is_empty());
                if children.iter().all(is_empty) {
                    *self = Self::default();
                }
            }
            Self::Leaf(slots) => {
                let mut merged = Vec::with_capacity(slots.len() + changes.len());
                let mut rest = changes;
                for slot in &**slots {
                    let earlier = rest.iter().take_while(|edit| edit.hash < slot.hash).count();
                    let (earlier, others) = rest.split_at(earlier);
                    merged.extend(earlier.iter().filter_map(Edit::slot));
                    rest = others;
                    let mut same = rest.iter().take_while(|edit| edit.hash == slot.hash);
                    if !same.any(|edit| edit.key == slot.key) {
                        merged.push(slot.clone());
                    }
                }
                merged.extend(rest.iter().filter_map(Edit::slot));
                *self = Self::of(&merged, |slot| slot.hash, Slot::clone, depth);
            }
        }
    }

    /// See [`KeyTable::inherit`].
    pub(crate) fn inherit(&mut self, depth: u32, before: &Self, fresh: u64) {
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
                for (at, slot) in Arc::make_mut(slots).iter_mut().enumerate() {
                    // Most keys are where they were before.
                    let in_place = match before {
                        Self::Leaf(before) => before.get(at).filter(|other| other.key == slot.key),
                        Self::Branch(_) => None,
                    };
                    let before = match in_place {
                        Some(other) => Some(&other.entry),
                        None => before.get(depth, slot.hash, &slot.key),
                    };
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
    pub(crate) fn differences<'a>(
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
                let mut others = InOrder(theirs);
                for Slot { hash, key, entry } in ours.iter().filter(part) {
                    let after = others.find(*hash, key);
                    if after.is_none_or(|after| !after.is_kept(entry)) {
                        let before = Some(entry);
                        each(Difference { key, before, after });
                    }
                }
                let mut others = InOrder(ours);
                for Slot { hash, key, entry } in theirs.iter().filter(part) {
                    if others.find(*hash, key).is_none() {
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

/// The slots of a leaf that searches in ascending order have not passed.
struct InOrder<'a>(&'a [Slot]);

impl<'a> InOrder<'a> {
    fn find(&mut self, hash: u64, key: &PublicKey) -> Option<&'a KeyEntry> {
        let passed = self.0.iter().take_while(|slot| slot.hash < hash).count();
        self.0 = &self.0[passed..];
        let mut same = self.0.iter().take_while(|slot| slot.hash == hash);
        Some(&same.find(|slot| slot.key == *key)?.entry)
    }
}

/// A change of a key: its new entry, or `None` for no entry.
pub(crate) struct Edit {
    pub(crate) hash: u64,
    pub(crate) key: PublicKey,
    pub(crate) entry: Option<KeyEntry>,
}

impl Edit {
    pub(crate) fn new(key: PublicKey, entry: Option<KeyEntry>) -> Self {
        let hash = hash_of(&key);
        Self { hash, key, entry }
    }

    /// Puts changes in order, and leaves out all but the last of each key.
    pub(crate) fn sort(changes: &mut Vec<Self>) {
        // Stable, so that the changes of one key keep their order.
        changes.sort_by_key(|edit| (edit.hash, edit.key));
        changes.dedup_by(|later, earlier| {
            let is_same = later.key == earlier.key;
            if is_same {
                swap(later, earlier);
            }
            is_same
        });
    }

    fn slot(&self) -> Option<Slot> {
        Some(Slot {
            hash: self.hash,
            key: self.key,
            entry: self.entry.clone()?,
        })
    }
}

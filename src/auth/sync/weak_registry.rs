//! A registry of values that are owned elsewhere. It finds them by place and by the time at which they
//! are due, and can be searched while entries come and go.
//!
//! Entries lie in a list that never moves them. Places with the same facet form a chain, which is found by
//! the hash of the facet. So adding and removing an entry takes the same few steps however many there are,
//! except that an addition may double the number of chains. A search for many facets, or for all of a
//! realm, goes through the list.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::SystemTime;

/// Number of entries that a search looks at under the lock at a time. 1024: [`WeakRegistry::add`] waits
/// for microseconds, and the lock is not taken too often.
const CHUNK: usize = 1024;

/// Number of places of an entry.
const PLACES: usize = 3;

/// Number of chains of an empty registry, as a power of two.
const FIRST_CHAINS: u32 = 6;

/// Where an entry is found. Several entries may have the same place, and an entry has up to three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// What is searched as a whole.
    pub(crate) realm: u64,
    /// What is searched within a realm.
    pub(crate) facet: u64,
}

/// The places of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) first: Place,
    /// The facet of a second place in the same realm, if it has one.
    pub(crate) second: Option<u64>,
    pub(crate) other: Place,
}

impl Places {
    /// Each place, at the index of its link.
    fn all(&self) -> [Option<Place>; PLACES] {
        let realm = self.first.realm;
        let second = self.second.map(|facet| Place { realm, facet });
        [Some(self.first), second, Some(self.other)]
    }
}

/// What is searched.
pub(crate) trait Search {
    /// Whether entries in `place` are meant.
    fn finds(&self, place: Place) -> bool;

    /// The facets of all places that are meant. `None`: any.
    fn facets(&self) -> Option<RangeInclusive<u64>>;
}

/// Weak references by place. The owner of an entry must remove it when the value is dropped.
pub(crate) struct WeakRegistry<T>(Mutex<Entries<T>>);

/// The index of an entry in the list. A later entry may get it once the entry is removed.
pub(crate) type Slot = u32;

struct Entries<T> {
    /// The number of entries that were ever added.
    added: u64,
    slots: Vec<Option<Entry<T>>>,
    /// The empty slots.
    free: Vec<Slot>,
    chains: Chains,
    due: BTreeMap<(SystemTime, Slot), Weak<T>>,
}

struct Entry<T> {
    value: Weak<T>,
    /// The number of entries that were added before.
    age: u64,
    places: Places,
    links: [Link; PLACES],
    due: Option<SystemTime>,
}

/// The neighbours of a member in its chain.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    before: Option<Member>,
    after: Option<Member>,
}

/// A place of an entry, as a member of a chain: the slot, and in the lowest two bits the index of the
/// place, counted from 1.
#[derive(Debug, Clone, Copy)]
struct Member(NonZeroU32);

impl Member {
    fn new(slot: Slot, place: usize) -> Option<Self> {
        NonZeroU32::new(slot << 2 | (place as u32 + 1)).map(Self)
    }

    const fn slot(self) -> usize {
        (self.0.get() >> 2) as usize
    }

    const fn place(self) -> usize {
        (self.0.get() & 3) as usize - 1
    }
}

/// The first member of each chain.
struct Chains {
    first: Vec<Option<Member>>,
    /// A random odd number. The upper bits of its product with a facet choose the chain, so that a peer
    /// cannot choose facets that share one.
    factor: u64,
    /// The number of members.
    len: usize,
}

impl Chains {
    fn new() -> Self {
        Self {
            first: vec![None; 1 << FIRST_CHAINS],
            factor: RandomState::new().hash_one(()) | 1,
            len: 0,
        }
    }

    fn first_mut(&mut self, facet: u64) -> &mut Option<Member> {
        let chain = self.index(facet);
        &mut self.first[chain]
    }

    /// The index of the chain that holds the places with that facet.
    fn index(&self, facet: u64) -> usize {
        let bits = self.first.len().trailing_zeros();
        (facet.wrapping_mul(self.factor) >> (u64::BITS - bits)) as usize
    }
}

impl<T> Default for WeakRegistry<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries {
            added: 0,
            slots: Vec::new(),
            free: Vec::new(),
            chains: Chains::new(),
            due: BTreeMap::new(),
        }))
    }
}

impl<T> Entries<T> {
    fn entry(&mut self, slot: usize) -> Option<&mut Entry<T>> {
        self.slots.get_mut(slot)?.as_mut()
    }

    fn link(&mut self, member: Option<Member>) -> Option<&mut Link> {
        let member = member?;
        Some(&mut self.entry(member.slot())?.links[member.place()])
    }

    /// Puts the places of an entry in front of their chains.
    fn chain(&mut self, slot: Slot, places: &Places) {
        for (at, place) in places.all().into_iter().enumerate() {
            let Some(Place { facet, .. }) = place else {
                continue;
            };
            let member = Member::new(slot, at);
            let first = self.chains.first_mut(facet);
            let after = std::mem::replace(first, member);
            if let Some(link) = self.link(after) {
                link.before = member;
            }
            if let Some(link) = self.link(member) {
                let before = None;
                *link = Link { before, after };
            }
            self.chains.len += 1;
        }
    }

    /// Takes the places of an entry out of their chains.
    fn unchain(&mut self, slot: Slot, places: &Places) {
        for (at, place) in places.all().into_iter().enumerate() {
            let Some(Place { facet, .. }) = place else {
                continue;
            };
            // Read for each place, because two of them may be neighbours.
            let Some(&mut Link { before, after }) = self.link(Member::new(slot, at)) else {
                continue;
            };
            match self.link(before) {
                Some(link) => link.after = after,
                None => *self.chains.first_mut(facet) = after,
            }
            if let Some(link) = self.link(after) {
                link.before = before;
            }
            self.chains.len -= 1;
        }
    }

    /// Doubles the number of chains if they are long.
    fn grow(&mut self) {
        if self.chains.len <= self.chains.first.len() {
            return;
        }
        self.chains.first = vec![None; self.chains.first.len() * 2];
        self.chains.len = 0;
        for slot in 0..self.slots.len() {
            if let Some(Entry { places, .. }) = self.entry(slot) {
                let places = *places;
                self.chain(slot as Slot, &places);
            }
        }
    }

    /// The entries of a chain that are meant and were there before `end`. `None` if the chain is long.
    fn in_chain(&self, facet: u64, search: &impl Search, end: u64) -> Option<Vec<Weak<T>>> {
        let mut found = Vec::new();
        let mut next = self.chains.first[self.chains.index(facet)];
        for _ in 0..CHUNK {
            let Some(member) = next else {
                return Some(found);
            };
            let entry = self.slots.get(member.slot())?.as_ref()?;
            let place = entry.places.all()[member.place()];
            let is_meant = |place: Place| place.facet == facet && search.finds(place);
            if entry.age < end && place.is_some_and(is_meant) {
                found.push(Weak::clone(&entry.value));
            }
            next = entry.links[member.place()].after;
        }
        None
    }
}

impl<T> WeakRegistry<T> {
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        lock(&self.0)
    }

    /// Adds the entry that `make` creates from its slot.
    pub(crate) fn add(&self, places: Places, make: impl FnOnce(Slot) -> T) -> Arc<T> {
        let mut entries = self.entries();
        let slot = entries.free.pop().unwrap_or_else(|| {
            entries.slots.push(None);
            (entries.slots.len() - 1) as Slot
        });
        let value = Arc::new(make(slot));
        let entry = Entry {
            value: Arc::downgrade(&value),
            age: entries.added,
            places,
            links: [Link::default(); PLACES],
            due: None,
        };
        entries.added += 1;
        entries.slots[slot as usize] = Some(entry);
        entries.chain(slot, &places);
        entries.grow();
        value
    }

    /// Removes the entry of that slot.
    pub(crate) fn remove(&self, slot: Slot) {
        let mut entries = self.entries();
        let Some(&mut Entry { places, due, .. }) = entries.entry(slot as usize) else {
            return;
        };
        entries.unchain(slot, &places);
        if let Some(due) = due {
            entries.due.remove(&(due, slot));
        }
        entries.slots[slot as usize] = None;
        entries.free.push(slot);
    }

    /// Sets the time at which the entry of that slot is due. `due` is called under the registry's
    /// lock, so that the last of several calls at the same time sets the last value.
    pub(crate) fn set_due(&self, slot: Slot, due: impl FnOnce() -> Option<SystemTime>) {
        let mut entries = self.entries();
        let Some(entry) = entries.entry(slot as usize) else {
            return;
        };
        let (value, due) = (Weak::clone(&entry.value), due());
        if let Some(before) = std::mem::replace(&mut entry.due, due) {
            entries.due.remove(&(before, slot));
        }
        if let Some(due) = due {
            entries.due.insert((due, slot), value);
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        let entries = self.entries();
        entries.slots.len() - entries.free.len()
    }

    /// Calls `act` for every entry that `search` finds, and returns the entries for which it returns
    /// true. Entries that are added meanwhile are left out.
    ///
    /// The lock is released between chunks and while `act` runs, so that additions do not wait for
    /// a long search. An entry stays in its slot, so none is skipped. An entry may be visited again, for
    /// another of its places or if a chain turns out to be long.
    pub(crate) fn select(
        &self,
        search: &impl Search,
        mut act: impl FnMut(&T) -> bool,
    ) -> Vec<Arc<T>> {
        let (end, slots) = {
            let entries = self.entries();
            (entries.added, entries.slots.len())
        };
        let mut selected = Vec::new();
        // With more facets than entries it costs less to look at each entry.
        let few = search
            .facets()
            .filter(|facets| facets.end() - facets.start() < CHUNK.min(slots) as u64);
        let Some(few) = few else {
            self.scan(search, end, slots, &mut act, &mut selected);
            return selected;
        };
        for facet in few {
            let found = self.entries().in_chain(facet, search, end);
            match found {
                Some(found) => act_on(found, &mut act, &mut selected),
                None => {
                    self.scan(search, end, slots, &mut act, &mut selected);
                    break;
                }
            }
        }
        selected
    }

    /// As [`WeakRegistry::select`], by a look at each of the first `slots` slots.
    fn scan(
        &self,
        search: &impl Search,
        end: u64,
        slots: usize,
        act: &mut impl FnMut(&T) -> bool,
        selected: &mut Vec<Arc<T>>,
    ) {
        for from in (0..slots).step_by(CHUNK) {
            let found = {
                let entries = self.entries();
                let chunk = &entries.slots[from..slots.min(from + CHUNK)];
                let is_meant = |entry: &&Entry<T>| {
                    let mut places = entry.places.all().into_iter().flatten();
                    entry.age < end && places.any(|place| search.finds(place))
                };
                let found = chunk.iter().flatten().filter(is_meant);
                found.map(|entry| Weak::clone(&entry.value)).collect()
            };
            // The lock is not held here. This may be the last owner of a value, whose drop takes the
            // lock to remove the entry.
            act_on(found, act, selected);
        }
    }

    /// As [`WeakRegistry::select`], for every entry that is due at `now` or before. `None`: for every
    /// entry that is due at some time.
    pub(crate) fn select_due(
        &self,
        now: Option<SystemTime>,
        mut act: impl FnMut(&T) -> bool,
    ) -> Vec<Arc<T>> {
        let due: Vec<_> = {
            let entries = self.entries();
            let until = now.map_or(Bound::Unbounded, |now| Bound::Included((now, Slot::MAX)));
            let due = entries.due.range((Bound::Unbounded, until));
            due.map(|(_, entry)| Weak::clone(entry)).collect()
        };
        let mut selected = Vec::new();
        act_on(due, &mut act, &mut selected);
        selected
    }
}

/// Calls `act` for the entries that are still there, and keeps those for which it returns true.
fn act_on<T>(entries: Vec<Weak<T>>, act: &mut impl FnMut(&T) -> bool, selected: &mut Vec<Arc<T>>) {
    for entry in entries {
        if let Some(entry) = entry.upgrade()
            && act(&entry)
        {
            selected.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// An entry is its own number.
    type Registry = WeakRegistry<usize>;

    #[derive(Debug, Clone)]
    enum Step {
        Add(u64, u64, Option<u64>, u64),
        Remove(usize),
        Due(usize, Option<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let few = 0..4_u64;
        let add = (
            few.clone(),
            few.clone(),
            proptest::option::of(few),
            0..40_u64,
        );
        prop_oneof![
            3 => add.prop_map(|(realm, facet, second, other)| Step::Add(realm, facet, second, other)),
            2 => (0..100_usize).prop_map(Step::Remove),
            1 => (0..100_usize, proptest::option::of(0..9_u64))
                .prop_map(|(at, due)| Step::Due(at, due)),
        ]
    }

    /// The facets of one realm from the first to the last, or of all realms.
    #[derive(Debug, Clone, Copy)]
    struct Facets(Option<u64>, u64, u64);

    impl Search for Facets {
        fn finds(&self, Place { realm, facet }: Place) -> bool {
            self.0.is_none_or(|of| of == realm) && (self.1..=self.2).contains(&facet)
        }

        fn facets(&self) -> Option<RangeInclusive<u64>> {
            Some(self.1..=self.2)
        }
    }

    /// The same search, by a look at each entry.
    struct Scan(Facets);

    impl Search for Scan {
        fn finds(&self, place: Place) -> bool {
            self.0.finds(place)
        }

        fn facets(&self) -> Option<RangeInclusive<u64>> {
            None
        }
    }

    fn found(registry: &Registry, search: &impl Search) -> Vec<usize> {
        let selected = registry.select(search, |_| true);
        let mut numbers: Vec<usize> = selected.iter().map(|entry| **entry).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The realm of the places by address.
    const ADDRESSES: u64 = 9;

    /// In an unoptimised build more of them take long.
    const CASES: u32 = 64;

    proptest! {
        #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

        #[test]
        fn every_search_finds_what_is_there(
            steps in proptest::collection::vec(step(), 1..200),
            asked in proptest::collection::vec((proptest::option::of(0..4_u64), 0..40_u64, 0..3_u64), 4),
        ) {
            let registry = Registry::default();
            let mut held: Vec<(Slot, Places, Option<u64>, Arc<usize>)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(realm, facet, second, other) => {
                        let places = Places {
                            first: Place { realm, facet },
                            second: second.filter(|second| *second != facet),
                            other: Place { realm: ADDRESSES, facet: other },
                        };
                        let mut own = 0;
                        let entry = registry.add(places, |slot| {
                            own = slot;
                            number
                        });
                        held.push((own, places, None, entry));
                    }
                    Step::Remove(at) if at < held.len() => {
                        let (slot, ..) = held.swap_remove(at);
                        registry.remove(slot);
                    }
                    Step::Due(at, due) if at < held.len() => {
                        let (slot, _, kept, _) = &mut held[at];
                        *kept = due;
                        let time = |second| UNIX_EPOCH + Duration::from_secs(second);
                        registry.set_due(*slot, || due.map(time));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(registry.len(), held.len());
            for (realm, first, more) in asked {
                for search in [
                    Facets(realm, first, first + more),
                    Facets(Some(ADDRESSES), first, first + more),
                ] {
                    let places = |places: &Places| places.all().into_iter().flatten().any(|place| search.finds(place));
                    let mut expected: Vec<usize> = held
                        .iter()
                        .filter(|(_, at, ..)| places(at))
                        .map(|(.., entry)| **entry)
                        .collect();
                    expected.sort_unstable();
                    let mut by_chain = found(&registry, &search);
                    // Two of an entry's places may be in one range.
                    by_chain.dedup();
                    prop_assert_eq!(&by_chain, &expected);
                    prop_assert_eq!(found(&registry, &Scan(search)), expected);
                }
            }
            for now in [0, 4, 9] {
                let due = registry.select_due(Some(UNIX_EPOCH + Duration::from_secs(now)), |_| true);
                let expected = held.iter().filter(|(_, _, due, _)| due.is_some_and(|due| due <= now));
                prop_assert_eq!(due.len(), expected.count());
            }
        }
    }

    #[test]
    fn a_search_looks_at_one_chain_and_leaves_out_what_is_added_meanwhile() {
        let registry = Registry::default();
        let places = |facet| Places {
            first: Place { realm: 1, facet },
            second: None,
            other: Place {
                realm: ADDRESSES,
                facet: 0,
            },
        };
        let held: Vec<_> = (0..10_000)
            .map(|number| registry.add(places(number as u64), |_| number))
            .collect();
        let looked = std::cell::Cell::new(0);
        struct Counted<'a>(&'a std::cell::Cell<usize>, u64);
        impl Search for Counted<'_> {
            fn finds(&self, place: Place) -> bool {
                self.0.set(self.0.get() + 1);
                place.realm == 1 && place.facet == self.1
            }

            fn facets(&self) -> Option<RangeInclusive<u64>> {
                Some(self.1..=self.1)
            }
        }
        let added = std::cell::RefCell::new(Vec::new());
        let selected = registry.select(&Counted(&looked, 7), |_| {
            added.borrow_mut().push(registry.add(places(7), |_| 0));
            true
        });
        assert_eq!(selected, [Arc::clone(&held[7])]);
        assert_eq!(looked.get(), 1);
        // All entries are in one chain.
        let all = Facets(Some(ADDRESSES), 0, 0);
        assert_eq!(registry.select(&all, |_| true).len(), held.len() + 1);
    }
}

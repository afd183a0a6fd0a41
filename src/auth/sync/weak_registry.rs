//! A registry of values that are owned elsewhere. It finds them by place and by the time at which they
//! are due, and can be searched while entries come and go.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::SystemTime;

/// Number of entries that are collected at a time under the lock. 64: [`WeakRegistry::add`] waits
/// for microseconds at most, and the lock is not taken too often.
const CHUNK: usize = 64;

/// Where an entry is found. Several entries may have the same place, and an entry has up to three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// What is searched as a whole.
    pub(crate) realm: u64,
    /// What is searched within a realm.
    pub(crate) facet: u64,
}

impl Place {
    /// The first place of a realm.
    pub(crate) const fn first(realm: u64) -> Self {
        let facet = 0;
        Self { realm, facet }
    }

    /// The last place of a realm.
    pub(crate) const fn last(realm: u64) -> Self {
        let facet = u64::MAX;
        Self { realm, facet }
    }
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
    fn all(self) -> impl Iterator<Item = Place> {
        let realm = self.first.realm;
        let second = self.second.map(|facet| Place { realm, facet });
        let all = [Some(self.first), second, Some(self.other)];
        all.into_iter().flatten()
    }
}

/// Weak references by place and number. The owner of an entry must remove it when the value is dropped.
pub(crate) struct WeakRegistry<T>(Mutex<Entries<T>>);

type Number = u64;

struct Entries<T> {
    next: Number,
    len: usize,
    held: BTreeMap<(Place, Number), Weak<T>>,
    due: BTreeMap<(SystemTime, Number), Weak<T>>,
    /// The times of the entries in `due`.
    due_at: HashMap<Number, SystemTime>,
}

impl<T> Default for WeakRegistry<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries {
            next: 0,
            len: 0,
            held: BTreeMap::new(),
            due: BTreeMap::new(),
            due_at: HashMap::new(),
        }))
    }
}

impl<T> Entries<T> {
    fn set_due(&mut self, id: Number, due: Option<(SystemTime, Weak<T>)>) {
        let before = match &due {
            Some((time, _)) => self.due_at.insert(id, *time),
            None => self.due_at.remove(&id),
        };
        if let Some(before) = before {
            self.due.remove(&(before, id));
        }
        if let Some((time, entry)) = due {
            self.due.insert((time, id), entry);
        }
    }
}

impl<T> WeakRegistry<T> {
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        lock(&self.0)
    }

    /// Adds the entry that `make` creates from its number.
    pub(crate) fn add(&self, places: Places, make: impl FnOnce(Number) -> T) -> Arc<T> {
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.len += 1;
        let entry = Arc::new(make(id));
        for place in places.all() {
            entries.held.insert((place, id), Arc::downgrade(&entry));
        }
        entry
    }

    /// Removes the entry of that number from its places.
    pub(crate) fn remove(&self, id: Number, places: Places) {
        let mut entries = self.entries();
        for place in places.all() {
            entries.held.remove(&(place, id));
        }
        entries.len -= 1;
        if !entries.due_at.is_empty() {
            entries.set_due(id, None);
        }
    }

    /// Sets the time at which the entry of that number is due. `due` is called under the registry's
    /// lock, so that the last of several calls at the same time sets the last value.
    pub(crate) fn set_due(
        &self,
        id: Number,
        places: Places,
        due: impl FnOnce() -> Option<SystemTime>,
    ) {
        let mut entries = self.entries();
        if let Some(entry) = entries.held.get(&(places.first, id)) {
            let entry = Weak::clone(entry);
            let due = due().map(|time| (time, entry));
            entries.set_due(id, due);
        }
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries().len
    }

    /// All realms that have entries.
    pub(crate) fn realms(&self) -> Vec<u64> {
        let mut realms = Vec::new();
        let mut after = Bound::Unbounded;
        while let Some(realm) = self.first_realm(after) {
            realms.push(realm);
            after = Bound::Excluded((Place::last(realm), Number::MAX));
        }
        realms
    }

    fn first_realm(&self, after: Bound<(Place, Number)>) -> Option<u64> {
        let entries = self.entries();
        let ((place, _), _) = entries.held.range((after, Bound::Unbounded)).next()?;
        Some(place.realm)
    }

    /// Calls `act` for every entry with a place from `first` to `last`, and returns the entries for
    /// which it returns true. Entries that are added meanwhile are left out.
    ///
    /// The lock is released between chunks and while `act` runs, so that additions do not wait for
    /// a long search. The order of an entry never changes, so none is skipped or visited twice at the
    /// same place.
    pub(crate) fn select(
        &self,
        first: Place,
        last: Place,
        mut act: impl FnMut(&T) -> bool,
    ) -> Vec<Arc<T>> {
        let mut selected = Vec::new();
        let end = self.entries().next;
        let mut from = Bound::Included((first, 0));
        loop {
            let range = (from, Bound::Included((last, Number::MAX)));
            let chunk: Vec<_> = {
                let entries = self.entries();
                let chunk = entries.held.range(range).take(CHUNK);
                chunk
                    .map(|(key, entry)| (*key, Weak::clone(entry)))
                    .collect()
            };
            let reached = chunk.get(CHUNK - 1).map(|(key, _)| *key);
            // The lock is not held here. This may be the last owner of a value, whose drop takes the
            // lock to remove the entry.
            let earlier = chunk.into_iter().filter(|((_, id), _)| *id < end);
            act_on(earlier.map(|(_, entry)| entry), &mut act, &mut selected);
            match reached {
                Some(key) => from = Bound::Excluded(key),
                None => return selected,
            }
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
            let until = now.map_or(Bound::Unbounded, |now| Bound::Included((now, Number::MAX)));
            let due = entries.due.range((Bound::Unbounded, until));
            due.map(|(_, entry)| Weak::clone(entry)).collect()
        };
        let mut selected = Vec::new();
        act_on(due.into_iter(), &mut act, &mut selected);
        selected
    }
}

/// Calls `act` for the entries that are still there, and keeps those for which it returns true.
fn act_on<T>(
    entries: impl Iterator<Item = Weak<T>>,
    act: &mut impl FnMut(&T) -> bool,
    selected: &mut Vec<Arc<T>>,
) {
    for entry in entries {
        if let Some(entry) = entry.upgrade()
            && act(&entry)
        {
            selected.push(entry);
        }
    }
}

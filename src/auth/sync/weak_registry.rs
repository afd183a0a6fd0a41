//! A list of what is still held elsewhere, which can be walked while entries come and go.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Entries looked at in one hold of the lock that [`WeakRegistry::add`] takes. 64: an addition waits
/// for microseconds, and the lock is taken seldom enough.
const CHUNK: usize = 64;

/// What is still held, by number in the order of addition. An entry removes itself when it is
/// dropped.
pub(crate) struct WeakRegistry<T>(Mutex<Entries<T>>);

struct Entries<T> {
    next: u64,
    held: BTreeMap<u64, Weak<T>>,
}

impl<T> Default for WeakRegistry<T> {
    fn default() -> Self {
        Self(Mutex::new(Entries {
            next: 0,
            held: BTreeMap::new(),
        }))
    }
}

impl<T> WeakRegistry<T> {
    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        lock(&self.0)
    }

    /// Adds the entry that `make` makes of its number.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> T) -> Arc<T> {
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        let entry = Arc::new(make(id));
        entries.held.insert(id, Arc::downgrade(&entry));
        entry
    }

    /// Removes the entry of that number.
    pub(crate) fn remove(&self, id: u64) {
        self.entries().held.remove(&id);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries().held.len()
    }

    /// Does something with every entry, and gives those for which that gives true. Entries that
    /// are added meanwhile are left out.
    pub(crate) fn select(&self, act: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut selected = Vec::new();
        let end = self.entries().next;
        let mut from = 0;
        while from < end {
            let chunk: Vec<_> = self
                .entries()
                .held
                .range(from..end)
                .take(CHUNK)
                .map(|(id, entry)| (*id, Weak::clone(entry)))
                .collect();
            from = chunk.last().map_or(end, |(id, _)| id + 1);
            for (_, entry) in chunk {
                // Dropped outside the lock: the last owner removes the entry from the list.
                if let Some(entry) = entry.upgrade()
                    && act(&entry)
                {
                    selected.push(entry);
                }
            }
        }
        selected
    }
}

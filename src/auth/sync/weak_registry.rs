//! A registry of values that are owned elsewhere. It can be iterated while entries come and go.
#![forbid(unsafe_code)]

use crate::lock::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Number of entries that are collected at a time under the lock. 64: [`WeakRegistry::add`] waits
/// for microseconds at most, and the lock is not taken too often.
const CHUNK: usize = 64;

/// Weak references by number, in the order of addition. The owner of an entry must remove it when
/// the value is dropped.
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

    /// Adds the entry that `make` creates from its number.
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

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries().held.len()
    }

    /// Calls `act` for every entry, and returns the entries for which it returns true. Entries that
    /// are added meanwhile are left out.
    ///
    /// The lock is released between chunks and while `act` runs, so that additions do not wait for
    /// a long iteration. Numbers only grow, so an entry is neither skipped nor visited twice.
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
                // The lock is not held here. This may be the last owner of the value, whose drop
                // takes the lock to remove the entry.
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

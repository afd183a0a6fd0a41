//! User ids that serve as identities: a ROUTER takes one peer of each.
#![forbid(unsafe_code)]

use crate::lock::lock;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The user ids of connected peers, each with how many have it. It holds no more than there are
/// connections.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<HashMap<Bytes, usize>>>);

/// One peer's use of its user id. Dropped, it ends.
pub(crate) struct Named {
    names: Names,
    name: Bytes,
}

impl Names {
    /// Counts one more peer of this name, and says whether it is the only one.
    pub(crate) fn take(&self, name: &Bytes) -> (Named, bool) {
        let count = {
            let mut names = self.lock();
            let count = names.entry(name.clone()).or_default();
            *count += 1;
            *count
        };
        let named = Named {
            names: self.clone(),
            name: name.clone(),
        };
        (named, count == 1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, usize>> {
        lock(&self.0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut names = self.names.lock();
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_again_once_all_who_had_it_are_gone() {
        let names = Names::default();
        let alice = Bytes::from("alice");
        let (first, alone) = names.take(&alice);
        assert!(alone);
        let (second, alone) = names.take(&alice);
        assert!(!alone);
        assert!(names.take(&Bytes::from("bob")).1);
        drop((first, second));
        assert!(names.lock().is_empty());
        assert!(names.take(&alice).1);
    }
}

//! Which user ids connected peers have. Under `IdentityRule::UserId` a user id serves as the
//! identity, and a ROUTER accepts only one peer of each identity.
#![forbid(unsafe_code)]

use crate::lock::lock;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The user ids of connected peers, each with the number of peers that have it. There are never
/// more entries than connections.
#[derive(Clone, Default)]
pub(crate) struct UserIds(Arc<Mutex<HashMap<Bytes, usize>>>);

/// One peer's entry in [`UserIds`]. Dropping it removes the peer from the count.
pub(crate) struct UserIdUse {
    all: UserIds,
    user_id: Bytes,
}

impl UserIds {
    /// Counts one more peer with this user id. The flag is true if it is the only one.
    pub(crate) fn register(&self, user_id: &Bytes) -> (UserIdUse, bool) {
        let count = {
            let mut counts = self.lock();
            let count = counts.entry(user_id.clone()).or_default();
            *count += 1;
            *count
        };
        let registered = UserIdUse {
            all: self.clone(),
            user_id: user_id.clone(),
        };
        (registered, count == 1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, usize>> {
        lock(&self.0)
    }
}

impl Drop for UserIdUse {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        if let Some(count) = counts.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_free_again_once_all_its_peers_are_gone() {
        let user_ids = UserIds::default();
        let alice = Bytes::from("alice");
        let (first, alone) = user_ids.register(&alice);
        assert!(alone);
        let (second, alone) = user_ids.register(&alice);
        assert!(!alone);
        assert!(user_ids.register(&Bytes::from("bob")).1);
        drop((first, second));
        assert!(user_ids.lock().is_empty());
        assert!(user_ids.register(&alice).1);
    }
}

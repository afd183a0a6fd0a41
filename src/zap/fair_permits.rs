//! Permits for requests that wait, and the choice of the request that loses its permit when all
//! are in use. Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use crate::zap::failures::Priority;
use std::collections::{BTreeMap, BTreeSet};

/// The permits. Each holds a handle of type `T` that tells its request to end.
///
/// The aim is that no address can keep others out, however many connections it opens, and that an
/// address which guesses credentials loses first. Every remote address has a weight: the number of
/// permits it holds, plus the failures that count against the worst of its requests. When all
/// permits are in use and a new request comes, the heaviest address gives one permit up: that of
/// its request with the most failures, or of the newest among equals.
///
/// A new request takes a permit from another address only if its own address stays lighter with
/// it; otherwise it is refused. Equal weights never evict, so two addresses cannot keep
/// evicting each other. Within one address, a request evicts only one with more failures than itself.
///
/// Local peers are exempt from the weights, because many users may share the local address. They
/// compete as a group: if they hold more than half of all permits, the newest of them gives its
/// permit up for a remote request.
///
/// Each operation takes logarithmic time in the number of permits.
#[derive(Debug)]
pub(crate) struct FairPermits<T> {
    permits: BTreeMap<u64, FairPermit<T>>,
    /// The requests of each remote address by failures and number. The last is the first to lose
    /// its permit.
    groups: BTreeMap<Origin, BTreeSet<(usize, u64)>>,
    /// The remote addresses, ordered by weight.
    weights: BTreeSet<(usize, Origin)>,
    local: BTreeSet<u64>,
    capacity: usize,
    next: u64,
}

#[derive(Debug)]
struct FairPermit<T> {
    priority: Priority,
    handle: T,
}

/// The outcome of [`FairPermits::acquire`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired<T> {
    /// A free permit.
    Free(u64),
    /// The permit of another request, with the handle of the request that has lost it.
    Evicted(u64, T),
    /// No permit: all are in use, and no other request has to give its permit up.
    Full,
}

/// The weight of an address; `None` if it holds no permit.
fn weight(group: &BTreeSet<(usize, u64)>) -> Option<usize> {
    let (failures, _) = group.last()?;
    Some(group.len() + failures)
}

impl<T> FairPermits<T> {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            permits: BTreeMap::new(),
            groups: BTreeMap::new(),
            weights: BTreeSet::new(),
            local: BTreeSet::new(),
            capacity,
            next: 0,
        }
    }

    /// How many permits are in use.
    pub(crate) fn taken(&self) -> usize {
        self.permits.len()
    }

    /// Takes a permit for a new request, from another request if necessary.
    pub(crate) fn acquire(&mut self, priority: Priority, handle: T) -> Acquired<T> {
        let mut evicted = None;
        if self.permits.len() >= self.capacity {
            evicted = self.victim(priority).and_then(|id| self.release(id));
            if evicted.is_none() {
                return Acquired::Full;
            }
        }
        let id = self.next;
        self.next += 1;
        self.permits.insert(id, FairPermit { priority, handle });
        if priority.origin == Origin::Local {
            self.local.insert(id);
        } else {
            self.regroup(priority.origin, |group| {
                group.insert((priority.failures, id))
            });
        }
        match evicted {
            None => Acquired::Free(id),
            Some(handle) => Acquired::Evicted(id, handle),
        }
    }

    /// Releases a permit. `None` if it was taken away before.
    pub(crate) fn release(&mut self, id: u64) -> Option<T> {
        let FairPermit { priority, handle } = self.permits.remove(&id)?;
        if priority.origin == Origin::Local {
            self.local.remove(&id);
        } else {
            self.regroup(priority.origin, |group| {
                group.remove(&(priority.failures, id))
            });
        }
        Some(handle)
    }

    /// Changes the requests of an address, and updates its weight.
    fn regroup(
        &mut self,
        origin: Origin,
        change: impl FnOnce(&mut BTreeSet<(usize, u64)>) -> bool,
    ) {
        let group = self.groups.entry(origin).or_default();
        if let Some(before) = weight(group) {
            self.weights.remove(&(before, origin));
        }
        change(group);
        match weight(group) {
            Some(after) => {
                self.weights.insert((after, origin));
            }
            None => {
                self.groups.remove(&origin);
            }
        }
    }

    /// The request that loses its permit to the new request, if one has to.
    fn victim(&self, newcomer: Priority) -> Option<u64> {
        let is_local = newcomer.origin == Origin::Local;
        if self.local.len() * 2 > self.capacity {
            let newest = self.local.last().copied();
            return newest.filter(|_| !is_local);
        }
        let (heaviest, origin) = self.weights.last()?;
        let (failures, id) = self.groups.get(origin)?.last()?;
        let gives_way = if *origin == newcomer.origin {
            *failures > newcomer.failures
        } else {
            let held = self.groups.get(&newcomer.origin).map_or(0, BTreeSet::len);
            *heaviest > held + 1 + newcomer.failures
        };
        gives_way.then_some(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn priority(address: u8, failures: usize) -> Priority {
        let origin = match address {
            0 => Origin::Local,
            other => Origin::V4([192, 0, 2, other]),
        };
        Priority { origin, failures }
    }

    /// Permits that these questions hold; each one's handle is its index.
    fn full(questions: &[(u8, usize)]) -> FairPermits<usize> {
        let mut permits = FairPermits::new(questions.len());
        for (index, (address, failures)) in questions.iter().enumerate() {
            let acquired = permits.acquire(priority(*address, *failures), index);
            assert!(matches!(acquired, Acquired::Free(_)));
        }
        permits
    }

    /// The handle of the question that makes room.
    fn loser(permits: &mut FairPermits<usize>, address: u8, failures: usize) -> Option<usize> {
        match permits.acquire(priority(address, failures), 1000) {
            Acquired::Evicted(_, handle) => Some(handle),
            Acquired::Full => None,
            Acquired::Free(_) => panic!("there was room"),
        }
    }

    #[test]
    fn the_address_with_most_permits_makes_room_for_others_and_not_for_itself() {
        let mut permits = full(&[(1, 0), (2, 0), (1, 0), (3, 0)]);
        assert_eq!(loser(&mut permits, 1, 0), None);
        assert_eq!(loser(&mut permits, 9, 0), Some(2));
        // Now every address holds one.
        assert_eq!(loser(&mut permits, 8, 0), None);
    }

    #[test]
    fn a_recent_failure_weighs_as_much_as_a_permit() {
        let mut permits = full(&[(1, 0), (2, 3), (3, 0), (3, 0)]);
        assert_eq!(loser(&mut permits, 9, 0), Some(1));
        assert_eq!(loser(&mut permits, 8, 1), None);
        // A user who mistyped once is not shut out by an address that holds many permits.
        let mut permits = full(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
        assert_eq!(loser(&mut permits, 9, 1), Some(3));
        assert_eq!(loser(&mut permits, 8, 5), None);
    }

    #[test]
    fn within_an_address_more_failures_make_room_for_fewer() {
        let mut permits = full(&[(1, 2), (1, 0), (1, 2)]);
        assert_eq!(loser(&mut permits, 1, 1), Some(2));
        assert_eq!(loser(&mut permits, 1, 2), None);
    }

    #[test]
    fn local_peers_are_exempt_but_keep_at_most_half_of_the_permits_from_remote_ones() {
        let mut permits = full(&[(0, 0), (0, 0), (1, 0), (1, 0)]);
        assert_eq!(loser(&mut permits, 0, 0), Some(3));
        assert_eq!(loser(&mut permits, 0, 0), None);
        assert_eq!(loser(&mut permits, 9, 0), Some(1000));
        assert_eq!(loser(&mut permits, 8, 0), None);
    }

    #[test]
    fn a_capacity_of_zero_is_legal_and_a_lost_permit_is_not_released_twice() {
        assert_eq!(
            FairPermits::new(0).acquire(priority(1, 0), 0),
            Acquired::Full
        );
        let mut permits = full(&[(1, 0), (1, 0)]);
        assert_eq!(loser(&mut permits, 2, 0), Some(1));
        assert_eq!(permits.release(1), None);
        assert_eq!(permits.release(0), Some(0));
        assert_eq!(permits.release(0), None);
        assert_eq!(permits.taken(), 1);
    }

    proptest! {
        /// In any sequence of operations the permits are bounded, the indices agree with them, and
        /// no request loses its permit to an address that is then heavier.
        #[test]
        fn permits_are_bounded_and_the_lighter_address_never_gives_way(
            steps in proptest::collection::vec((0_u8..6, 0_usize..4, 0_u64..40), 1..200)
        ) {
            let mut permits = FairPermits::new(8);
            for (address, failures, old) in steps {
                if address == 5 {
                    permits.release(old);
                } else {
                    let newcomer = priority(address, failures);
                    let before = |origin: Origin| {
                        permits.groups.get(&origin).map_or(0, |group| weight(group).unwrap())
                    };
                    let weights: Vec<_> = (1..5)
                        .map(|address| before(priority(address, 0).origin))
                        .collect();
                    let held = permits.groups.get(&newcomer.origin).map_or(0, BTreeSet::len);
                    if let Acquired::Evicted(_, loser) = permits.acquire(newcomer, newcomer)
                        && loser.origin != Origin::Local
                    {
                        let at = match loser.origin {
                            Origin::V4([.., last]) => usize::from(last) - 1,
                            _ => unreachable!(),
                        };
                        prop_assert_eq!(weights[at], *weights.iter().max().unwrap());
                        if loser.origin != newcomer.origin {
                            prop_assert!(weights[at] > held + 1 + failures);
                        }
                    }
                }
                prop_assert!(permits.taken() <= 8);
                let grouped: usize = permits.groups.values().map(BTreeSet::len).sum();
                prop_assert_eq!(grouped + permits.local.len(), permits.taken());
                prop_assert_eq!(permits.weights.len(), permits.groups.len());
            }
        }
    }
}

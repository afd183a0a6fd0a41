//! Permits for questions that pause, and which question makes room when all are taken. Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use crate::zap::failures::Turn;
use std::collections::{BTreeMap, BTreeSet};

/// The permits, each with a handle of type `T` that tells its question to end.
///
/// An address weighs as many permits as it holds, and as many more as failures count against the
/// worst of its questions. When all permits are taken, the heaviest address gives one up: that of
/// its question with most failures, and among equals that of the newest. A newcomer is refused if
/// its own address would weigh as much with it. Within an address, only more failures make room.
///
/// Many peers on this machine may share one address, so each weighs one permit. If they hold
/// more than half of all permits, one of them makes room for a remote one.
///
/// Each operation takes time in the logarithm of the number of permits.
#[derive(Debug)]
pub(crate) struct FairPermits<T> {
    permits: BTreeMap<u64, FairPermit<T>>,
    /// The questions of each remote address, the first to go last.
    groups: BTreeMap<Origin, BTreeSet<(usize, u64)>>,
    /// The remote addresses by weight.
    weights: BTreeSet<(usize, Origin)>,
    local: BTreeSet<u64>,
    capacity: usize,
    next: u64,
}

#[derive(Debug)]
struct FairPermit<T> {
    turn: Turn,
    handle: T,
}

/// What a newcomer gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired<T> {
    /// A permit that was free.
    Free(u64),
    /// The permit of another question, and the handle of that question.
    Evicted(u64, T),
    /// None: all are taken, and no question makes room.
    Full,
}

/// How much an address weighs.
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

    /// How many permits are taken.
    pub(crate) fn taken(&self) -> usize {
        self.permits.len()
    }

    /// Takes a permit for a newcomer, and evicts another question for it if need be.
    pub(crate) fn acquire(&mut self, turn: Turn, handle: T) -> Acquired<T> {
        let mut evicted = None;
        if self.permits.len() >= self.capacity {
            evicted = self.victim(turn).and_then(|id| self.release(id));
            if evicted.is_none() {
                return Acquired::Full;
            }
        }
        let id = self.next;
        self.next += 1;
        self.permits.insert(id, FairPermit { turn, handle });
        if turn.origin == Origin::Local {
            self.local.insert(id);
        } else {
            self.regroup(turn.origin, |group| group.insert((turn.failures, id)));
        }
        match evicted {
            None => Acquired::Free(id),
            Some(handle) => Acquired::Evicted(id, handle),
        }
    }

    /// Gives a permit back. `None` if it belongs to another question by now.
    pub(crate) fn release(&mut self, id: u64) -> Option<T> {
        let FairPermit { turn, handle } = self.permits.remove(&id)?;
        if turn.origin == Origin::Local {
            self.local.remove(&id);
        } else {
            self.regroup(turn.origin, |group| group.remove(&(turn.failures, id)));
        }
        Some(handle)
    }

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

    /// The question that makes room for a newcomer.
    fn victim(&self, newcomer: Turn) -> Option<u64> {
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

    fn turn(address: u8, failures: usize) -> Turn {
        let origin = match address {
            0 => Origin::Local,
            other => Origin::V4([192, 0, 2, other]),
        };
        Turn { origin, failures }
    }

    /// Permits that these questions hold; each one's handle is its index.
    fn full(questions: &[(u8, usize)]) -> FairPermits<usize> {
        let mut permits = FairPermits::new(questions.len());
        for (index, (address, failures)) in questions.iter().enumerate() {
            let acquired = permits.acquire(turn(*address, *failures), index);
            assert!(matches!(acquired, Acquired::Free(_)));
        }
        permits
    }

    /// The handle of the question that makes room.
    fn loser(permits: &mut FairPermits<usize>, address: u8, failures: usize) -> Option<usize> {
        match permits.acquire(turn(address, failures), 1000) {
            Acquired::Evicted(_, handle) => Some(handle),
            Acquired::Full => None,
            Acquired::Free(_) => panic!("there was room"),
        }
    }

    #[test]
    fn the_address_with_most_places_makes_room_for_others_and_not_for_itself() {
        let mut permits = full(&[(1, 0), (2, 0), (1, 0), (3, 0)]);
        assert_eq!(loser(&mut permits, 1, 0), None);
        assert_eq!(loser(&mut permits, 9, 0), Some(2));
        // Now every address holds one.
        assert_eq!(loser(&mut permits, 8, 0), None);
    }

    #[test]
    fn a_recent_failure_weighs_as_much_as_a_place() {
        let mut permits = full(&[(1, 0), (2, 3), (3, 0), (3, 0)]);
        assert_eq!(loser(&mut permits, 9, 0), Some(1));
        assert_eq!(loser(&mut permits, 8, 1), None);
        // A user who mistyped once is not shut out by an address that holds many places.
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
    fn local_peers_weigh_one_place_each_but_hold_no_more_than_half_against_remote_ones() {
        let mut permits = full(&[(0, 0), (0, 0), (1, 0), (1, 0)]);
        assert_eq!(loser(&mut permits, 0, 0), Some(3));
        assert_eq!(loser(&mut permits, 0, 0), None);
        assert_eq!(loser(&mut permits, 9, 0), Some(1000));
        assert_eq!(loser(&mut permits, 8, 0), None);
    }

    #[test]
    fn no_places_at_all_is_legal_and_a_lost_place_is_not_given_back_twice() {
        assert_eq!(FairPermits::new(0).acquire(turn(1, 0), 0), Acquired::Full);
        let mut permits = full(&[(1, 0), (1, 0)]);
        assert_eq!(loser(&mut permits, 2, 0), Some(1));
        assert_eq!(permits.release(1), None);
        assert_eq!(permits.release(0), Some(0));
        assert_eq!(permits.release(0), None);
        assert_eq!(permits.taken(), 1);
    }

    proptest! {
        /// Whatever happens, the permits are bounded, the indices agree with them, and no question
        /// makes room for one that then weighs more.
        #[test]
        fn places_are_bounded_and_the_lighter_address_never_gives_way(
            steps in proptest::collection::vec((0_u8..6, 0_usize..4, 0_u64..40), 1..200)
        ) {
            let mut permits = FairPermits::new(8);
            for (address, failures, old) in steps {
                if address == 5 {
                    permits.release(old);
                } else {
                    let newcomer = turn(address, failures);
                    let before = |origin: Origin| {
                        permits.groups.get(&origin).map_or(0, |group| weight(group).unwrap())
                    };
                    let weights: Vec<_> = (1..5)
                        .map(|address| before(turn(address, 0).origin))
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

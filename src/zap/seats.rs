//! Permits for questions that pause, and which question makes room when all are taken. Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use crate::zap::failures::Turn;
use std::collections::{BTreeMap, BTreeSet};

/// The places, each with a handle of type `T` by which its question can be told to go.
///
/// An address weighs as many places as it holds, and as many more as failures count against the
/// worst of its questions. When all places are taken, the heaviest address gives one up, the
/// question with most failures and of those the newest, but only for a question that weighs less:
/// else the newcomer is refused. Within an address, only more failures make room.
///
/// Peers on this machine may be many behind one address, so each weighs one place. If they hold
/// more than half of all places, one of them makes room for a remote one.
///
/// Each operation takes time in the logarithm of the number of places.
#[derive(Debug)]
pub(crate) struct FairPermits<T> {
    seats: BTreeMap<u64, FairPermit<T>>,
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

/// What came of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seated<T> {
    /// There was a place.
    Free(u64),
    /// There is one now; the handle is that of the question that lost it.
    Cleared(u64, T),
    /// All are taken, and none is cleared.
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
            seats: BTreeMap::new(),
            groups: BTreeMap::new(),
            weights: BTreeSet::new(),
            local: BTreeSet::new(),
            capacity,
            next: 0,
        }
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.seats.len()
    }

    /// Takes a place for a newcomer, and clears one for it if need be.
    pub(crate) fn take(&mut self, turn: Turn, handle: T) -> Seated<T> {
        let mut cleared = None;
        if self.seats.len() >= self.capacity {
            cleared = self.victim(turn).and_then(|id| self.leave(id));
            if cleared.is_none() {
                return Seated::Full;
            }
        }
        let id = self.next;
        self.next += 1;
        self.seats.insert(id, FairPermit { turn, handle });
        if turn.origin == Origin::Local {
            self.local.insert(id);
        } else {
            self.regroup(turn.origin, |group| group.insert((turn.failures, id)));
        }
        match cleared {
            None => Seated::Free(id),
            Some(handle) => Seated::Cleared(id, handle),
        }
    }

    /// Gives a place back. `None` if it is another's by now.
    pub(crate) fn leave(&mut self, id: u64) -> Option<T> {
        let FairPermit { turn, handle } = self.seats.remove(&id)?;
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

    /// Who makes room for a newcomer.
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

    /// Full places of these questions; each one's handle is its index.
    fn full(questions: &[(u8, usize)]) -> FairPermits<usize> {
        let mut seats = FairPermits::new(questions.len());
        for (index, (address, failures)) in questions.iter().enumerate() {
            let seated = seats.take(turn(*address, *failures), index);
            assert!(matches!(seated, Seated::Free(_)));
        }
        seats
    }

    /// The handle of the question that makes room.
    fn loser(seats: &mut FairPermits<usize>, address: u8, failures: usize) -> Option<usize> {
        match seats.take(turn(address, failures), 1000) {
            Seated::Cleared(_, handle) => Some(handle),
            Seated::Full => None,
            Seated::Free(_) => panic!("there was room"),
        }
    }

    #[test]
    fn the_address_with_most_places_makes_room_for_others_and_not_for_itself() {
        let mut seats = full(&[(1, 0), (2, 0), (1, 0), (3, 0)]);
        assert_eq!(loser(&mut seats, 1, 0), None);
        assert_eq!(loser(&mut seats, 9, 0), Some(2));
        // Now every address holds one.
        assert_eq!(loser(&mut seats, 8, 0), None);
    }

    #[test]
    fn a_recent_failure_weighs_as_much_as_a_place() {
        let mut seats = full(&[(1, 0), (2, 3), (3, 0), (3, 0)]);
        assert_eq!(loser(&mut seats, 9, 0), Some(1));
        assert_eq!(loser(&mut seats, 8, 1), None);
        // A user who mistyped once is not shut out by an address that holds many places.
        let mut seats = full(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
        assert_eq!(loser(&mut seats, 9, 1), Some(3));
        assert_eq!(loser(&mut seats, 8, 5), None);
    }

    #[test]
    fn within_an_address_more_failures_make_room_for_fewer() {
        let mut seats = full(&[(1, 2), (1, 0), (1, 2)]);
        assert_eq!(loser(&mut seats, 1, 1), Some(2));
        assert_eq!(loser(&mut seats, 1, 2), None);
    }

    #[test]
    fn local_peers_weigh_one_place_each_but_hold_no_more_than_half_against_remote_ones() {
        let mut seats = full(&[(0, 0), (0, 0), (1, 0), (1, 0)]);
        assert_eq!(loser(&mut seats, 0, 0), Some(3));
        assert_eq!(loser(&mut seats, 0, 0), None);
        assert_eq!(loser(&mut seats, 9, 0), Some(1000));
        assert_eq!(loser(&mut seats, 8, 0), None);
    }

    #[test]
    fn no_places_at_all_is_legal_and_a_lost_place_is_not_given_back_twice() {
        assert_eq!(FairPermits::new(0).take(turn(1, 0), 0), Seated::Full);
        let mut seats = full(&[(1, 0), (1, 0)]);
        assert_eq!(loser(&mut seats, 2, 0), Some(1));
        assert_eq!(seats.leave(1), None);
        assert_eq!(seats.leave(0), Some(0));
        assert_eq!(seats.leave(0), None);
        assert_eq!(seats.taken(), 1);
    }

    proptest! {
        /// Whatever happens, the places are bounded, the indices agree with them, and no question
        /// makes room for one that then weighs more.
        #[test]
        fn places_are_bounded_and_the_lighter_address_never_gives_way(
            steps in proptest::collection::vec((0_u8..6, 0_usize..4, 0_u64..40), 1..200)
        ) {
            let mut seats = FairPermits::new(8);
            for (address, failures, old) in steps {
                if address == 5 {
                    seats.leave(old);
                } else {
                    let newcomer = turn(address, failures);
                    let before = |origin: Origin| {
                        seats.groups.get(&origin).map_or(0, |group| weight(group).unwrap())
                    };
                    let weights: Vec<_> = (1..5)
                        .map(|address| before(turn(address, 0).origin))
                        .collect();
                    let held = seats.groups.get(&newcomer.origin).map_or(0, BTreeSet::len);
                    if let Seated::Cleared(_, loser) = seats.take(newcomer, newcomer)
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
                prop_assert!(seats.taken() <= 8);
                let grouped: usize = seats.groups.values().map(BTreeSet::len).sum();
                prop_assert_eq!(grouped + seats.local.len(), seats.taken());
                prop_assert_eq!(seats.weights.len(), seats.groups.len());
            }
        }
    }
}

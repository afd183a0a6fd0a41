//! A queue in which addresses take turns. Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use crate::zap::failures::Turn;
use std::collections::{BTreeMap, HashMap};

/// Items that wait, each with the address that it comes from.
///
/// Remote addresses take turns, however many items each has: an item is due as many turns after the
/// one that is served now as its address has items before it, and one turn later for each failure
/// that counts against it. Peers on this machine may be many behind one address, so theirs wait in
/// the order of arrival, and every other turn is theirs.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    local: BTreeMap<Ticket, T>,
    remote: BTreeMap<Ticket, (Origin, T)>,
    /// The remote addresses with items.
    flows: HashMap<Origin, Flow>,
    /// The turn that is served now.
    served: u64,
    is_remote_next: bool,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    items: usize,
    /// The turn of its last item, but for failures.
    last: u64,
}

/// The place of an item: the turn, then the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    turn: u64,
    arrival: u64,
    is_local: bool,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
            flows: HashMap::new(),
            served: 0,
            is_remote_next: false,
            next: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.local.len() + self.remote.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, Turn { origin, failures }: Turn, item: T) -> Ticket {
        let arrival = self.next;
        self.next += 1;
        let is_local = origin == Origin::Local;
        if is_local {
            let ticket = Ticket {
                turn: 0,
                arrival,
                is_local,
            };
            self.local.insert(ticket, item);
            return ticket;
        }
        let served = self.served;
        let flow = self
            .flows
            .entry(origin)
            .and_modify(|flow| flow.last = served.max(flow.last + 1))
            .or_insert(Flow {
                items: 0,
                last: served,
            });
        flow.items += 1;
        let ticket = Ticket {
            turn: flow.last + failures as u64,
            arrival,
            is_local,
        };
        self.remote.insert(ticket, (origin, item));
        ticket
    }

    /// Takes out the item whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let is_remote = match (self.local.is_empty(), self.remote.is_empty()) {
            (false, false) => self.is_remote_next,
            (is_remote, _) => is_remote,
        };
        self.is_remote_next = !is_remote;
        if !is_remote {
            return self.local.pop_first().map(|(_, item)| item);
        }
        let (ticket, (origin, item)) = self.remote.pop_first()?;
        self.served = self.served.max(ticket.turn);
        self.count_out(origin);
        Some(item)
    }

    /// Takes out an item before its turn, if it is still there.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        if ticket.is_local {
            return self.local.remove(&ticket);
        }
        let (origin, item) = self.remote.remove(&ticket)?;
        self.count_out(origin);
        Some(item)
    }

    fn count_out(&mut self, origin: Origin) {
        if let Some(flow) = self.flows.get_mut(&origin) {
            flow.items -= 1;
            if flow.items == 0 {
                self.flows.remove(&origin);
            }
        }
    }

    /// Takes out all items.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let Self { local, remote, .. } = std::mem::take(self);
        local
            .into_values()
            .chain(remote.into_values().map(|(_, item)| item))
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

    fn queue(items: &[(u8, usize)]) -> FairQueue<usize> {
        let mut queue = FairQueue::default();
        for (index, (address, failures)) in items.iter().enumerate() {
            queue.push(turn(*address, *failures), index);
        }
        queue
    }

    fn order(mut queue: FairQueue<usize>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn addresses_take_turns() {
        let queue = queue(&[(1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (2, 0)]);
        assert_eq!(order(queue), [0, 3, 4, 1, 5, 2]);
    }

    #[test]
    fn a_newcomer_goes_before_an_address_that_was_served_already() {
        let mut queue = queue(&[(1, 0); 300]);
        for _ in 0..100 {
            assert!(queue.pop().is_some());
        }
        queue.push(turn(2, 0), 1000);
        assert_eq!(queue.pop(), Some(1000));
        assert_eq!(queue.pop(), Some(100));
    }

    #[test]
    fn failures_let_an_item_wait_and_no_other_of_its_address() {
        let queue = queue(&[(1, 3), (1, 0), (2, 0), (2, 0), (2, 0)]);
        assert_eq!(order(queue), [2, 1, 3, 4, 0]);
    }

    #[test]
    fn local_items_keep_their_order_and_share_turns_with_remote_ones() {
        let queue = queue(&[(0, 0), (0, 0), (0, 0), (1, 0), (1, 0)]);
        assert_eq!(order(queue), [0, 3, 1, 4, 2]);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut queue = FairQueue::default();
        for address in [0, 1, 1, 2] {
            let ticket = queue.push(turn(address, 1), address);
            assert_eq!(queue.remove(ticket), Some(address));
            assert_eq!(queue.remove(ticket), None);
        }
        assert!(queue.is_empty() && queue.flows.is_empty());
        queue.push(turn(1, 0), 1);
        queue.push(turn(0, 0), 0);
        assert_eq!(queue.drain().count(), 2);
        assert!(queue.is_empty() && queue.flows.is_empty());
    }

    proptest! {
        /// An address with one item waits for at most one of every other address, and for one of
        /// the local peers at each turn.
        #[test]
        fn no_item_waits_for_more_than_one_of_each_other_address(
            before in proptest::collection::vec(0_u8..5, 0..200),
            served in 0_usize..200,
        ) {
            let mut queue = FairQueue::default();
            for address in &before {
                queue.push(turn(*address, 0), *address);
            }
            for _ in 0..served.min(before.len()) {
                prop_assert!(queue.pop().is_some());
            }
            queue.push(turn(9, 0), 9);
            let ahead: Vec<_> = std::iter::from_fn(|| queue.pop())
                .take_while(|address| *address != 9)
                .collect();
            for address in 1..5 {
                let of_one = ahead.iter().filter(|other| **other == address).count();
                prop_assert!(of_one <= 1, "{ahead:?}");
            }
            let local = ahead.iter().filter(|other| **other == 0).count();
            prop_assert!(local <= ahead.len() - local + 1, "{ahead:?}");
        }
    }
}

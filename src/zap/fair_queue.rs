//! A queue in which addresses take turns (round robin). Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use crate::zap::failures::Priority;
use std::collections::{BTreeMap, HashMap};

/// Maximum number of addresses that are remembered as served in the current turn. When it is
/// reached, the next turn begins and they are forgotten. 1024: far more addresses than wait at a
/// time in normal operation, in about 50 KiB.
const MAX_SERVED_IN_A_TURN: usize = 1024;

/// Waiting items, each with the address it comes from.
///
/// Time is divided into turns, and each remote address has one item in a turn. A new item is put
/// into the first turn in which its address has no item yet, and one turn later for each failure
/// that counts against it. So an address with 300 items does not delay an address with one: the
/// one item is served in the current turn, and the 300 take 300 turns.
///
/// An address whose last item has just been served is remembered for the rest of the turn. If it
/// comes back, its next item waits for the next turn. Without that memory, addresses that come back
/// at once could fill the current turn for ever, and items of later turns would starve. With it,
/// each other address overtakes a waiting item at most once in each turn up to the item's own: the
/// turns of the earlier items of its address, its own turn, and at most 16 turns for failures.
///
/// Local peers share one address, behind which there may be many users. Their items wait in the
/// order of arrival, and alternate with the remote ones.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    local: BTreeMap<Ticket, T>,
    remote: BTreeMap<Ticket, (Origin, T)>,
    /// The remote addresses that have items, or were served in the current turn.
    flows: HashMap<Origin, Flow>,
    /// The addresses whose last item was taken out during the current turn.
    emptied: Vec<Origin>,
    /// The current turn.
    served: u64,
    is_remote_next: bool,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    items: usize,
    /// The turn of its last item, not counting failures. Without items, the current turn.
    last: u64,
}

/// The place of an item in the queue: its turn, then its order of arrival.
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
            emptied: Vec::new(),
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

    pub(crate) fn push(&mut self, Priority { origin, failures }: Priority, item: T) -> Ticket {
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
            .and_modify(|flow| {
                // Items may be removed before their turn. New items move up to fill the gap, so
                // that no address waits for turns in which it has nothing.
                let after_all = served + flow.items as u64 + 1;
                flow.last = (flow.last + 1).clamp(served, after_all);
            })
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

    /// Takes out the next item.
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
        if ticket.turn > self.served {
            self.begin(ticket.turn);
        }
        self.count_out(origin);
        Some(item)
    }

    /// Takes out an item before its turn; `None` if it is gone already.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        if ticket.is_local {
            return self.local.remove(&ticket);
        }
        let (origin, item) = self.remote.remove(&ticket)?;
        self.count_out(origin);
        Some(item)
    }

    /// Updates the records after an item of `origin` was taken out.
    fn count_out(&mut self, origin: Origin) {
        if self.remote.is_empty() {
            // No item waits that a returning address could overtake.
            self.flows.clear();
            self.emptied.clear();
            return;
        }
        let Some(flow) = self.flows.get_mut(&origin) else {
            return;
        };
        flow.items -= 1;
        if flow.items > 0 {
            return;
        }
        flow.last = flow.last.min(self.served);
        if flow.last < self.served {
            self.flows.remove(&origin);
            return;
        }
        self.emptied.push(origin);
        if self.emptied.len() >= MAX_SERVED_IN_A_TURN {
            self.begin(self.served + 1);
        }
    }

    /// Begins a turn, and forgets the addresses that were remembered only for the last one.
    fn begin(&mut self, turn: u64) {
        self.served = turn;
        for origin in self.emptied.drain(..) {
            if self.flows.get(&origin).is_some_and(|flow| flow.items == 0) {
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

    fn priority(address: u8, failures: usize) -> Priority {
        let origin = match address {
            0 => Origin::Local,
            other => Origin::V4([192, 0, 2, other]),
        };
        Priority { origin, failures }
    }

    fn queue(items: &[(u8, usize)]) -> FairQueue<usize> {
        let mut queue = FairQueue::default();
        for (index, (address, failures)) in items.iter().enumerate() {
            queue.push(priority(*address, *failures), index);
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
    fn a_new_address_goes_before_one_that_was_served_already() {
        let mut queue = queue(&[(1, 0); 300]);
        for _ in 0..100 {
            assert!(queue.pop().is_some());
        }
        queue.push(priority(2, 0), 1000);
        assert_eq!(queue.pop(), Some(1000));
        assert_eq!(queue.pop(), Some(100));
    }

    #[test]
    fn failures_delay_an_item_and_no_other_item_of_its_address() {
        let queue = queue(&[(1, 3), (1, 0), (2, 0), (2, 0), (2, 0)]);
        assert_eq!(order(queue), [2, 1, 3, 4, 0]);
    }

    #[test]
    fn local_items_keep_their_order_and_share_turns_with_remote_ones() {
        let queue = queue(&[(0, 0), (0, 0), (0, 0), (1, 0), (1, 0)]);
        assert_eq!(order(queue), [0, 3, 1, 4, 2]);
    }

    #[test]
    fn removed_items_leave_no_records_behind() {
        let mut queue = FairQueue::default();
        for address in [0, 1, 1, 2] {
            let ticket = queue.push(priority(address, 1), address);
            assert_eq!(queue.remove(ticket), Some(address));
            assert_eq!(queue.remove(ticket), None);
        }
        assert!(queue.is_empty() && queue.flows.is_empty());
        queue.push(priority(1, 0), 1);
        queue.push(priority(0, 0), 0);
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
                queue.push(priority(*address, 0), *address);
            }
            for _ in 0..served.min(before.len()) {
                prop_assert!(queue.pop().is_some());
            }
            queue.push(priority(9, 0), 9);
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

    /// How many items are served before the last item of address 9, which has `before` others in
    /// front of it. Addresses 1 to `addresses` push a new item whenever one is served, with
    /// `failures` in rotation.
    fn overtaking(before: usize, own: usize, addresses: u8, failures: &[usize]) -> usize {
        let mut queue = FairQueue::default();
        let mut stream = (1..=addresses).cycle().zip(failures.iter().cycle());
        for (address, failures) in stream.by_ref().take(addresses.into()) {
            queue.push(priority(address, *failures), false);
        }
        for _ in 0..before {
            queue.push(priority(9, 0), false);
        }
        queue.push(priority(9, own), true);
        let mut count = 0;
        while queue.pop() == Some(false) && count < 10_000 {
            count += 1;
            let (address, failures) = stream.next().unwrap();
            queue.push(priority(address, *failures), false);
        }
        count
    }

    #[test]
    fn a_user_who_mistyped_once_is_served_although_new_users_keep_coming() {
        assert!(overtaking(0, 1, 2, &[0]) <= 4);
        assert!(overtaking(1, 0, 2, &[0]) <= 5);
    }

    #[test]
    fn an_endless_stream_of_addresses_delays_no_item_for_ever_and_is_forgotten() {
        let mut queue = FairQueue::default();
        queue.push(priority(9, 16), true);
        let mut count = 0_usize;
        loop {
            let [.., high, middle, low] = count.to_be_bytes();
            let origin = Origin::V4([10, high, middle, low]);
            let failures = 0;
            queue.push(Priority { origin, failures }, false);
            if queue.pop() == Some(true) {
                break;
            }
            count += 1;
            assert!(count <= 17 * MAX_SERVED_IN_A_TURN, "never served");
            assert!(queue.flows.len() <= queue.len() + MAX_SERVED_IN_A_TURN);
        }
        // Items that are removed before their turn count as well.
        for _ in 0..2 * MAX_SERVED_IN_A_TURN {
            let ticket = queue.push(priority(8, 0), false);
            assert_eq!(queue.remove(ticket), Some(false));
            assert!(queue.emptied.len() <= MAX_SERVED_IN_A_TURN);
        }
    }

    proptest! {
        #[test]
        fn each_address_overtakes_a_waiting_item_at_most_once_a_turn(
            before in 0_usize..10,
            own in 0_usize..=16,
            addresses in 1_u8..8,
            failures in proptest::collection::vec(0_usize..=16, 1..20),
        ) {
            let turns = before + own + 1;
            let count = overtaking(before, own, addresses, &failures);
            prop_assert!(count <= before + turns * usize::from(addresses), "{count}");
        }
    }
}

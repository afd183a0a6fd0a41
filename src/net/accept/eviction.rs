//! Decides which handshake loses its slot when all slots are taken.
//!
//! A listener conducts a bounded number of handshakes at a time, and each one holds a slot. A peer
//! that has proven nothing may open connections and leave them idle, so the slots of a busy
//! listener can all be held by such peers. The listener then still accepts a new connection, and
//! ends one of the handshakes in progress for it. This file is the table of the slots and the
//! choice of the loser. It is pure data: it performs no I/O and reads no clock.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::origin::Origin;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The handshakes in progress, each with a handle of type `T` by which it can be ended.
///
/// # Who loses a slot
///
/// When all slots are taken, one handshake loses its slot to the new connection. Refusing the new
/// connection instead would let idle connections lock every other peer out. The rules, in order:
///
/// 1. A handshake that was refused already goes first. It only waits for its peer to read the
///    ERROR.
/// 2. Otherwise the address that holds the most slots loses one: its oldest handshake without a
///    valid command, or its oldest handshake if all have sent one. An IPv6 address stands for its
///    /64, which is what one subscriber gets. A v4-mapped address stands for its IPv4 address.
///    Peers on this machine (loopback and ipc) share one address, but a proxy there may serve many
///    users, so each local peer counts as an address of its own.
/// 3. If local peers hold more than half of all slots, one of them loses its slot, by the same
///    order of silence and age. Under rule 2 alone each local peer would hold one slot, and a flood
///    of local peers would displace every remote address that holds two.
/// 4. A handshake that is paused for a verdict never loses its slot to a new connection. It waits
///    for our own handler, and evicting it would let a flood cancel the questions of honest peers.
///    At most three in four slots may be paused, so that new connections find a slot however long
///    verdicts take.
///
/// # Who loses a pause
///
/// When that limit is reached, a handshake that wants to pause may displace one that is paused. The
/// address with the most paused handshakes loses its newest one, if it has more of them than the
/// other address would have with its new one. Hence no address loses its only paused handshake, and
/// two addresses cannot displace each other in turns. Each local peer again counts as an address of
/// its own, unless local peers are more than half of all paused ones.
///
/// # Cost
///
/// An attacker who floods a listener causes one eviction with each connection. Every operation
/// therefore takes time logarithmic in the number of slots. Three indexes accompany the slots:
/// `groups` by address, `order` by who is evicted first, and `pauses` by who is displaced first.
/// Only [`regroup`](Self::regroup) changes them, and it changes them together.
///
/// Local peers are in `groups` but not in `order` and `pauses`, because their weight depends on the
/// number of all slots and would change with every connection. So [`victim`](Self::victim) and
/// [`outnumbering`](Self::outnumbering) compare the best entry of the index with the local group at
/// each call. The indexes are trees because trees return their memory when a flood is over; hash
/// tables keep it.
#[derive(Debug)]
pub(crate) struct EvictionTable<T> {
    slots: BTreeMap<SlotId, Slot<T>>,
    /// The slots of each address.
    groups: BTreeMap<Origin, Group>,
    /// For each remote address, its handshake that loses its slot first. The last entry of the map
    /// is evicted first.
    order: BTreeMap<Rank, Origin>,
    /// For each remote address, the number of its paused handshakes and the newest of them.
    pauses: BTreeSet<(usize, SlotId)>,
    capacity: usize,
    /// The number of paused handshakes.
    paused: usize,
    next: u64,
}

/// Identifies one handshake's slot. Numbers are never reused, and a smaller number came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u64);

/// How far a handshake has come. Within one address, a smaller value is evicted before a greater
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// Refused; its peer may still read the ERROR.
    Refused,
    /// No valid command yet.
    Silent,
    /// At least one valid command.
    Spoke,
    /// Waits for the verdict of our own handler.
    Paused,
}

#[derive(Debug)]
struct Slot<T> {
    origin: Origin,
    progress: Progress,
    handle: T,
}

/// The slots of one address.
#[derive(Debug, Default)]
struct Group {
    /// All of them, the paused ones too.
    held: usize,
    /// The slots that may be evicted, in the order of eviction.
    movable: BTreeSet<(Progress, SlotId)>,
    paused: BTreeSet<SlotId>,
}

/// What decides among addresses: whether the handshake was refused, the number of slots that its
/// address holds, whether it is silent, and its age. The greatest rank is evicted.
type Rank = (bool, usize, bool, Reverse<SlotId>);

impl Group {
    /// The rank of the handshake that is evicted first, where the address counts as holding
    /// `weight` slots.
    fn rank(&self, weight: usize) -> Option<Rank> {
        let (progress, id) = *self.movable.first()?;
        let refused = progress == Progress::Refused;
        let silent = progress == Progress::Silent;
        Some((refused, weight, silent, Reverse(id)))
    }

    /// The number of paused handshakes and the newest of them.
    fn pauses(&self) -> Option<(usize, SlotId)> {
        Some((self.paused.len(), *self.paused.last()?))
    }
}

/// The outcome for a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission<T> {
    /// There was a free slot.
    Free(SlotId),
    /// A slot was cleared. The handle belongs to the handshake that lost it.
    Evicted(SlotId, T),
    /// Every handshake is paused for a verdict. The handle of the new connection comes back.
    Full(T),
}

/// Too many handshakes are paused, and no address has more of them than the one that asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyPause;

impl<T> EvictionTable<T> {
    /// A table of `capacity` slots, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            groups: BTreeMap::new(),
            order: BTreeMap::new(),
            pauses: BTreeSet::new(),
            capacity: capacity.max(1),
            paused: 0,
            next: 0,
        }
    }

    /// Changes the number of slots; at least one remains. Handshakes in excess stay until new
    /// connections take their slots.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
    }

    /// Gives a new connection a slot, and evicts another handshake if all slots are taken.
    pub(crate) fn admit(&mut self, address: &PeerAddress, handle: T) -> Admission<T> {
        let evicted = if self.slots.len() < self.capacity {
            None
        } else {
            let Some(loser) = self.victim().and_then(|id| self.remove(id)) else {
                return Admission::Full(handle);
            };
            Some(loser)
        };
        let id = SlotId(self.next);
        self.next += 1;
        let origin = Origin::of(address);
        self.regroup(&origin, |group| {
            group.held += 1;
            group.movable.insert((Progress::Silent, id));
        });
        let progress = Progress::Silent;
        let slot = Slot {
            origin,
            progress,
            handle,
        };
        self.slots.insert(id, slot);
        match evicted {
            None => Admission::Free(id),
            Some(handle) => Admission::Evicted(id, handle),
        }
    }

    /// Notes how far a handshake has come. Does nothing if it has lost its slot.
    pub(crate) fn progress(&mut self, id: SlotId, progress: Progress) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut slot.progress, progress);
        if before == progress {
            return;
        }
        let origin = slot.origin;
        self.paused += usize::from(progress == Progress::Paused);
        self.paused -= usize::from(before == Progress::Paused);
        self.regroup(&origin, |group| {
            group.movable.remove(&(before, id));
            group.paused.remove(&id);
            if progress == Progress::Paused {
                group.paused.insert(id);
            } else {
                group.movable.insert((progress, id));
            }
        });
    }

    /// Notes that a handshake pauses for a verdict. A handshake that has lost its slot may pause,
    /// because it is about to end. Returns the handle of the handshake that was displaced, if any.
    ///
    /// # Errors
    /// Returns [`TooManyPause`] if too many are paused and this handshake may displace none of
    /// them.
    pub(crate) fn pause(&mut self, id: SlotId) -> Result<Option<T>, TooManyPause> {
        let Some(slot) = self.slots.get(&id) else {
            return Ok(None);
        };
        let kept = (self.capacity / 4).max(1);
        let limit = self.capacity.saturating_sub(kept).max(1);
        let displaced = if self.paused < limit {
            None
        } else {
            let loser = self.outnumbering(&slot.origin).ok_or(TooManyPause)?;
            self.remove(loser)
        };
        self.progress(id, Progress::Paused);
        Ok(displaced)
    }

    /// Frees the slot.
    pub(crate) fn leave(&mut self, id: SlotId) {
        self.remove(id);
    }

    /// Frees all slots and returns their handles.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let mut empty = Self::new(self.capacity);
        empty.next = self.next;
        let slots = std::mem::replace(self, empty).slots;
        slots.into_values().map(|slot| slot.handle).collect()
    }

    fn remove(&mut self, id: SlotId) -> Option<T> {
        let slot = self.slots.remove(&id)?;
        self.paused -= usize::from(slot.progress == Progress::Paused);
        self.regroup(&slot.origin, |group| {
            group.held -= 1;
            group.movable.remove(&(slot.progress, id));
            group.paused.remove(&id);
        });
        Some(slot.handle)
    }

    /// Changes the slots of one address, and updates `order` and `pauses` to match.
    fn regroup(&mut self, origin: &Origin, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(*origin).or_default();
        let before = (group.rank(group.held), group.pauses());
        change(group);
        let after = (group.rank(group.held), group.pauses());
        if group.held == 0 {
            self.groups.remove(origin);
        }
        if before == after || *origin == Origin::Local {
            return;
        }
        if let Some(rank) = before.0 {
            self.order.remove(&rank);
        }
        if let Some(rank) = after.0 {
            self.order.insert(rank, *origin);
        }
        if let Some(pauses) = before.1 {
            self.pauses.remove(&pauses);
        }
        self.pauses.extend(after.1);
    }

    /// The paused handshake that a handshake of this address may displace.
    fn outnumbering(&self, newcomer: &Origin) -> Option<SlotId> {
        let pauses = |origin| self.groups.get(origin).and_then(Group::pauses);
        let local_weight = |held| {
            let mostly_local = held * 2 > self.paused;
            if mostly_local { usize::MAX } else { 1 }
        };
        let with_newcomer = 1 + pauses(newcomer).map_or(0, |(held, _)| held);
        let weight = match newcomer {
            Origin::Local => local_weight(with_newcomer),
            _ => with_newcomer,
        };
        let local = pauses(&Origin::Local).map(|(held, newest)| (local_weight(held), newest));
        let (greatest, newest) = self.pauses.last().copied().max(local)?;
        (greatest > weight).then_some(newest)
    }

    /// The handshake that loses its slot to the next new connection, if all slots are taken.
    fn victim(&self) -> Option<SlotId> {
        let remote = self.order.last_key_value().map(|(rank, _)| *rank);
        let local = self.groups.get(&Origin::Local).and_then(|group| {
            let mostly_local = group.held * 2 > self.slots.len();
            group.rank(if mostly_local { usize::MAX } else { 1 })
        });
        let (_, _, _, Reverse(id)) = remote.max(local)?;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn address(text: &str) -> PeerAddress {
        PeerAddress::from_zap(text.as_bytes())
    }

    /// A full table of these peers; each one's handle is its index.
    fn full(peers: &[&str]) -> (EvictionTable<usize>, Vec<SlotId>) {
        let mut table = EvictionTable::new(peers.len());
        let ids = peers
            .iter()
            .enumerate()
            .map(|(index, peer)| match table.admit(&address(peer), index) {
                Admission::Free(id) => id,
                other => panic!("{other:?}"),
            })
            .collect();
        (table, ids)
    }

    fn loser(table: &mut EvictionTable<usize>, newcomer: &str) -> usize {
        match table.admit(&address(newcomer), 1000) {
            Admission::Evicted(_, handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn handles(table: &EvictionTable<usize>) -> Vec<usize> {
        let mut handles: Vec<_> = table.slots.values().map(|slot| slot.handle).collect();
        handles.sort_unstable();
        handles
    }

    /// The rules as a scan of all slots, which is what the table must agree with.
    #[derive(Default)]
    struct Scan(Vec<(SlotId, Origin, Progress)>);

    impl Scan {
        /// The handshake that loses its slot to the next new connection, if all slots are taken.
        fn victim(&self) -> Option<SlotId> {
            let held = |origin: &Origin| self.0.iter().filter(|(_, of, _)| of == origin).count();
            let mostly_local = held(&Origin::Local) * 2 > self.0.len();
            let weight = |origin: &Origin| match (origin, mostly_local) {
                (Origin::Local, false) => 1,
                (Origin::Local, true) => usize::MAX,
                (remote, _) => held(remote),
            };
            // `max_by_key` takes the last of equals, so the walk begins at the young end.
            let movable = self.0.iter().rev();
            let movable = movable.filter(|(_, _, progress)| *progress != Progress::Paused);
            let victim = movable.max_by_key(|(_, origin, progress)| {
                let refused = *progress == Progress::Refused;
                (refused, weight(origin), *progress == Progress::Silent)
            });
            victim.map(|(id, _, _)| *id)
        }

        fn paused(&self) -> Vec<(SlotId, Origin)> {
            let slots = self.0.iter();
            let paused = slots.filter(|(_, _, progress)| *progress == Progress::Paused);
            paused.map(|(id, origin, _)| (*id, *origin)).collect()
        }

        /// Which pause ends for one more from this address, when no more may pause.
        fn displaced(&self, newcomer: Origin) -> Option<SlotId> {
            let paused = self.paused();
            let weight = |origin: Origin, more: usize| {
                let held = more + paused.iter().filter(|(_, of)| *of == origin).count();
                match origin {
                    Origin::Local if held * 2 > paused.len() => usize::MAX,
                    Origin::Local => 1,
                    _ => held,
                }
            };
            let candidates = paused.iter().map(|(id, origin)| (weight(*origin, 0), *id));
            let (greatest, id) = candidates.max()?;
            (greatest > weight(newcomer, 1)).then_some(id)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(usize),
        Progress(usize, Progress),
        Pause(usize),
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let progress = prop_oneof![
            Just(Progress::Refused),
            Just(Progress::Silent),
            Just(Progress::Spoke),
            Just(Progress::Paused),
        ];
        let step = prop_oneof![
            3 => (0..ORIGINS.len()).prop_map(Step::Admit),
            3 => (any::<usize>(), progress).prop_map(|(at, progress)| Step::Progress(at, progress)),
            3 => any::<usize>().prop_map(Step::Pause),
            1 => any::<usize>().prop_map(Step::Leave),
        ];
        vec(step, 0..200)
    }

    const ORIGINS: [&str; 8] = [
        "192.0.2.1",
        "192.0.2.2",
        "::ffff:192.0.2.2",
        "2001:db8::1",
        "2001:db8::2",
        "127.0.0.1",
        "localhost:1:2:3",
        "somewhere",
    ];

    proptest! {
        #[test]
        fn the_slot_that_is_lost_is_the_one_that_a_scan_of_all_would_find(
            capacity in 1_usize..24,
            steps in steps(),
        ) {
            let (mut table, mut scan) = (EvictionTable::new(capacity), Scan::default());
            for step in steps {
                match step {
                    Step::Admit(origin) => {
                        let address = address(ORIGINS[origin]);
                        let victim = scan.victim();
                        let id = match table.admit(&address, table.next) {
                            Admission::Free(id) => {
                                prop_assert!(scan.0.len() < capacity);
                                id
                            }
                            Admission::Evicted(id, loser) => {
                                prop_assert_eq!(victim, Some(SlotId(loser)));
                                scan.0.retain(|(id, ..)| Some(*id) != victim);
                                id
                            }
                            Admission::Full(_) => {
                                prop_assert_eq!(victim, None);
                                continue;
                            }
                        };
                        scan.0.push((id, Origin::of(&address), Progress::Silent));
                    }
                    Step::Progress(at, progress) if !scan.0.is_empty() => {
                        let at = at % scan.0.len();
                        scan.0[at].2 = progress;
                        table.progress(scan.0[at].0, progress);
                    }
                    Step::Pause(at) if !scan.0.is_empty() => {
                        let at = at % scan.0.len();
                        let (id, origin, progress) = scan.0[at];
                        if progress == Progress::Paused {
                            continue;
                        }
                        let is_free = scan.paused().len() < (capacity - (capacity / 4).max(1)).max(1);
                        let displaced = scan.displaced(origin).filter(|_| !is_free);
                        let expected = match displaced {
                            None if !is_free => Err(TooManyPause),
                            _ => Ok(displaced.map(|SlotId(handle)| handle)),
                        };
                        prop_assert_eq!(table.pause(id), expected);
                        if is_free || displaced.is_some() {
                            scan.0[at].2 = Progress::Paused;
                        }
                        scan.0.retain(|(id, ..)| Some(*id) != displaced);
                    }
                    Step::Leave(at) if !scan.0.is_empty() => {
                        let (id, ..) = scan.0.remove(at % scan.0.len());
                        table.leave(id);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.slots.len(), scan.0.len());
            }
            for (id, ..) in scan.0 {
                table.leave(id);
            }
            // Nothing is kept of peers that have left.
            prop_assert!(table.groups.is_empty() && table.order.is_empty());
            prop_assert!(table.pauses.is_empty());
            prop_assert_eq!(table.paused, 0);
        }
    }

    /// A scan for each newcomer would look at ten thousand million slots, which takes minutes.
    #[test]
    fn a_flood_of_newcomers_does_not_scan_the_table() {
        const FLOOD: u32 = 100_000;
        let mut table = EvictionTable::new(FLOOD as usize);
        for number in 0..2 * FLOOD {
            let ip = std::net::Ipv4Addr::from_bits(0x0A00_0000 + number % (FLOOD / 3));
            table.admit(&IpAddr::V4(ip).into(), ());
        }
        assert_eq!(table.slots.len(), FLOOD as usize);
    }

    #[test]
    fn the_address_with_most_slots_makes_room() {
        let (mut table, _) = full(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.2"]);
        assert_eq!(loser(&mut table, "192.0.2.9"), 1);
        // Now every address holds one slot: the oldest goes.
        assert_eq!(loser(&mut table, "192.0.2.8"), 0);
    }

    #[test]
    fn within_an_address_the_silent_go_first_and_then_the_oldest() {
        let (mut table, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        table.progress(ids[0], Progress::Spoke);
        assert_eq!(loser(&mut table, "192.0.2.9"), 1);
        assert_eq!(loser(&mut table, "192.0.2.8"), 2);
        // One address each: the silent before the one that spoke, old as it is.
        assert_eq!(loser(&mut table, "192.0.2.7"), 3);
    }

    #[test]
    fn an_ipv6_address_stands_for_its_64_and_a_mapped_one_for_its_v4() {
        let (mut table, _) = full(&[
            "192.0.2.1",
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
            "2001:db8:0:1:ffff::2",
        ]);
        assert_eq!(loser(&mut table, "192.0.2.9"), 1);
        let (mut table, _) = full(&["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2"]);
        assert_eq!(loser(&mut table, "192.0.2.9"), 1);
    }

    #[test]
    fn a_peer_that_waits_for_our_verdict_keeps_its_slot() {
        let (mut table, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        table.progress(ids[0], Progress::Paused);
        table.progress(ids[1], Progress::Paused);
        assert_eq!(loser(&mut table, "192.0.2.9"), 2);
        let (mut table, ids) = full(&["192.0.2.2"]);
        table.progress(ids[0], Progress::Paused);
        assert_eq!(table.admit(&address("192.0.2.9"), 7), Admission::Full(7));
        table.progress(ids[0], Progress::Spoke);
        assert_eq!(loser(&mut table, "192.0.2.9"), 0);
    }

    #[test]
    fn verdicts_that_do_not_come_leave_a_slot_for_newcomers() {
        for (capacity, limit) in [(1, 1), (2, 1), (4, 3), (8, 6), (1024, 768)] {
            let (mut table, ids) = full(&vec!["192.0.2.2"; capacity]);
            let paused = ids.iter().filter(|id| table.pause(**id).is_ok()).count();
            assert_eq!(paused, limit);
            let admission = table.admit(&address("192.0.2.9"), 7);
            assert_eq!(matches!(admission, Admission::Full(_)), capacity == 1);
            // A peer that has its answer lets another wait for one.
            table.progress(ids[0], Progress::Spoke);
            assert_eq!(table.pause(ids[0]), Ok(None));
            table.leave(ids[0]);
        }
    }

    #[test]
    fn one_address_that_waits_for_verdicts_keeps_no_other_from_asking() {
        let flood = ["192.0.2.1"; 192];
        let (mut table, ids) = full(&[&flood[..], &["192.0.2.2"; 64]].concat());
        for id in &ids[..192] {
            assert_eq!(table.pause(*id), Ok(None));
        }
        // The newest of the flood goes.
        for (index, id) in ids[192..].iter().enumerate() {
            assert_eq!(table.pause(*id), Ok(Some(191 - index)));
        }
        for (peer, expected) in [
            ("192.0.2.1", Err(TooManyPause)),
            ("192.0.2.3", Ok(Some(127))),
        ] {
            let Admission::Free(id) = table.admit(&address(peer), 1000) else {
                panic!("no slot");
            };
            assert_eq!(table.pause(id), expected);
        }
    }

    #[test]
    fn no_address_loses_its_only_pause_and_none_takes_turns_with_another() {
        let peers = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"];
        let (mut table, ids) = full(&peers);
        for id in &ids[..3] {
            assert_eq!(table.pause(*id), Ok(None));
        }
        assert_eq!(table.pause(ids[3]), Err(TooManyPause));
        let mut newcomer = |peer| match table.admit(&address(peer), 1000) {
            Admission::Free(id) | Admission::Evicted(id, _) => table.pause(id),
            full => panic!("{full:?}"),
        };
        assert_eq!(newcomer("192.0.2.3"), Ok(Some(1)));
        assert_eq!(newcomer("192.0.2.4"), Err(TooManyPause));
    }

    #[test]
    fn local_peers_that_wait_are_an_address_each_up_to_one_half() {
        let local = ["127.0.0.1"; 4];
        let (mut table, ids) = full(&[&local[..], &["192.0.2.1"; 4]].concat());
        for id in [0, 1, 2, 4, 5, 6] {
            assert_eq!(table.pause(ids[id]), Ok(None));
        }
        // Three of six: one more would be most of them.
        assert_eq!(table.pause(ids[3]), Err(TooManyPause));
        assert_eq!(table.pause(ids[7]), Err(TooManyPause));
        table.leave(ids[0]);
        assert_eq!(table.pause(ids[7]), Ok(None));
        assert_eq!(table.pause(ids[3]), Ok(Some(7)));
        // Where local peers are most of them, they make room.
        table.leave(ids[4]);
        table.progress(ids[5], Progress::Spoke);
        let more = ["127.0.0.1", "127.0.0.1"].map(|peer| {
            let Admission::Free(id) = table.admit(&address(peer), 1000) else {
                panic!("no slot");
            };
            id
        });
        assert_eq!(more.map(|id| table.pause(id)), [Ok(None), Ok(None)]);
        assert_eq!(table.pause(ids[5]), Ok(Some(1000)));
    }

    #[test]
    fn a_table_that_has_become_smaller_grows_no_more() {
        let (mut table, _) = full(&["192.0.2.2"; 4]);
        table.set_capacity(2);
        assert_eq!(loser(&mut table, "192.0.2.9"), 0);
        assert_eq!(handles(&table).len(), 4);
    }

    #[test]
    fn a_peer_that_was_refused_already_goes_before_all() {
        let (mut table, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        table.progress(ids[2], Progress::Refused);
        assert_eq!(loser(&mut table, "192.0.2.9"), 2);
    }

    #[test]
    fn a_proxy_on_loopback_is_not_one_address() {
        let (mut table, _) = full(&[
            "192.0.2.1",
            "127.0.0.1",
            "127.0.0.1",
            "192.0.2.2",
            "192.0.2.2",
            "localhost:0:0:1",
        ]);
        assert_eq!(loser(&mut table, "192.0.2.9"), 3);
        assert_eq!(loser(&mut table, "192.0.2.8"), 0);
        assert_eq!(loser(&mut table, "192.0.2.7"), 1);
    }

    #[test]
    fn local_peers_cannot_take_all_slots_from_remote_ones() {
        let (mut table, ids) = full(&[
            "192.0.2.2",
            "192.0.2.2",
            "127.0.0.1",
            "::1",
            "localhost:0:0:",
        ]);
        table.progress(ids[2], Progress::Spoke);
        assert_eq!(loser(&mut table, "127.0.0.1"), 3);
        assert_eq!(loser(&mut table, "127.0.0.1"), 4);
    }

    #[test]
    fn an_honest_newcomer_outlives_a_flood_that_is_slower_than_its_handshake() {
        let (mut table, _) = full(&["127.0.0.1"; 8]);
        let Admission::Evicted(honest, _) = table.admit(&address("127.0.0.1"), 1000) else {
            panic!("no slot");
        };
        for _ in 0..7 {
            assert_ne!(loser(&mut table, "127.0.0.1"), 1000);
        }
        table.progress(honest, Progress::Spoke);
        for _ in 0..1000 {
            table.admit(&address("127.0.0.1"), 5);
        }
        assert!(handles(&table).contains(&1000));
    }

    #[test]
    fn slots_are_given_back() {
        let (mut table, ids) = full(&["192.0.2.1", "192.0.2.1"]);
        table.leave(ids[1]);
        assert!(matches!(
            table.admit(&address("192.0.2.9"), 3),
            Admission::Free(_)
        ));
        table.leave(ids[1]);
        table.progress(ids[1], Progress::Refused);
        assert_eq!(handles(&table), [0, 3]);
    }
}

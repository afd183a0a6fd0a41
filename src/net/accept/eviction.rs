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
use crate::net::accept::crowd::{Crowd, First, SlotId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a valid command counts as progress. 5 s, as long as a greeting may take: an honest peer
/// answers within a few round trips, and one that sends a command and then nothing is not spared for
/// the rest of its handshake.
const PROGRESS_LASTS: Duration = Duration::from_secs(5);

/// One in 4 slots is kept for handshakes without a valid command, and for those that are not paused.
/// Otherwise peers that send a command and then nothing, or verdicts that take long, could take all
/// slots, and each new connection would only replace the one before it.
const KEPT: usize = 4;

/// The handshakes in progress, each with a handle of type `T` by which it can be ended.
///
/// # Who loses a slot
///
/// When all slots are taken, one handshake loses its slot to the new connection. Refusing the new
/// connection instead would let idle connections lock every other peer out. The rules, in order:
///
/// 1. A handshake that was refused already goes first. It only waits for its peer to read the
///    ERROR.
/// 2. A handshake without progress goes before one with progress, from whichever address it is. It
///    has progress for [`PROGRESS_LASTS`] after its first valid command, and again after its verdict.
///    Handshakes with progress can take at most three in four slots, so new connections find some
///    where they have time to send a command.
/// 3. Among the handshakes of rule 2, the address that has the most of them loses its oldest. An IPv6
///    address stands for its /64, which is what one subscriber gets. A v4-mapped address stands for
///    its IPv4 address. Peers on this machine (loopback and ipc) share one address, but a proxy there
///    may serve many users, so each local peer counts as an address of its own.
/// 4. If local peers are more than half of the handshakes of rule 2, one of them loses its slot, the
///    oldest. Under rule 3 alone each local peer would count as one, and a flood of local peers would
///    displace every remote address that has two.
/// 5. A handshake that is paused for a verdict never loses its slot to a new connection. It waits
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
/// therefore takes time logarithmic in the number of slots. All indexes are trees because trees return
/// their memory when a flood is over; hash tables keep it.
#[derive(Debug)]
pub(crate) struct EvictionTable<T> {
    slots: BTreeMap<SlotId, Slot<T>>,
    refused: BTreeSet<SlotId>,
    silent: Crowd,
    spoke: Crowd,
    paused: Crowd,
    /// When the handshakes in `spoke` have made their progress, oldest first.
    since: BTreeSet<(Instant, SlotId)>,
    capacity: usize,
    next: u64,
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Refused; its peer may still read the ERROR.
    Refused,
    /// No valid command yet, or none for a long time.
    Silent,
    /// A valid command, or a verdict.
    Spoke,
    /// Waits for the verdict of our own handler.
    Paused,
}

#[derive(Debug)]
struct Slot<T> {
    origin: Origin,
    progress: Progress,
    /// When it last became [`Progress::Spoke`].
    spoke_at: Option<Instant>,
    handle: T,
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
            refused: BTreeSet::new(),
            silent: Crowd::new(First::Oldest),
            spoke: Crowd::new(First::Oldest),
            paused: Crowd::new(First::Newest),
            since: BTreeSet::new(),
            capacity: capacity.max(1),
            next: 0,
        }
    }

    /// Changes the number of slots; at least one remains. Returns the handle of a handshake that has
    /// lost its slot, if there are more than that now. One for each new connection is enough.
    pub(crate) fn set_capacity(&mut self, capacity: usize, now: Instant) -> Option<T> {
        self.capacity = capacity.max(1);
        if self.slots.len() <= self.capacity {
            return None;
        }
        self.evict(now)
    }

    /// Whether a new connection takes the slot of another handshake.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }

    /// Gives a new connection a slot, and evicts another handshake if all slots are taken.
    pub(crate) fn admit(&mut self, address: &PeerAddress, now: Instant, handle: T) -> Admission<T> {
        let mut evicted = None;
        if self.is_full() {
            evicted = self.evict(now);
            if evicted.is_none() {
                return Admission::Full(handle);
            }
        }
        let id = SlotId(self.next);
        self.next += 1;
        let origin = Origin::of(address);
        self.silent.insert(origin, id);
        let slot = Slot {
            origin,
            progress: Progress::Silent,
            spoke_at: None,
            handle,
        };
        self.slots.insert(id, slot);
        match evicted {
            None => Admission::Free(id),
            Some(handle) => Admission::Evicted(id, handle),
        }
    }

    /// Notes how far a handshake has come. Does nothing if it has lost its slot. A second command
    /// before the verdict is no further progress.
    pub(crate) fn progress(&mut self, id: SlotId, progress: Progress, now: Instant) {
        let Some(slot) = self.slots.get(&id) else {
            return;
        };
        let is_after_verdict = slot.progress == Progress::Paused;
        let has_spoken = slot.spoke_at.is_some() && !is_after_verdict;
        if progress != Progress::Spoke || !has_spoken {
            self.put(id, progress, now);
        }
    }

    /// Notes that a handshake pauses for a verdict. A handshake that has lost its slot may pause,
    /// because it is about to end. Returns the handle of the handshake that was displaced, if any.
    ///
    /// # Errors
    /// Returns [`TooManyPause`] if too many are paused and this handshake may displace none of
    /// them.
    pub(crate) fn pause(&mut self, id: SlotId, now: Instant) -> Result<Option<T>, TooManyPause> {
        let Some(slot) = self.slots.get(&id) else {
            return Ok(None);
        };
        let limit = self.capacity.saturating_sub(self.kept()).max(1);
        let displaced = if self.paused.len() < limit {
            None
        } else {
            let loser = self.paused.outnumbering(&slot.origin).ok_or(TooManyPause)?;
            self.remove(loser)
        };
        self.put(id, Progress::Paused, now);
        Ok(displaced)
    }

    /// Frees the slot. Returns its handle, unless it was lost or freed before.
    pub(crate) fn leave(&mut self, id: SlotId) -> Option<T> {
        self.remove(id)
    }

    /// Frees all slots and returns their handles.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let mut empty = Self::new(self.capacity);
        empty.next = self.next;
        let slots = std::mem::replace(self, empty).slots;
        slots.into_values().map(|slot| slot.handle).collect()
    }

    fn evict(&mut self, now: Instant) -> Option<T> {
        while let Some(&(since, id)) = self.since.first()
            && now.saturating_duration_since(since) >= PROGRESS_LASTS
        {
            self.put(id, Progress::Silent, now);
        }
        let loser = self.victim()?;
        self.remove(loser)
    }

    /// How many slots are kept, at least one.
    fn kept(&self) -> usize {
        (self.capacity / KEPT).max(1)
    }

    /// The handshake that loses its slot to the next new connection, if all slots are taken.
    fn victim(&self) -> Option<SlotId> {
        let (first, second) = if self.silent.len() >= self.kept() {
            (&self.silent, &self.spoke)
        } else {
            (&self.spoke, &self.silent)
        };
        let refused = self.refused.first().copied();
        refused.or_else(|| first.loser()).or_else(|| second.loser())
    }

    /// Moves a handshake to the others that have come as far.
    fn put(&mut self, id: SlotId, progress: Progress, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let (origin, before, spoke_at) = (slot.origin, slot.progress, slot.spoke_at);
        if before == progress {
            return;
        }
        slot.progress = progress;
        if progress == Progress::Spoke {
            slot.spoke_at = Some(now);
        }
        self.take_from(before, spoke_at, origin, id);
        match progress {
            Progress::Refused => {
                self.refused.insert(id);
            }
            Progress::Silent => self.silent.insert(origin, id),
            Progress::Spoke => {
                self.spoke.insert(origin, id);
                self.since.insert((now, id));
            }
            Progress::Paused => self.paused.insert(origin, id),
        }
    }

    fn remove(&mut self, id: SlotId) -> Option<T> {
        let slot = self.slots.remove(&id)?;
        self.take_from(slot.progress, slot.spoke_at, slot.origin, id);
        Some(slot.handle)
    }

    fn take_from(
        &mut self,
        progress: Progress,
        spoke_at: Option<Instant>,
        origin: Origin,
        id: SlotId,
    ) {
        match progress {
            Progress::Refused => {
                self.refused.remove(&id);
            }
            Progress::Silent => self.silent.remove(origin, id),
            Progress::Paused => self.paused.remove(origin, id),
            Progress::Spoke => {
                self.spoke.remove(origin, id);
                if let Some(since) = spoke_at {
                    self.since.remove(&(since, id));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::net::IpAddr;
    use std::sync::LazyLock;

    fn address(text: &str) -> PeerAddress {
        PeerAddress::from_zap(text.as_bytes())
    }

    /// A full table of these peers; each one's handle is its index.
    fn full(peers: &[&str]) -> (EvictionTable<usize>, Vec<SlotId>) {
        let mut table = EvictionTable::new(peers.len());
        let ids = peers
            .iter()
            .enumerate()
            .map(
                |(index, peer)| match table.admit(&address(peer), start(), index) {
                    Admission::Free(id) => id,
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        (table, ids)
    }

    fn loser(table: &mut EvictionTable<usize>, newcomer: &str) -> usize {
        loser_at(table, newcomer, start())
    }

    fn loser_at(table: &mut EvictionTable<usize>, newcomer: &str, now: Instant) -> usize {
        match table.admit(&address(newcomer), now, 1000) {
            Admission::Evicted(_, handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    /// Any instant, the same for the whole process.
    fn start() -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START
    }

    fn handles(table: &EvictionTable<usize>) -> Vec<usize> {
        let mut handles: Vec<_> = table.slots.values().map(|slot| slot.handle).collect();
        handles.sort_unstable();
        handles
    }

    /// The rules as a scan of all slots, which is what the table must agree with.
    #[derive(Default)]
    struct Scan(Vec<Scanned>);

    #[derive(Clone, Copy)]
    struct Scanned {
        id: SlotId,
        origin: Origin,
        progress: Progress,
        spoke_at: Option<Instant>,
    }

    impl Scan {
        fn of(&self, progress: Progress) -> Vec<Scanned> {
            let slots = self.0.iter();
            slots
                .filter(|one| one.progress == progress)
                .copied()
                .collect()
        }

        /// How much the address of a handshake counts among those that have come as far, with `more`.
        fn weight(among: &[Scanned], origin: Origin, more: usize) -> usize {
            let held = more + among.iter().filter(|one| one.origin == origin).count();
            match origin {
                Origin::Local if held * 2 > among.len() => usize::MAX,
                Origin::Local => 1,
                _ => held,
            }
        }

        /// The handshake that loses its slot to the next new connection, if all slots are taken.
        fn victim(&mut self, capacity: usize, now: Instant) -> Option<SlotId> {
            for one in &mut self.0 {
                let is_old = |since| now - since >= PROGRESS_LASTS;
                if one.progress == Progress::Spoke && one.spoke_at.is_some_and(is_old) {
                    one.progress = Progress::Silent;
                }
            }
            let few = self.of(Progress::Silent).len() < (capacity / KEPT).max(1);
            let (first, second) = if few {
                (Progress::Spoke, Progress::Silent)
            } else {
                (Progress::Silent, Progress::Spoke)
            };
            if let Some(refused) = self.of(Progress::Refused).first() {
                return Some(refused.id);
            }
            [first, second].into_iter().find_map(|progress| {
                let among = self.of(progress);
                // `max_by_key` takes the last of equals, so the walk begins at the young end.
                let young_first = among.iter().rev();
                let loser = young_first.max_by_key(|one| Self::weight(&among, one.origin, 0));
                loser.map(|one| one.id)
            })
        }

        /// Which pause ends for one more from this address, when no more may pause.
        fn displaced(&self, newcomer: Origin) -> Option<SlotId> {
            let paused = self.of(Progress::Paused);
            let candidates = paused
                .iter()
                .map(|one| (Self::weight(&paused, one.origin, 0), one.id));
            let (greatest, id) = candidates.max()?;
            (greatest > Self::weight(&paused, newcomer, 1)).then_some(id)
        }

        fn progress(&mut self, at: usize, progress: Progress, now: Instant) {
            let one = &mut self.0[at];
            let again = one.spoke_at.is_some() && one.progress != Progress::Paused;
            if progress == one.progress || (progress == Progress::Spoke && again) {
                return;
            }
            one.progress = progress;
            if progress == Progress::Spoke {
                one.spoke_at = Some(now);
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit(usize),
        Progress(usize, Progress),
        Pause(usize),
        Leave(usize),
        Resize(usize),
        Wait(Duration),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let progress = prop_oneof![
            1 => Just(Progress::Refused),
            1 => Just(Progress::Silent),
            4 => Just(Progress::Spoke),
            1 => Just(Progress::Paused),
        ];
        let step = prop_oneof![
            6 => (0..ORIGINS.len()).prop_map(Step::Admit),
            6 => (any::<usize>(), progress).prop_map(|(at, progress)| Step::Progress(at, progress)),
            6 => any::<usize>().prop_map(Step::Pause),
            2 => any::<usize>().prop_map(Step::Leave),
            1 => (1_usize..24).prop_map(Step::Resize),
            2 => (0..2 * PROGRESS_LASTS.as_secs()).prop_map(|s| Step::Wait(Duration::from_secs(s))),
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
            let (mut capacity, mut now) = (capacity, start());
            for step in steps {
                match step {
                    Step::Admit(origin) => {
                        let address = address(ORIGINS[origin]);
                        let is_full = scan.0.len() >= capacity;
                        prop_assert_eq!(table.is_full(), is_full);
                        let victim = is_full.then(|| scan.victim(capacity, now)).flatten();
                        let id = match table.admit(&address, now, table.next) {
                            Admission::Free(id) => {
                                prop_assert!(!is_full);
                                id
                            }
                            Admission::Evicted(id, loser) => {
                                prop_assert_eq!(victim, Some(SlotId(loser)));
                                scan.0.retain(|one| Some(one.id) != victim);
                                id
                            }
                            Admission::Full(_) => {
                                prop_assert!(is_full && victim.is_none());
                                continue;
                            }
                        };
                        let (origin, progress) = (Origin::of(&address), Progress::Silent);
                        let spoke_at = None;
                        scan.0.push(Scanned { id, origin, progress, spoke_at });
                    }
                    Step::Progress(at, progress) if !scan.0.is_empty() => {
                        let at = at % scan.0.len();
                        scan.progress(at, progress, now);
                        table.progress(scan.0[at].id, progress, now);
                    }
                    Step::Pause(at) if !scan.0.is_empty() => {
                        let at = at % scan.0.len();
                        let Scanned { id, origin, progress, .. } = scan.0[at];
                        if progress == Progress::Paused {
                            continue;
                        }
                        let paused = scan.of(Progress::Paused).len();
                        let is_free = paused < capacity.saturating_sub((capacity / 4).max(1)).max(1);
                        let displaced = scan.displaced(origin).filter(|_| !is_free);
                        let expected = match displaced {
                            None if !is_free => Err(TooManyPause),
                            _ => Ok(displaced.map(|SlotId(handle)| handle)),
                        };
                        prop_assert_eq!(table.pause(id, now), expected);
                        if is_free || displaced.is_some() {
                            scan.progress(at, Progress::Paused, now);
                        }
                        scan.0.retain(|one| Some(one.id) != displaced);
                    }
                    Step::Leave(at) if !scan.0.is_empty() => {
                        let one = scan.0.remove(at % scan.0.len());
                        table.leave(one.id);
                    }
                    Step::Resize(to) => {
                        capacity = to;
                        let shrinks = scan.0.len() > capacity;
                        let victim = shrinks.then(|| scan.victim(capacity, now)).flatten();
                        prop_assert_eq!(table.set_capacity(to, now).map(SlotId), victim);
                        scan.0.retain(|one| Some(one.id) != victim);
                    }
                    Step::Wait(time) => now += time,
                    _ => {}
                }
                prop_assert_eq!(table.slots.len(), scan.0.len());
            }
            for one in scan.0 {
                table.leave(one.id);
            }
            // Nothing is kept of peers that have left.
            prop_assert!(table.silent.is_empty() && table.spoke.is_empty());
            prop_assert!(table.paused.is_empty());
            prop_assert!(table.refused.is_empty() && table.since.is_empty());
        }
    }

    /// A scan for each newcomer would look at ten thousand million slots, which takes minutes.
    #[test]
    fn a_flood_of_newcomers_does_not_scan_the_table() {
        const FLOOD: u32 = 100_000;
        let mut table = EvictionTable::new(FLOOD as usize);
        for number in 0..2 * FLOOD {
            let ip = std::net::Ipv4Addr::from_bits(0x0A00_0000 + number % (FLOOD / 3));
            table.admit(&IpAddr::V4(ip).into(), start(), ());
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
    fn a_handshake_with_progress_outlives_all_without() {
        let (mut table, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        table.progress(ids[0], Progress::Spoke, start());
        // The address with most silent ones, and then the oldest of all.
        for (newcomer, expected) in [("6", 1), ("7", 2), ("8", 3), ("9", 1000)] {
            assert_eq!(loser(&mut table, &format!("192.0.2.{newcomer}")), expected);
        }
    }

    #[test]
    fn progress_spares_a_handshake_for_a_time_and_only_once() {
        let (mut table, ids) = full(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let almost = start() + PROGRESS_LASTS - Duration::from_millis(1);
        let over = start() + PROGRESS_LASTS;
        table.progress(ids[0], Progress::Spoke, start());
        assert_eq!(loser_at(&mut table, "192.0.2.9", almost), 1);
        // Another command does not begin the time again.
        table.progress(ids[0], Progress::Spoke, almost);
        assert_eq!(loser_at(&mut table, "192.0.2.8", over), 0);
        // A verdict does.
        let (mut table, ids) = full(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        table.progress(ids[0], Progress::Spoke, start());
        assert_eq!(table.pause(ids[0], over), Ok(None));
        table.progress(ids[0], Progress::Spoke, over);
        assert_eq!(loser_at(&mut table, "192.0.2.8", over), 1);
        assert_eq!(loser_at(&mut table, "192.0.2.8", over), 2);
    }

    /// All slots are held by peers that have sent a command, and newcomers still find a quarter where
    /// each has time to send its own.
    #[test]
    fn peers_that_send_a_command_and_then_nothing_leave_a_quarter_to_newcomers() {
        let peers: Vec<_> = (0..8).map(|last| format!("192.0.2.{last}")).collect();
        let peers: Vec<_> = peers.iter().map(String::as_str).collect();
        let (mut table, ids) = full(&peers);
        for id in ids {
            table.progress(id, Progress::Spoke, start());
        }
        let losers = [10, 11, 12, 13].map(|newcomer| {
            let newcomer_address = address(&format!("192.0.2.{newcomer}"));
            match table.admit(&newcomer_address, start(), newcomer) {
                Admission::Evicted(_, handle) => handle,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(losers, [0, 1, 10, 11]);
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
        table.progress(ids[0], Progress::Paused, start());
        table.progress(ids[1], Progress::Paused, start());
        assert_eq!(loser(&mut table, "192.0.2.9"), 2);
        let (mut table, ids) = full(&["192.0.2.2"]);
        table.progress(ids[0], Progress::Paused, start());
        assert_eq!(
            table.admit(&address("192.0.2.9"), start(), 7),
            Admission::Full(7)
        );
        table.progress(ids[0], Progress::Spoke, start());
        assert_eq!(loser(&mut table, "192.0.2.9"), 0);
    }

    #[test]
    fn verdicts_that_do_not_come_leave_a_slot_for_newcomers() {
        for (capacity, limit) in [(1, 1), (2, 1), (4, 3), (8, 6), (1024, 768)] {
            let (mut table, ids) = full(&vec!["192.0.2.2"; capacity]);
            let paused = ids
                .iter()
                .filter(|id| table.pause(**id, start()).is_ok())
                .count();
            assert_eq!(paused, limit);
            let admission = table.admit(&address("192.0.2.9"), start(), 7);
            assert_eq!(matches!(admission, Admission::Full(_)), capacity == 1);
            // A peer that has its answer lets another wait for one.
            table.progress(ids[0], Progress::Spoke, start());
            assert_eq!(table.pause(ids[0], start()), Ok(None));
            table.leave(ids[0]);
        }
    }

    #[test]
    fn one_address_that_waits_for_verdicts_keeps_no_other_from_asking() {
        let flood = ["192.0.2.1"; 192];
        let (mut table, ids) = full(&[&flood[..], &["192.0.2.2"; 64]].concat());
        for id in &ids[..192] {
            assert_eq!(table.pause(*id, start()), Ok(None));
        }
        // The newest of the flood goes.
        for (index, id) in ids[192..].iter().enumerate() {
            assert_eq!(table.pause(*id, start()), Ok(Some(191 - index)));
        }
        for (peer, expected) in [
            ("192.0.2.1", Err(TooManyPause)),
            ("192.0.2.3", Ok(Some(127))),
        ] {
            let Admission::Free(id) = table.admit(&address(peer), start(), 1000) else {
                panic!("no slot");
            };
            assert_eq!(table.pause(id, start()), expected);
        }
    }

    #[test]
    fn no_address_loses_its_only_pause_and_none_takes_turns_with_another() {
        let peers = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"];
        let (mut table, ids) = full(&peers);
        for id in &ids[..3] {
            assert_eq!(table.pause(*id, start()), Ok(None));
        }
        assert_eq!(table.pause(ids[3], start()), Err(TooManyPause));
        let mut newcomer = |peer| match table.admit(&address(peer), start(), 1000) {
            Admission::Free(id) | Admission::Evicted(id, _) => table.pause(id, start()),
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
            assert_eq!(table.pause(ids[id], start()), Ok(None));
        }
        // Three of six: one more would be most of them.
        assert_eq!(table.pause(ids[3], start()), Err(TooManyPause));
        assert_eq!(table.pause(ids[7], start()), Err(TooManyPause));
        table.leave(ids[0]);
        assert_eq!(table.pause(ids[7], start()), Ok(None));
        assert_eq!(table.pause(ids[3], start()), Ok(Some(7)));
        // Where local peers are most of them, they make room.
        table.leave(ids[4]);
        table.progress(ids[5], Progress::Spoke, start());
        let more = ["127.0.0.1", "127.0.0.1"].map(|peer| {
            let Admission::Free(id) = table.admit(&address(peer), start(), 1000) else {
                panic!("no slot");
            };
            id
        });
        assert_eq!(
            more.map(|id| table.pause(id, start())),
            [Ok(None), Ok(None)]
        );
        assert_eq!(table.pause(ids[5], start()), Ok(Some(1000)));
    }

    #[test]
    fn a_table_that_has_become_smaller_shrinks_with_each_newcomer() {
        let (mut table, _) = full(&["192.0.2.2"; 4]);
        for (shrinking, newcomer, held) in [(Some(0), 1, 3), (Some(2), 3, 2), (None, 1000, 2)] {
            assert_eq!(table.set_capacity(2, start()), shrinking);
            assert_eq!(loser(&mut table, "192.0.2.9"), newcomer);
            assert_eq!(handles(&table).len(), held);
        }
    }

    #[test]
    fn a_peer_that_was_refused_already_goes_before_all() {
        let (mut table, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        table.progress(ids[2], Progress::Refused, start());
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
            "127.0.0.1",
        ]);
        table.progress(ids[2], Progress::Spoke, start());
        assert_eq!(loser(&mut table, "127.0.0.1"), 3);
        assert_eq!(loser(&mut table, "127.0.0.1"), 4);
    }

    #[test]
    fn an_honest_newcomer_outlives_a_flood_that_is_slower_than_its_handshake() {
        let (mut table, _) = full(&["127.0.0.1"; 8]);
        let Admission::Evicted(honest, _) = table.admit(&address("127.0.0.1"), start(), 1000)
        else {
            panic!("no slot");
        };
        for _ in 0..7 {
            assert_ne!(loser(&mut table, "127.0.0.1"), 1000);
        }
        table.progress(honest, Progress::Spoke, start());
        for _ in 0..1000 {
            table.admit(&address("127.0.0.1"), start(), 5);
        }
        assert!(handles(&table).contains(&1000));
    }

    #[test]
    fn slots_are_given_back() {
        let (mut table, ids) = full(&["192.0.2.1", "192.0.2.1"]);
        table.leave(ids[1]);
        assert!(matches!(
            table.admit(&address("192.0.2.9"), start(), 3),
            Admission::Free(_)
        ));
        table.leave(ids[1]);
        table.progress(ids[1], Progress::Refused, start());
        assert_eq!(handles(&table), [0, 3]);
    }
}

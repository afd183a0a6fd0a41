//! The places of handshakes in progress, and who loses his when all are taken. Pure data.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Handshakes in progress, each with a handle of type `T` by which it can be ended.
///
/// When all places are taken, one of them is cleared for the newcomer; refusing the newcomer
/// instead would let idle connections lock everybody out. Who goes:
///
/// 1. a handshake that was refused already and only waits for its peer to read the ERROR;
/// 2. else, of the address that holds most places, the oldest that has not sent a valid command
///    yet, and failing that the oldest. An IPv6 address stands for its /64, which is what one
///    subscriber gets; a v4-mapped one for its IPv4 address. Peers on this machine (loopback,
///    ipc) all share one address, though many users may sit behind it, a proxy's for example:
///    each of them counts as an address of its own;
/// 3. but if local peers hold more than half of all places, then one of them, oldest silent one
///    first: otherwise rule 2 would let them, each alone, displace every remote address that
///    holds two;
/// 4. never one that is paused for a verdict: the answer is ours to give, and to clear it would
///    let a flood cancel the questions of honest peers.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    /// Places by age: a smaller number came earlier.
    places: BTreeMap<PlaceId, Place<T>>,
    capacity: usize,
    next: u64,
}

/// One handshake's place. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(u64);

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No valid command yet.
    Silent,
    /// At least one valid command.
    Spoke,
    /// Waits for our own handler's verdict.
    Paused,
    /// Refused; its peer may still read why.
    Refused,
}

#[derive(Debug)]
struct Place<T> {
    origin: Origin,
    progress: Progress,
    handle: T,
}

/// What counts as one address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    /// Loopback or ipc.
    Local,
    V4([u8; 4]),
    V6Block([u8; 8]),
    Other,
}

impl Origin {
    fn of(address: &PeerAddress) -> Self {
        if address.is_local() {
            return Self::Local;
        }
        match address.canonical_ip() {
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6Block([a, b, c, d, e, f, g, h])
            }
            None => Self::Other,
        }
    }
}

/// What came of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission<T> {
    /// There was a place.
    Free(PlaceId),
    /// There is one now; the handle is that of the handshake that lost it.
    Cleared(PlaceId, T),
    /// Every place is paused for a verdict; the newcomer's handle comes back.
    Full(T),
}

impl<T> Pending<T> {
    /// `capacity` places, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            places: BTreeMap::new(),
            capacity: capacity.max(1),
            next: 0,
        }
    }

    /// Gives a newcomer a place, and clears one for it if need be.
    pub(crate) fn admit(&mut self, address: &PeerAddress, handle: T) -> Admission<T> {
        let cleared = if self.places.len() < self.capacity {
            None
        } else {
            let Some(victim) = self.victim().and_then(|id| self.places.remove(&id)) else {
                return Admission::Full(handle);
            };
            Some(victim.handle)
        };
        let id = PlaceId(self.next);
        self.next += 1;
        self.places.insert(
            id,
            Place {
                origin: Origin::of(address),
                progress: Progress::Silent,
                handle,
            },
        );
        match cleared {
            None => Admission::Free(id),
            Some(handle) => Admission::Cleared(id, handle),
        }
    }

    /// Notes how far a handshake is. Nothing happens if it has lost its place.
    pub(crate) fn progress(&mut self, id: PlaceId, progress: Progress) {
        if let Some(place) = self.places.get_mut(&id) {
            place.progress = progress;
        }
    }

    /// Gives the place back.
    pub(crate) fn leave(&mut self, id: PlaceId) {
        self.places.remove(&id);
    }

    /// Takes back all places.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    fn victim(&self) -> Option<PlaceId> {
        let mut held: HashMap<&Origin, usize> = HashMap::new();
        for place in self.places.values() {
            *held.entry(&place.origin).or_default() += 1;
        }
        let local = held.get(&Origin::Local).copied().unwrap_or(0);
        let mostly_local = local * 2 > self.places.len();
        let weight = |origin: &Origin| match (origin, mostly_local) {
            (Origin::Local, false) => 1,
            (Origin::Local, true) => usize::MAX,
            (remote, _) => held.get(remote).copied().unwrap_or(0),
        };
        // The greatest goes. `max_by_key` takes the last of equals and the map runs from old to
        // young, so it is walked from its young end.
        self.places
            .iter()
            .rev()
            .filter(|(_, place)| place.progress != Progress::Paused)
            .max_by_key(|(_, place)| {
                (
                    place.progress == Progress::Refused,
                    weight(&place.origin),
                    place.progress == Progress::Silent,
                )
            })
            .map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PeerAddress {
        PeerAddress::from_zap(text.as_bytes())
    }

    /// A full table of these peers; each one's handle is its index.
    fn full(peers: &[&str]) -> (Pending<usize>, Vec<PlaceId>) {
        let mut pending = Pending::new(peers.len());
        let ids = peers
            .iter()
            .enumerate()
            .map(|(index, peer)| match pending.admit(&address(peer), index) {
                Admission::Free(id) => id,
                other => panic!("{other:?}"),
            })
            .collect();
        (pending, ids)
    }

    fn loser(pending: &mut Pending<usize>, newcomer: &str) -> usize {
        match pending.admit(&address(newcomer), 1000) {
            Admission::Cleared(_, handle) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn handles(pending: &Pending<usize>) -> Vec<usize> {
        pending.places.values().map(|place| place.handle).collect()
    }

    #[test]
    fn the_address_with_most_places_makes_room() {
        let (mut pending, _) = full(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.2"]);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 1);
        // Now every address holds one place: the oldest goes.
        assert_eq!(loser(&mut pending, "192.0.2.8"), 0);
    }

    #[test]
    fn within_an_address_the_silent_go_first_and_then_the_oldest() {
        let (mut pending, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        pending.progress(ids[0], Progress::Spoke);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 1);
        assert_eq!(loser(&mut pending, "192.0.2.8"), 2);
        // One address each: the silent before the one that spoke, old as it is.
        assert_eq!(loser(&mut pending, "192.0.2.7"), 3);
    }

    #[test]
    fn an_ipv6_address_stands_for_its_64_and_a_mapped_one_for_its_v4() {
        let (mut pending, _) = full(&[
            "192.0.2.1",
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
            "2001:db8:0:1:ffff::2",
        ]);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 1);
        let (mut pending, _) = full(&["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2"]);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 1);
    }

    #[test]
    fn who_waits_for_our_verdict_keeps_his_place() {
        let (mut pending, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        pending.progress(ids[0], Progress::Paused);
        pending.progress(ids[1], Progress::Paused);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 2);
        let (mut pending, ids) = full(&["192.0.2.2"]);
        pending.progress(ids[0], Progress::Paused);
        assert_eq!(pending.admit(&address("192.0.2.9"), 7), Admission::Full(7));
        pending.progress(ids[0], Progress::Spoke);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 0);
    }

    #[test]
    fn who_was_refused_already_goes_before_all() {
        let (mut pending, ids) = full(&["192.0.2.2", "192.0.2.2", "192.0.2.1"]);
        pending.progress(ids[2], Progress::Refused);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 2);
    }

    #[test]
    fn a_proxy_on_loopback_is_not_one_address() {
        let (mut pending, _) = full(&[
            "192.0.2.1",
            "127.0.0.1",
            "127.0.0.1",
            "192.0.2.2",
            "192.0.2.2",
            "localhost:0:0:1",
        ]);
        assert_eq!(loser(&mut pending, "192.0.2.9"), 3);
        assert_eq!(loser(&mut pending, "192.0.2.8"), 0);
        assert_eq!(loser(&mut pending, "192.0.2.7"), 1);
    }

    #[test]
    fn local_peers_cannot_take_all_places_from_remote_ones() {
        let (mut pending, ids) = full(&[
            "192.0.2.2",
            "192.0.2.2",
            "127.0.0.1",
            "::1",
            "localhost:0:0:",
        ]);
        pending.progress(ids[2], Progress::Spoke);
        assert_eq!(loser(&mut pending, "127.0.0.1"), 3);
        assert_eq!(loser(&mut pending, "127.0.0.1"), 4);
    }

    #[test]
    fn an_honest_newcomer_outlives_a_flood_that_is_slower_than_its_handshake() {
        let (mut pending, _) = full(&["127.0.0.1"; 8]);
        let Admission::Cleared(honest, _) = pending.admit(&address("127.0.0.1"), 1000) else {
            panic!("no place");
        };
        for _ in 0..7 {
            assert_ne!(loser(&mut pending, "127.0.0.1"), 1000);
        }
        pending.progress(honest, Progress::Spoke);
        for _ in 0..1000 {
            pending.admit(&address("127.0.0.1"), 5);
        }
        assert!(handles(&pending).contains(&1000));
    }

    #[test]
    fn places_are_given_back() {
        let (mut pending, ids) = full(&["192.0.2.1", "192.0.2.1"]);
        pending.leave(ids[1]);
        assert!(matches!(
            pending.admit(&address("192.0.2.9"), 3),
            Admission::Free(_)
        ));
        pending.leave(ids[1]);
        pending.progress(ids[1], Progress::Refused);
        assert_eq!(handles(&pending), [0, 3]);
    }
}

//! Handshakes that have come equally far, and which of them makes room first. Pure data.
#![forbid(unsafe_code)]

use crate::access::origin::Origin;
use std::collections::{BTreeMap, BTreeSet};

/// Identifies one handshake's slot. Numbers are never reused, and a smaller number came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) u64);

/// Which handshake of an address makes room first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum First {
    Oldest,
    Newest,
}

/// Handshakes by address. The address with most of them makes room first.
///
/// Local peers are in `groups` but not in `order`, because their weight depends on the number of all
/// handshakes and would change with every connection. So [`loser`](Self::loser) compares the last entry
/// of `order` with the local group at each call.
#[derive(Debug)]
pub(crate) struct Crowd {
    first: First,
    groups: BTreeMap<Origin, BTreeSet<SlotId>>,
    /// For each remote address, the number of its handshakes and the one that makes room first, which
    /// is ranked so that the last entry of all makes room first.
    order: BTreeMap<(usize, u64), SlotId>,
    len: usize,
}

impl Crowd {
    pub(crate) const fn new(first: First) -> Self {
        Self {
            first,
            groups: BTreeMap::new(),
            order: BTreeMap::new(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, origin: Origin, id: SlotId) {
        self.len += 1;
        self.change(origin, |group| group.insert(id));
    }

    pub(crate) fn remove(&mut self, origin: Origin, id: SlotId) {
        self.len -= 1;
        self.change(origin, |group| group.remove(&id));
    }

    /// The handshake that makes room first: the address with most handshakes loses one. Each local
    /// peer counts as an address of its own, unless local peers are more than half of all.
    pub(crate) fn loser(&self) -> Option<SlotId> {
        Some(self.heaviest()?.1)
    }

    /// The handshake that makes room for one more of this address: the address with most handshakes
    /// loses one, if it has more than the other would have then.
    pub(crate) fn outnumbering(&self, newcomer: &Origin) -> Option<SlotId> {
        let with_newcomer = 1 + self.groups.get(newcomer).map_or(0, BTreeSet::len);
        let weight = match newcomer {
            Origin::Local => self.local_weight(with_newcomer),
            _ => with_newcomer,
        };
        let ((greatest, _), id) = self.heaviest()?;
        (greatest > weight).then_some(id)
    }

    fn heaviest(&self) -> Option<((usize, u64), SlotId)> {
        let remote = self.order.last_key_value().map(|(rank, id)| (*rank, *id));
        let local = self.groups.get(&Origin::Local).and_then(|group| {
            let ((held, rank), id) = self.rank(group)?;
            Some(((self.local_weight(held), rank), id))
        });
        remote.max(local)
    }

    const fn local_weight(&self, held: usize) -> usize {
        if held * 2 > self.len { usize::MAX } else { 1 }
    }

    /// The number of handshakes in this group, the rank of the one that makes room first, and which
    /// that is.
    fn rank(&self, group: &BTreeSet<SlotId>) -> Option<((usize, u64), SlotId)> {
        let (id, rank) = match self.first {
            First::Oldest => group.first().map(|id| (*id, u64::MAX - id.0))?,
            First::Newest => group.last().map(|id| (*id, id.0))?,
        };
        Some(((group.len(), rank), id))
    }

    /// Changes the handshakes of one address, and updates `order` to match.
    fn change(&mut self, origin: Origin, change: impl FnOnce(&mut BTreeSet<SlotId>) -> bool) {
        let mut group = self.groups.remove(&origin).unwrap_or_default();
        let before = self.rank(&group);
        change(&mut group);
        let after = self.rank(&group);
        if !group.is_empty() {
            self.groups.insert(origin, group);
        }
        if before == after || origin == Origin::Local {
            return;
        }
        if let Some((rank, _)) = before {
            self.order.remove(&rank);
        }
        self.order.extend(after);
    }

    /// Whether nothing is kept of handshakes that have left.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.order.is_empty() && self.len == 0
    }
}

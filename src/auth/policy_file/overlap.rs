//! Overlap of address rules.
#![forbid(unsafe_code)]

use crate::auth::policy::address::block::first_of_block;
use crate::auth::policy::address::rule::{AddressRule, Matches};
use crate::auth::policy::address::zone::same_zone;
use std::net::IpAddr;

impl AddressRule {
    /// Whether every peer that `other` matches is matched by this rule too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let holds = |(first, prefix): (IpAddr, u8), ip: IpAddr| {
            first.is_ipv4() == ip.is_ipv4() && first_of_block(ip, prefix) == first
        };
        match (self.0.block(), other.0.block(), &self.0, &other.0) {
            (Some(one), Some((first, prefix)), ..) => one.1 <= prefix && holds(one, first),
            (Some(one), _, _, Matches::ScopedIp(ip, _)) => {
                holds(one, IpAddr::V6(*ip).to_canonical())
            }
            (.., Matches::IpcUser(uid), Matches::Ipc(peer)) => *uid == peer.uid,
            (.., Matches::IpcGroup(gid), Matches::Ipc(peer)) => *gid == peer.gid,
            (.., Matches::IpcProcess(pid), Matches::Ipc(peer)) => Some(*pid) == peer.pid,
            (.., one, other) => one == other,
        }
    }

    /// Whether some peer may be matched by both rules.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        use Matches::{IpcGroup, IpcProcess, IpcUser, ScopedIp};
        self.covers(other)
            || other.covers(self)
            || match (&self.0, &other.0) {
                (ScopedIp(one, zone), ScopedIp(other, of_other)) => {
                    one == other && same_zone(zone, of_other) != Some(false)
                }
                // An ipc peer has a user, a group and a process, so it can match rules about two of
                // them.
                (IpcUser(_), IpcGroup(_) | IpcProcess(_))
                | (IpcGroup(_), IpcUser(_) | IpcProcess(_))
                | (IpcProcess(_), IpcUser(_) | IpcGroup(_)) => true,
                _ => false,
            }
    }

    /// Whether it is a rule about groups.
    pub(super) const fn is_about_a_group(&self) -> bool {
        matches!(self.0, Matches::IpcGroup(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> AddressRule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_cover_and_overlap_as_the_peers_that_they_match() {
        for (one, other, covers, overlaps) in [
            ("10.0.0.0/8", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.0.0.0/8", false, true),
            ("10.0.0.0/8", "11.0.0.0/8", false, false),
            ("10.0.0.0/8", "10.1.1.1", true, true),
            ("::/0", "10.1.1.1", false, false),
            ("0.0.0.0/0", "::1", false, false),
            ("2001:db8::/64", "2001:db8::1", true, true),
            ("fe80::/10", "fe80::1%eth0", true, true),
            ("fe80::1", "fe80::1%eth0", true, true),
            ("fe80::1%2", "fe80::1%3", false, false),
            ("fe80::1%2", "fe80::1%02", false, true),
            ("uid:1", "localhost:1:2:3", true, true),
            ("gid:2", "localhost:1:2:3", true, true),
            ("pid:3", "localhost:1:2:3", true, true),
            ("pid:3", "localhost:1:2:", false, false),
            ("uid:1", "gid:1", false, true),
            ("uid:1", "uid:2", false, false),
            ("uid:1", "10.0.0.1", false, false),
        ] {
            assert_eq!(rule(one).covers(&rule(other)), covers, "{one} {other}");
            for (one, other) in [(one, other), (other, one)] {
                let found = rule(one).overlaps(&rule(other));
                assert_eq!(found, overlaps, "{one} {other}");
            }
        }
    }
}

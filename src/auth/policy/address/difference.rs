//! The addresses that one set of rules matches and another may not.
#![forbid(unsafe_code)]

use crate::auth::policy::address::rule::{Blocks, RuleSet};
use crate::auth::policy::comparison::affected::Affected;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl RuleSet {
    /// The peers at addresses that a rule of this set matches which `other` does not have.
    pub(crate) fn beyond(&self, other: &Self) -> Vec<Affected> {
        let v4 = self.v4.beyond(&other.v4).map(|(first, prefix)| {
            let last = first | u32::MAX.checked_shr(prefix).unwrap_or(0);
            let [first, last] = [first, last].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
            Affected::Addresses(first, last)
        });
        let v6 = self.v6.beyond(&other.v6).map(|(first, prefix)| {
            let last = first | u128::MAX.checked_shr(prefix).unwrap_or(0);
            let [first, last] = [first, last].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
            Affected::Addresses(first, last)
        });
        let zones = self.zones.iter();
        let zones = zones.filter(|(ip, zones)| other.zones.get(*ip) != Some(zones));
        let zones = zones.map(|(ip, _)| {
            let ip = IpAddr::V6(*ip).to_canonical();
            Affected::Addresses(ip, ip)
        });
        let others = !self.others.is_subset(&other.others);
        let others = others.then_some(Affected::OtherAddresses);
        v4.chain(v6).chain(zones).chain(others).collect()
    }
}

impl<Bits: Copy + Eq + Hash> Blocks<Bits> {
    /// The blocks that `other` does not have: the first address and the length of the prefix.
    fn beyond(&self, other: &Self) -> impl Iterator<Item = (Bits, u32)> {
        self.0.iter().flat_map(|(prefix, firsts)| {
            let others = other.0.get(prefix);
            let is_new = move |first: &&Bits| others.is_none_or(|others| !others.contains(first));
            let firsts = firsts.iter().filter(is_new);
            firsts.map(|first| (*first, u32::from(*prefix)))
        })
    }
}

//! Address rules: which addresses are allowed or denied before any credentials are checked.
#![forbid(unsafe_code)]

use crate::access::address::{IpcPeer, PeerAddress};
use crate::auth::policy::address::block::{
    digits, first_of_block, first_v4, first_v6, parse_block, right_block, width,
};
use crate::auth::policy::address::zone::same_zone;
use crate::printable::printable;
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// A rule that matches one or more addresses of peers. It is created from text, an [`IpAddr`], or a
/// [`PeerAddress`]:
///
/// | text | matches |
/// |---|---|
/// | `192.0.2.1`, `2001:db8::1` | that address, on any port and in any zone |
/// | `fe80::1%eth0`, `fe80::1%2` | that address in that zone; the name of an interface of this machine and its number are the same zone |
/// | `192.0.2.0/24`, `2001:db8::/32` | the addresses of that block, in any zone |
/// | `uid:1000`, `gid:100`, `pid:4711` | ipc peers with that user, group or process id |
/// | `localhost:1000:100:4711` | the ipc peer that libzmq shows in this form |
///
/// A v4-mapped address such as `::ffff:192.0.2.1` is the same as the IPv4 address, in rules and in
/// peers. A block of IPv6 addresses with a prefix shorter than `/96` therefore contains no IPv4
/// address. Any other text is an error, because a mistyped rule on a deny list would deny no peer.
/// [`AddressRule::exactly`] takes every address that a ZAP request can hold.
///
/// `gid` matches only the effective group of the peer's process, which is all that the kernel
/// gives. A process can choose it among the groups of its user. On an allow list `gid:100` therefore
/// misses members of group 100 that run under another of their groups, and on a deny list such
/// members evade it. `uid` has no such gap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AddressRule(pub(crate) Matches);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Matches {
    Ip(IpAddr),
    ScopedIp(Ipv6Addr, Box<str>),
    Block(IpAddr, u8),
    IpcUser(u32),
    IpcGroup(u32),
    IpcProcess(u32),
    Ipc(IpcPeer),
    InProcess,
    Bytes(Bytes),
}

impl Matches {
    /// The rule as a block of one or more addresses: the first address, and the length of the
    /// prefix in bits. `None` if it is not a block.
    pub(crate) const fn block(&self) -> Option<(IpAddr, u8)> {
        match self {
            Self::Ip(ip) => Some((*ip, width(*ip))),
            Self::Block(first, prefix) => Some((*first, *prefix)),
            _ => None,
        }
    }
}

/// Why an address rule, or a list of rules, is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum AddressRuleError {
    /// `allow` was called after `deny`, or the reverse. The first list remains.
    #[error("use either allow or deny, not both")]
    BothLists,
    /// The text has none of the forms of an address rule.
    #[error(
        "{0:?} is not an address: write an IP address without a port, 10.0.0.0/8 or uid:N, and no host name"
    )]
    Address(String),
    /// The text has a slash, and is not a block in CIDR notation.
    #[error("{0:?} is not a block of addresses such as 10.0.0.0/8 or 2001:db8::/32")]
    Block(String),
    /// The address of a block has bits set behind the prefix, so either the address or the prefix
    /// is wrong.
    #[error("the address of block {0:?} has bits set behind the prefix: write {right}", right = right_block(.0))]
    HostBits(String),
}

impl From<Infallible> for AddressRuleError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl FromStr for AddressRule {
    type Err = AddressRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            return block(text).map(Self);
        }
        for (prefix, rule) in [
            ("uid:", Matches::IpcUser as fn(u32) -> Matches),
            ("gid:", Matches::IpcGroup),
            ("pid:", Matches::IpcProcess),
        ] {
            if let Some(id) = text.strip_prefix(prefix) {
                return match digits(id) {
                    Some(id) => Ok(Self(rule(id))),
                    None => Err(AddressRuleError::Address(text.to_owned())),
                };
            }
        }
        match PeerAddress::from_zap(text.as_bytes()) {
            PeerAddress::Other(_) => Err(AddressRuleError::Address(text.to_owned())),
            // An IPv4 address has no zone, so the rule would match no peer.
            PeerAddress::ScopedIp(ip, _) if ip.to_ipv4_mapped().is_some() => {
                Err(AddressRuleError::Address(text.to_owned()))
            }
            address => Ok(Self::exactly(address)),
        }
    }
}

fn block(text: &str) -> Result<Matches, AddressRuleError> {
    let bad = || AddressRuleError::Block(text.to_owned());
    let (first, prefix) = parse_block(text).ok_or_else(bad)?;
    if first != first_of_block(first, prefix) {
        return Err(AddressRuleError::HostBits(text.to_owned()));
    }
    if prefix == width(first) {
        return Ok(Matches::Ip(first));
    }
    Ok(Matches::Block(first, prefix))
}

impl TryFrom<&str> for AddressRule {
    type Error = AddressRuleError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for AddressRule {
    type Error = AddressRuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&String> for AddressRule {
    type Error = AddressRuleError;

    fn try_from(text: &String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IpAddr> for AddressRule {
    fn from(ip: IpAddr) -> Self {
        Self::exactly(ip.into())
    }
}

/// With feature `serde` a rule is the text that parses as the same rule. A rule of
/// [`AddressRule::exactly`] that has no such text is an error.
#[cfg(feature = "serde")]
impl serde::Serialize for AddressRule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        if text.parse().as_ref() == Ok(self) {
            serializer.serialize_str(&text)
        } else {
            let problem = "a rule for an address of no known form cannot be written as text";
            Err(serde::ser::Error::custom(problem))
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for AddressRule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl AddressRule {
    /// A rule that matches only this address: a scoped address only in its zone, and
    /// [`PeerAddress::Other`] only with the same bytes.
    #[must_use]
    pub fn exactly(address: PeerAddress) -> Self {
        Self(match address {
            PeerAddress::Ip(ip) => Matches::Ip(ip.to_canonical()),
            PeerAddress::ScopedIp(ip, zone) => Matches::ScopedIp(ip, zone),
            PeerAddress::Ipc(peer) => Matches::Ipc(peer),
            PeerAddress::InProcess => Matches::InProcess,
            PeerAddress::Other(bytes) => Matches::Bytes(bytes),
        })
    }
}

impl From<PeerAddress> for AddressRule {
    fn from(address: PeerAddress) -> Self {
        Self::exactly(address)
    }
}

impl fmt::Display for AddressRule {
    /// The text that parses as the same rule. A rule by [`AddressRule::exactly`] may have no such
    /// text; then its bytes are shown, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Matches::Ip(ip) => ip.fmt(f),
            Matches::ScopedIp(ip, zone) => write!(f, "{ip}%{zone}"),
            Matches::Block(first, prefix) => write!(f, "{first}/{prefix}"),
            Matches::IpcUser(uid) => write!(f, "uid:{uid}"),
            Matches::IpcGroup(gid) => write!(f, "gid:{gid}"),
            Matches::IpcProcess(pid) => write!(f, "pid:{pid}"),
            Matches::Ipc(peer) => PeerAddress::Ipc(*peer).fmt(f),
            Matches::InProcess => PeerAddress::InProcess.fmt(f),
            Matches::Bytes(bytes) => f.write_str(&printable(bytes)),
        }
    }
}

/// A set of rules, organised for lookups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleSet {
    pub(super) v4: Blocks<u32>,
    pub(super) v6: Blocks<u128>,
    /// The zones of addresses that have rules for single zones.
    pub(super) zones: HashMap<Ipv6Addr, HashSet<Box<str>>>,
    pub(super) others: HashSet<Matches>,
}

/// How certainly a rule must match a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// The rule is known to match. For allow lists.
    Certain,
    /// The rule may match: a zone that is not known may be any zone. For deny lists.
    Possible,
}

/// Blocks of one address family, by the length of their prefix and their first address as a number.
/// Single addresses are blocks of full length. A lookup needs one step for each length that occurs, however
/// many blocks there are. Operators and applications choose them, not peers, and each set has a random seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocks<Bits: Eq + Hash>(pub(super) BTreeMap<u8, HashSet<Bits, RandomState>>);

impl<Bits: Eq + Hash> Default for Blocks<Bits> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<Bits: Copy + Eq + Hash> Blocks<Bits> {
    fn insert(&mut self, first: Bits, prefix: u8) {
        self.0.entry(prefix).or_default().insert(first);
    }

    /// Removes a block. True if it was there.
    fn remove(&mut self, first: Bits, prefix: u8) -> bool {
        let Some(firsts) = self.0.get_mut(&prefix) else {
            return false;
        };
        let was_there = firsts.remove(&first);
        if firsts.is_empty() {
            self.0.remove(&prefix);
        }
        was_there
    }

    /// The longest prefix for which there is a block with the first address `first_of(prefix)`.
    fn find(&self, first_of: impl Fn(u8) -> Bits) -> Option<u8> {
        let mut longest_first = self.0.iter().rev();
        let found = longest_first.find(|(prefix, firsts)| firsts.contains(&first_of(**prefix)));
        found.map(|(prefix, _)| *prefix)
    }
}

impl From<Vec<AddressRule>> for RuleSet {
    fn from(rules: Vec<AddressRule>) -> Self {
        let mut set = Self::default();
        set.extend(rules);
        set
    }
}

impl RuleSet {
    /// Adds rules.
    pub(crate) fn extend(&mut self, rules: Vec<AddressRule>) {
        for AddressRule(rule) in rules {
            match rule.block() {
                Some((IpAddr::V4(first), prefix)) => self.v4.insert(first.to_bits(), prefix),
                Some((IpAddr::V6(first), prefix)) => self.v6.insert(first.to_bits(), prefix),
                None => match rule {
                    Matches::ScopedIp(ip, zone) => {
                        self.zones.entry(ip).or_default().insert(zone);
                    }
                    rule => drop(self.others.insert(rule)),
                },
            }
        }
    }

    /// Removes rules, and returns how many of them were there.
    pub(crate) fn remove(&mut self, rules: Vec<AddressRule>) -> usize {
        rules
            .into_iter()
            .filter(|AddressRule(rule)| match rule.block() {
                Some((IpAddr::V4(first), prefix)) => self.v4.remove(first.to_bits(), prefix),
                Some((IpAddr::V6(first), prefix)) => self.v6.remove(first.to_bits(), prefix),
                None => match rule {
                    Matches::ScopedIp(ip, zone) => self.remove_zone(*ip, zone),
                    rule => self.others.remove(rule),
                },
            })
            .count()
    }

    /// Removes the rule for one zone. True if it was there.
    fn remove_zone(&mut self, ip: Ipv6Addr, zone: &str) -> bool {
        let Some(zones) = self.zones.get_mut(&ip) else {
            return false;
        };
        let was_there = zones.remove(zone);
        if zones.is_empty() {
            self.zones.remove(&ip);
        }
        was_there
    }

    /// A rule for this address in one zone. `zone` is `None` if the peer's zone is not known.
    fn find_zone(&self, ip: Ipv6Addr, zone: Option<&str>, how: Match) -> Option<Matches> {
        let found = self.zones.get(&ip)?.iter().find(|rule| {
            match zone.and_then(|zone| same_zone(rule, zone)) {
                Some(same) => same,
                None => how == Match::Possible,
            }
        })?;
        Some(Matches::ScopedIp(ip, found.clone()))
    }

    /// The length of the prefix of the smallest block that contains the address.
    fn prefix_of(&self, ip: IpAddr) -> Option<u8> {
        match ip {
            IpAddr::V4(ip) => self.v4.find(|prefix| first_v4(ip, prefix).to_bits()),
            IpAddr::V6(ip) => self.v6.find(|prefix| first_v6(ip, prefix).to_bits()),
        }
    }

    /// The smallest block that contains the address.
    fn find_block(&self, ip: IpAddr) -> Option<Matches> {
        Some(match self.prefix_of(ip)? {
            full if full == width(ip) => Matches::Ip(ip),
            prefix => Matches::Block(first_of_block(ip, prefix), prefix),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.0.is_empty()
            && self.v6.0.is_empty()
            && self.zones.is_empty()
            && self.others.is_empty()
    }

    /// Whether a rule is known to match the address. For most addresses no value is made of the rule.
    pub(crate) fn has(&self, address: &PeerAddress) -> bool {
        match address {
            PeerAddress::Ip(ip @ IpAddr::V4(_)) => self.prefix_of(*ip).is_some(),
            other => self.find(other, Match::Certain).is_some(),
        }
    }

    /// A rule that matches the address.
    pub(crate) fn find(&self, address: &PeerAddress, how: Match) -> Option<AddressRule> {
        let single = |rule: Matches| self.others.contains(&rule).then_some(rule);
        let by_form = || match address {
            PeerAddress::Ip(IpAddr::V4(_)) => None,
            PeerAddress::Ip(IpAddr::V6(ip)) => self.find_zone(*ip, None, how),
            PeerAddress::ScopedIp(ip, zone) => self.find_zone(*ip, Some(zone), how),
            PeerAddress::Ipc(peer) => single(Matches::IpcUser(peer.uid))
                .or_else(|| single(Matches::IpcGroup(peer.gid)))
                .or_else(|| single(Matches::IpcProcess(peer.pid?)))
                .or_else(|| single(Matches::Ipc(*peer))),
            PeerAddress::InProcess => single(Matches::InProcess),
            PeerAddress::Other(bytes) => single(Matches::Bytes(bytes.clone())),
        };
        let found = address
            .canonical_ip()
            .and_then(|ip| self.find_block(ip))
            .or_else(by_form);
        found.map(AddressRule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(rule: &str, address: &str) -> bool {
        let rules = RuleSet::from(vec![rule.parse().unwrap()]);
        let address = PeerAddress::from_zap(address.as_bytes());
        let found = rules.find(&address, Match::Certain).is_some();
        assert_eq!(rules.has(&address), found, "{rule} {address}");
        found
    }

    fn error(rule: &str) -> AddressRuleError {
        rule.parse::<AddressRule>().unwrap_err()
    }

    #[test]
    fn single_addresses_match_in_all_their_spellings() {
        assert!(matches("127.0.0.1", "127.0.0.1"));
        assert!(matches("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(matches("::ffff:7f00:1", "127.0.0.1"));
        assert!(matches("2001:DB8:0::1", "2001:db8::1"));
        assert!(!matches("127.0.0.1", "127.0.0.2"));
        assert!(!matches("::1", "127.0.0.1"));
    }

    #[test]
    fn a_zone_in_the_rule_must_match_and_a_zone_of_the_peer_alone_does_not_matter() {
        assert!(matches("fe80::1", "fe80::1%eth0"));
        assert!(matches("fe80::1%eth0", "fe80::1%eth0"));
        assert!(!matches("fe80::1%eth0", "fe80::1%eth1"));
        assert!(!matches("fe80::1%eth0", "fe80::1"));
        assert!(matches("fe80::/10", "fe80::1%eth0"));
    }

    #[test]
    fn a_zone_that_cannot_be_told_may_be_the_one_that_is_denied() {
        let mut rules = RuleSet::from(vec!["fe80::1%no-such0".parse().unwrap()]);
        for (address, certain, possible) in [
            ("fe80::1%no-such0", true, true),
            ("fe80::1%no-such1", false, true),
            ("fe80::1%7", false, true),
            ("fe80::1", false, true),
            ("fe80::2%7", false, false),
        ] {
            let address = PeerAddress::from_zap(address.as_bytes());
            for (how, expected) in [(Match::Certain, certain), (Match::Possible, possible)] {
                let found = rules.find(&address, how);
                assert_eq!(found.is_some(), expected, "{address} {how:?}");
            }
            assert_eq!(rules.has(&address), certain, "{address}");
        }
        assert!(!rules.is_empty());
        assert_eq!(rules.remove(vec!["fe80::1%no-such0".parse().unwrap()]), 1);
        assert!(rules.is_empty());
    }

    #[test]
    fn blocks_hold_their_addresses_and_no_others() {
        assert!(matches("10.0.0.0/8", "10.255.0.1"));
        assert!(matches("10.0.0.0/8", "::ffff:10.255.0.1"));
        assert!(!matches("10.0.0.0/8", "11.0.0.0"));
        assert!(matches("::ffff:10.0.0.0/104", "10.255.0.1"));
        assert!(matches("0.0.0.0/0", "255.255.255.255"));
        assert!(!matches("0.0.0.0/0", "::1"));
        assert!(matches("::/0", "::1"));
        assert!(!matches("::/0", "127.0.0.1"));
        assert!(!matches("::/0", "::ffff:127.0.0.1"));
        assert!(matches("192.0.2.1/32", "192.0.2.1"));
        assert!(matches("2001:db8::/33", "2001:db8:7fff::"));
        assert!(!matches("2001:db8::/33", "2001:db8:8000::"));
    }

    #[test]
    fn ipc_peers_match_by_user_group_process_or_all_three() {
        let peer = "localhost:1000:100:4711";
        for rule in ["uid:1000", "gid:100", "pid:4711", peer] {
            assert!(matches(rule, peer), "{rule}");
        }
        for rule in ["uid:100", "gid:1000", "pid:1", "localhost:1000:100:"] {
            assert!(!matches(rule, peer), "{rule}");
        }
        assert!(!matches("uid:1000", "uid:1000"));
        assert!(!matches("127.0.0.1", peer));
    }

    #[test]
    fn rules_show_as_the_text_that_makes_them() {
        for text in [
            "192.0.2.1",
            "2001:db8::1",
            "fe80::1%eth0",
            "10.0.0.0/8",
            "2001:db8::/32",
            "uid:1000",
            "gid:100",
            "pid:4711",
            "localhost:1000:100:4711",
            "localhost:1000:100:",
        ] {
            assert_eq!(text.parse::<AddressRule>().unwrap().to_string(), text);
        }
        let mapped: AddressRule = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(mapped.to_string(), "10.0.0.0/8");
        let bytes = AddressRule::exactly(PeerAddress::from_zap(b"a\nb"));
        assert_eq!(bytes.to_string(), "a\\nb");
    }

    #[test]
    fn the_rule_that_matched_is_found_and_can_be_removed_once() {
        let mut rules = RuleSet::from(vec![
            "10.0.0.0/8".parse().unwrap(),
            "gid:100".parse().unwrap(),
        ]);
        for (address, rule) in [("10.1.2.3", "10.0.0.0/8"), ("localhost:1:100:", "gid:100")] {
            let address = PeerAddress::from_zap(address.as_bytes());
            let found = rules.find(&address, Match::Certain).unwrap();
            assert_eq!(found.to_string(), rule);
            assert_eq!(rules.remove(vec![found.clone(), found]), 1);
            assert_eq!(rules.find(&address, Match::Possible), None);
        }
        assert!(rules.is_empty());
    }

    #[test]
    fn the_smallest_of_nested_blocks_is_named() {
        let texts = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "::/0", "fe80::/10"];
        let mut rules = RuleSet::from(texts.map(|text| text.parse().unwrap()).to_vec());
        for (address, expected) in [
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("10.1.0.0", Some("10.1.0.0/16")),
            ("10.1.1.1", Some("10.1.1.1")),
            ("fe80::1%eth0", Some("fe80::/10")),
            ("::1", Some("::/0")),
            ("11.0.0.0", None),
        ] {
            let address = PeerAddress::from_zap(address.as_bytes());
            let found = rules.find(&address, Match::Certain);
            assert_eq!(rules.has(&address), expected.is_some(), "{address}");
            assert_eq!(
                found.map(|rule| rule.to_string()).as_deref(),
                expected,
                "{address}"
            );
        }
        // Removing an address does not remove its block, nor the reverse.
        let remove = |text: &str| vec![text.parse().unwrap()];
        assert_eq!(rules.remove(remove("10.0.0.0")), 0);
        assert_eq!(rules.remove(remove("10.1.1.0/24")), 0);
        assert_eq!(rules.remove(remove("10.1.1.1/32")), 1);
    }

    #[test]
    fn every_address_of_a_request_can_be_a_rule() {
        let address = |bytes: &'static [u8]| PeerAddress::from_zap(bytes);
        let rules = RuleSet::from(vec![AddressRule::exactly(address(b"\xFF"))]);
        assert!(rules.find(&address(b"\xFF"), Match::Certain).is_some());
        assert!(rules.find(&address(b"\xFE"), Match::Certain).is_none());
    }

    #[test]
    fn mistyped_addresses_are_errors_and_not_rules_that_never_match() {
        for text in [
            "",
            "localhost",
            "10.0.0.256",
            "10.0.0",
            "127.0.0.1:5555",
            "[::1]",
            "::g%eth0",
            "fe80::1%",
            "::ffff:192.0.2.1%eth0",
            " 127.0.0.1",
            "uid:",
            "uid:-1",
            "gid:4294967296",
            "localhost:1:2",
        ] {
            assert!(
                matches!(error(text), AddressRuleError::Address(_)),
                "{text}"
            );
        }
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/+8",
            "a/b",
        ] {
            assert!(matches!(error(text), AddressRuleError::Block(_)), "{text}");
        }
        for text in [
            "10.0.0.1/8",
            "2001:db8::1/64",
            "::ffff:10.0.0.1/104",
            "::ffff:0:0/20",
        ] {
            assert!(
                matches!(error(text), AddressRuleError::HostBits(_)),
                "{text}"
            );
            let told = error(text).to_string();
            let (_, right) = told.rsplit_once("write ").unwrap();
            right.parse::<AddressRule>().unwrap();
        }
    }

    proptest! {
        #[test]
        fn a_block_holds_exactly_what_shares_its_prefix(first: u32, ip: u32, prefix in 0_u8..=32) {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            let first = std::net::Ipv4Addr::from_bits(first & mask);
            let address = std::net::Ipv4Addr::from_bits(ip);
            prop_assert_eq!(
                matches(&format!("{first}/{prefix}"), &address.to_string()),
                ip & mask == first.to_bits()
            );
        }

        #[test]
        fn arbitrary_rules_never_panic_and_read_back(text in "[0-9a-f.:/%]{0,24}|.{0,24}") {
            if let Ok(rule) = text.parse::<AddressRule>() {
                prop_assert_eq!(rule.to_string().parse::<AddressRule>(), Ok(rule));
            }
        }
    }
}

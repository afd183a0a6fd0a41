//! The places of admissions in their registry: by domain and mechanism, and there by credential and by
//! user; and by address. A change of the policy finds by them the admissions that it can affect.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::admission::AdmittedPeer;
use crate::auth::policy::comparison::affected::Affected;
use crate::auth::policy::curve::key_hash::hash_of;
use crate::auth::policy::decide::ANONYMOUS;
use crate::auth::sync::weak_registry::{Place, Places, Search};
use crate::crypto::keys::PublicKey;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The low bits of a realm, which are the mechanism. The others are the hash of the domain.
const MECHANISM: u64 = 0b11;

/// The realms of addresses, in front of all domains. Their facet is an IPv4 address, or the upper half of
/// an IPv6 address, since a network that one peer uses is seldom smaller.
const V4_ADDRESSES: u64 = 0;
const V6_ADDRESSES: u64 = 4;

/// The place of all peers without an IP address.
const OTHER_ADDRESSES: Place = Place { realm: 8, facet: 0 };

/// The first realm of a domain.
const FIRST_DOMAIN: u64 = 12;

fn place_of_address(address: &PeerAddress) -> Place {
    address.canonical_ip().map_or(OTHER_ADDRESSES, place_of_ip)
}

/// The place of peers with that canonical address.
fn place_of_ip(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(ip) => Place {
            realm: V4_ADDRESSES,
            facet: ip.to_bits().into(),
        },
        IpAddr::V6(ip) => Place {
            realm: V6_ADDRESSES,
            facet: (ip.to_bits() >> 64) as u64,
        },
    }
}

/// Finds places. Two domains, or two users, may share one: a search may find more admissions than are
/// meant, and never fewer.
#[derive(Default)]
pub(crate) struct PlaceFinder {
    hasher: RandomState,
}

/// The places to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceSearch {
    /// All places.
    All,
    /// All places of these realms.
    Realms(u64, u64),
    /// All places of a mechanism.
    Mechanism(MechanismKind),
    /// All places of one realm from the first facet to the last.
    Facets(u64, u64, u64),
    /// The places of that facet in all realms of a mechanism.
    Facet(MechanismKind, u64),
}

impl PlaceSearch {
    const fn place(Place { realm, facet }: Place) -> Self {
        Self::Facets(realm, facet, facet)
    }
}

impl Search for PlaceSearch {
    fn finds(&self, Place { realm, facet }: Place) -> bool {
        let is_of = |mechanism| realm >= FIRST_DOMAIN && realm & MECHANISM == bits_of(mechanism);
        match *self {
            Self::All => true,
            Self::Realms(first, last) => (first..=last).contains(&realm),
            Self::Mechanism(mechanism) => is_of(mechanism),
            Self::Facets(of, first, last) => of == realm && (first..=last).contains(&facet),
            Self::Facet(mechanism, of) => is_of(mechanism) && facet == of,
        }
    }

    fn facets(&self) -> Option<RangeInclusive<u64>> {
        match *self {
            Self::All | Self::Realms(..) | Self::Mechanism(_) => None,
            Self::Facets(_, first, last) => Some(first..=last),
            Self::Facet(_, facet) => Some(facet..=facet),
        }
    }
}

const fn bits_of(mechanism: MechanismKind) -> u64 {
    match mechanism {
        MechanismKind::Null => 0,
        MechanismKind::Plain => 1,
        MechanismKind::Curve => 2,
        MechanismKind::Gssapi => 3,
    }
}

impl PlaceFinder {
    /// The places of an admission. `is_named_by_key`: the user id is known to be the Z85 text of the key.
    pub(crate) fn of(&self, peer: &AdmittedPeer<'_>, is_named_by_key: bool) -> Places {
        let facet = self.facet_of(peer.credential);
        // Most users are named by their credential, and then one place serves both.
        let second = (!is_named_by_key).then(|| self.hash(peer.user_id));
        let realm = self.realm(peer.domain, peer.credential.mechanism());
        let first = Place { realm, facet };
        let other = place_of_address(peer.address);
        Places {
            first,
            second: second.filter(|user| *user != facet),
            other,
        }
    }

    /// Where to search for these admissions.
    pub(crate) fn searches(&self, affected: &Affected) -> [Option<PlaceSearch>; 2] {
        let one = |search| [Some(search), None];
        match affected {
            Affected::All => one(PlaceSearch::All),
            Affected::Domain(domain, mechanism) => one(self.domain(domain, *mechanism)),
            Affected::Credential(domain, credential) => {
                let facet = self.facet_of(credential);
                one(self.facet(domain, credential.mechanism(), facet))
            }
            Affected::Addresses(first, last) => {
                let (first, last) = (place_of_ip(*first), place_of_ip(*last));
                one(PlaceSearch::Facets(first.realm, first.facet, last.facet))
            }
            Affected::OtherAddresses => one(PlaceSearch::place(OTHER_ADDRESSES)),
            Affected::User(domain, mechanism, user_id) => {
                let user = self.facet(domain, *mechanism, self.hash(user_id));
                let text = std::str::from_utf8(user_id).ok();
                let key = text.and_then(|text| PublicKey::from_z85(text).ok());
                let key = key.filter(|_| *mechanism == MechanismKind::Curve);
                let key = key.map(|key| self.facet_of(&Credential::Key(key)));
                let key = key.map(|facet| self.facet(domain, *mechanism, facet));
                [Some(user), key]
            }
        }
    }

    fn domain(&self, domain: &Domain, mechanism: Option<MechanismKind>) -> PlaceSearch {
        match (mechanism, *domain == Domain::ALL) {
            (None, true) => PlaceSearch::All,
            (Some(mechanism), true) => PlaceSearch::Mechanism(mechanism),
            (Some(mechanism), false) => {
                let realm = self.realm(domain, mechanism);
                PlaceSearch::Realms(realm, realm)
            }
            (None, false) => {
                let realm = self.realm(domain, MechanismKind::Null);
                PlaceSearch::Realms(realm & !MECHANISM, realm | MECHANISM)
            }
        }
    }

    fn facet(&self, domain: &Domain, mechanism: MechanismKind, facet: u64) -> PlaceSearch {
        if *domain == Domain::ALL {
            return PlaceSearch::Facet(mechanism, facet);
        }
        let realm = self.realm(domain, mechanism);
        PlaceSearch::place(Place { realm, facet })
    }

    fn realm(&self, domain: &Domain, mechanism: MechanismKind) -> u64 {
        let domain = self.hash(domain.as_bytes()) & !MECHANISM;
        domain.max(FIRST_DOMAIN) | bits_of(mechanism)
    }

    fn facet_of(&self, credential: &Credential) -> u64 {
        match credential {
            Credential::Null => self.hash(ANONYMOUS),
            Credential::Key(key) => hash_of(key),
            Credential::UserName(name) | Credential::Principal(name) => self.hash(name),
        }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }
}

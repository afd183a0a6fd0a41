//! The places of admissions in their registry: by domain and mechanism, and there by credential and by
//! user; and by address. A change of the policy finds by them the admissions that it can affect.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::admission::AdmittedPeer;
use crate::auth::policy::comparison::affected::Affected;
use crate::auth::policy::decide::ANONYMOUS;
use crate::auth::sync::weak_registry::{Place, Places};
use crate::crypto::keys::PublicKey;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// The low bits of a realm, which are the mechanism. The others are the hash of the domain.
const MECHANISM: u64 = 0b11;

/// The realms of addresses, in front of all domains. Their facet is an IPv4 address, or the upper half of
/// an IPv6 address, since a network that one peer uses is seldom smaller.
const V4_ADDRESSES: u64 = 0;
const V6_ADDRESSES: u64 = 4;

/// The place of all peers without an IP address.
const OTHER_ADDRESSES: Place = Place::first(8);

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
pub(crate) enum Search {
    /// All places.
    All,
    /// All places from the first to the last.
    Range(Place, Place),
    /// All places of a mechanism.
    Mechanism(MechanismKind),
    /// The places of that facet in all realms of a mechanism.
    Facet(MechanismKind, u64),
}

impl Search {
    /// The ranges of places to search, each by its first and last place. `realms` returns the realms
    /// that have admissions.
    pub(crate) fn ranges(self, realms: impl FnOnce() -> Vec<u64>) -> Vec<(Place, Place)> {
        let of = |mechanism| {
            let realms = realms().into_iter();
            realms.filter(move |realm| realm & MECHANISM == bits_of(mechanism))
        };
        match self {
            Self::All => vec![(Place::first(FIRST_DOMAIN), Place::last(u64::MAX))],
            Self::Range(first, last) => vec![(first, last)],
            Self::Mechanism(mechanism) => of(mechanism)
                .map(|realm| (Place::first(realm), Place::last(realm)))
                .collect(),
            Self::Facet(mechanism, facet) => of(mechanism)
                .map(|realm| (Place { realm, facet }, Place { realm, facet }))
                .collect(),
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
    /// The places of an admission.
    pub(crate) fn of(&self, peer: &AdmittedPeer<'_>) -> Places {
        let facet = self.facet_of(peer.credential);
        // Most users are named by their credential, and then one place serves both.
        let is_named_by_key = |key: &PublicKey| peer.user_id[..] == key.z85_bytes();
        let second = match peer.credential {
            Credential::Key(key) if is_named_by_key(key) => None,
            _ => Some(self.hash(peer.user_id)).filter(|user| *user != facet),
        };
        let realm = self.realm(peer.domain, peer.credential.mechanism());
        let first = Place { realm, facet };
        let other = place_of_address(peer.address);
        Places {
            first,
            second,
            other,
        }
    }

    /// Where to search for these admissions.
    pub(crate) fn searches(&self, affected: &Affected) -> Vec<Search> {
        match affected {
            Affected::All => vec![Search::All],
            Affected::Domain(domain, mechanism) => vec![self.domain(domain, *mechanism)],
            Affected::Credential(domain, credential) => {
                let facet = self.facet_of(credential);
                vec![self.facet(domain, credential.mechanism(), facet)]
            }
            Affected::Addresses(first, last) => {
                vec![Search::Range(place_of_ip(*first), place_of_ip(*last))]
            }
            Affected::OtherAddresses => vec![Search::Range(OTHER_ADDRESSES, OTHER_ADDRESSES)],
            Affected::User(domain, mechanism, user_id) => {
                let user = self.facet(domain, *mechanism, self.hash(user_id));
                let text = std::str::from_utf8(user_id).ok();
                let key = text.and_then(|text| PublicKey::from_z85(text).ok());
                let key = key.filter(|_| *mechanism == MechanismKind::Curve);
                let key = key.map(|key| self.hash(key.as_bytes()));
                let key = key.map(|facet| self.facet(domain, *mechanism, facet));
                [Some(user), key].into_iter().flatten().collect()
            }
        }
    }

    fn domain(&self, domain: &Domain, mechanism: Option<MechanismKind>) -> Search {
        match (mechanism, *domain == Domain::ALL) {
            (None, true) => Search::All,
            (Some(mechanism), true) => Search::Mechanism(mechanism),
            (Some(mechanism), false) => {
                let realm = self.realm(domain, mechanism);
                Search::Range(Place::first(realm), Place::last(realm))
            }
            (None, false) => {
                let realm = self.realm(domain, MechanismKind::Null);
                Search::Range(
                    Place::first(realm & !MECHANISM),
                    Place::last(realm | MECHANISM),
                )
            }
        }
    }

    fn facet(&self, domain: &Domain, mechanism: MechanismKind, facet: u64) -> Search {
        if *domain == Domain::ALL {
            return Search::Facet(mechanism, facet);
        }
        let realm = self.realm(domain, mechanism);
        let place = Place { realm, facet };
        Search::Range(place, place)
    }

    fn realm(&self, domain: &Domain, mechanism: MechanismKind) -> u64 {
        let domain = self.hash(domain.as_bytes()) & !MECHANISM;
        domain.max(FIRST_DOMAIN) | bits_of(mechanism)
    }

    fn facet_of(&self, credential: &Credential) -> u64 {
        match credential {
            Credential::Null => self.hash(ANONYMOUS),
            Credential::Key(key) => self.hash(key.as_bytes()),
            Credential::UserName(name) | Credential::Principal(name) => self.hash(name),
        }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }
}

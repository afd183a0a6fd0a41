//! The places of admissions in their registry: by domain and mechanism, and there by credential and by
//! user. A change of the policy finds by them the admissions that it can affect.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::admission::AdmittedPeer;
use crate::auth::policy::comparison::affected::Affected;
use crate::auth::policy::decide::ANONYMOUS;
use crate::auth::sync::weak_registry::{Place, Places};
use crate::crypto::keys::PublicKey;
use std::hash::{BuildHasher, RandomState};

/// The low bits of a realm, which are the mechanism. The others are the hash of the domain.
const MECHANISM: u64 = 0b11;

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
            Self::All => vec![(Place::first(0), Place::last(u64::MAX))],
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
        Places { first, second }
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
        self.hash(domain.as_bytes()) & !MECHANISM | bits_of(mechanism)
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

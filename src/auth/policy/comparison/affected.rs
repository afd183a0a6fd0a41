//! Sets of admissions that a change of the policy can affect.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A set of admissions. The domain `*` stands for all domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affected {
    All,
    /// The admissions of a domain: by a mechanism, or by any.
    Domain(Domain, Option<MechanismKind>),
    /// The admissions of a credential in a domain.
    Credential(Domain, Credential),
    /// The admissions of a user of a domain.
    User(Domain, MechanismKind, Bytes),
    /// The admissions of peers whose canonical address is in this range, in all domains.
    Addresses(IpAddr, IpAddr),
    /// The admissions of peers without an IP address, in all domains.
    OtherAddresses,
}

/// The domains of two tables, each with its rule before and after.
pub(crate) fn changed<'a, R>(
    before: &'a BTreeMap<Domain, R>,
    after: &'a BTreeMap<Domain, R>,
) -> impl Iterator<Item = (&'a Domain, Option<&'a R>, Option<&'a R>)> {
    let kept = before.iter();
    let kept = kept.map(|(domain, rule)| (domain, Some(rule), after.get(domain)));
    let new = after.iter();
    let new = new.filter(|(domain, _)| !before.contains_key(*domain));
    kept.chain(new.map(|(domain, rule)| (domain, None, Some(rule))))
}

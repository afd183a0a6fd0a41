//! Rules by name: what of a policy decided over a peer.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::address::rule::AddressRule;
use std::fmt;

/// What decided. Domains are those of the rule: `*` where it stood in for the request's own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// RFC 27 itself: the request is not one, or has no credentials that its mechanism knows.
    Request,
    /// [`Authenticator::stop`](crate::auth::Authenticator::stop).
    Stopped,
    /// The allow list does not hold the address: that of a domain, or the one for all.
    AllowList(Option<Domain>),
    /// The deny list holds the address: that of a domain, or the one for all.
    DenyList(Option<Domain>, AddressRule),
    /// The address has no known form, so that no deny list can tell whether it holds it: that of
    /// a domain, or the one for all.
    UnreadableAddress(Option<Domain>),
    /// The mechanism is configured neither for the domain nor for `*`.
    Unclaimed(MechanismKind),
    /// No rule beyond the address lists: NULL and GSSAPI have none without a
    /// policy file.
    AddressAlone(MechanismKind),
    /// What a policy file says of NULL in a domain.
    Null(Domain),
    /// What a policy file says of GSSAPI in a domain.
    Principals(Domain),
    /// The names and passwords of a domain.
    Passwords(Domain),
    /// The keys and certificates of a domain.
    Keys(Domain),
    /// A domain that is open to every key.
    AnyKey(Domain),
    /// The provider of a domain for a mechanism.
    Provider(MechanismKind, Domain),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the form of a request"),
            Self::Stopped => f.write_str("the authenticator is stopped"),
            Self::AllowList(None) => f.write_str("the allow list"),
            Self::AllowList(Some(domain)) => write!(f, "the allow list of domain \"{domain}\""),
            Self::DenyList(None, rule) => write!(f, "{rule} on the deny list"),
            Self::DenyList(Some(domain), rule) => {
                write!(f, "{rule} on the deny list of domain \"{domain}\"")
            }
            Self::UnreadableAddress(None) => {
                f.write_str("an address of no known form, by the deny list")
            }
            Self::UnreadableAddress(Some(domain)) => {
                write!(
                    f,
                    "an address of no known form, by the deny list of domain \"{domain}\""
                )
            }
            Self::Unclaimed(mechanism) => write!(f, "{mechanism} is not configured"),
            Self::AddressAlone(mechanism) => write!(f, "the address lists alone rule {mechanism}"),
            Self::Null(domain) => write!(f, "NULL in domain \"{domain}\""),
            Self::Principals(domain) => write!(f, "the principals of domain \"{domain}\""),
            Self::Passwords(domain) => write!(f, "the passwords of domain \"{domain}\""),
            Self::Keys(domain) => write!(f, "the keys of domain \"{domain}\""),
            Self::AnyKey(domain) => write!(f, "domain \"{domain}\" is open to any key"),
            Self::Provider(mechanism, domain) => {
                write!(f, "the {mechanism} provider of domain \"{domain}\"")
            }
        }
    }
}

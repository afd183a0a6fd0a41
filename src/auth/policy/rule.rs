//! Rules by name: the part of a policy that decided about a peer.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::address::rule::AddressRule;
use std::fmt;

/// The part of a policy that decided. The domain is that of the rule, which is `*` if the request's
/// domain has no rule of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// RFC 27: the frames are not a request, or the credentials do not fit the mechanism.
    Request,
    /// [`Authenticator::stop`](crate::auth::Authenticator::stop) was called.
    Stopped,
    /// The address is not on the allow list of this domain; `None` for the list for all domains.
    AllowList(Option<Domain>),
    /// The address matches this rule on the deny list of this domain; `None` for the list for all
    /// domains.
    DenyList(Option<Domain>, AddressRule),
    /// The address has no known form, and there is a deny list, which refuses such addresses; `None`
    /// for the list for all domains.
    UnreadableAddress(Option<Domain>),
    /// The mechanism is configured neither for the domain of the request nor for `*`.
    #[non_exhaustive]
    Unclaimed {
        /// The mechanism.
        mechanism: MechanismKind,
        /// The domain of the request.
        domain: Domain,
        /// Domains in which it admits peers, in the order of their names: the first 8. A domain that is
        /// configured without a user or a key, such as by an empty directory, admits none.
        admitting: Vec<Domain>,
        /// Whether there are more, or may be: 1,024 configured domains are looked at, and no others.
        has_more: bool,
    },
    /// No rule beyond the address lists. NULL and GSSAPI have no other rules without a policy file.
    AddressAlone(MechanismKind),
    /// The NULL settings of a domain in a policy file.
    Null(Domain),
    /// The GSSAPI settings of a domain in a policy file.
    Principals(Domain),
    /// The users and passwords of a domain.
    Passwords(Domain),
    /// The keys and certificates of a domain.
    Keys(Domain),
    /// The addresses that a key of a domain may be used from.
    KeyAddresses(Domain),
    /// A domain that admits every key.
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
            Self::Unclaimed {
                mechanism,
                domain,
                admitting,
                has_more,
            } => {
                write!(f, "{mechanism} is not configured for domain \"{domain}\"")?;
                for (place, name) in admitting.iter().enumerate() {
                    let before = if place == 0 {
                        "but admits peers in "
                    } else {
                        ""
                    };
                    write!(f, ", {before}\"{name}\"")?;
                }
                f.write_str(match (admitting.is_empty(), has_more) {
                    (true, false) => ", and admits peers in no other",
                    (true, true) => ", but perhaps admits peers in others",
                    (false, false) => "",
                    (false, true) => " and perhaps in others",
                })
            }
            Self::AddressAlone(mechanism) => write!(f, "the address lists alone rule {mechanism}"),
            Self::Null(domain) => write!(f, "NULL in domain \"{domain}\""),
            Self::Principals(domain) => write!(f, "the principals of domain \"{domain}\""),
            Self::Passwords(domain) => write!(f, "the passwords of domain \"{domain}\""),
            Self::Keys(domain) => write!(f, "the keys of domain \"{domain}\""),
            Self::KeyAddresses(domain) => {
                write!(f, "the addresses of a key of domain \"{domain}\"")
            }
            Self::AnyKey(domain) => write!(f, "domain \"{domain}\" is open to any key"),
            Self::Provider(mechanism, domain) => {
                write!(f, "the {mechanism} provider of domain \"{domain}\"")
            }
        }
    }
}

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
        /// Domains for which it is, in the order of their names: the first 8.
        configured: Vec<Domain>,
        /// Whether there are more.
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

/// The most domains that [`Rule::Unclaimed`] names. 8 fit into a line of a log.
const MAX_NAMED: usize = 8;

impl Rule {
    /// The mechanism is configured for these domains, and neither for `domain` nor for `*`.
    pub(crate) fn unclaimed<'a>(
        mechanism: MechanismKind,
        domain: &Domain,
        mut configured: impl Iterator<Item = &'a Domain>,
    ) -> Self {
        Self::Unclaimed {
            mechanism,
            domain: domain.clone(),
            configured: configured.by_ref().take(MAX_NAMED).cloned().collect(),
            has_more: configured.next().is_some(),
        }
    }
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
                configured,
                ..
            } if configured.is_empty() => write!(
                f,
                "{mechanism} is configured for no domain, so not for \"{domain}\" either"
            ),
            Self::Unclaimed {
                mechanism,
                domain,
                configured,
                has_more,
            } => {
                write!(
                    f,
                    "{mechanism} is not configured for domain \"{domain}\", but for "
                )?;
                for (place, name) in configured.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}\"{name}\"")?;
                }
                f.write_str(if *has_more { " and more" } else { "" })
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

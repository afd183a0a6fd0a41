//! Address lists: one for all domains, and one for each domain that wants its own.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::domain::Domain;
use crate::auth::policy::address::rule::{AddressError, AddressRule, Match, RuleSet};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use std::collections::BTreeMap;

/// All lists of a policy. An address must pass the one for all, and that of its domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressLists {
    everywhere: List,
    /// A domain without a list of its own has that of `*`.
    domains: BTreeMap<Domain, List>,
}

/// A list that addresses are checked against.
#[derive(Debug, Clone, Default)]
pub(crate) enum List {
    /// No list: every address may authenticate.
    #[default]
    None,
    /// These alone may.
    Allow(RuleSet),
    /// All but these may.
    Deny(RuleSet),
}

/// Why a list is not set.
#[cfg(feature = "policy-file")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListError {
    /// Addresses to allow, and addresses to deny.
    BothLists,
    /// An allow list without addresses.
    NobodyAllowed,
}

impl AddressLists {
    /// Whether the peer may go on to authenticate.
    pub(crate) fn check(&self, domain: &Domain, address: &PeerAddress) -> Result<(), Refused> {
        self.everywhere.check(None, address)?;
        match self
            .domains
            .get_key_value(domain)
            .or_else(|| self.domains.get_key_value(&Domain::ALL))
        {
            Some((scope, list)) => list.check(Some(scope), address),
            None => Ok(()),
        }
    }

    /// Sets one list, which was none, from what a policy file allows and denies.
    #[cfg(feature = "policy-file")]
    pub(crate) fn set(
        &mut self,
        scope: Option<&Domain>,
        (allowed, denied): (Option<&[AddressRule]>, Option<&[AddressRule]>),
    ) -> Result<(), ListError> {
        match (allowed, denied) {
            (Some(_), Some(_)) => return Err(ListError::BothLists),
            (Some([]), None) => return Err(ListError::NobodyAllowed),
            (Some(rules), None) => self.change(scope, |list| {
                *list = List::Allow(RuleSet::from(rules.to_vec()));
            }),
            (None, Some(rules)) if !rules.is_empty() => self.change(scope, |list| {
                *list = List::Deny(RuleSet::from(rules.to_vec()));
            }),
            (None, _) => {}
        }
        Ok(())
    }

    /// Changes one list. A domain without a list has that of `*`.
    pub(crate) fn change<T>(
        &mut self,
        scope: Option<&Domain>,
        change: impl FnOnce(&mut List) -> T,
    ) -> T {
        let Some(domain) = scope else {
            return change(&mut self.everywhere);
        };
        let mut list = self.domains.remove(domain).unwrap_or_default();
        let outcome = change(&mut list);
        if !matches!(list, List::None) {
            self.domains.insert(domain.clone(), list);
        }
        outcome
    }
}

impl List {
    fn check(&self, scope: Option<&Domain>, address: &PeerAddress) -> Result<(), Refused> {
        match self {
            Self::None => Ok(()),
            Self::Allow(rules) => match rules.find(address, Match::Certain) {
                Some(_) => Ok(()),
                None => {
                    let rule = Rule::AllowList(scope.cloned());
                    Err(Refusal::AddressNotAllowed.by(rule))
                }
            },
            Self::Deny(rules) => match (rules.find(address, Match::Possible), address) {
                (Some(found), _) => {
                    let rule = Rule::DenyList(scope.cloned(), found);
                    Err(Refusal::AddressDenied.by(rule))
                }
                // It may be any address, written in a way that no rule finds.
                (None, PeerAddress::Other(_)) => {
                    let rule = Rule::UnreadableAddress(scope.cloned());
                    Err(Refusal::AddressDenied.by(rule))
                }
                (None, _) => Ok(()),
            },
        }
    }

    /// Adds to the allow list. Adding nothing where no list is makes none, as in `pyzmq`.
    pub(crate) fn allow(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressError> {
        match self {
            Self::Deny(_) => return Err(AddressError::BothLists),
            Self::Allow(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Allow(RuleSet::from(rules)),
        }
        Ok(())
    }

    /// Adds to the deny list.
    pub(crate) fn deny(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressError> {
        match self {
            Self::Allow(_) => return Err(AddressError::BothLists),
            Self::Deny(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Deny(RuleSet::from(rules)),
        }
        Ok(())
    }

    /// Takes from the allow list. Emptied it stays a list, which lets no peer through.
    pub(crate) fn remove_allowed(&mut self, rules: Vec<AddressRule>) -> usize {
        match self {
            Self::Allow(list) => list.remove(rules),
            Self::None | Self::Deny(_) => 0,
        }
    }

    /// Takes from the deny list. Emptied it denies no peer, just as no list.
    pub(crate) fn remove_denied(&mut self, rules: Vec<AddressRule>) -> usize {
        let Self::Deny(list) = self else {
            return 0;
        };
        let removed = list.remove(rules);
        if list.is_empty() {
            *self = Self::None;
        }
        removed
    }
}

//! Address lists: one for all domains, and one for each domain with a list of its own.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::domain::Domain;
use crate::auth::policy::address::rule::{AddressRule, AddressRuleError, Match, RuleSet};
use crate::auth::policy::comparison::affected::{Affected, changed};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

/// All address lists of a policy. An address must pass the list for all domains and the list of its
/// domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressLists {
    everywhere: Arc<List>,
    /// A domain without a list of its own uses the list of `*`.
    domains: BTreeMap<Domain, Arc<List>>,
}

/// A list that addresses are checked against.
#[derive(Debug, Clone, Default)]
pub(crate) enum List {
    /// No list: every address may authenticate.
    #[default]
    None,
    /// Only addresses that match these rules may authenticate.
    Allow(RuleSet),
    /// All addresses but those that match these rules may authenticate.
    Deny(RuleSet),
}

/// Why a list of a policy file is not valid.
#[cfg(feature = "policy-file")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListError {
    /// There are rules to allow and rules to deny.
    BothLists,
    /// The allow list has no rules.
    EmptyAllowList,
}

impl AddressLists {
    /// Checks that the peer may authenticate from this address.
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

    /// The admissions whose addresses may pass or fail under these lists as they did not under `before`.
    pub(crate) fn affected_since(&self, before: &Self) -> Vec<Affected> {
        let everywhere = self.everywhere.refuses_beyond(&before.everywhere);
        let mut all = everywhere.unwrap_or_else(|| vec![Affected::All]);
        for (domain, before, after) in changed(&before.domains, &self.domains) {
            let refused = match (before, after) {
                (Some(before), Some(after)) => after.refuses_beyond(before),
                // The domain has used the list of `*`, or uses it now. So do domains without a
                // list, for which `*` stands.
                (None, Some(after)) if *domain == Domain::ALL => after.refuses_beyond(&List::None),
                (Some(before), None) if *domain == Domain::ALL => List::None.refuses_beyond(before),
                _ => None,
            };
            let whole = || vec![Affected::Domain(domain.clone(), None)];
            all.extend(refused.unwrap_or_else(whole));
        }
        all
    }

    /// Sets a list that does not exist yet to the rules of a policy file.
    #[cfg(feature = "policy-file")]
    pub(crate) fn set(
        &mut self,
        scope: Option<&Domain>,
        (allowed, denied): (Option<&[AddressRule]>, Option<&[AddressRule]>),
    ) -> Result<(), ListError> {
        match (allowed, denied) {
            (Some(_), Some(_)) => return Err(ListError::BothLists),
            (Some([]), None) => return Err(ListError::EmptyAllowList),
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

    /// Changes one list. A domain whose list is removed uses the list of `*`.
    pub(crate) fn change<T>(
        &mut self,
        scope: Option<&Domain>,
        change: impl FnOnce(&mut List) -> T,
    ) -> T {
        let Some(domain) = scope else {
            return change(Arc::make_mut(&mut self.everywhere));
        };
        let mut list = self.domains.remove(domain).unwrap_or_default();
        let outcome = change(Arc::make_mut(&mut list));
        if !matches!(*list, List::None) {
            self.domains.insert(domain.clone(), list);
        }
        outcome
    }
}

impl List {
    /// The peers that this list may refuse and `before` let pass. `None` if that may be every peer.
    fn refuses_beyond(&self, before: &Self) -> Option<Vec<Affected>> {
        if ptr::eq(self, before) {
            return Some(Vec::new());
        }
        match (before, self) {
            (_, Self::None) => Some(Vec::new()),
            (Self::Allow(before), Self::Allow(after)) => Some(before.beyond(after)),
            (Self::Deny(before), Self::Deny(after)) => Some(after.beyond(before)),
            (Self::None, Self::Deny(after)) => {
                let mut refused = after.beyond(&RuleSet::default());
                // A deny list refuses addresses that it cannot read.
                refused.push(Affected::OtherAddresses);
                Some(refused)
            }
            (Self::None | Self::Deny(_), Self::Allow(_)) | (Self::Allow(_), Self::Deny(_)) => None,
        }
    }

    fn check(&self, scope: Option<&Domain>, address: &PeerAddress) -> Result<(), Refused> {
        match self {
            Self::None => Ok(()),
            Self::Allow(rules) if rules.has(address) => Ok(()),
            Self::Allow(_) => {
                let rule = Rule::AllowList(scope.cloned());
                Err(Refusal::AddressNotAllowed.by(rule))
            }
            Self::Deny(rules) => match (rules.find(address, Match::Possible), address) {
                (Some(found), _) => {
                    let rule = Rule::DenyList(scope.cloned(), found);
                    Err(Refusal::AddressDenied.by(rule))
                }
                // The unknown form may stand for a denied address, so it is refused.
                (None, PeerAddress::Other(_)) => {
                    let rule = Rule::UnreadableAddress(scope.cloned());
                    Err(Refusal::AddressDenied.by(rule))
                }
                (None, _) => Ok(()),
            },
        }
    }

    /// Adds to the allow list. Adding no rules creates no list, as in pyzmq.
    pub(crate) fn allow(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressRuleError> {
        match self {
            Self::Deny(_) => return Err(AddressRuleError::BothLists),
            Self::Allow(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Allow(RuleSet::from(rules)),
        }
        Ok(())
    }

    /// Adds to the deny list.
    pub(crate) fn deny(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressRuleError> {
        match self {
            Self::Allow(_) => return Err(AddressRuleError::BothLists),
            Self::Deny(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Deny(RuleSet::from(rules)),
        }
        Ok(())
    }

    /// Removes rules from the allow list. An empty allow list remains and refuses every address.
    pub(crate) fn remove_allowed(&mut self, rules: Vec<AddressRule>) -> usize {
        match self {
            Self::Allow(list) => list.remove(rules),
            Self::None | Self::Deny(_) => 0,
        }
    }

    /// Removes rules from the deny list. An empty deny list is removed.
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

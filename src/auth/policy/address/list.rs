//! Address lists: one for all domains, and one for each domain that wants its own.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::domain::Domain;
use crate::auth::audit::event::{AddressChange, Change};
use crate::auth::authenticator::configured::Call;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::rule::{AddressError, AddressRule, Match, RuleSet};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
#[cfg(feature = "policy-file")]
use crate::auth::policy_file::problem::PolicyFileErrorKind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All lists of a policy. An address must pass the one for all, and that of its domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressLists {
    everywhere: List,
    /// A domain without a list of its own has that of `*`.
    domains: BTreeMap<Domain, List>,
}

/// A list that addresses are checked against.
#[derive(Debug, Clone, Default)]
enum List {
    /// No list: every address may authenticate.
    #[default]
    None,
    /// These alone may.
    Allow(RuleSet),
    /// All but these may.
    Deny(RuleSet),
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
    ) -> Result<(), PolicyFileErrorKind> {
        match (allowed, denied) {
            (Some(_), Some(_)) => return Err(PolicyFileErrorKind::BothLists),
            (Some([]), None) => return Err(PolicyFileErrorKind::NobodyAllowed),
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

    /// Changes one list. A domain whose list is none has that of `*`.
    fn change<T>(&mut self, scope: Option<&Domain>, change: impl FnOnce(&mut List) -> T) -> T {
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
    fn allow(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressError> {
        match self {
            Self::Deny(_) => return Err(AddressError::BothLists),
            Self::Allow(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Allow(RuleSet::from(rules)),
        }
        Ok(())
    }

    fn deny(&mut self, rules: Vec<AddressRule>) -> Result<(), AddressError> {
        match self {
            Self::Allow(_) => return Err(AddressError::BothLists),
            Self::Deny(list) => list.extend(rules),
            Self::None if rules.is_empty() => {}
            Self::None => *self = Self::Deny(RuleSet::from(rules)),
        }
        Ok(())
    }

    /// Takes from the allow list. Emptied it stays a list, of nobody.
    fn remove_allowed(&mut self, rules: Vec<AddressRule>) -> usize {
        match self {
            Self::Allow(list) => list.remove(rules),
            Self::None | Self::Deny(_) => 0,
        }
    }

    /// Takes from the deny list. Emptied it denies nobody, just as no list.
    fn remove_denied(&mut self, rules: Vec<AddressRule>) -> usize {
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

/// The address list of an [`Authenticator`]: the one for all domains
/// ([`Authenticator::addresses`]), or that of one ([`Authenticator::addresses_of`]).
///
/// It is an allow list or a deny list, never both, and does not exist until something is added.
/// An address must pass the list for all, and then that of the request's domain, where the list
/// of `*` stands in for a domain without one. Peers that are connected already lose their
/// admission when their address is no longer let through.
///
/// ```
/// use zmtp_auth::auth::Authenticator;
///
/// let auth = Authenticator::new();
/// auth.addresses().deny(["192.0.2.66"])?;
/// auth.addresses_of("backend").allow(["10.0.0.0/8", "uid:1000"])?;
/// auth.addresses().remove_denied(["192.0.2.66"])?;
/// # Ok::<(), zmtp_auth::auth::AddressError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct AddressList<'a> {
    auth: &'a Authenticator,
    scope: Option<Domain>,
}

impl AddressList<'_> {
    /// Adds to the allow list: from then on other addresses are refused. Under PLAIN, CURVE and
    /// GSSAPI an allowed peer must still authenticate. No addresses at all make no list.
    ///
    /// # Errors
    /// [`AddressError`] if there is a deny list, or a rule is none; nothing is added then.
    pub fn allow<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Allow, rules, |list, rules| list.allow(rules))
    }

    /// Adds to the deny list: addresses on it are refused, all others may authenticate. While
    /// there is a deny list, an address of no known form is refused too
    /// ([`PeerAddress::Other`], the empty one among them): it may be a denied one. So is an
    /// address that is denied in one zone, if its zone cannot be told.
    ///
    /// # Errors
    /// [`AddressError`] if there is an allow list, or a rule is none; nothing is added then.
    pub fn deny<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Deny, rules, |list, rules| list.deny(rules))
    }

    /// Takes rules from the allow list, each as it was added: a block is one rule, and taking an
    /// address inside it away changes nothing. Gives how many of the rules were on the list.
    ///
    /// What is left of an allow list stays one, even if that is nothing: then nobody may come.
    /// [`AddressList::clear`] lifts it.
    ///
    /// # Errors
    /// [`AddressError`] if a rule is none; nothing is taken away then.
    pub fn remove_allowed<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Disallow, rules, |list, rules| {
            Ok(list.remove_allowed(rules))
        })
    }

    /// Takes rules from the deny list, each as it was added. Gives how many of the rules were on
    /// the list. Without its last rule the list is gone.
    ///
    /// # Errors
    /// [`AddressError`] if a rule is none; nothing is taken away then.
    pub fn remove_denied<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Undeny, rules, |list, rules| {
            Ok(list.remove_denied(rules))
        })
    }

    /// Lifts the list: every address may authenticate, as far as this list is concerned. A
    /// domain has the list of `*` then.
    pub fn clear(&self) {
        // There are no rules that it could fail for.
        let _infallible = self.try_change(AddressChange::Clear, Vec::new(), |list, _| {
            *list = List::None;
            Ok(())
        });
    }

    fn try_change<T>(
        &self,
        how: AddressChange,
        rules: Vec<AddressRule>,
        change: impl FnOnce(&mut List, Vec<AddressRule>) -> Result<T, AddressError>,
    ) -> Result<T, AddressError> {
        self.auth.try_change(|policy| {
            policy.ruling_call = Call::next();
            let lists = Arc::make_mut(&mut policy.addresses);
            let domain = self.scope.clone();
            let outcome = lists.change(domain.as_ref(), |list| change(list, rules.clone()))?;
            Ok((outcome, Change::Addresses { domain, how, rules }))
        })
    }
}

impl Authenticator {
    /// The address list for all domains.
    pub const fn addresses(&self) -> AddressList<'_> {
        AddressList {
            auth: self,
            scope: None,
        }
    }

    /// The address list of `domain`; of [`Domain::ALL`], that of each domain without its own.
    /// [`Authenticator::unconfigure`] leaves it alone.
    pub fn addresses_of(&self, domain: impl Into<Domain>) -> AddressList<'_> {
        AddressList {
            auth: self,
            scope: Some(domain.into()),
        }
    }

    /// Adds to the allow list for all domains: [`AddressList::allow`].
    ///
    /// # Errors
    /// [`AddressError`] if there is a deny list, or a rule is none; nothing is added then.
    pub fn allow<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        self.addresses().allow(rules)
    }

    /// Adds to the deny list for all domains: [`AddressList::deny`].
    ///
    /// # Errors
    /// [`AddressError`] if there is an allow list, or a rule is none; nothing is added then.
    pub fn deny<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        self.addresses().deny(rules)
    }
}

fn collect<R>(rules: impl IntoIterator<Item = R>) -> Result<Vec<AddressRule>, AddressError>
where
    R: TryInto<AddressRule>,
    AddressError: From<R::Error>,
{
    rules
        .into_iter()
        .map(|rule| rule.try_into().map_err(AddressError::from))
        .collect()
}

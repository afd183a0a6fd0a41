//! Configures which addresses may authenticate.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::audit::event::{AddressChange, Change};
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::list::List;
use crate::auth::policy::address::rule::{AddressRule, AddressRuleError};
use crate::auth::policy::call::Call;
use std::sync::Arc;

/// An address list of an [`Authenticator`]: the list for all domains
/// ([`Authenticator::addresses`]), or the list of one domain ([`Authenticator::addresses_of`]).
///
/// It is either an allow list or a deny list, and does not exist until a rule is added. An address
/// must pass the list for all domains and the list of the request's domain. A domain without a list
/// uses the list of `*`. Connected peers lose their admission when a list no longer lets their
/// address pass.
///
/// ```
/// use zmtp_auth::auth::Authenticator;
///
/// let auth = Authenticator::new();
/// auth.addresses().deny(["192.0.2.66"])?;
/// auth.addresses_of("backend").allow(["10.0.0.0/8", "uid:1000"])?;
/// auth.addresses().remove_denied(["192.0.2.66"])?;
/// # Ok::<(), zmtp_auth::auth::AddressRuleError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct AddressList<'a> {
    auth: &'a Authenticator,
    scope: Option<Domain>,
}

impl AddressList<'_> {
    /// Adds rules to the allow list. Addresses that match no rule are then refused. Under PLAIN,
    /// CURVE and GSSAPI an allowed peer must still authenticate. Adding no rules creates no list.
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if there is a deny list, or a rule is not valid. No rule is then
    /// added.
    pub fn allow<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Allow, rules, |list, rules| list.allow(rules))
    }

    /// Adds rules to the deny list. Addresses that match a rule are refused, and all others may
    /// authenticate. A deny list also refuses addresses that it cannot judge: an address of no
    /// known form, including the empty one ([`PeerAddress::Other`](crate::PeerAddress::Other)), and
    /// an IPv6 address that is denied in one zone if the peer's zone is not known.
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if there is an allow list, or a rule is not valid. No rule is then
    /// added.
    pub fn deny<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::Deny, rules, |list, rules| list.deny(rules))
    }

    /// Removes rules from the allow list. Each rule must be given as it was added: a block is one
    /// rule, and removing an address inside it changes nothing. Returns how many of the rules were
    /// on the list.
    ///
    /// An allow list without rules remains and refuses every address. [`AddressList::clear`]
    /// removes the list.
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if a rule is not valid. No rule is then removed.
    pub fn remove_allowed<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::RemoveAllowed, rules, |list, rules| {
            Ok(list.remove_allowed(rules))
        })
    }

    /// Removes rules from the deny list. Each rule must be given as it was added. Returns how many
    /// of the rules were on the list. A deny list without rules is removed.
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if a rule is not valid. No rule is then removed.
    pub fn remove_denied<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::RemoveDenied, rules, |list, rules| {
            Ok(list.remove_denied(rules))
        })
    }

    /// Removes the list. A domain then uses the list of `*`.
    pub fn clear(&self) {
        // Only rules can cause an error, and none are given.
        let _infallible = self.try_change(AddressChange::Clear, Vec::new(), |list, _| {
            *list = List::None;
            Ok(())
        });
    }

    fn try_change<T>(
        &self,
        how: AddressChange,
        rules: Vec<AddressRule>,
        change: impl FnOnce(&mut List, Vec<AddressRule>) -> Result<T, AddressRuleError>,
    ) -> Result<T, AddressRuleError> {
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

    /// The address list of `domain`. The list of [`Domain::ALL`] applies to each domain without a
    /// list of its own. [`Authenticator::unconfigure`] does not change address lists.
    pub fn addresses_of(&self, domain: impl Into<Domain>) -> AddressList<'_> {
        AddressList {
            auth: self,
            scope: Some(domain.into()),
        }
    }

    /// Adds rules to the allow list for all domains: see [`AddressList::allow`].
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if there is a deny list, or a rule is not valid. No rule is then
    /// added.
    pub fn allow<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        self.addresses().allow(rules)
    }

    /// Adds rules to the deny list for all domains: see [`AddressList::deny`].
    ///
    /// # Errors
    /// Returns [`AddressRuleError`] if there is an allow list, or a rule is not valid. No rule is then
    /// added.
    pub fn deny<R>(&self, rules: impl IntoIterator<Item = R>) -> Result<(), AddressRuleError>
    where
        R: TryInto<AddressRule>,
        AddressRuleError: From<R::Error>,
    {
        self.addresses().deny(rules)
    }
}

fn collect<R>(rules: impl IntoIterator<Item = R>) -> Result<Vec<AddressRule>, AddressRuleError>
where
    R: TryInto<AddressRule>,
    AddressRuleError: From<R::Error>,
{
    rules
        .into_iter()
        .map(|rule| rule.try_into().map_err(AddressRuleError::from))
        .collect()
}

//! Which addresses an Authenticator lets authenticate.
#![forbid(unsafe_code)]

use crate::access::domain::Domain;
use crate::auth::audit::event::{AddressChange, Change};
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::address::list::List;
use crate::auth::policy::address::rule::{AddressError, AddressRule};
use crate::auth::policy::call::Call;
use std::sync::Arc;

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
    /// Returns [`AddressError`] if there is a deny list, or a rule is not valid; nothing is added then.
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
    /// ([`PeerAddress::Other`](crate::PeerAddress::Other), the empty one among them): it may be a denied one. So is an
    /// address that is denied in one zone, if its zone cannot be told.
    ///
    /// # Errors
    /// Returns [`AddressError`] if there is an allow list, or a rule is not valid; nothing is added then.
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
    /// An allow list stays one without its last rule: then it lets no peer through.
    /// [`AddressList::clear`] lifts it.
    ///
    /// # Errors
    /// Returns [`AddressError`] if a rule is not valid; nothing is taken away then.
    pub fn remove_allowed<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::RemoveAllowed, rules, |list, rules| {
            Ok(list.remove_allowed(rules))
        })
    }

    /// Takes rules from the deny list, each as it was added. Gives how many of the rules were on
    /// the list. Without its last rule the list is gone.
    ///
    /// # Errors
    /// Returns [`AddressError`] if a rule is not valid; nothing is taken away then.
    pub fn remove_denied<R>(
        &self,
        rules: impl IntoIterator<Item = R>,
    ) -> Result<usize, AddressError>
    where
        R: TryInto<AddressRule>,
        AddressError: From<R::Error>,
    {
        let rules = collect(rules)?;
        self.try_change(AddressChange::RemoveDenied, rules, |list, rules| {
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
    /// Returns [`AddressError`] if there is a deny list, or a rule is not valid; nothing is added then.
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
    /// Returns [`AddressError`] if there is an allow list, or a rule is not valid; nothing is added then.
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

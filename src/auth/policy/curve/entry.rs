//! The entry of an admitted key: its user, metadata, validity and addresses.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::user_name::{UserNameError, check_user_name};
use crate::auth::policy::address::rule::RuleSet;
use crate::auth::policy::curve::row::CurveKey;
use crate::auth::policy::refusal::Refusal;
use crate::cert::certificate::Certificate;
use crate::cert::problem::CertificateErrorKind;
use crate::cert::validity::{Validity, is_validity_name};
use crate::wire::metadata::{Metadata, PropertyError};
use bytes::Bytes;
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;

/// The entry of an admitted key. It is kept small, because lookups in large tables are dominated by
/// cache misses.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyEntry {
    /// `None` if there is nothing to say about the key.
    details: Option<Arc<Details>>,
    /// The version of the policy that introduced this entry.
    pub(crate) version: u64,
}

/// What a row or a certificate says about its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Details {
    /// The user id of its peers; `None` for the one that the Authenticator gives the key.
    user: Option<Bytes>,
    metadata: Metadata,
    validity: Validity,
    /// The addresses that its peers may have; `None` for all.
    from: Option<RuleSet>,
}

/// Why no entry can be made from a certificate. The load of a directory has reported each of them
/// before.
#[derive(Debug, Error)]
pub(crate) enum EntryError {
    #[error(transparent)]
    Validity(#[from] CertificateErrorKind),
    #[error(transparent)]
    Metadata(#[from] PropertyError),
    #[error(transparent)]
    UserName(#[from] UserNameError),
}

impl From<Details> for KeyEntry {
    fn from(details: Details) -> Self {
        let Details {
            user,
            metadata,
            validity,
            from,
        } = &details;
        let is_empty = user.is_none()
            && metadata.is_empty()
            && *validity == Validity::default()
            && from.is_none();
        Self {
            details: (!is_empty).then(|| Arc::new(details)),
            version: 0,
        }
    }
}

impl KeyEntry {
    /// The entry of a certificate. With `names`, its metadata `name` becomes the user id.
    pub(crate) fn of(certificate: &Certificate, names: bool) -> Result<Self, EntryError> {
        let mut metadata = Metadata::new();
        for (name, value) in certificate.metadata() {
            metadata.push(name, value.clone())?;
        }
        let name = certificate.name().filter(|_| names);
        let user = name.map(|name| Bytes::copy_from_slice(name.as_bytes()));
        if let Some(user) = &user {
            check_user_name(user, &certificate.public_key())?;
        }
        Ok(Self::from(Details {
            user,
            metadata,
            validity: certificate.validity()?,
            from: None,
        }))
    }

    /// The entry of a row that was checked.
    pub(crate) fn of_row(row: &CurveKey) -> Self {
        Self::from(Details {
            user: row.user.clone(),
            metadata: row.metadata.clone(),
            validity: Validity::default(),
            from: row.from.clone().map(RuleSet::from),
        })
    }

    /// The user id of its peers; `None` for the one that the Authenticator gives the key.
    pub(crate) fn user(&self) -> Option<&Bytes> {
        self.details.as_ref()?.user.as_ref()
    }

    /// The metadata of its peers.
    pub(crate) fn metadata(&self) -> Metadata {
        let details = self.details.as_ref();
        details.map_or_else(Metadata::new, |details| details.metadata.clone())
    }

    /// The validity of the key.
    pub(crate) fn validity(&self) -> Validity {
        let details = self.details.as_ref();
        details.map_or_else(Validity::default, |details| details.validity)
    }

    /// The same entry, limited to `validity` in addition.
    #[cfg(any(feature = "policy-file", feature = "reload"))]
    pub(crate) fn within(&self, validity: &Validity) -> Self {
        let details = self.details.as_deref().cloned().unwrap_or_default();
        Self::from(Details {
            validity: details.validity.within(validity),
            ..details
        })
    }

    /// Whether both entries give a peer the same identity, so that a peer admitted by one stays
    /// admitted under the other. The validity may differ: a certificate can be renewed while its
    /// peer is connected. The addresses may differ too, since they are checked on their own.
    fn admits_as(&self, other: &Self) -> bool {
        let lasting = |entry: &'_ Self| -> Vec<_> {
            let metadata = entry.metadata();
            let properties = metadata.iter();
            let lasting = properties.filter(|(name, _)| !is_validity_name(name));
            lasting
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect()
        };
        self.user() == other.user() && lasting(self) == lasting(other)
    }

    /// Sets the version of an entry that replaces `before`: that of `before` if it admits the same
    /// peers under the same identity, and else `fresh`. True if nothing differs. The two then share
    /// what they hold.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) -> bool {
        match before {
            Some(before) if before.details == self.details => {
                *self = before.clone();
                return true;
            }
            Some(before) if before.admits_as(self) => self.version = before.version,
            _ => self.version = fresh,
        }
        false
    }

    /// Whether this is `before`, with which it has shared what it holds since it came into force.
    pub(crate) fn is_kept(&self, before: &Self) -> bool {
        let is_shared = match (&self.details, &before.details) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        is_shared && self.version == before.version
    }

    /// Checks that the key may be used from this address.
    pub(crate) fn check_address(&self, address: &PeerAddress) -> Result<(), Refusal> {
        let details = self.details.as_ref();
        match details.and_then(|details| details.from.as_ref()) {
            Some(from) if !from.has(address) => Err(Refusal::AddressNotAllowed),
            _ => Ok(()),
        }
    }

    /// Checks that the key is valid now. The clock is read only if the validity is limited.
    pub(crate) fn check(&self, now: impl Fn() -> Option<SystemTime>) -> Result<(), Refusal> {
        let validity = self.validity();
        if validity == Validity::default() {
            return Ok(());
        }
        let now = now().ok_or(Refusal::Failed)?;
        match validity {
            Validity {
                not_before: Some(first),
                ..
            } if now < first => Err(Refusal::KeyNotYetValid),
            Validity {
                not_after: Some(end),
                ..
            } if now >= end => Err(Refusal::KeyExpired),
            _ => Ok(()),
        }
    }
}

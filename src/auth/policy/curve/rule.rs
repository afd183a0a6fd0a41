//! The CURVE rule of a domain: which keys it admits.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::curve::entry::KeyEntry;
use crate::auth::policy::curve::node::Difference;
use crate::auth::policy::curve::row::{CurveKey, CurveKeyError, check_rows};
use crate::auth::policy::curve::table::KeyTable;
use crate::auth::policy::provider::{AnyProvider, CurveQuestion};
use crate::auth::policy::rule::Rule;
use crate::cert::certificate::Certificate;
#[cfg(any(feature = "policy-file", feature = "reload"))]
use crate::cert::validity::Validity;
use crate::crypto::keys::PublicKey;
use crate::with_causes::WithCauses;
#[cfg(feature = "policy-file")]
use bytes::Bytes;
#[cfg(feature = "reload")]
use std::collections::BTreeSet;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The rule of one domain. [`CurveRule::inherit`] sets the versions when the rule comes into force.
#[derive(Clone)]
pub(crate) enum CurveRule {
    /// Every key that the peer has proven to hold.
    AnyKey { version: u64 },
    /// These keys. An empty table admits no peer.
    Keys(KeyTable),
    /// The keys that the provider admits.
    Provider {
        provider: Arc<dyn AnyProvider<CurveQuestion>>,
        version: u64,
    },
}

impl CurveRule {
    /// The rule of a claimed domain that admits no peer.
    pub(crate) fn no_keys() -> Self {
        Self::Keys(KeyTable::default())
    }

    /// Every key.
    pub(crate) const fn any_key() -> Self {
        Self::AnyKey { version: 0 }
    }

    /// The keys that `provider` admits.
    pub(crate) const fn provider(provider: Arc<dyn AnyProvider<CurveQuestion>>) -> Self {
        Self::Provider {
            provider,
            version: 0,
        }
    }

    /// The holders of these keys.
    pub(crate) fn keys(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let entries = keys.into_iter().map(|key| (key, KeyEntry::default()));
        Self::Keys(entries.collect())
    }

    /// The holders of the keys of these rows.
    ///
    /// # Errors
    /// Returns [`CurveKeyError`] if a row is not valid, or two rows say different things about one
    /// key.
    pub(crate) fn rows(rows: &[CurveKey]) -> Result<Self, CurveKeyError> {
        check_rows(rows)?;
        let entries = rows.iter().map(|row| (row.key, KeyEntry::of_row(row)));
        Ok(Self::Keys(entries.collect()))
    }

    /// The holders of these certificates, each with its metadata and within its validity. With
    /// `names`, the metadata `name` becomes the user id, and a key to which two certificates give
    /// different user ids is left out.
    pub(crate) fn certificates<'a>(
        certificates: impl IntoIterator<Item = &'a Certificate>,
        names: bool,
    ) -> Self {
        let mut keys: HashMap<PublicKey, KeyEntry> = HashMap::new();
        let mut disputed = HashSet::new();
        for certificate in certificates {
            let key = certificate.public_key();
            match KeyEntry::of(certificate, names) {
                Ok(entry) => {
                    let user = entry.user().cloned();
                    let earlier = keys.insert(key, entry);
                    if earlier.is_some_and(|earlier| earlier.user() != user.as_ref()) {
                        disputed.insert(key);
                    }
                }
                Err(error) => {
                    tracing::error!(%key, "certificate left out: {}", WithCauses(&error));
                }
            }
        }
        // The load of a directory reports these. Files that are reloaded come into force one by
        // one, so two of them may meet here for a moment.
        keys.retain(|key, _| !disputed.contains(key));
        Self::Keys(keys.into_iter().collect())
    }

    /// The same keys, each limited to `validity` in addition.
    #[cfg(any(feature = "policy-file", feature = "reload"))]
    pub(crate) fn within(self, validity: &Validity) -> Self {
        match self {
            Self::Keys(keys) if *validity != Validity::default() => {
                let keys = keys.iter();
                let limited = keys.map(|(key, entry)| (*key, entry.within(validity)));
                Self::Keys(limited.collect())
            }
            unlimited => unlimited,
        }
    }

    /// Whether a key is valid at this time.
    #[cfg(feature = "policy-file")]
    pub(crate) fn admits_at(&self, now: Option<SystemTime>) -> bool {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => true,
            Self::Keys(keys) => keys.iter().any(|(_, entry)| entry.check(|| now).is_ok()),
        }
    }

    /// Sets the entries of the keys of these rows, which were checked. Other keys of a table stay as
    /// they are. A rule without a table becomes one of these keys alone.
    pub(crate) fn add(&mut self, rows: &[CurveKey], fresh: u64) {
        if self.table().is_none() {
            *self = Self::no_keys();
        }
        if let Self::Keys(keys) = self {
            let entries = rows.iter().map(|row| (row.key, KeyEntry::of_row(row)));
            keys.insert(entries, fresh);
        }
    }

    /// Removes keys from its table, and returns how many of them were there.
    pub(crate) fn remove(&mut self, gone: &[PublicKey]) -> usize {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => 0,
            Self::Keys(keys) => keys.remove(gone),
        }
    }

    /// Sets the versions of a rule that replaces `before`. An entry that is the same as before keeps
    /// its version, and every other entry gets the version `fresh`. Grants of unchanged entries
    /// stay valid that way.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        match (self, before) {
            (Self::AnyKey { version }, Some(Self::AnyKey { version: before })) => {
                *version = *before;
            }
            (Self::AnyKey { version } | Self::Provider { version, .. }, _) => *version = fresh,
            (Self::Keys(keys), Some(Self::Keys(before))) => keys.inherit(before, fresh),
            (Self::Keys(keys), _) => keys.inherit(&KeyTable::default(), fresh),
        }
    }

    /// The [`Rule`] that stands for it in `domain`.
    pub(crate) const fn name(&self, domain: Domain) -> Rule {
        match self {
            Self::AnyKey { .. } => Rule::AnyKey(domain),
            Self::Keys(_) => Rule::Keys(domain),
            Self::Provider { .. } => Rule::Provider(MechanismKind::Curve, domain),
        }
    }

    /// Calls `each` for every key whose entries differ between `before` and this rule. False if the
    /// rules cannot be compared by their keys, so that every peer may be affected.
    pub(crate) fn differences<'a>(
        &'a self,
        before: &'a Self,
        each: impl FnMut(Difference<'a>),
    ) -> bool {
        match (before, self) {
            (Self::Keys(before), Self::Keys(after)) => {
                after.differences(before, each);
                true
            }
            (Self::AnyKey { version: before }, Self::AnyKey { version })
            | (
                Self::Provider {
                    version: before, ..
                },
                Self::Provider { version, .. },
            ) => before == version,
            _ => false,
        }
    }

    /// Its table of keys, if it has one.
    pub(crate) const fn table(&self) -> Option<&KeyTable> {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => None,
            Self::Keys(keys) => Some(keys),
        }
    }

    /// Whether it is a table without keys, which admits no peer.
    pub(crate) fn is_empty(&self) -> bool {
        self.table().is_some_and(|keys| keys.len() == 0)
    }

    /// Replaces what its table says of these keys by what a rule of certificates says of them; see
    /// [`KeyTable::replace`]. False if one of the rules has no table.
    #[cfg(feature = "reload")]
    pub(crate) fn replace(&mut self, keys: &BTreeSet<PublicKey>, other: &Self, fresh: u64) -> bool {
        let (Self::Keys(table), Self::Keys(other)) = (self, other) else {
            return false;
        };
        table.replace(keys, other, fresh);
        true
    }

    /// Whether a peer may be admitted under this user id, as far as entries and keys say it.
    #[cfg(feature = "policy-file")]
    pub(crate) fn may_name(&self, user_id: &Bytes) -> bool {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => true,
            Self::Keys(keys) => keys.iter().any(|(key, entry)| match entry.user() {
                Some(user) => user == user_id,
                None => user_id == key.to_z85().as_bytes(),
            }),
        }
    }

    /// The version of the entry that admits `key` from `address` at `now`, and the end of its
    /// validity; `None` if no entry admits it.
    pub(crate) fn still_admits(
        &self,
        key: &PublicKey,
        address: &PeerAddress,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Option<(u64, Option<SystemTime>)> {
        match self {
            Self::AnyKey { version } | Self::Provider { version, .. } => Some((*version, None)),
            Self::Keys(keys) => {
                let entry = keys.get(key)?;
                entry.check_address(address).ok()?;
                entry.check(now).ok()?;
                Some((entry.version, entry.validity().not_after))
            }
        }
    }
}

impl fmt::Debug for CurveRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyKey { version } => f.debug_tuple("AnyKey").field(version).finish(),
            Self::Keys(keys) => f.debug_tuple("Keys").field(keys).finish(),
            Self::Provider { version, .. } => f.debug_tuple("Provider").field(version).finish(),
        }
    }
}

//! CURVE rules: which keys a domain admits.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::provider::{AnyProvider, CurveQuestion};
use crate::auth::policy::refusal::Refusal;
use crate::auth::policy::rule::Rule;
use crate::cert::certificate::Certificate;
use crate::cert::problem::CertificateErrorKind;
use crate::cert::validity::{Validity, is_validity_name};
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::{Metadata, PropertyError};
use crate::with_causes::WithCauses;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;

/// The rule of one domain. [`CurveRule::inherit`] sets the versions when the rule comes into force.
#[derive(Clone)]
pub(crate) enum CurveRule {
    /// Every key that the peer has proven to hold.
    AnyKey { version: u64 },
    /// These keys. An empty table admits no peer.
    Keys(Arc<HashMap<PublicKey, KeyEntry>>),
    /// The keys that the provider admits.
    Provider {
        provider: Arc<dyn AnyProvider<CurveQuestion>>,
        version: u64,
    },
}

/// The entry of an admitted key. It is kept small, because lookups in large tables are dominated by
/// cache misses.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyEntry {
    /// `None` if there is neither metadata nor a limited validity.
    certificate: Option<Arc<Certified>>,
    /// The version of the policy that introduced this entry.
    pub(crate) version: u64,
}

/// The contents of a certificate apart from the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Certified {
    metadata: Metadata,
    validity: Validity,
}

impl KeyEntry {
    fn of(certificate: &Certificate) -> Result<Self, EntryError> {
        let mut metadata = Metadata::new();
        for (name, value) in certificate.metadata() {
            metadata.push(name, value.clone())?;
        }
        Ok(Self::certified(Certified {
            metadata,
            validity: certificate.validity()?,
        }))
    }

    fn certified(certified: Certified) -> Self {
        let is_empty = certified == Certified::default();
        Self {
            certificate: (!is_empty).then(|| Arc::new(certified)),
            version: 0,
        }
    }

    /// The metadata of its certificate.
    pub(crate) fn metadata(&self) -> Metadata {
        let certificate = self.certificate.as_ref();
        certificate.map_or_else(Metadata::new, |certificate| certificate.metadata.clone())
    }

    /// The validity of its certificate.
    pub(crate) fn validity(&self) -> Validity {
        let certificate = self.certificate.as_ref();
        certificate.map_or_else(Validity::default, |certificate| certificate.validity)
    }

    /// Whether both entries give a peer the same identity, so that a peer admitted by one stays
    /// admitted under the other. The validity may differ: a certificate can be renewed while its
    /// peer is connected.
    fn admits_as(&self, other: &Self) -> bool {
        let lasting = |entry: &'_ Self| -> Vec<_> {
            let metadata = entry.metadata();
            let properties = metadata.iter();
            let lasting = properties.filter(|(name, _)| !is_validity_name(name));
            lasting
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect()
        };
        lasting(self) == lasting(other)
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

/// Why no entry can be made from a certificate. The load of a directory has reported both errors
/// before.
#[derive(Debug, Error)]
enum EntryError {
    #[error(transparent)]
    Validity(#[from] CertificateErrorKind),
    #[error(transparent)]
    Metadata(#[from] PropertyError),
}

impl CurveRule {
    /// The rule of a claimed domain that admits no peer.
    pub(crate) fn no_keys() -> Self {
        Self::Keys(Arc::default())
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
        Self::Keys(Arc::new(entries.collect()))
    }

    /// The holders of these certificates, each with its metadata and within its validity.
    pub(crate) fn certificates<'a>(
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Self {
        let mut keys = HashMap::new();
        for certificate in certificates {
            let key = certificate.public_key();
            match KeyEntry::of(certificate) {
                Ok(entry) => {
                    keys.insert(key, entry);
                }
                Err(error) => {
                    tracing::error!(%key, "certificate left out: {}", WithCauses(&error));
                }
            }
        }
        Self::Keys(Arc::new(keys))
    }

    /// The same keys, each limited to `validity` in addition.
    #[cfg(any(feature = "policy-file", feature = "reload"))]
    pub(crate) fn within(mut self, validity: &Validity) -> Self {
        if let Self::Keys(keys) = &mut self {
            for entry in Arc::make_mut(keys).values_mut() {
                *entry = KeyEntry::certified(Certified {
                    metadata: entry.metadata(),
                    validity: entry.validity().within(validity),
                });
            }
        }
        self
    }

    /// Whether a key is valid at this time.
    #[cfg(feature = "policy-file")]
    pub(crate) fn admits_at(&self, now: Option<SystemTime>) -> bool {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => true,
            Self::Keys(keys) => keys.values().any(|entry| entry.check(|| now).is_ok()),
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
            (Self::Keys(keys), before) => {
                let none = Arc::default();
                let before = match before {
                    Some(Self::Keys(before)) => before,
                    _ => &none,
                };
                for (key, entry) in Arc::make_mut(keys) {
                    let same = before.get(key).filter(|before| before.admits_as(entry));
                    entry.version = same.map_or(fresh, |before| before.version);
                }
            }
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

    /// Its keys, each with the version of its entry.
    pub(crate) fn key_versions(&self) -> Vec<(Credential, u64)> {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => Vec::new(),
            Self::Keys(keys) => {
                let keys = keys.iter();
                keys.map(|(key, entry)| (Credential::Key(*key), entry.version))
                    .collect()
            }
        }
    }

    /// The version of the entry that admits `key` at `now`, and the end of its validity; `None` if
    /// no entry admits it.
    pub(crate) fn still_admits(
        &self,
        key: &PublicKey,
        now: impl Fn() -> Option<SystemTime>,
    ) -> Option<(u64, Option<SystemTime>)> {
        match self {
            Self::AnyKey { version } | Self::Provider { version, .. } => Some((*version, None)),
            Self::Keys(keys) => {
                let entry = keys.get(key)?;
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

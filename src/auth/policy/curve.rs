//! CURVE: which keys a domain admits.
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
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;

/// The rule of one domain. Versions are set when it is installed, by [`CurveRule::inherit`].
#[derive(Clone)]
pub(crate) enum CurveRule {
    /// Every key: the peer has proven that it holds it, no more.
    AnyKey { version: u64 },
    /// These keys. An empty table admits no peer.
    Keys(Arc<HashMap<PublicKey, KeyEntry>>),
    /// The keys that the provider admits.
    Provider {
        provider: Arc<dyn AnyProvider<CurveQuestion>>,
        version: u64,
    },
}

/// What is known of a key that comes in. As small as can be: a lookup among very many keys takes
/// as long as the memory that they fill is far away.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyEntry {
    /// `None` where a certificate would say nothing.
    certificate: Option<Arc<Certified>>,
    /// That of the policy in which this entry was new.
    pub(crate) version: u64,
}

/// What a certificate says apart from the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Certified {
    metadata: Metadata,
    /// When it counts.
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

    /// When its certificate counts.
    pub(crate) fn validity(&self) -> Validity {
        let certificate = self.certificate.as_ref();
        certificate.map_or_else(Validity::default, |certificate| certificate.validity)
    }

    /// Whether a peer that one of them has admitted is the same to us under the other. When they
    /// count makes no difference: a certificate may be renewed under its peer.
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

    /// Whether the key counts now; the clock is looked at only if that depends on it.
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

/// Why a certificate makes no entry. A directory load has reported either before.
#[derive(Debug, Error)]
enum EntryError {
    #[error(transparent)]
    Validity(#[from] CertificateErrorKind),
    #[error(transparent)]
    Metadata(#[from] PropertyError),
}

impl CurveRule {
    /// The rule of a domain that is configured and has nothing to admit.
    pub(crate) fn nobody() -> Self {
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

    /// The holders of these certificates, each with its metadata and while it counts.
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
                Err(error) => tracing::error!(%key, "certificate left out: {error}"),
            }
        }
        Self::Keys(Arc::new(keys))
    }

    /// The same keys, each only while `validity` lasts, too.
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

    /// Whether some key counts at this time.
    #[cfg(feature = "policy-file")]
    pub(crate) fn admits_at(&self, now: Option<SystemTime>) -> bool {
        match self {
            Self::AnyKey { .. } | Self::Provider { .. } => true,
            Self::Keys(keys) => keys.values().any(|entry| entry.check(|| now).is_ok()),
        }
    }

    /// Gives versions to a rule that takes the place of `before`: what is the same as before
    /// keeps the version that it had, what is new gets `fresh`.
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

    /// Its name, as the rule of `domain`.
    pub(crate) const fn name(&self, domain: Domain) -> Rule {
        match self {
            Self::AnyKey { .. } => Rule::AnyKey(domain),
            Self::Keys(_) => Rule::Keys(domain),
            Self::Provider { .. } => Rule::Provider(MechanismKind::Curve, domain),
        }
    }

    /// Its keys, each with the version of the entry.
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

    /// The version of the entry that admits `key` at `now`, if there is one, and the end of its
    /// validity.
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

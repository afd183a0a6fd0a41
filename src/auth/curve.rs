//! CURVE: which keys a domain admits.
#![forbid(unsafe_code)]

use crate::auth::provider::AnyCurveProvider;
use crate::cert::certificate::Certificate;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::{Metadata, PropertyError};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The rule of one domain. Versions are set when it is installed, by [`CurveRule::inherit`].
#[derive(Clone)]
pub(crate) enum CurveRule {
    /// Every key: the peer has proven that it holds it, no more.
    AnyKey { version: u64 },
    /// These keys. None: nobody.
    Keys(Arc<HashMap<PublicKey, KeyEntry>>),
    /// Whoever the provider says.
    Provider {
        provider: Arc<dyn AnyCurveProvider>,
        version: u64,
    },
}

/// What is known of a key that comes in.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyEntry {
    /// That of its certificate.
    pub(crate) metadata: Metadata,
    /// That of the policy in which this entry was new.
    pub(crate) version: u64,
}

impl KeyEntry {
    /// Whether a peer that one of them has admitted is the same to us under the other.
    fn admits_as(&self, other: &Self) -> bool {
        self.metadata == other.metadata
    }
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

    /// Whoever `provider` says.
    pub(crate) const fn provider(provider: Arc<dyn AnyCurveProvider>) -> Self {
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

    /// The holders of these certificates, each with its metadata.
    pub(crate) fn certificates(certificates: &[Certificate]) -> Self {
        let mut keys = HashMap::new();
        for certificate in certificates {
            let key = certificate.public_key();
            match zap_metadata(certificate) {
                Ok(metadata) => {
                    let version = 0;
                    keys.insert(key, KeyEntry { metadata, version });
                }
                // A certificate's metadata fits by its type; if it ever did not, the key without
                // it would be another certificate.
                Err(error) => tracing::error!(%key, "certificate left out: {error}"),
            }
        }
        Self::Keys(Arc::new(keys))
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

    /// The version of the entry that admits `key`, if there is one.
    pub(crate) fn version_of(&self, key: &PublicKey) -> Option<u64> {
        match self {
            Self::AnyKey { version } | Self::Provider { version, .. } => Some(*version),
            Self::Keys(keys) => keys.get(key).map(|entry| entry.version),
        }
    }
}

fn zap_metadata(certificate: &Certificate) -> Result<Metadata, PropertyError> {
    let mut metadata = Metadata::new();
    for (name, value) in certificate.metadata() {
        metadata.push(name, value.clone())?;
    }
    Ok(metadata)
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

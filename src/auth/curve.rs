//! CURVE: which keys a domain admits.
#![forbid(unsafe_code)]

use crate::auth::provider::AnyCurveProvider;
use crate::cert::certificate::Certificate;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::{Metadata, PropertyError};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The rule of one domain.
#[derive(Clone)]
pub(crate) enum CurveRule {
    /// Every key: the peer has proven that it holds it, no more.
    AnyKey,
    /// These keys, each with the metadata of its certificate. None: nobody.
    Keys(Arc<HashMap<PublicKey, Metadata>>),
    /// Whoever the provider says.
    Provider(Arc<dyn AnyCurveProvider>),
}

impl CurveRule {
    /// The rule of a domain that is configured and has nothing to admit.
    pub(crate) fn nobody() -> Self {
        Self::Keys(Arc::default())
    }

    /// The holders of these keys.
    pub(crate) fn keys(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let keys = keys.into_iter().map(|key| (key, Metadata::new())).collect();
        Self::Keys(Arc::new(keys))
    }

    /// The holders of these certificates, each with its metadata.
    pub(crate) fn certificates(certificates: &[Certificate]) -> Self {
        let mut keys = HashMap::new();
        for certificate in certificates {
            let key = certificate.public_key();
            match zap_metadata(certificate) {
                Ok(metadata) => {
                    keys.insert(key, metadata);
                }
                // A certificate's metadata fits by its type; if it ever did not, the key without
                // it would be another certificate.
                Err(error) => tracing::error!(%key, "certificate left out: {error}"),
            }
        }
        Self::Keys(Arc::new(keys))
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
            Self::AnyKey => f.write_str("AnyKey"),
            Self::Keys(keys) => f.debug_tuple("Keys").field(keys).finish(),
            Self::Provider(_) => f.write_str("Provider(..)"),
        }
    }
}

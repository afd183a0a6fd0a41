//! CURVE: which keys a domain admits.
#![forbid(unsafe_code)]

use crate::auth::provider::AnyCurveProvider;
use crate::crypto::keys::PublicKey;
use crate::wire::metadata::Metadata;
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

//! NULL and GSSAPI rules: which peers a domain admits without checking a secret. Only policy files
//! set these rules. Without one, address lists alone rule both mechanisms, as in pyzmq.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::rule::Rule;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The rule of one domain for NULL or GSSAPI. [`PrincipalRule::inherit`] sets the versions when the
/// rule comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "policy-file"),
    expect(dead_code, reason = "policy files alone make such rules")
)]
pub(crate) enum PrincipalRule {
    /// Every peer.
    Anyone { version: u64 },
    /// These principals, each with the version of its entry. An empty table admits no peer. Under
    /// NULL, which has no principals, every table admits no peer.
    Principals(Arc<HashMap<Bytes, u64>>),
}

impl PrincipalRule {
    /// The [`Rule`] that stands for it in `domain`, for `mechanism`.
    pub(crate) const fn name(mechanism: MechanismKind, domain: Domain) -> Rule {
        match mechanism {
            MechanismKind::Null => Rule::Null(domain),
            _ => Rule::Principals(domain),
        }
    }

    /// Whether it is a table without principals, which admits no peer.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Principals(names) if names.is_empty())
    }

    /// The version of the entry that admits `credential`; `None` if no entry does.
    pub(crate) fn version_of(&self, credential: &Credential) -> Option<u64> {
        match (self, credential) {
            (Self::Anyone { version }, _) => Some(*version),
            (Self::Principals(names), Credential::Principal(name)) => names.get(name).copied(),
            (Self::Principals(_), _) => None,
        }
    }
}

#[cfg(feature = "policy-file")]
impl PrincipalRule {
    pub(crate) const fn anyone() -> Self {
        Self::Anyone { version: 0 }
    }

    pub(crate) fn no_principals() -> Self {
        Self::Principals(Arc::default())
    }

    pub(crate) fn principals(principals: impl IntoIterator<Item = String>) -> Self {
        let principals = principals.into_iter();
        Self::Principals(Arc::new(principals.map(|name| (name.into(), 0)).collect()))
    }

    /// Sets the versions of a rule that replaces `before`. An entry that is the same as before keeps
    /// its version, and every other entry gets the version `fresh`.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        match (self, before) {
            (Self::Anyone { version }, Some(Self::Anyone { version: before })) => {
                *version = *before;
            }
            (Self::Anyone { version }, _) => *version = fresh,
            (Self::Principals(names), before) => {
                for (name, version) in Arc::make_mut(names) {
                    let before = match before {
                        Some(Self::Principals(before)) => before.get(name).copied(),
                        _ => None,
                    };
                    *version = before.unwrap_or(fresh);
                }
            }
        }
    }
}

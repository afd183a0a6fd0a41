//! NULL and GSSAPI: which peers a domain admits where there is no secret to check. Policy files set these
//! rules; without one both mechanisms are ruled by addresses alone, as in `pyzmq`.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::rule::Rule;
use bytes::Bytes;
use std::collections::HashMap;

/// The rule of one domain for NULL or GSSAPI. Versions are set when it is installed.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "policy-file"),
    expect(dead_code, reason = "policy files alone make such rules")
)]
pub(crate) enum NameRule {
    /// Every peer.
    Anyone { version: u64 },
    /// These principals, each with the version of its entry. An empty table admits no peer, and so
    /// does any table under NULL.
    Principals(HashMap<Bytes, u64>),
}

impl NameRule {
    /// Its name, as the rule of `domain` for `mechanism`.
    pub(crate) const fn name(mechanism: MechanismKind, domain: Domain) -> Rule {
        match mechanism {
            MechanismKind::Null => Rule::Null(domain),
            _ => Rule::Principals(domain),
        }
    }

    /// The version of the entry that admits the holder of `credential`, if one does.
    pub(crate) fn version_of(&self, credential: &Credential) -> Option<u64> {
        match (self, credential) {
            (Self::Anyone { version }, _) => Some(*version),
            (Self::Principals(names), Credential::Principal(name)) => names.get(name).copied(),
            (Self::Principals(_), _) => None,
        }
    }
}

#[cfg(feature = "policy-file")]
impl NameRule {
    pub(crate) const fn anyone() -> Self {
        Self::Anyone { version: 0 }
    }

    pub(crate) fn nobody() -> Self {
        Self::Principals(HashMap::new())
    }

    pub(crate) fn principals(principals: impl IntoIterator<Item = String>) -> Self {
        let principals = principals.into_iter();
        Self::Principals(principals.map(|name| (name.into(), 0)).collect())
    }

    /// Gives versions to a rule that takes the place of `before`: what is the same as before
    /// keeps the version that it had, what is new gets `fresh`.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        match (self, before) {
            (Self::Anyone { version }, Some(Self::Anyone { version: before })) => {
                *version = *before;
            }
            (Self::Anyone { version }, _) => *version = fresh,
            (Self::Principals(names), before) => {
                for (name, version) in names {
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

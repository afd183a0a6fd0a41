//! The PLAIN rule of a domain: which users it admits.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::plain::table::{Difference, PasswordTable};
use crate::auth::policy::provider::{AnyProvider, PlainQuestion};
use crate::auth::policy::rule::Rule;
use std::fmt;
use std::sync::Arc;

/// The rule of one domain. [`PlainRule::inherit`] sets the versions when the rule comes into force.
#[derive(Clone)]
pub(crate) enum PlainRule {
    /// The domain is claimed, but no table was ever loaded. It admits no peer.
    NoUsers,
    /// The users of this table.
    Table(Arc<PasswordTable>),
    /// The users that the provider admits.
    Provider {
        provider: Arc<dyn AnyProvider<PlainQuestion>>,
        version: u64,
    },
}

impl PlainRule {
    /// The users that `provider` admits.
    pub(crate) const fn provider(provider: Arc<dyn AnyProvider<PlainQuestion>>) -> Self {
        Self::Provider {
            provider,
            version: 0,
        }
    }

    /// Sets the versions of a rule that replaces `before`. An entry that is the same as before keeps
    /// its version, and every other entry gets the version `fresh`. Grants of unchanged entries
    /// stay valid that way.
    pub(crate) fn inherit(&mut self, before: Option<&Self>, fresh: u64) {
        match self {
            Self::NoUsers => {}
            Self::Table(table) => {
                let before = match before {
                    Some(Self::Table(before)) => Some(&**before),
                    _ => None,
                };
                Arc::make_mut(table).inherit(before, fresh);
            }
            Self::Provider { version, .. } => *version = fresh,
        }
    }

    /// The [`Rule`] that stands for it in `domain`.
    pub(crate) const fn name(&self, domain: Domain) -> Rule {
        match self {
            Self::NoUsers | Self::Table(_) => Rule::Passwords(domain),
            Self::Provider { .. } => Rule::Provider(MechanismKind::Plain, domain),
        }
    }

    /// Calls `each` for every user whose entries differ between `before` and this rule. False if the
    /// rules cannot be compared by their users, so that every peer may be affected.
    pub(crate) fn differences(&self, before: &Self, each: impl FnMut(Difference<'_>)) -> bool {
        match (before, self) {
            (
                Self::Provider {
                    version: before, ..
                },
                Self::Provider { version, .. },
            ) => before == version,
            (Self::Provider { .. }, _) | (_, Self::Provider { .. }) => false,
            _ => {
                PasswordTable::differences(before.table(), self.table(), each);
                true
            }
        }
    }

    /// Its table of users, if it has one.
    pub(crate) fn table(&self) -> Option<&PasswordTable> {
        match self {
            Self::NoUsers | Self::Provider { .. } => None,
            Self::Table(table) => Some(table),
        }
    }

    /// Whether it has no users, and so admits no peer.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::NoUsers => true,
            Self::Table(table) => table.is_empty(),
            Self::Provider { .. } => false,
        }
    }

    /// The version of the user's entry, if there is one.
    pub(crate) fn version_of(&self, name: &[u8]) -> Option<u64> {
        match self {
            Self::NoUsers => None,
            Self::Table(table) => table.version_of(name),
            Self::Provider { version, .. } => Some(*version),
        }
    }
}

impl fmt::Debug for PlainRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsers => f.write_str("NoUsers"),
            Self::Table(table) => f.debug_tuple("Table").field(table).finish(),
            Self::Provider { .. } => f.write_str("Provider(..)"),
        }
    }
}

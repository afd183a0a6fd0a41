//! Topic tables: which topics the users of a domain may use.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::access::topics::TopicPermissions;
use crate::auth::policy::comparison::affected::{Affected, changed};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A user of a domain: the mechanism and the user id.
pub(crate) type TopicUser = (MechanismKind, Bytes);

/// The topics that the users of a domain may subscribe to and publish. It allows nothing that it does
/// not name: a user without an entry has the permissions of all others, or none.
///
/// ```
/// use zmtp_auth::auth::{Authenticator, TopicTable};
/// use zmtp_auth::{MechanismKind, TopicPermissions};
///
/// let reader = TopicPermissions::none().with_subscribe(["weather."])?;
/// let auth = Authenticator::new();
/// auth.configure_topics("feeds", TopicTable::new().with_user(MechanismKind::Curve, "alice", reader));
/// # Ok::<(), zmtp_auth::TopicPermissionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct TopicTable {
    users: BTreeMap<TopicUser, TopicPermissions>,
    others: Option<TopicPermissions>,
}

impl TopicTable {
    /// A table that allows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the permissions of the user with this user id under this mechanism.
    pub fn with_user(
        mut self,
        mechanism: MechanismKind,
        user_id: impl Into<Bytes>,
        permissions: TopicPermissions,
    ) -> Self {
        self.users.insert((mechanism, user_id.into()), permissions);
        self
    }

    /// Sets the permissions of all users without an entry.
    pub fn with_others(mut self, permissions: TopicPermissions) -> Self {
        self.others = Some(permissions);
        self
    }

    fn of(&self, user: &TopicUser) -> TopicPermissions {
        let permissions = self.users.get(user).or(self.others.as_ref());
        permissions.cloned().unwrap_or_else(TopicPermissions::none)
    }

    /// The users whose entries differ, and whether the permissions of all others do.
    pub(crate) fn difference(&self, other: &Self) -> (Vec<TopicUser>, bool) {
        let users: BTreeSet<_> = self.users.keys().chain(other.users.keys()).collect();
        let differ = users.into_iter();
        let differ = differ.filter(|user| self.users.get(user) != other.users.get(user));
        (differ.cloned().collect(), self.others != other.others)
    }
}

/// The topic tables of a policy, by domain. A domain without a table uses the table of `*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicTables(pub(crate) BTreeMap<Domain, Arc<TopicTable>>);

impl TopicTables {
    /// The permissions of a user of `domain`. Without a table every topic is allowed.
    pub(crate) fn of(
        &self,
        domain: &Domain,
        mechanism: MechanismKind,
        user_id: &Bytes,
    ) -> TopicPermissions {
        let table = self.0.get(domain).or_else(|| self.0.get(&Domain::ALL));
        table.map_or_else(TopicPermissions::all, |table| {
            table.of(&(mechanism, user_id.clone()))
        })
    }

    /// The admissions that may have other topics under these tables than under `before`.
    pub(crate) fn affected_since(&self, before: &Self) -> Vec<Affected> {
        let mut all = Vec::new();
        for (domain, before, after) in changed(&before.0, &self.0) {
            match (before, after) {
                (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
                (Some(before), Some(after)) => match after.difference(before) {
                    (users, false) => all.extend(users.into_iter().map(|(mechanism, user_id)| {
                        Affected::User(domain.clone(), mechanism, user_id)
                    })),
                    (_, true) => all.push(Affected::Domain(domain.clone(), None)),
                },
                // The domain has used the table of `*`, or no table, or uses it now.
                _ => all.push(Affected::Domain(domain.clone(), None)),
            }
        }
        all
    }
}

//! What a change of a rule has added, changed and removed, for the audit log.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::policy::curve::entry::KeyEntry;
use crate::auth::policy::curve::table::KeyTable;
use crate::auth::policy::decide::Policy;
use crate::auth::policy::plain::table::PasswordTable;
use crate::auth::policy::rule::Rule;
use bytes::Bytes;

/// What a change of the policy has done.
pub(crate) enum Made {
    /// This.
    Told(Change),
    /// It has replaced the rule of a domain for PLAIN or CURVE. What it has added, changed and removed
    /// is compared if it is read.
    Ruled(MechanismKind, Domain),
}

impl From<Change> for Made {
    fn from(change: Change) -> Self {
        Self::Told(change)
    }
}

/// How an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Added,
    Changed,
    Removed,
}

/// The numbers of entries that a change of a rule has added, changed and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
}

impl Policy {
    /// The numbers of entries of a domain's rule for PLAIN or CURVE that differ from those of `before`.
    pub(crate) fn counts_since(
        &self,
        before: &Self,
        mechanism: MechanismKind,
        domain: &Domain,
    ) -> Counts {
        let mut counts = Counts::default();
        self.each_difference(before, mechanism, domain, |how, _, _| match how {
            How::Added => counts.added += 1,
            How::Changed => counts.changed += 1,
            How::Removed => counts.removed += 1,
        });
        counts
    }

    /// The change of the rule of a domain for PLAIN or CURVE from that of `before`.
    pub(crate) fn change_since(
        &self,
        before: &Self,
        mechanism: MechanismKind,
        domain: &Domain,
    ) -> Change {
        let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        let mut users = Vec::new();
        self.each_difference(before, mechanism, domain, |how, credential, user| {
            if let (Credential::Key(key), Some(user)) = (&credential, user) {
                users.push((*key, user.clone()));
            }
            let list = match how {
                How::Added => &mut added,
                How::Changed => &mut changed,
                How::Removed => &mut removed,
            };
            list.push(credential);
        });
        Change::Ruled {
            rule: self.rule_of(mechanism, domain),
            added,
            changed,
            removed,
            users,
        }
    }

    /// The name of the rule of a domain for PLAIN or CURVE.
    pub(crate) fn rule_of(&self, mechanism: MechanismKind, domain: &Domain) -> Rule {
        let rule = match mechanism {
            MechanismKind::Plain => self.plain.get(domain).map(|rule| rule.name(domain.clone())),
            _ => self.curve.get(domain).map(|rule| rule.name(domain.clone())),
        };
        rule.unwrap_or_else(|| self.unclaimed(mechanism, domain))
    }

    /// Calls `each` for each entry that is new, admits others than before, or is gone, with the user
    /// that the rule names for a key.
    fn each_difference<'a>(
        &'a self,
        before: &'a Self,
        mechanism: MechanismKind,
        domain: &Domain,
        mut each: impl FnMut(How, Credential, Option<&Bytes>),
    ) {
        match mechanism {
            MechanismKind::Plain => {
                let table = |policy: &'a Self| policy.plain.get(domain)?.table();
                PasswordTable::differences(table(before), table(self), |found| {
                    if let Some(how) = how(found.before, found.after) {
                        each(how, Credential::UserName(found.name.clone()), None);
                    }
                });
            }
            _ => {
                let none = KeyTable::default();
                let table = |policy: &'a Self| policy.curve.get(domain)?.table();
                let (before, after) = (table(before), table(self));
                after
                    .unwrap_or(&none)
                    .differences(before.unwrap_or(&none), |found| {
                        let version = |entry: &KeyEntry| entry.version;
                        if let Some(how) = how(found.before.map(version), found.after.map(version))
                        {
                            let user = found.after.and_then(KeyEntry::user);
                            let user = user.or_else(|| found.before?.user());
                            each(how, Credential::Key(*found.key), user);
                        }
                    });
            }
        }
    }
}

/// How an entry with these versions before and after has changed. `None` if it admits the same peers.
fn how(before: Option<u64>, after: Option<u64>) -> Option<How> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(How::Added),
        (Some(_), None) => Some(How::Removed),
        (Some(before), Some(after)) => (before != after).then_some(How::Changed),
    }
}

//! The comparison of the policy before a change with the one after. It finds the admissions that the
//! change can affect, so that no change has to say it, or can forget to.
#![forbid(unsafe_code)]

use crate::access::credentials::{Credential, MechanismKind};
use crate::access::domain::Domain;
use crate::auth::policy::comparison::affected::{Affected, changed};
use crate::auth::policy::decide::Policy;
use crate::auth::policy::principals::PrincipalRule;
use std::collections::BTreeMap;

/// Maximum number of users and keys of one rule that are named. 65,536: they take a few megabytes. If
/// more change at once, all admissions of the rule are affected.
const MAX_NAMED: usize = 65_536;

impl Policy {
    /// The admissions that may not stand under this policy as they did under `before`, or may have
    /// other topics or another end. At most `max` users and keys of a rule are named.
    pub(crate) fn affected_since(&self, before: &Self, max: usize) -> Vec<Affected> {
        let Self {
            // None of these ends an admission.
            version: _,
            ruling_call: _,
            stopped: _,
            endings: _,
            user_ids: _,
            #[cfg(feature = "reload")]
                watches: _,
            addresses,
            plain,
            curve,
            null,
            gssapi,
            topics,
        } = self;
        let mut all = addresses.affected_since(&before.addresses);
        let max = max.min(MAX_NAMED);
        for (domain, before, after) in changed(&before.plain, plain) {
            let mut named = Named::new(domain, MechanismKind::Plain, max);
            match (before, after) {
                (Some(before), Some(after)) => {
                    let is_compared = after.differences(before, |found| {
                        named.push(|| Credential::UserName(found.name.clone()));
                    });
                    all.extend(named.into_affected(is_compared));
                }
                _ => all.extend(named.into_affected(false)),
            }
        }
        for (domain, before, after) in changed(&before.curve, curve) {
            let mut named = Named::new(domain, MechanismKind::Curve, max);
            match (before, after) {
                (Some(before), Some(after)) => {
                    let is_compared = after.differences(before, |found| {
                        named.push(|| Credential::Key(*found.key));
                    });
                    all.extend(named.into_affected(is_compared));
                }
                _ => all.extend(named.into_affected(false)),
            }
        }
        for (mechanism, before, after) in [
            (MechanismKind::Null, &before.null, null),
            (MechanismKind::Gssapi, &before.gssapi, gssapi),
        ] {
            all.extend(names_affected(mechanism, before.as_ref(), after.as_ref()));
        }
        all.extend(topics.affected_since(&before.topics));
        all
    }
}

fn names_affected(
    mechanism: MechanismKind,
    before: Option<&BTreeMap<Domain, PrincipalRule>>,
    after: Option<&BTreeMap<Domain, PrincipalRule>>,
) -> Vec<Affected> {
    match (before, after) {
        (None, None) => Vec::new(),
        (Some(before), Some(after)) => changed(before, after)
            .filter(|(_, before, after)| before != after)
            .map(|(domain, ..)| Affected::Domain(domain.clone(), Some(mechanism)))
            .collect(),
        // Without a policy file all domains are open.
        _ => vec![Affected::Domain(Domain::ALL, Some(mechanism))],
    }
}

/// The users or keys of one rule that differ.
struct Named<'a> {
    domain: &'a Domain,
    mechanism: MechanismKind,
    max: usize,
    credentials: Vec<Credential>,
    has_more: bool,
}

impl<'a> Named<'a> {
    const fn new(domain: &'a Domain, mechanism: MechanismKind, max: usize) -> Self {
        Self {
            domain,
            mechanism,
            max,
            credentials: Vec::new(),
            has_more: false,
        }
    }

    fn push(&mut self, credential: impl FnOnce() -> Credential) {
        if self.credentials.len() < self.max {
            self.credentials.push(credential());
        } else {
            self.has_more = true;
        }
    }

    /// `is_compared` is false if the rules cannot be compared by their users or keys.
    fn into_affected(self, is_compared: bool) -> Vec<Affected> {
        if !is_compared || self.has_more {
            return vec![Affected::Domain(self.domain.clone(), Some(self.mechanism))];
        }
        let credentials = self.credentials.into_iter();
        credentials
            .map(|credential| Affected::Credential(self.domain.clone(), credential))
            .collect()
    }
}

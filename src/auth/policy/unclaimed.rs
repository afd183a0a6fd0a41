//! Domains without a rule for a mechanism, and what is said of them.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::policy::curve::rule::CurveRule;
use crate::auth::policy::decide::{Policy, ruling};
use crate::auth::policy::plain::rule::PlainRule;
use crate::auth::policy::principals::PrincipalRule;
use crate::auth::policy::rule::Rule;

/// The most domains that [`Rule::Unclaimed`] names. 8 fit into a line of a log.
const MAX_NAMED: usize = 8;

/// How many rules are looked at for the names of their domains: 1,024, so that a refusal costs about the
/// same in a policy of any size.
const LOOKED_AT: usize = 1024;

impl Policy {
    /// The rule that refuses every peer of `domain` by this mechanism, because neither the domain nor `*`
    /// has one.
    pub(crate) fn unclaimed(&self, mechanism: MechanismKind, domain: &Domain) -> Rule {
        let (admitting, has_more) = match mechanism {
            MechanismKind::Null => {
                first_admitting(self.null.iter().flatten(), PrincipalRule::is_empty)
            }
            MechanismKind::Plain => first_admitting(&self.plain, PlainRule::is_empty),
            MechanismKind::Curve => first_admitting(&self.curve, CurveRule::is_empty),
            MechanismKind::Gssapi => {
                first_admitting(self.gssapi.iter().flatten(), PrincipalRule::is_empty)
            }
        };
        Rule::Unclaimed {
            mechanism,
            domain: domain.clone(),
            admitting,
            has_more,
        }
    }

    /// Whether the domain, or `*`, has a rule for this mechanism.
    pub(crate) fn has_rule(&self, mechanism: MechanismKind, domain: &Domain) -> bool {
        match mechanism {
            // Without a policy file the address lists alone rule NULL and GSSAPI, in every domain.
            MechanismKind::Null => self
                .null
                .as_ref()
                .is_none_or(|it| ruling(it, domain).is_some()),
            MechanismKind::Gssapi => self
                .gssapi
                .as_ref()
                .is_none_or(|it| ruling(it, domain).is_some()),
            MechanismKind::Plain => ruling(&self.plain, domain).is_some(),
            MechanismKind::Curve => ruling(&self.curve, domain).is_some(),
        }
    }
}

/// The first domains with a rule that is not empty, and whether there are more, or may be.
fn first_admitting<'a, R: 'a>(
    rules: impl IntoIterator<Item = (&'a Domain, &'a R)>,
    is_empty: impl Fn(&R) -> bool,
) -> (Vec<Domain>, bool) {
    let mut rules = rules.into_iter();
    let looked_at = rules.by_ref().take(LOOKED_AT);
    let mut admitting = looked_at.filter(|(_, rule)| !is_empty(rule));
    let named = admitting.by_ref().take(MAX_NAMED);
    let named = named.map(|(domain, _)| domain.clone()).collect();
    let has_more = admitting.next().is_some() || rules.next().is_some();
    (named, has_more)
}

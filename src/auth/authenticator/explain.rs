//! Dry runs: the outcome that a request would have, and the rule that decides.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::access::request::AccessRequest;
use crate::access::topics::TopicPermissions;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::decide::{Ask, Ruling};
use crate::auth::policy::outcome::{Decided, Outcome};
use crate::auth::policy::rule::Rule;
use crate::printable::printable;
use crate::zap::request::{RequestId, ZapRequest};
use std::fmt;
use std::sync::Arc;

/// The outcome that a request would have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The outcome; `None` if the provider named by [`Explanation::rule`] would decide.
    pub outcome: Option<Outcome>,
    /// The topics that the peer may use; `None` if it is not admitted by a table.
    pub topics: Option<TopicPermissions>,
    /// The rule that decides.
    pub rule: Rule,
    /// The version of the policy.
    pub policy_version: u64,
}

impl Authenticator {
    /// Says whether this peer would be admitted now, and by which rule. It has no effect: no
    /// provider is asked, no grant is issued, no event is recorded. The future is ready at once,
    /// unless a hashed password has to be verified.
    ///
    /// Cancel-safe.
    pub async fn explain(&self, request: &AccessRequest) -> Explanation {
        let request = ZapRequest::new(RequestId::from(0), request);
        let policy = Arc::clone(&self.policy());
        let admission = match policy.judge(&request, || self.now()) {
            Ok(Ruling::Ask(Ask {
                rule: rule @ Rule::Provider(..),
                ..
            })) => {
                return Explanation {
                    outcome: None,
                    topics: None,
                    rule,
                    policy_version: policy.version,
                };
            }
            Ok(Ruling::Ask(verification)) => {
                self.ask(Arc::clone(&policy), &request, verification).await
            }
            Ok(Ruling::Admit(admission)) => Ok(admission),
            Err(refused) => Err(refused),
        };
        let mut decided = Decided::new(policy.version, admission);
        // Decisions log this error; here only its effect on the outcome matters.
        let _invalid = decided.check();
        let admission = decided.ruled.as_ref().ok();
        Explanation {
            topics: admission.map(|admission| policy.topics_of(&admission.of(&request))),
            outcome: Some(decided.outcome()),
            rule: decided.rule().clone(),
            policy_version: policy.version,
        }
    }

    /// The rule that refuses every peer of `domain` by this mechanism, because neither the domain nor `*`
    /// has one. `None` if there is a rule, even an empty one.
    pub(crate) fn unclaimed(&self, mechanism: MechanismKind, domain: &Domain) -> Option<Rule> {
        let policy = self.policy();
        (!policy.has_rule(mechanism, domain)).then(|| policy.unclaimed(mechanism, domain))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limited = self.topics.as_ref().filter(|topics| !topics.allow_all());
        match &self.outcome {
            None => write!(f, "undecided: {} decides", self.rule),
            Some(Outcome::Allowed { user_id, .. }) => {
                write!(f, "allowed as \"{}\": {}", printable(user_id), self.rule)?;
                limited.map_or(Ok(()), |topics| write!(f, "; {topics}"))
            }
            Some(Outcome::Refused {
                status,
                reason,
                user_id: None,
            }) => write!(f, "refused with {status} ({reason}): {}", self.rule),
            Some(Outcome::Refused {
                status,
                reason,
                user_id: Some(user_id),
            }) => {
                let user = printable(user_id);
                write!(
                    f,
                    "\"{user}\" refused with {status} ({reason}): {}",
                    self.rule
                )
            }
        }
    }
}

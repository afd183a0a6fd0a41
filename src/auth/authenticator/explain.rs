//! Dry runs: what would come of a request, and by which rule.
#![forbid(unsafe_code)]

use crate::access::request::AccessRequest;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::decide::{Ask, Ruling};
use crate::auth::policy::outcome::{Decided, Outcome};
use crate::auth::policy::rule::Rule;
use crate::zap::request::{RequestId, ZapRequest};
use std::fmt;
use std::sync::Arc;

/// What would come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The outcome; `None` if it is up to the provider that [`Explanation::rule`] names.
    pub outcome: Option<Outcome>,
    /// What decides.
    pub rule: Rule,
    /// The policy that was looked at.
    pub policy_version: u64,
}

impl Authenticator {
    /// Would this peer be admitted now, and by which rule? The answer is the one that a request
    /// would get, and nothing else happens: no provider is asked, no grant issued, no event
    /// raised. It is there at once, unless a hashed password has to be verified for it.
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
        let mut decided = Decided {
            policy_version: policy.version,
            ruled: admission,
        };
        let _told_of_by_decisions = decided.check();
        Explanation {
            outcome: Some(decided.outcome()),
            rule: decided.rule().clone(),
            policy_version: policy.version,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            None => write!(f, "undecided: it is up to {}", self.rule),
            Some(Outcome::Allowed { .. }) => write!(f, "allowed: {}", self.rule),
            Some(Outcome::Refused { status, reason }) => {
                write!(f, "refused with {status} ({reason}): {}", self.rule)
            }
        }
    }
}

//! Verdicts, and the token that proves one.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::access::grant::Grant;
use crate::access::peer::Authenticated;
use crate::access::request::{AccessPolicy, AccessRequest};
use crate::status::{DenialStatus, Denied};
use crate::wire::metadata::Metadata;
use bytes::Bytes;

/// The answer to an [`AccessRequest`].
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The peer may come in.
    Allow(Approval),
    /// It may not.
    Deny(Denied),
}

impl Verdict {
    /// Allows, with a user id and nothing else.
    #[must_use]
    pub fn allow(user_id: impl Into<Bytes>) -> Self {
        Self::Allow(Approval {
            user_id: user_id.into(),
            ..Approval::default()
        })
    }

    /// Denies, with a reason for the log.
    #[must_use]
    pub fn deny(status: DenialStatus, reason: impl Into<String>) -> Self {
        Self::Deny(Denied {
            status,
            reason: reason.into(),
            by: None,
        })
    }
}

/// The log line of a denial, for those who ask without a listener that writes one.
pub(crate) fn log_denial(request: &AccessRequest, denied: &Denied) {
    let address = request.address.with_port(request.port);
    let who = Credential::for_log(&request.credentials, denied.knows_user());
    let policy_version = denied.by.as_ref().and_then(|by| by.policy_version);
    if denied.is_trouble() {
        tracing::warn!(%address, domain = %request.domain, who = who.as_ref().map(display),
            rule = denied.rule(), policy_version, "peer refused: {denied}");
    } else {
        tracing::info!(%address, domain = %request.domain, who = who.as_ref().map(display),
            rule = denied.rule(), policy_version, "peer refused: {denied}");
    }
}

/// What comes with an allowing verdict.
#[derive(Debug, Clone, Default)]
pub struct Approval {
    /// The user id, possibly empty.
    pub user_id: Bytes,
    /// Properties for this side's application.
    pub metadata: Metadata,
    /// The revocable admission, if the handler issues any.
    pub grant: Option<Grant>,
}

/// Proof that policy has spoken. The writers of NULL's READY, PLAIN's WELCOME and a CURVE
/// server's READY take it by value, so that none of them can run without it. It is made only in
/// this file.
#[derive(Debug)]
pub struct Approved {
    authenticated: Option<Authenticated>,
}

impl Approved {
    /// Approval without a question, if that is what the application has configured.
    ///
    /// # Errors
    /// The domain under which to ask, if it is not.
    pub(crate) const fn by_policy(policy: &AccessPolicy) -> Result<Self, &Domain> {
        match policy {
            AccessPolicy::Anyone => Ok(Self {
                authenticated: None,
            }),
            AccessPolicy::Ask(domain) => Err(domain),
        }
    }

    /// Approval by the verdict that answers `request`.
    ///
    /// # Errors
    /// The denial, if that is what the verdict says.
    pub(crate) fn by_verdict(request: AccessRequest, verdict: Verdict) -> Result<Self, Denied> {
        let approval = match verdict {
            Verdict::Allow(approval) => approval,
            Verdict::Deny(denied) => return Err(denied),
        };
        Ok(Self {
            authenticated: Some(Authenticated::new(
                approval.user_id,
                request.domain,
                Credential::of(&request.credentials),
                approval.metadata,
                approval.grant,
            )),
        })
    }

    /// What the verdict said of the peer; `None` if no handler was asked.
    pub(crate) const fn authenticated(&self) -> Option<&Authenticated> {
        self.authenticated.as_ref()
    }

    /// Uses the proof up; what is left is what the verdict said of the peer.
    pub(crate) fn into_authenticated(self) -> Option<Authenticated> {
        self.authenticated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;
    use crate::access::credentials::Credentials;
    use crate::crypto::password::Password;

    fn request() -> AccessRequest {
        AccessRequest::new(
            Domain::EMPTY,
            PeerAddress::from_zap(b"127.0.0.1"),
            Credentials::Plain {
                username: "admin".into(),
                password: Password::from("secret"),
            },
        )
    }

    #[test]
    fn a_denial_approves_nobody() {
        let denial = Verdict::deny(DenialStatus::Failure, "no");
        assert_eq!(
            Approved::by_verdict(request(), denial).unwrap_err().reason,
            "no"
        );
        assert!(Approved::by_policy(&AccessPolicy::Ask(Domain::EMPTY)).is_err());
    }

    #[test]
    fn an_approval_keeps_the_name_and_not_the_password() {
        let approved = Approved::by_verdict(request(), Verdict::allow("admin")).unwrap();
        let authenticated = approved.into_authenticated().unwrap();
        assert_eq!(
            authenticated.credential,
            Credential::UserName("admin".into())
        );
        assert!(!format!("{authenticated:?}").contains("secret"));
    }
}

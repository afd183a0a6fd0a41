//! Verdicts on access requests, and the token that proves an approval.
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
#[must_use = "a verdict does nothing until it is given to the handshake"]
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "a peer is admitted or refused")]
pub enum Verdict {
    /// The peer is admitted.
    Allow(Approval),
    /// The peer is refused.
    Deny(Denied),
}

impl Verdict {
    /// Admits the peer, with a user id and nothing else.
    pub fn allow(user_id: impl Into<Bytes>) -> Self {
        Self::Allow(Approval {
            user_id: user_id.into(),
            ..Approval::default()
        })
    }

    /// Refuses the peer, with a reason for the log.
    pub fn deny(status: DenialStatus, reason: impl Into<String>) -> Self {
        Self::Deny(Denied {
            status,
            reason: reason.into(),
            by: None,
        })
    }
}

/// Logs a denial, for callers without a listener that logs it.
pub(crate) fn log_denial(request: &AccessRequest, denied: &Denied) {
    let address = request.address.with_port(request.port);
    let who = Credential::for_log(&request.credentials, denied.knows_user());
    let user_id = denied.user_id();
    let policy_version = denied.by.as_ref().and_then(|by| by.policy_version);
    if denied.needs_attention() {
        tracing::warn!(%address, domain = %request.domain, who = who.as_ref().map(display),
            user_id, rule = denied.rule(), policy_version, "peer refused: {denied}");
    } else {
        tracing::info!(%address, domain = %request.domain, who = who.as_ref().map(display),
            user_id, rule = denied.rule(), policy_version, "peer refused: {denied}");
    }
}

/// What an allowing verdict carries.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a handler of the host's own fills it in, with `..Approval::default()`"
)]
pub struct Approval {
    /// The user id, possibly empty.
    pub user_id: Bytes,
    /// Properties for the local application.
    pub metadata: Metadata,
    /// The revocable admission, if the handler issues grants.
    pub grant: Option<Grant>,
}

/// Proof that the policy admits the peer. The functions that write NULL's READY, PLAIN's WELCOME
/// and a CURVE server's READY take it by value, so none of them can run without an approval. Only
/// this file creates it.
#[derive(Debug)]
pub struct Approved {
    authenticated: Option<Authenticated>,
}

impl Approved {
    /// Approval without a request, if the application has configured that.
    ///
    /// # Errors
    /// Returns the domain of the request if a handler must be asked.
    pub(crate) const fn by_policy(policy: &AccessPolicy) -> Result<Self, &Domain> {
        match policy {
            AccessPolicy::Anyone => Ok(Self {
                authenticated: None,
            }),
            AccessPolicy::Ask(domain) => Err(domain),
        }
    }

    /// Approval by the verdict on `request`.
    ///
    /// # Errors
    /// Returns the denial if the verdict refuses the peer.
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

    /// The identity from the verdict; `None` if no handler was asked.
    pub(crate) const fn authenticated(&self) -> Option<&Authenticated> {
        self.authenticated.as_ref()
    }

    /// Consumes the proof and returns the identity from the verdict.
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
    fn a_denial_approves_no_peer() {
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

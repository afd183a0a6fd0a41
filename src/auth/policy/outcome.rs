//! What came of a request, for audit and dry runs.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::grant::Grant;
use crate::auth::policy::admission::Admission;
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use crate::status::{DenialStatus, DeniedBy, Status};
use crate::wire::metadata::Metadata;
use crate::zap::reply::{InvalidReply, SUCCESS_TEXT, ZapReply, check_contents, frames};
use crate::zap::request::{RequestId, ZapRequest};
use bytes::Bytes;
use std::time::{Duration, SystemTime};

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer comes in.
    #[non_exhaustive]
    Allowed {
        /// As whom.
        user_id: Bytes,
        /// With these properties for the application.
        metadata: Metadata,
        /// By the entry of this version; see
        /// [`AdmissionTerms::entry_version`](crate::auth::AdmissionTerms::entry_version).
        entry_version: u64,
        /// Up to this moment.
        valid_until: Option<SystemTime>,
    },
    /// It does not.
    #[non_exhaustive]
    Refused {
        /// The status, which is all that the peer is told.
        status: DenialStatus,
        /// The text of the ZAP reply.
        reason: &'static str,
    },
}

impl Outcome {
    /// Whether the peer comes in.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    pub(crate) const fn refused(refusal: Refusal) -> Self {
        Self::Refused {
            status: refusal.status(),
            reason: refusal.text(),
        }
    }
}

/// What one policy says to a request.
pub(crate) struct Decided {
    pub(crate) policy_version: u64,
    pub(crate) ruled: Result<Admission, Refused>,
}

impl Decided {
    /// Makes a refusal of an admission that no reply may carry: its user id or metadata come from
    /// a certificate, a provider, or the mapping of user ids.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn check(&mut self) -> Result<(), InvalidReply> {
        let Ok(admission) = &self.ruled else {
            return Ok(());
        };
        let checked = check_contents(&admission.user_id, &admission.metadata);
        if checked.is_err() {
            self.ruled = Err(Refusal::Failed.by(admission.rule.clone()));
        }
        checked
    }

    /// Time after which the peer is to hear of a refusal.
    pub(crate) fn hold_back(&self) -> Option<Duration> {
        self.ruled.as_ref().err()?.hold_back
    }

    /// What has decided.
    pub(crate) const fn rule(&self) -> &Rule {
        match &self.ruled {
            Ok(admission) => &admission.rule,
            Err(refused) => &refused.rule,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match &self.ruled {
            Ok(admission) => Outcome::Allowed {
                user_id: admission.user_id.clone(),
                metadata: admission.metadata.clone(),
                entry_version: admission.entry_version,
                valid_until: admission.valid_until,
            },
            Err(refused) => Outcome::refused(refused.refusal),
        }
    }

    /// Who has asked, as far as an audit log may know. Of refused PLAIN peers a name only if it
    /// is one that we know: any other may be a password that was typed in the wrong place.
    pub(crate) fn credential(&self, request: &ZapRequest) -> Option<Credential> {
        match &self.ruled {
            Ok(admission) => Some(admission.credential.clone()),
            Err(refused) => {
                let credentials = request.credentials().ok()?;
                Credential::for_log(&credentials, refused.refusal.knows_user())
            }
        }
    }

    /// The frames of the reply to the request with that id.
    pub(crate) fn into_frames(self, id: RequestId) -> [Bytes; 6] {
        match self.ruled {
            Ok(admission) => {
                let Admission {
                    user_id, metadata, ..
                } = admission;
                frames(id, Status::Success, SUCCESS_TEXT, user_id, &metadata)
            }
            Err(Refused { refusal, .. }) => {
                ZapReply::denial(id, refusal.status(), refusal.text()).into_frames()
            }
        }
    }

    /// The reply to the request with that id, and what has decided.
    pub(crate) fn into_reply(self, id: RequestId, grant: Option<Grant>) -> (ZapReply, Rule) {
        match self.ruled {
            Ok(admission) => {
                let reply = ZapReply {
                    metadata: admission.metadata,
                    grant,
                    ..ZapReply::success(id, admission.user_id)
                };
                (reply, admission.rule)
            }
            Err(refused) => {
                let refusal = refused.refusal;
                let denied_by = DeniedBy {
                    rule: refused.rule.to_string(),
                    policy_version: Some(self.policy_version),
                    knows_user: refusal.knows_user(),
                };
                let reply = ZapReply {
                    hold_back: refused.hold_back,
                    denied_by: Some(Box::new(denied_by)),
                    ..ZapReply::denial(id, refusal.status(), refusal.text())
                };
                (reply, refused.rule)
            }
        }
    }
}

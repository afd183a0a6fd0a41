//! The outcome of a request, for replies, audit events and dry runs.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::grant::Grant;
use crate::auth::policy::admission::Admission;
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use crate::status::{DenialStatus, DeniedBy, Status};
use crate::wire::metadata::Metadata;
use crate::zap::reply::{SUCCESS_TEXT, ZapReply, ZapReplyError, check_contents, frames};
use crate::zap::request::{RequestId, ZapRequest};
use bytes::Bytes;
use std::time::{Duration, SystemTime};

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer is admitted.
    #[non_exhaustive]
    Allowed {
        /// The user id.
        user_id: Bytes,
        /// Properties for the application.
        metadata: Metadata,
        /// The version of the entry that admits the peer; see
        /// [`AdmissionTerms::entry_version`](crate::auth::AdmissionTerms::entry_version).
        entry_version: u64,
        /// The end of the admission's validity; `None` if it has no end.
        valid_until: Option<SystemTime>,
    },
    /// The peer is refused.
    #[non_exhaustive]
    Refused {
        /// The status. The peer is sent nothing else.
        status: DenialStatus,
        /// The text of the ZAP reply.
        reason: &'static str,
        /// The user that the policy names for the peer's key, which is refused for another reason,
        /// such as its address or its validity.
        user_id: Option<Bytes>,
    },
}

impl Outcome {
    /// Whether the peer is admitted.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// The decision of one policy about a request.
pub(crate) struct Decided {
    pub(crate) policy_version: u64,
    pub(crate) ruled: Result<Admission, Refused>,
    /// The grant of an admission, once one is issued.
    pub(crate) grant: Option<Grant>,
}

impl Decided {
    pub(crate) const fn new(policy_version: u64, ruled: Result<Admission, Refused>) -> Self {
        Self {
            policy_version,
            ruled,
            grant: None,
        }
    }

    /// Turns an admission into a refusal if no reply may carry its user id or metadata. These come
    /// from a certificate, a provider, or the mapping of user ids.
    ///
    /// # Errors
    /// Returns [`ZapReplyError`] if the user id or the metadata is not valid.
    pub(crate) fn check(&mut self) -> Result<(), ZapReplyError> {
        let Ok(admission) = &self.ruled else {
            return Ok(());
        };
        let checked = check_contents(&admission.user_id, &admission.metadata);
        if checked.is_err() {
            self.ruled = Err(Refusal::Failed.by(admission.rule.clone()));
        }
        checked
    }

    /// The delay of a refusal.
    pub(crate) fn hold_back(&self) -> Option<Duration> {
        self.ruled.as_ref().err()?.hold_back
    }

    /// The rule that decided.
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
            Err(refused) => Outcome::Refused {
                status: refused.refusal.status(),
                reason: refused.refusal.text(),
                user_id: refused.user.as_deref().cloned(),
            },
        }
    }

    /// The public part of the peer's credentials, as far as a log may show it. The name of a refused
    /// PLAIN peer is given only if the policy knows it: any other name may be a password typed in
    /// the wrong place.
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
    // Inlined, so that the frames are made where they are returned: to move them took longer.
    #[inline(always)]
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

    /// The reply to the request with that id, and the rule that decided.
    pub(crate) fn into_reply(self, id: RequestId) -> (ZapReply, Rule) {
        let grant = self.grant;
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
                    user_id: refused.user.map(|user| *user),
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

//! What came of a request, for audit and dry runs.
#![forbid(unsafe_code)]

use crate::access::peer::Credential;
use crate::auth::policy::Admission;
use crate::auth::refusal::{Refusal, Refused};
use crate::auth::rule::Rule;
use crate::status::DenialStatus;
use crate::wire::metadata::Metadata;
use crate::zap::reply::{InvalidReply, ZapReply};
use crate::zap::request::ZapRequest;
use bytes::Bytes;
use std::time::SystemTime;

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

/// A request as far as its policy has decided it.
pub(crate) struct Decided {
    pub(crate) reply: ZapReply,
    pub(crate) outcome: Outcome,
    pub(crate) rule: Rule,
    /// Whom to name; `None` where the name may be a secret in the wrong place.
    pub(crate) credential: Option<Credential>,
}

impl Decided {
    /// Whether the peer was admitted by what a change has withdrawn meanwhile.
    pub(crate) fn is_over(&self) -> bool {
        let grant = self.reply.grant.as_ref();
        grant.is_some_and(|grant| !grant.still_valid())
    }

    pub(crate) fn refused(request: &ZapRequest, refused: Refused) -> Self {
        let Refused { refusal, rule } = refused;
        Self {
            reply: request.deny(refusal.status(), refusal.text()),
            outcome: Outcome::refused(refusal),
            rule,
            credential: tellable(request, refusal),
        }
    }

    /// # Errors
    /// [`InvalidReply`] if user id or metadata are such that no reply may carry them: they come
    /// from a provider, or from the mapping of user ids.
    pub(crate) fn allowed(
        request: &ZapRequest,
        admission: &Admission,
    ) -> Result<Self, InvalidReply> {
        let reply = ZapReply {
            metadata: admission.metadata.clone(),
            ..request.allow(admission.user_id.clone())
        };
        reply.check(&request.id)?;
        Ok(Self {
            reply,
            outcome: Outcome::Allowed {
                user_id: admission.user_id.clone(),
                metadata: admission.metadata.clone(),
                entry_version: admission.entry_version,
                valid_until: admission.valid_until,
            },
            rule: admission.rule.clone(),
            credential: Some(admission.credential.clone()),
        })
    }
}

/// Who was refused. A name of PLAIN only if it is one that we know: any other may be a password
/// that was typed in the wrong place.
fn tellable(request: &ZapRequest, refusal: Refusal) -> Option<Credential> {
    let credential = Credential::of(request.credentials().ok()?);
    match credential {
        Credential::UserName(_) if refusal != Refusal::InvalidPassword => None,
        other => Some(other),
    }
}

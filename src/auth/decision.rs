//! How a request becomes a reply.
#![forbid(unsafe_code)]

use crate::auth::authenticator::Authenticator;
use crate::auth::policy::{Admission, Policy, Ruling};
use crate::auth::provider::{Asking, NoAnswer, ProviderAnswer};
use crate::auth::refusal::{Refusal, Refused};
use crate::error::printable;
use crate::status::{DenialStatus, Status};
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::reply::ZapReply;
use crate::zap::request::{ZapRequest, ZapRequestError};
use crate::zap::router::ZapHandler;
use bytes::Bytes;
use std::sync::Arc;

impl Authenticator {
    /// Answers a raw ZAP request without address envelope and delimiter: its frames from the
    /// version on give the six frames of the reply. `None` if there are fewer than two frames,
    /// so that there is no request id to reply to.
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => return Some(self.answer(&request).await.to_frames()),
            Err(ZapRequestError::NotEnoughFrames { id: None, frames }) => {
                tracing::warn!(frames, "ZAP request without a request id dropped");
                return None;
            }
            Err(ZapRequestError::NotEnoughFrames { id: Some(id), .. }) => {
                (id, Refusal::NotEnoughFrames)
            }
            Err(ZapRequestError::Version { id }) => (id, Refusal::InvalidVersion),
        };
        tracing::warn!(%id, status = %refusal.status(), "ZAP request refused: {}", refusal.text());
        Some(ZapReply::denial(id, refusal.status(), refusal.text()).to_frames())
    }

    /// Answers a raw ZAP request as a ROUTER receives it: routing frames, an empty delimiter,
    /// the request. The reply has the same envelope. `None` if there is no delimiter, or fewer
    /// than two frames after it.
    pub async fn handle_zap_envelope(&self, frames: Vec<Bytes>) -> Option<Vec<Bytes>> {
        let Some((mut envelope, message)) = split_envelope(frames) else {
            tracing::warn!("ZAP request without a delimiter dropped");
            return None;
        };
        envelope.extend(self.handle_zap_message(message).await?);
        Some(envelope)
    }

    async fn answer(&self, request: &ZapRequest) -> ZapReply {
        let mut reply = self.decide(request).await;
        // A provider may take its time. If the policy has withdrawn meanwhile what it decided by,
        // the policy that has taken its place is asked. Should that be overtaken as well, then as
        // if right after the reply: the grant has ended.
        if reply
            .grant
            .as_ref()
            .is_some_and(|grant| !grant.still_valid())
        {
            reply = self.decide(request).await;
        }
        log(request, &reply);
        reply
    }

    async fn decide(&self, request: &ZapRequest) -> ZapReply {
        let policy = Arc::clone(&self.policy());
        match self.judge(&policy, request).await {
            Ok(admission) => self.admit(&policy, request, admission),
            Err(refused) => request.deny(refused.refusal.status(), refused.refusal.text()),
        }
    }

    fn admit(&self, policy: &Policy, request: &ZapRequest, admission: Admission) -> ZapReply {
        let mut reply = ZapReply {
            metadata: admission.metadata.clone(),
            ..request.allow(admission.user_id.clone())
        };
        // A user id or metadata that no reply may carry comes from a provider, or from the mapping.
        if let Err(invalid) = reply.check(&request.id) {
            tracing::error!(id = %request.id, "{invalid}");
            return request.deny(DenialStatus::Internal, Refusal::Failed.text());
        }
        let terms = self.live().issue(self, policy, request, admission);
        reply.grant = Some(terms.into());
        reply
    }

    async fn judge(&self, policy: &Policy, request: &ZapRequest) -> Result<Admission, Refused> {
        let asked = match policy.judge(request, || self.now())? {
            Ruling::Admit(admission) => return Ok(admission),
            Ruling::Ask(asked) => asked,
        };
        match self.ask(request, asked.asking).await {
            Ok(answer) => {
                policy.judge_answer(answer, asked.credential, asked.rule, asked.entry_version)
            }
            Err(refusal) => Err(refusal.by(asked.rule)),
        }
    }

    async fn ask(&self, request: &ZapRequest, asking: Asking) -> Result<ProviderAnswer, Refusal> {
        let _place = self.provider_places().take().ok_or(Refusal::Busy)?;
        let answer = Contained::new(asking(self.provider_time())).await;
        match answer.map_err(|Panicked| Refusal::Failed)? {
            Ok(answer) => Ok(answer),
            Err(NoAnswer::Refusal(refusal)) => Err(refusal),
            Err(NoAnswer::Error(error)) => {
                tracing::error!(id = %request.id, "provider: {error}");
                Err(Refusal::Failed)
            }
        }
    }
}

impl ZapHandler for Authenticator {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        self.answer(&request).await
    }
}

/// Tells of a decision, without credentials: of a refused PLAIN peer not even the name, which
/// may be a password in the wrong place.
fn log(request: &ZapRequest, reply: &ZapReply) {
    let mechanism = printable(&request.mechanism);
    if reply.status == Status::Success {
        tracing::debug!(id = %request.id, domain = %request.domain, address = %request.address,
            mechanism, user_id = printable(&reply.user_id), "peer allowed");
    } else {
        tracing::info!(id = %request.id, domain = %request.domain, address = %request.address,
            mechanism, status = %reply.status, "peer refused: {}", printable(&reply.text));
    }
}

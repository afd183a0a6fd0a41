//! How a request becomes a reply.
#![forbid(unsafe_code)]

use crate::auth::audit::{Audited, AuditedDecision};
use crate::auth::authenticator::Authenticator;
use crate::auth::outcome::Decided;
use crate::auth::policy::{Admission, Ask, Policy, Ruling};
use crate::auth::provider::{Asking, NoAnswer, ProviderAnswer};
use crate::auth::refusal::{Refusal, Refused};
use crate::auth::rule::Rule;
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::reply::ZapReply;
use crate::zap::request::{RequestId, ZapRequest, ZapRequestError};
use crate::zap::router::ZapHandler;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

impl Authenticator {
    /// Answers a raw ZAP request without address envelope and delimiter: its frames from the
    /// version on give the six frames of the reply. `None` if there are fewer than two frames,
    /// so that there is no request id to reply to.
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => return Some(self.answer(&request).await.reply.to_frames()),
            Err(ZapRequestError::NotEnoughFrames { id, .. }) => (id, Refusal::NotEnoughFrames),
            Err(ZapRequestError::Version { id }) => (Some(id), Refusal::InvalidVersion),
        };
        let reason = refusal.text();
        self.audit_malformed(id.clone(), reason);
        Some(ZapReply::denial(id?, refusal.status(), reason).to_frames())
    }

    /// Answers a raw ZAP request as a ROUTER receives it: routing frames, an empty delimiter,
    /// the request. The reply has the same envelope. `None` if there is no delimiter, or fewer
    /// than two frames after it.
    pub async fn handle_zap_envelope(&self, frames: Vec<Bytes>) -> Option<Vec<Bytes>> {
        let Some((mut envelope, message)) = split_envelope(frames) else {
            self.audit_malformed(None, "No delimiter");
            return None;
        };
        envelope.extend(self.handle_zap_message(message).await?);
        Some(envelope)
    }

    fn audit_malformed(&self, id: Option<RequestId>, reason: &'static str) {
        let version = self.policy_version();
        self.audit(version, Audited::Malformed { id, reason });
    }

    /// Answers a request as [`ZapHandler::handle`] does, and says what has decided.
    pub async fn handle_explained(&self, request: &ZapRequest) -> (ZapReply, Rule) {
        let decided = self.answer(request).await;
        (decided.reply, decided.rule)
    }

    async fn answer(&self, request: &ZapRequest) -> Decided {
        let start = Instant::now();
        let (mut version, mut decided) = self.decide(request).await;
        // A provider may take its time. If the policy has withdrawn meanwhile what it decided by,
        // the policy that has taken its place is asked. Should that be overtaken as well, then as
        // if right after the reply: the grant has ended.
        if decided.is_over() {
            (version, decided) = self.decide(request).await;
        }
        let decision = AuditedDecision::new(request, &decided, start.elapsed());
        self.audit(version, Audited::Decision(decision));
        decided
    }

    /// Decides, and tells by which version of the policy.
    async fn decide(&self, request: &ZapRequest) -> (u64, Decided) {
        let policy = Arc::clone(&self.policy());
        let decided = match self.judge(&policy, request).await {
            Ok(admission) => self.admit(&policy, request, admission),
            Err(refused) => Err(refused),
        };
        let decided = decided.unwrap_or_else(|refused| Decided::refused(request, refused));
        (policy.version, decided)
    }

    fn admit(
        &self,
        policy: &Policy,
        request: &ZapRequest,
        admission: Admission,
    ) -> Result<Decided, Refused> {
        let mut decided = Decided::allowed(request, &admission).map_err(|invalid| {
            tracing::error!(id = %request.id, "{invalid}");
            Refusal::Failed.by(admission.rule.clone())
        })?;
        let terms = self.live().issue(self, policy, request, admission);
        decided.reply.grant = Some(terms.into());
        Ok(decided)
    }

    async fn judge(&self, policy: &Policy, request: &ZapRequest) -> Result<Admission, Refused> {
        match policy.judge(request, || self.now())? {
            Ruling::Admit(admission) => Ok(admission),
            Ruling::Ask(asked) => self.ask(policy, request, asked).await,
        }
    }

    /// Asks what takes its time, and takes the answer as `policy` has it.
    pub(crate) async fn ask(
        &self,
        policy: &Policy,
        request: &ZapRequest,
        asked: Ask,
    ) -> Result<Admission, Refused> {
        match self.answer_to(request, asked.asking).await {
            Ok(answer) => {
                policy.judge_answer(answer, asked.credential, asked.rule, asked.entry_version)
            }
            Err(refusal) => Err(refusal.by(asked.rule)),
        }
    }

    async fn answer_to(
        &self,
        request: &ZapRequest,
        asking: Asking,
    ) -> Result<ProviderAnswer, Refusal> {
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
        self.answer(&request).await.reply
    }
}

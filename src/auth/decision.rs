//! How a request becomes a reply.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::auth::authenticator::Authenticator;
use crate::auth::outcome::Decided;
use crate::auth::policy::{Admission, Ask, Policy, Ruling};
use crate::auth::provider::{Asking, NoAnswer, ProviderAnswer};
use crate::auth::refusal::{Refusal, Refused};
use crate::auth::rule::Rule;
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::reply::ZapReply;
use crate::zap::request::{ZapRequest, ZapRequestError};
use crate::zap::router::ZapHandler;
use arc_swap::Guard;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// For how long a peer is admitted.
#[derive(Clone, Copy)]
enum Admitting {
    /// Its grant says, which whoever asks can hold.
    Revocably,
    /// There is nobody to hold a grant: a reply in frames is all that is left of the decision.
    ForNow,
}

/// What comes of a decision beside the reply.
struct Admitted {
    grant: Option<Grant>,
    /// Whether the peer was admitted by what a change has withdrawn meanwhile.
    is_over: bool,
}

impl Authenticator {
    /// Answers a raw ZAP request without address envelope and delimiter: its frames from the
    /// version on give the six frames of the reply. `None` if there are fewer than two frames,
    /// so that there is no request id to reply to.
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => {
                let (decided, _) = self.answer(&request, Admitting::ForNow).await;
                return Some(decided.into_frames(request.id));
            }
            Err(ZapRequestError::NotEnoughFrames { id, .. }) => (id, Refusal::NotEnoughFrames),
            Err(ZapRequestError::Version { id }) => (Some(id), Refusal::InvalidVersion),
        };
        let reason = refusal.text();
        self.audit_malformed(id.as_ref(), reason);
        Some(ZapReply::denial(id?, refusal.status(), reason).into_frames())
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

    /// Answers a request as [`ZapHandler::handle`] does, and says what has decided.
    pub async fn handle_explained(&self, request: &ZapRequest) -> (ZapReply, Rule) {
        let (decided, grant) = self.answer(request, Admitting::Revocably).await;
        decided.into_reply(request.id.clone(), grant)
    }

    async fn answer(&self, request: &ZapRequest, admitting: Admitting) -> (Decided, Option<Grant>) {
        let start = Instant::now();
        let mut was_over = false;
        loop {
            let policy = self.policy();
            let mut decided = Decided {
                policy_version: policy.version,
                ruled: match policy.judge(request, || self.now()) {
                    Err(refused) => Err(refused),
                    Ok(Ruling::Admit(admission)) => Ok(admission),
                    // In a box, so that decisions which need no answer carry no room for one.
                    Ok(Ruling::Ask(asked)) => {
                        let policy = Guard::into_inner(policy);
                        Box::pin(self.ask(policy, request, asked)).await
                    }
                },
            };
            if let Err(invalid) = decided.check() {
                tracing::error!(id = %request.id, "{invalid}");
            }
            let Admitted { grant, is_over } = self.admit(request, &decided, admitting);
            // A provider may take its time. If the policy has withdrawn meanwhile what it decided
            // by, the policy that has taken its place is asked. Should that be overtaken as well,
            // then as if right after the reply: the grant has ended.
            if !is_over || was_over {
                self.audit_decision(request, &decided, start);
                return (decided, grant);
            }
            was_over = true;
        }
    }

    fn admit(&self, request: &ZapRequest, decided: &Decided, admitting: Admitting) -> Admitted {
        let (is_over, grant) = match (&decided.ruled, admitting) {
            (Err(_), _) => (false, None),
            (Ok(admission), Admitting::ForNow) => {
                let policy = self.policy();
                let is_over = policy.version != decided.policy_version
                    && policy
                        .standing_of(&admission.of(request), || self.now())
                        .is_none();
                (is_over, None)
            }
            (Ok(admission), Admitting::Revocably) => {
                let issued = self
                    .live()
                    .issue(self, decided.policy_version, request, admission);
                (issued.is_over, Some(issued.terms.into()))
            }
        };
        Admitted { is_over, grant }
    }

    /// Asks what takes its time, and takes the answer as `policy` has it.
    pub(crate) async fn ask(
        &self,
        policy: Arc<Policy>,
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
                // Quoted and escaped, so that it cannot forge a log line.
                tracing::error!(id = %request.id, error = ?error.to_string(), "provider failed");
                Err(Refusal::Failed)
            }
        }
    }
}

impl ZapHandler for Authenticator {
    async fn handle(&self, request: ZapRequest) -> ZapReply {
        let (decided, grant) = self.answer(&request, Admitting::Revocably).await;
        let (reply, _) = decided.into_reply(request.id, grant);
        reply
    }
}

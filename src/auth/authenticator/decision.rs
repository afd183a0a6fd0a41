//! How a request becomes a reply.
#![forbid(unsafe_code)]

use crate::access::grant::Grant;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::admission::Admission;
use crate::auth::policy::decide::{Ask, Policy, Ruling};
use crate::auth::policy::outcome::Decided;
use crate::auth::policy::provider::{Asking, NoAnswer, ProviderAnswer, ProviderError};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use crate::status::Status;
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::failures::Asker;
use crate::zap::hold_back::{Failure, Outage};
use crate::zap::reply::ZapReply;
use crate::zap::request::{ZapRequest, ZapRequestError};
use crate::zap::router::ZapHandler;
use arc_swap::Guard;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// How often a decision may be overtaken and made again. 8: changes come in bursts, as a reload of
/// a few files makes them, and no question is asked for ever.
const MAX_OVERTAKEN: u32 = 8;

/// Most characters of a provider's error in the log. 256: a sentence or two.
const MAX_LOGGED: usize = 256;

/// For how long a peer is admitted.
#[derive(Clone, Copy)]
enum Admitting {
    /// Its grant says, which the asker can hold.
    Revocably,
    /// The answer is a reply in frames, which no grant can go with.
    ForNow,
}

/// What comes of a decision, apart from the reply.
struct Admitted {
    grant: Option<Grant>,
    /// Whether the peer was admitted by what a change has withdrawn meanwhile.
    is_withdrawn: bool,
}

impl Authenticator {
    /// Answers a raw ZAP request without address envelope and delimiter: its frames from the
    /// version on give the six frames of the reply. `None` if there are fewer than two frames,
    /// so that there is no request id to reply to. The reply for a provider that gave no answer is
    /// held back here, since no frame can say so: see [`Provider`](crate::auth::Provider).
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => {
                let (decided, _) = self.answer(&request, Admitting::ForNow).await;
                if let Some(time) = decided.hold_back() {
                    self.held_back().wait(time).await;
                }
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
        let mut left = MAX_OVERTAKEN;
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
                        Box::pin(self.ask_and_note(policy, request, asked)).await
                    }
                },
            };
            if let Err(invalid) = decided.check() {
                tracing::error!(id = %request.id, "{invalid}");
            }
            let Admitted {
                grant,
                is_withdrawn,
            } = self.admit(request, &decided, admitting);
            // A provider may take its time. If the policy has withdrawn meanwhile what it decided
            // by, the policy that has taken its place is asked, until a decision stands.
            let grant = match (is_withdrawn, left) {
                (false, _) => grant,
                (true, 0) => {
                    decided.ruled = Err(Refusal::Overtaken.by(decided.rule().clone()));
                    None
                }
                (true, _) => {
                    left -= 1;
                    continue;
                }
            };
            let is_final = matches!(admitting, Admitting::ForNow);
            self.audit_decision(request, &decided, start, is_final);
            return (decided, grant);
        }
    }

    fn admit(&self, request: &ZapRequest, decided: &Decided, admitting: Admitting) -> Admitted {
        let version = decided.policy_version;
        let (is_withdrawn, grant) = match (&decided.ruled, admitting) {
            (Err(_), _) => (false, None),
            (Ok(admission), Admitting::ForNow) => {
                let policy = self.policy();
                let stands = policy.confirms(version, &admission.of(request), || self.now());
                (!stands, None)
            }
            (Ok(admission), Admitting::Revocably) => {
                let issued = self.issue(version, request, admission);
                (issued.is_withdrawn, Some(issued.terms.into()))
            }
        };
        Admitted {
            is_withdrawn,
            grant,
        }
    }

    /// As [`Authenticator::ask`], and takes note of failures.
    async fn ask_and_note(
        &self,
        policy: Arc<Policy>,
        request: &ZapRequest,
        asked: Ask,
    ) -> Result<Admission, Refused> {
        let asker = Asker::new(&request.address, asked.credential.clone());
        let ruled = self.ask(policy, request, asked).await;
        let status = match &ruled {
            Ok(_) => Status::Success,
            Err(refused) => refused.refusal.status().into(),
        };
        self.provider_permits().note(&asker, status);
        ruled
    }

    /// Asks what takes its time, and takes the answer as `policy` has it.
    pub(crate) async fn ask(
        &self,
        policy: Arc<Policy>,
        request: &ZapRequest,
        asked: Ask,
    ) -> Result<Admission, Refused> {
        let Ask {
            asking,
            is_on_thread,
            outage,
            credential,
            rule,
            entry_version,
        } = asked;
        let asker = Asker::new(&request.address, credential.clone());
        let answer = self.answer_to(asking, is_on_thread, &asker).await;
        let mut error = None;
        let mut ruled = match answer {
            Some(Ok(Ok(answer))) => policy.judge_answer(answer, credential, rule, entry_version),
            Some(Ok(Err(NoAnswer::Refusal(refusal)))) => Err(refusal.by(rule)),
            Some(Ok(Err(NoAnswer::Error(text)))) => {
                error = Some(text);
                Err(Refusal::ProviderFailed.by(rule))
            }
            Some(Err(Panicked)) if outage.is_some() => Err(Refusal::ProviderFailed.by(rule)),
            Some(Err(Panicked)) => Err(Refusal::Failed.by(rule)),
            None => Err(Refusal::Busy.by(rule)),
        };
        if let Some(outage) = outage {
            match &mut ruled {
                Err(refused) if refused.refusal.is_outage() => {
                    self.hold_back(&outage, refused, error.as_ref());
                }
                Err(refused) if refused.refusal == Refusal::Busy => {}
                _ => outage.is_over(),
            }
        }
        ruled
    }

    /// Puts the question. `None` if there is no permit for it.
    async fn answer_to(
        &self,
        asking: Asking,
        is_on_thread: bool,
        asker: &Asker,
    ) -> Option<Result<Result<ProviderAnswer, NoAnswer>, Panicked>> {
        let permits = self.provider_permits();
        let turn = permits.turn(asker);
        let asking = Contained::new(asking(self.provider_time(), turn));
        if is_on_thread {
            // It pauses in any case, and what a thread has begun cannot be taken back.
            permits.acquire(turn)?.hold(asking).await
        } else {
            permits.wait(|| turn, asking).await
        }
    }

    /// Holds the refusal back for as long as the provider's trouble asks for, and tells of it.
    fn hold_back(&self, outage: &Outage, refused: &mut Refused, error: Option<&ProviderError>) {
        let Failure { hold_back, untold } = outage.failed(Instant::now());
        refused.hold_back = Some(hold_back);
        let rule = &refused.rule;
        if let Some(untold) = untold {
            let reason = error.map_or(refused.refusal.text(), |ProviderError(text)| text);
            let reason: String = reason.chars().take(MAX_LOGGED).collect();
            // Quoted and escaped, so that it cannot forge a log line.
            tracing::error!(%rule, untold, error = ?reason, "provider failed");
        }
        if refused.refusal == Refusal::ProviderStuck && outage.is_newly_stuck() {
            self.audit_stuck(rule);
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

//! Decisions: from a request to a reply.
#![forbid(unsafe_code)]

use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::admission::Admission;
use crate::auth::policy::decide::{Ask, Policy, Ruling, ruling};
use crate::auth::policy::outcome::Decided;
use crate::auth::policy::provider::{Asking, NoAnswer, ProviderAnswer, ProviderError};
use crate::auth::policy::refusal::{Refusal, Refused};
use crate::auth::policy::rule::Rule;
use crate::status::Status;
use crate::with_causes::WithCauses;
use crate::zap::contain::{Contained, Panicked};
use crate::zap::envelope::split_envelope;
use crate::zap::failures::Asker;
use crate::zap::hold_back::{Failure, Outage};
use crate::zap::reply::ZapReply;
use crate::zap::request::{ZapRequest, ZapRequestError, curve_key};
use crate::zap::router::ZapHandler;
use arc_swap::Guard;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// How often a decision is repeated because the policy has changed meanwhile. 8: changes come in
/// short bursts, for example when several files are reloaded, and the number of requests to a
/// provider stays bounded.
const MAX_OVERTAKEN: u32 = 8;

/// Maximum number of characters of a provider's error in the log. 256: one or two sentences.
const MAX_LOGGED: usize = 256;

/// The form of the reply.
#[derive(Clone, Copy)]
enum ReplyForm {
    /// A [`ZapReply`] in this process, with a grant.
    WithGrant,
    /// Frames, which carry no grant.
    Frames,
}

/// A decision in progress.
struct Decision {
    form: ReplyForm,
    /// When it began, if that is logged or read.
    start: Option<Instant>,
    /// How often it may still be repeated.
    left: u32,
}

/// A question, and the policy that puts it.
type Question = (Arc<Policy>, Ask);

/// How far a decision comes without waiting.
enum Attempt {
    Decided(Decided),
    Asks(Question),
}

/// An answer that is there, or comes once a question is answered.
enum Answer<'a, T> {
    Ready(T),
    /// Boxed, so that the future of answers without a question stays small.
    Later(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl Authenticator {
    /// Answers a raw ZAP request without address envelope and delimiter. `frames` start with the
    /// version, and the result is the six frames of the reply. `None` if there are fewer than two
    /// frames, because there is then no request id to reply to.
    ///
    /// If a provider gave no answer, the reply is delayed here, because no frame can say so: see
    /// [`Provider`](crate::auth::Provider).
    ///
    /// Cancel-safe: dropping the future ends the decision.
    pub async fn handle_zap_message(&self, frames: Vec<Bytes>) -> Option<[Bytes; 6]> {
        let later = match self.answer_frames(frames) {
            Answer::Ready(reply) => return reply,
            Answer::Later(later) => later,
        };
        later.await
    }

    /// No async function, as those below, because each of these would move the request and the decision,
    /// which are long.
    #[inline]
    fn answer_frames(&self, frames: Vec<Bytes>) -> Answer<'_, Option<[Bytes; 6]>> {
        let policy = self.policy();
        // Among a million keys a decision would otherwise wait for its key's memory about as long as it takes
        // for all else.
        if let Some((domain, key)) = curve_key(&frames)
            && let Some((_, rule)) = ruling(&policy.curve, domain)
            && let Some(keys) = rule.table()
        {
            keys.prefetch(&key);
        }
        let (id, refusal) = match ZapRequest::from_frames(frames) {
            Ok(request) => {
                let mut decision = self.begin(ReplyForm::Frames);
                return match self.answer_at_once(policy, &request, &mut decision) {
                    // Providers alone delay refusals.
                    Attempt::Decided(decided) => {
                        Answer::Ready(Some(decided.into_frames(request.id)))
                    }
                    Attempt::Asks(question) => Answer::Later(Box::pin(async move {
                        let decided = self.answer_later(&request, decision, question).await;
                        if let Some(time) = decided.hold_back() {
                            self.held_back().wait(time).await;
                        }
                        Some(decided.into_frames(request.id))
                    })),
                };
            }
            Err(ZapRequestError::NotEnoughFrames { id, .. }) => (id, Refusal::NotEnoughFrames),
            Err(ZapRequestError::Version { id }) => (Some(id), Refusal::InvalidVersion),
        };
        let reason = refusal.text();
        self.audit_malformed(id.as_ref(), reason);
        let reply = |id| ZapReply::denial(id, refusal.status(), reason).into_frames();
        Answer::Ready(id.map(reply))
    }

    /// Answers a raw ZAP request as a ROUTER socket receives it: routing frames, an empty
    /// delimiter, the request. The reply has the same envelope. `None` if there is no delimiter, or
    /// fewer than two frames follow it. Cancel-safe, as
    /// [`handle_zap_message`](Self::handle_zap_message).
    pub async fn handle_zap_envelope(&self, frames: Vec<Bytes>) -> Option<Vec<Bytes>> {
        let Some((mut envelope, message)) = split_envelope(frames) else {
            self.audit_malformed(None, "No delimiter");
            return None;
        };
        envelope.extend(self.handle_zap_message(message).await?);
        Some(envelope)
    }

    /// Answers a request as [`ZapHandler::handle`] does, and also returns the rule that decided.
    /// Cancel-safe: dropping the future ends the decision.
    pub async fn handle_explained(&self, request: &ZapRequest) -> (ZapReply, Rule) {
        let id = request.id.clone();
        let later = match self.answer(request) {
            Answer::Ready(decided) => return decided.into_reply(id),
            Answer::Later(later) => later,
        };
        later.await.into_reply(id)
    }

    /// Decides the request, and issues a grant to an admitted peer.
    fn answer<'a>(&'a self, request: &'a ZapRequest) -> Answer<'a, Decided> {
        let mut decision = self.begin(ReplyForm::WithGrant);
        match self.answer_at_once(self.policy(), request, &mut decision) {
            Attempt::Decided(decided) => Answer::Ready(decided),
            Attempt::Asks(question) => {
                Answer::Later(Box::pin(self.answer_later(request, decision, question)))
            }
        }
    }

    fn begin(&self, form: ReplyForm) -> Decision {
        Decision {
            form,
            start: self.is_decision_heard().then(Instant::now),
            left: MAX_OVERTAKEN,
        }
    }

    /// Decides the request, first by `policy`, unless there is a question to put.
    fn answer_at_once(
        &self,
        mut policy: Guard<Arc<Policy>>,
        request: &ZapRequest,
        decision: &mut Decision,
    ) -> Attempt {
        loop {
            let ruled = match policy.judge(request, || self.now()) {
                Err(refused) => Err(refused),
                Ok(Ruling::Admit(admission)) => Ok(admission),
                Ok(Ruling::Ask(asked)) => return Attempt::Asks((Guard::into_inner(policy), asked)),
            };
            let mut decided = Decided::new(policy.version, ruled);
            if self.conclude(request, decision, &mut decided) {
                return Attempt::Decided(decided);
            }
            policy = self.policy();
        }
    }

    /// Decides the request by the answer to a question, and further ones if the policy changes meanwhile.
    async fn answer_later(
        &self,
        request: &ZapRequest,
        mut decision: Decision,
        mut question: Question,
    ) -> Decided {
        // A reader may come while the answer is awaited.
        decision.start.get_or_insert_with(Instant::now);
        loop {
            let (policy, asked) = question;
            let version = policy.version;
            let ruled = self.ask_and_note(policy, request, asked).await;
            let mut decided = Decided::new(version, ruled);
            if self.conclude(request, &mut decision, &mut decided) {
                return decided;
            }
            match self.answer_at_once(self.policy(), request, &mut decision) {
                Attempt::Decided(decided) => return decided,
                Attempt::Asks(next) => question = next,
            }
        }
    }

    /// Issues the grant, if the reply can carry one, and records the decision. False if the request must be
    /// decided again, because a change of the policy has withdrawn the admission since the decision began:
    /// a provider may take seconds to answer.
    fn conclude(
        &self,
        request: &ZapRequest,
        decision: &mut Decision,
        decided: &mut Decided,
    ) -> bool {
        if let Err(invalid) = decided.check() {
            tracing::error!(id = %request.id, "{}", WithCauses(&invalid));
        }
        if self.admit(request, decided, decision.form) {
            decided.grant = None;
            if decision.left > 0 {
                decision.left -= 1;
                return false;
            }
            decided.ruled = Err(Refusal::Overtaken.by(decided.rule().clone()));
        }
        let is_final = matches!(decision.form, ReplyForm::Frames);
        self.audit_decision(request, decided, decision.start, is_final);
        true
    }

    /// Issues the grant of an admission, if the reply can carry one. True if a change has withdrawn the
    /// admission since the decision began.
    fn admit(&self, request: &ZapRequest, decided: &mut Decided, form: ReplyForm) -> bool {
        let version = decided.policy_version;
        match (&decided.ruled, form) {
            (Err(_), _) => false,
            (Ok(_), ReplyForm::Frames) if version == self.ledger().version() => false,
            (Ok(admission), ReplyForm::Frames) => {
                let policy = self.policy();
                !policy.confirms(version, &admission.of(request), || self.now())
            }
            (Ok(admission), ReplyForm::WithGrant) => {
                let issued = self.issue(version, request, admission);
                decided.grant = Some(issued.terms.into());
                issued.is_withdrawn
            }
        }
    }

    /// As [`Authenticator::ask`], and records the outcome for the fair choice among addresses.
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

    /// Puts a question to a provider or to the verification of a hash, and decides by the answer
    /// under `policy`.
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
                _ => outage.recovered(),
            }
        }
        ruled
    }

    /// Awaits the answer. `None` if the question gets no permit, or loses it.
    async fn answer_to(
        &self,
        asking: Asking,
        is_on_thread: bool,
        asker: &Asker,
    ) -> Option<Result<Result<ProviderAnswer, NoAnswer>, Panicked>> {
        let permits = self.provider_permits();
        let priority = permits.priority(asker);
        let asking = Contained::new(asking(self.provider_time(), priority));
        if is_on_thread {
            // The question waits for a thread in any case, and a running thread cannot be stopped,
            // so it takes its permit before it begins.
            permits.acquire(priority)?.hold(asking).await
        } else {
            permits.wait(|| priority, asking).await
        }
    }

    /// Sets the delay of a refusal in a provider's outage, and logs the outage.
    fn hold_back(&self, outage: &Outage, refused: &mut Refused, error: Option<&ProviderError>) {
        let Failure { hold_back, untold } = outage.failed(Instant::now());
        refused.hold_back = Some(hold_back);
        let rule = &refused.rule;
        if let Some(untold) = untold {
            let reason = error.map_or(refused.refusal.text(), |ProviderError(text)| text);
            let reason: String = reason.chars().take(MAX_LOGGED).collect();
            // Quoted and escaped, so that the text cannot forge a log line.
            tracing::error!(%rule, untold, error = ?reason, "provider failed");
        }
        if refused.refusal == Refusal::ProviderStuck && outage.mark_stuck() {
            self.audit_stuck(rule);
        }
    }
}

impl ZapHandler for Authenticator {
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function would hold the request twice, as its argument and as a variable"
    )]
    fn handle(&self, request: ZapRequest) -> impl Future<Output = ZapReply> + Send {
        async move {
            let id = request.id.clone();
            let later = match self.answer(&request) {
                Answer::Ready(decided) => return decided.into_reply(id).0,
                Answer::Later(later) => later,
            };
            later.await.into_reply(id).0
        }
    }
}

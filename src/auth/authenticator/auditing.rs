//! Tells `tracing` and the readers of audit events what has happened. What is for every single peer
//! is put together only if there is a reader.
#![forbid(unsafe_code)]

use crate::auth::audit::event::{Audited, AuditedDecision, Change};
use crate::auth::audit::log::AuditEvents;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::outcome::Decided;
use crate::auth::policy::rule::Rule;
#[cfg(feature = "reload")]
use crate::auth::reload::event::ReloadEvent;
use crate::printable::printable;
use crate::zap::request::{RequestId, ZapRequest};
use std::cell::LazyCell;
use std::time::{Duration, Instant};

// Readers are woken, and wakers are foreign code: no lock may be held.
impl Authenticator {
    /// Tells of every decision, every end of an admission and every change, from now on.
    #[must_use]
    pub fn events(&self) -> AuditEvents {
        AuditEvents::of(self.event_log())
    }

    /// Tells of a decision that was begun at `start`. `is_final` is for an answer in frames: who
    /// asks in this process logs each refusal, with what he knows of the connection.
    pub(crate) fn audit_decision(
        &self,
        request: &ZapRequest,
        decided: &Decided,
        start: Instant,
        is_final: bool,
    ) {
        // Both are told the same.
        let took = LazyCell::new(|| start.elapsed());
        log_decision(request, decided, &took, is_final);
        self.event_log().tell(decided.policy_version, || {
            Audited::Decision(AuditedDecision {
                id: request.id.clone(),
                domain: request.domain.clone(),
                address: request.address.clone(),
                port: request.port,
                mechanism: request.mechanism.clone(),
                credential: decided.credential(request),
                outcome: decided.outcome(),
                rule: decided.rule().clone(),
                took: *took,
            })
        });
    }

    /// Tells of frames that are not a request, by their id if they have one.
    pub(crate) fn audit_malformed(&self, id: Option<&RequestId>, reason: &'static str) {
        match id {
            Some(id) => tracing::warn!(%id, "ZAP request refused: {reason}"),
            None => tracing::warn!("ZAP request dropped: {reason}"),
        }
        self.event_log().tell(self.policy_version(), || {
            let id = id.cloned();
            Audited::Malformed { id, reason }
        });
    }

    /// Tells that the provider of that rule has no thread left.
    pub(crate) fn audit_stuck(&self, rule: &Rule) {
        tracing::error!(%rule, "provider stuck: no call returns, and no thread is left");
        self.event_log().tell(self.policy_version(), || {
            Audited::ProviderStuck(rule.clone())
        });
    }

    /// Tells of what was loaded again by itself, or could not be.
    #[cfg(feature = "reload")]
    pub(crate) fn audit_reload(&self, event: &ReloadEvent) {
        event.log();
        self.event_log()
            .tell(self.policy_version(), || Audited::Reloaded(event.clone()));
    }

    /// Tells of the change that has made the policy of that version.
    pub(crate) fn audit_change(&self, policy_version: u64, change: Change) {
        change.log();
        self.event_log()
            .tell(policy_version, || Audited::Change(change));
    }
}

/// What belongs to every single peer is for debugging; refusals and changes are what operators
/// look for.
fn log_decision(
    request: &ZapRequest,
    decided: &Decided,
    took: &LazyCell<Duration, impl FnOnce() -> Duration>,
    is_final: bool,
) {
    match &decided.ruled {
        Ok(admission) => tracing::debug!(id = %request.id, domain = %request.domain,
            address = %request.address, mechanism = printable(&request.mechanism),
            user_id = printable(&admission.user_id), rule = %admission.rule, took = ?**took,
            "peer allowed"),
        // The provider's own line, once a minute, stands for these.
        Err(refused) if is_final && !refused.refusal.is_outage() => tracing::info!(
            id = %request.id, domain = %request.domain,
            address = %request.address, mechanism = printable(&request.mechanism),
            who = decided.credential(request).as_ref().map(display),
            status = %refused.refusal.status(), rule = %refused.rule,
            policy_version = decided.policy_version, took = ?**took,
            "peer refused: {}", refused.refusal.text()),
        Err(refused) => tracing::debug!(id = %request.id, domain = %request.domain,
            status = %refused.refusal.status(), rule = %refused.rule, took = ?**took,
            "request denied: {}", refused.refusal.text()),
    }
}

impl Change {
    fn log(&self) {
        match self {
            Self::Claimed(mechanism, domain) => {
                tracing::info!(%mechanism, %domain, "domain claimed");
            }
            Self::Ruled {
                rule,
                added,
                changed,
                removed,
            } => tracing::info!(%rule, added = added.len(), changed = changed.len(),
                removed = removed.len(), "policy changed"),
            Self::PolicyFile(domains) => {
                tracing::info!(domains = domains.len(), "policy file loaded");
            }
            Self::Unconfigured(domain) => tracing::info!(%domain, "domain given back"),
            Self::Addresses { domain, how, rules } => tracing::info!(
                domain = domain.as_ref().map(tracing::field::display),
                ?how,
                rules = rules.len(),
                "address list changed"
            ),
            Self::WatchEnded(rules) => {
                for (mechanism, domain) in rules {
                    tracing::info!(%mechanism, %domain, "no longer loaded again by itself");
                }
            }
            Self::UserIds => tracing::info!("mapping of user ids changed"),
            Self::EndedUser {
                mechanism,
                domain,
                user_id,
            } => tracing::info!(%mechanism, %domain, user_id = printable(user_id),
                "admissions of a user ended"),
            Self::EndedKey(key) => tracing::info!(%key, "admissions of a key ended"),
            Self::Stopped => tracing::info!("authenticator stopped"),
            Self::Started => tracing::info!("authenticator started"),
        }
    }
}

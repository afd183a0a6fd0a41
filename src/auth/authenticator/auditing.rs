//! Writes log lines (`tracing`) and audit events. The events of single peers are created only if
//! there is a reader.
#![forbid(unsafe_code)]

use crate::auth::audit::event::{Audited, AuditedDecision, Change};
use crate::auth::audit::log::AuditEvents;
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::comparison::ruled::{Counts, Made};
use crate::auth::policy::decide::Policy;
use crate::auth::policy::outcome::Decided;
use crate::auth::policy::rule::Rule;
#[cfg(feature = "reload")]
use crate::auth::reload::event::ReloadEvent;
use crate::printable::printable;
use crate::zap::request::{RequestId, ZapRequest};
use std::cell::LazyCell;
use std::time::{Duration, Instant};

// All of these wake readers, and wakers are foreign code, so no lock may be held.
impl Authenticator {
    /// A reader of all events from now on: decisions, ends of admissions, changes.
    #[must_use]
    pub fn events(&self) -> AuditEvents {
        AuditEvents::of(self.event_log())
    }

    /// Whether the duration of a decision that begins now is logged or read.
    pub(crate) fn is_decision_heard(&self) -> bool {
        tracing::enabled!(tracing::Level::INFO) || self.event_log().has_readers()
    }

    /// Records a decision that began at `start`. For a reader that came later the duration is zero.
    /// `is_final` is true for replies in frames. Callers in this process log each refusal themselves,
    /// because they know more about the connection.
    pub(crate) fn audit_decision(
        &self,
        request: &ZapRequest,
        decided: &Decided,
        start: Option<Instant>,
        is_final: bool,
    ) {
        // Evaluated at most once, so that the log line and the event show the same duration.
        let took = LazyCell::new(|| start.map_or(Duration::ZERO, |start| start.elapsed()));
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

    /// Records frames that are not a request, by their request id if they have one.
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

    /// Records that the provider of that rule has no thread left.
    pub(crate) fn audit_stuck(&self, rule: &Rule) {
        tracing::error!(%rule, "provider stuck: no call returns, and no thread is left");
        self.event_log().tell(self.policy_version(), || {
            Audited::ProviderStuck(rule.clone())
        });
    }

    /// Records that watched files were reloaded, or could not be.
    #[cfg(feature = "reload")]
    pub(crate) fn audit_reload(&self, event: &ReloadEvent) {
        event.log();
        self.event_log()
            .tell(self.policy_version(), || Audited::Reloaded(event.clone()));
    }

    /// Records what the change from `before` to `policy` has done. Rules are compared only if that is
    /// logged or read.
    pub(crate) fn audit_made(&self, before: &Policy, policy: &Policy, made: Made) {
        match made {
            Made::Told(change) => self.audit_change(policy.version, change),
            Made::Ruled(mechanism, domain) => {
                if tracing::enabled!(tracing::Level::INFO) {
                    let rule = policy.rule_of(mechanism, &domain);
                    let Counts {
                        added,
                        changed,
                        removed,
                    } = policy.counts_since(before, mechanism, &domain);
                    tracing::info!(%rule, added, changed, removed, "policy changed");
                }
                self.event_log().tell(policy.version, || {
                    Audited::Change(policy.change_since(before, mechanism, &domain))
                });
            }
        }
    }

    /// Records the change that has led to the policy of that version.
    pub(crate) fn audit_change(&self, policy_version: u64, change: Change) {
        change.log();
        self.event_log()
            .tell(policy_version, || Audited::Change(change));
    }
}

/// Logs a decision: admissions at level debug, refusals at level info, because operators look for
/// refusals. What another process has sent in its request is logged as text in quotes, so that it
/// cannot pass for another field.
fn log_decision(
    request: &ZapRequest,
    decided: &Decided,
    took: &LazyCell<Duration, impl FnOnce() -> Duration>,
    is_final: bool,
) {
    match &decided.ruled {
        Ok(admission) => tracing::debug!(id = request.id.to_string(),
            domain = request.domain.to_string(), address = request.address.to_string(), mechanism = printable(&request.mechanism),
            user_id = printable(&admission.user_id), rule = %admission.rule, took = ?**took,
            "peer allowed"),
        // Failures of a provider have a log line of their own, once a minute for each provider.
        Err(refused) if is_final && !refused.refusal.is_outage() => tracing::info!(
            id = request.id.to_string(), domain = request.domain.to_string(),
            address = request.address.to_string(), mechanism = printable(&request.mechanism),
            who = decided.credential(request).as_ref().map(display),
            user_id = refused.user.as_ref().map(|user| printable(user)),
            status = %refused.refusal.status(), rule = %refused.rule,
            policy_version = decided.policy_version, took = ?**took,
            "peer refused: {}", refused.refusal.text()),
        Err(refused) => tracing::debug!(id = request.id.to_string(),
            domain = request.domain.to_string(),
            user_id = refused.user.as_ref().map(|user| printable(user)),
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
            // Its log line comes from counts: see `audit_made`.
            Self::Ruled { .. } => {}
            Self::PolicyFile(domains) => {
                tracing::info!(domains = domains.len(), "policy file loaded");
            }
            Self::Unconfigured(domain) => tracing::info!(%domain, "domain unconfigured"),
            Self::Addresses { domain, how, rules } => tracing::info!(
                domain = domain.as_ref().map(tracing::field::display),
                ?how,
                rules = rules.len(),
                "address list changed"
            ),
            Self::Topics {
                domain,
                is_table,
                users,
                others,
            } => tracing::info!(%domain, is_table, users = users.len(), others,
                "topic table changed"),
            Self::WatchEnded(rules) => {
                for (mechanism, domain) in rules {
                    tracing::info!(%mechanism, %domain, "files no longer watched");
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

//! An admission as the holder of its grant sees it, and how its end is told.
#![forbid(unsafe_code)]

use crate::access::grant::GrantTerms;
use crate::access::topics::{TopicPermissions, TopicTerms, Topics};
use crate::auth::admission_state::AdmissionState;
use crate::auth::audit::event::{Audited, AuditedAdmission};
use crate::auth::grants::AdmissionTerms;
use crate::printable::printable;
use crate::zap::bounds::within;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

impl AdmissionTerms {
    /// Notifies waiters, and writes the audit log if the admission has ended.
    pub(crate) fn notify(&self) {
        self.changed().notify_all();
        let (is_end, checked) = {
            let mut state = self.state();
            let AdmissionState {
                revoked, checked, ..
            } = *state;
            // Several changes may notify of one end.
            let is_told = std::mem::replace(&mut state.is_end_audited, revoked);
            (revoked && !is_told, checked)
        };
        if is_end {
            self.audit_end(checked);
        }
    }

    /// Writes the end of the admission under the policy of that version to the audit log.
    fn audit_end(&self, policy_version: u64) {
        tracing::info!(domain = %self.domain(), address = %self.address(),
            mechanism = %self.mechanism(), user_id = printable(self.user_id()),
            rule = %self.rule(), "admission ended");
        self.ledger().log.tell(policy_version, || {
            Audited::Ended(AuditedAdmission {
                domain: self.domain().clone(),
                address: self.address().clone(),
                credential: self.credential().clone(),
                user_id: self.user_id().clone(),
                rule: self.rule().clone(),
            })
        });
    }
}

impl GrantTerms for AdmissionTerms {
    fn still_valid(&self) -> bool {
        if self.check(&self.ledger().policy(), self.ledger().now()) {
            self.notify();
        }
        !self.state().revoked
    }

    fn topics(self: Arc<Self>) -> Topics {
        Topics::new(self)
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                // Read before the check, so that a change after the check ends the wait at once.
                let heard = self.changed().count();
                if !self.still_valid() {
                    return;
                }
                let notified = self.changed().notified_after(heard);
                let now = self.ledger().now();
                let next = self.state().next_check(now);
                match next {
                    None => notified.await,
                    Some(time) => {
                        // In both cases the admission is checked again.
                        let _was_notified = within(time, notified).await;
                    }
                }
            }
        })
    }
}

impl TopicTerms for AdmissionTerms {
    fn permissions(&self) -> TopicPermissions {
        self.live_topics().permissions()
    }

    fn version(&self) -> u64 {
        self.live_topics().version()
    }

    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.live_topics().changed(seen, self.changed()))
    }
}

impl fmt::Debug for AdmissionTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionTerms")
            .field("entry_version", &self.entry_version())
            .field("domain", self.domain())
            .field("credential", self.credential())
            .field("address", self.address())
            .field("rule", self.rule())
            .field("state", &*self.state())
            .field("topics", self.live_topics())
            .finish_non_exhaustive()
    }
}

//! The part of an admission that changes: whether it stands, until when, and its topics.
#![forbid(unsafe_code)]

use crate::access::topics::{TopicLists, TopicPermissions};
use crate::auth::policy::admission::AdmittedPeer;
use crate::auth::policy::decide::Policy;
use crate::auth::sync::event_count::EventCount;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Maximum time between two looks at the clock while waiting for the end of a validity. 60 s: the
/// system clock may be set, or advance while the machine is suspended, and timers do not notice.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The state of an admission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdmissionState {
    pub(crate) revoked: bool,
    /// The version of the policy that admitted the peer.
    pub(crate) since: u64,
    /// The version of the last policy that the admission was checked against.
    pub(crate) checked: u64,
    pub(crate) valid_until: Option<SystemTime>,
    /// Whether the audit log has the end of the admission.
    pub(crate) is_end_audited: bool,
}

impl AdmissionState {
    /// An admission by the policy of that version.
    pub(crate) const fn new(policy_version: u64, valid_until: Option<SystemTime>) -> Self {
        Self {
            revoked: false,
            since: policy_version,
            checked: policy_version,
            valid_until,
            is_end_audited: false,
        }
    }

    /// Checks the admission of `peer` against `policy` and the clock. True if waiters must be
    /// notified.
    pub(crate) fn check(
        &mut self,
        policy: &Policy,
        peer: &AdmittedPeer<'_>,
        topics: &LiveTopics,
        now: Option<SystemTime>,
    ) -> bool {
        if self.revoked {
            return false;
        }
        // Fail closed: if the clock panicked, a validity with an end counts as over.
        let over = |until| now.is_none_or(|now| now >= until);
        let before = self.valid_until;
        if before.is_some_and(over) {
            return self.revoke(topics);
        }
        // A check against an older policy than the last one comes late and must do nothing.
        if self.checked >= policy.version {
            return false;
        }
        self.checked = policy.version;
        match policy.still_admits(peer, || now) {
            Some(valid_until) => self.valid_until = valid_until,
            None => return self.revoke(topics),
        }
        let are_new = topics.set(policy.topics_of(peer));
        are_new || self.valid_until != before
    }

    /// Sets the topics of a new admission, unless a check against a later policy has done so.
    pub(crate) fn begin_topics(
        &self,
        policy: &Policy,
        peer: &AdmittedPeer<'_>,
        topics: &LiveTopics,
    ) {
        if !self.revoked && policy.version >= self.checked {
            topics.set(policy.topics_of(peer));
        }
    }

    /// The end of its validity, if it stands.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        self.valid_until.filter(|_| !self.revoked)
    }

    /// The time until the next look at the clock; `None` if the validity has no end.
    pub(crate) fn next_check(&self, now: Option<SystemTime>) -> Option<Duration> {
        let left = self.valid_until?.duration_since(now?).unwrap_or_default();
        Some(left.min(LONGEST_SLEEP))
    }

    /// Ends the admission. True if it stood before.
    pub(crate) fn revoke(&mut self, topics: &LiveTopics) -> bool {
        topics.set(TopicPermissions::none());
        !std::mem::replace(&mut self.revoked, true)
    }
}

/// The topic permissions of an admission. They are changed only while its [`AdmissionState`] is
/// locked, and read without a lock.
pub(crate) struct LiveTopics {
    permissions: ArcSwap<TopicLists>,
    /// The number of changes.
    version: AtomicU64,
}

impl LiveTopics {
    pub(crate) fn new(permissions: TopicPermissions) -> Self {
        Self {
            permissions: ArcSwap::new(permissions.0),
            version: AtomicU64::new(0),
        }
    }

    pub(crate) fn permissions(&self) -> TopicPermissions {
        TopicPermissions(self.permissions.load_full())
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Resolves once their version is not `seen`. `changed` is notified after each change.
    pub(crate) async fn changed(&self, seen: u64, changed: &EventCount) {
        loop {
            // Read before the version, so that a change after it ends the wait at once.
            let heard = changed.count();
            if self.version() != seen {
                return;
            }
            changed.notified_after(heard).await;
        }
    }

    /// True if they have changed.
    pub(crate) fn set(&self, permissions: TopicPermissions) -> bool {
        let is_new = self.permissions() != permissions;
        if is_new {
            self.permissions.store(permissions.0);
            // After the store: a reader of the new version reads the new permissions.
            self.version.fetch_add(1, Ordering::Release);
        }
        is_new
    }
}

impl fmt::Debug for LiveTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permissions().fmt(f)
    }
}

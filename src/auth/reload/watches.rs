//! Which rules follow their files: part of the policy, so that the end of a watch and what it loads
//! cannot overtake each other.
#![forbid(unsafe_code)]

use crate::access::credentials::MechanismKind;
use crate::access::domain::Domain;
use crate::auth::audit::event::Change;
use crate::auth::authenticator::configured::{Call, Loaded};
use crate::auth::authenticator::handle::Authenticator;
use crate::auth::policy::decide::Policy;
use crate::auth::reload::source::{Reading, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The watched rules, by what they rule. What rules a domain otherwise has no entry.
pub(crate) type Watches = BTreeMap<Ruled, Watched>;

/// A domain, for one mechanism.
pub(crate) type Ruled = (MechanismKind, Domain);

/// A rule that follows its files.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Which watch follows it.
    pub(crate) watch: WatchId,
    pub(crate) source: Source,
    /// What an explicit call has last put in force; `None` if its first load failed.
    pub(crate) base: Option<Arc<Reading>>,
    /// The version of the policy that this call has made.
    pub(crate) based: u64,
}

/// A watch, among all of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchId(u64);

impl WatchId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Policy {
    /// An explicit call rules `ruled` now. Its watch goes on if the call has loaded what is
    /// watched, and ends otherwise, so that no later reload takes back what the call has said.
    /// Whether it has ended one.
    pub(crate) fn rule_explicitly(&mut self, ruled: &Ruled, loaded: Option<Loaded>) -> bool {
        self.ruling_call = Call::next();
        let Some(watched) = self.watches.get_mut(ruled) else {
            return false;
        };
        match loaded {
            Some(loaded) if loaded.source == watched.source => {
                watched.base = Some(Arc::new(loaded.reading));
                watched.based = self.version;
                false
            }
            _ => self.watches.remove(ruled).is_some(),
        }
    }

    /// `watch` follows `source` from now on, from `base`. Whether that has ended the watch of
    /// something else.
    pub(crate) fn watch(&mut self, watch: WatchId, source: Source, base: Option<Reading>) -> bool {
        let watched = Watched {
            watch,
            base: base.map(Arc::new),
            based: self.version,
            source,
        };
        let ruled = watched.source.rules();
        let source = watched.source.clone();
        let before = self.watches.insert(ruled, watched);
        before.is_some_and(|before| before.source != source)
    }

    /// Those of the watches `before` whose source is watched no longer.
    pub(crate) fn ended_since(&self, before: &Watches) -> Vec<Ruled> {
        let goes_on = |ruled: &Ruled, watched: &Watched| {
            let now = self.watches.get(ruled);
            now.is_some_and(|now| now.source == watched.source)
        };
        let ended = before
            .iter()
            .filter(|(ruled, watched)| !goes_on(ruled, watched));
        ended.map(|(ruled, _)| ruled.clone()).collect()
    }
}

impl Authenticator {
    /// Ends those of the watches of which `ends` says so. What is in force stays.
    pub(crate) fn end_watches(&self, ends: impl Fn(&Ruled, &Watched) -> bool) {
        let policy = self.policy();
        if policy
            .watches
            .iter()
            .any(|(ruled, watched)| ends(ruled, watched))
        {
            self.change(|policy| {
                let before = std::mem::take(&mut policy.watches).into_iter();
                let (ended, kept) = before.partition(|(ruled, watched)| ends(ruled, watched));
                policy.watches = kept;
                Change::WatchEnded(Watches::into_keys(ended).collect())
            });
        }
    }
}

//! Which rules follow their files: part of the policy, so that the end of a watch and what it loads
//! cannot overtake each other.
#![forbid(unsafe_code)]

use crate::auth::policy::watched::reading::Reading;
use crate::auth::policy::watched::source::{Ruled, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The watched rules, by what they rule. What rules a domain otherwise has no entry.
#[derive(Clone, Default)]
pub(crate) struct Watches(BTreeMap<Ruled, Watched>);

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

/// What an explicit call has loaded, and from where.
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) reading: Reading,
}

impl Watches {
    /// An explicit call has made the policy of that version, in which it rules `ruled`. Whether
    /// that has ended a watch: it goes on if the call has loaded what is watched.
    pub(crate) fn rule_explicitly(
        &mut self,
        ruled: &Ruled,
        loaded: Option<Loaded>,
        version: u64,
    ) -> bool {
        let Some(watched) = self.0.get_mut(ruled) else {
            return false;
        };
        match loaded {
            Some(loaded) if loaded.source == watched.source => {
                watched.base = Some(Arc::new(loaded.reading));
                watched.based = version;
                false
            }
            _ => self.0.remove(ruled).is_some(),
        }
    }

    /// `watch` follows `source` from now on, from `base`, as the policy of that version says.
    /// Whether that has ended the watch of something else.
    pub(crate) fn follow(
        &mut self,
        watch: WatchId,
        source: Source,
        base: Option<Reading>,
        version: u64,
    ) -> bool {
        let watched = Watched {
            watch,
            base: base.map(Arc::new),
            based: version,
            source,
        };
        let source = watched.source.clone();
        let before = self.0.insert(source.rules(), watched);
        before.is_some_and(|before| before.source != source)
    }

    /// Ends those of which `ends` says so, and gives what they ruled.
    pub(crate) fn end(&mut self, ends: impl Fn(&Watched) -> bool) -> Vec<Ruled> {
        let before = std::mem::take(&mut self.0).into_iter();
        let (ended, kept): (BTreeMap<_, _>, _) = before.partition(|(_, watched)| ends(watched));
        self.0 = kept;
        ended.into_keys().collect()
    }

    /// Those of the watches `before` whose source is watched no longer.
    pub(crate) fn ended_since(&self, before: &Self) -> Vec<Ruled> {
        let goes_on = |ruled: &Ruled, watched: &Watched| {
            let now = self.get(ruled);
            now.is_some_and(|now| now.source == watched.source)
        };
        let ended = before.iter();
        let ended = ended.filter(|(ruled, watched)| !goes_on(ruled, watched));
        ended.map(|(ruled, _)| ruled.clone()).collect()
    }

    /// What follows its files in `ruled`.
    pub(crate) fn get(&self, ruled: &Ruled) -> Option<&Watched> {
        self.0.get(ruled)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Ruled, &Watched)> {
        self.0.iter()
    }
}

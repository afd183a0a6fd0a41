//! The rules that are reloaded when their files change. They are part of the policy, so that the
//! end of a watch and its last reload are ordered: a reload that comes late finds that its watch
//! has ended, and changes nothing.
#![forbid(unsafe_code)]

use crate::auth::policy::watched::reading::Reading;
use crate::auth::policy::watched::source::{Ruled, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The watched rules by mechanism and domain. Rules that are not watched have no entry.
#[derive(Clone, Default)]
pub(crate) struct Watches(BTreeMap<Ruled, Watched>);

/// A rule that is reloaded when its files change.
#[derive(Clone)]
pub(crate) struct Watched {
    /// The watch that reloads it.
    pub(crate) watch: WatchId,
    pub(crate) source: Source,
    /// The reading that the last explicit call put in force; `None` if its load failed.
    pub(crate) base: Option<Arc<Reading>>,
    /// The version of the policy that this call led to.
    pub(crate) base_version: u64,
}

/// The number of a watch, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchId(u64);

impl WatchId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The files that an explicit call has loaded, and their contents.
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) reading: Reading,
}

impl Watches {
    /// Records that an explicit call has configured `ruled` in the policy of that version. The watch
    /// continues if the call has loaded the watched files. Returns whether it has ended.
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
                watched.base_version = version;
                false
            }
            _ => self.0.remove(ruled).is_some(),
        }
    }

    /// Lets `watch` follow `source` from `base` on, which is in force in the policy of that version.
    /// Returns whether the watch of another source has ended.
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
            base_version: version,
            source,
        };
        let source = watched.source.clone();
        let before = self.0.insert(source.rules(), watched);
        before.is_some_and(|before| before.source != source)
    }

    /// Ends the watches for which `ends` returns true, and returns what they ruled.
    pub(crate) fn end(&mut self, ends: impl Fn(&Watched) -> bool) -> Vec<Ruled> {
        let before = std::mem::take(&mut self.0).into_iter();
        let (ended, kept): (BTreeMap<_, _>, _) = before.partition(|(_, watched)| ends(watched));
        self.0 = kept;
        ended.into_keys().collect()
    }

    /// The watches in `before` whose source is no longer watched.
    pub(crate) fn ended_since(&self, before: &Self) -> Vec<Ruled> {
        let goes_on = |ruled: &Ruled, watched: &Watched| {
            let now = self.get(ruled);
            now.is_some_and(|now| now.source == watched.source)
        };
        let ended = before.iter();
        let ended = ended.filter(|(ruled, watched)| !goes_on(ruled, watched));
        ended.map(|(ruled, _)| ruled.clone()).collect()
    }

    /// The watch of `ruled`.
    pub(crate) fn get(&self, ruled: &Ruled) -> Option<&Watched> {
        self.0.get(ruled)
    }

    /// All watches.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Ruled, &Watched)> {
        self.0.iter()
    }
}

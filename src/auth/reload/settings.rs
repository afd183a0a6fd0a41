//! How soon a change on disk is noticed and counts.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How soon a change is noticed and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadSettings {
    /// A change counts once it was read twice, the second time no sooner than this after the
    /// first. 2 s: editors save by rename, and copies take their time.
    pub debounce: Duration,
    /// Everything is read again after this time even if the system has told of no change: file
    /// systems of other machines tell of none. 30 s.
    pub poll: Duration,
    /// A directory or file whose reading takes longer is told of as [`ReloadIssue::Hangs`]. The
    /// others are read meanwhile. 10 s: a disk that is busy answers sooner.
    ///
    /// [`ReloadIssue::Hangs`]: crate::auth::ReloadIssue::Hangs
    pub patience: Duration,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            debounce: Duration::from_secs(2),
            poll: Duration::from_secs(30),
            patience: Duration::from_secs(10),
        }
    }
}

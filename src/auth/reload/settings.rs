//! The delays of reloading.
#![forbid(unsafe_code)]

use std::time::Duration;

/// The delays of reloading: how soon a change on disk is noticed, and when it comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReloadSettings {
    /// Minimum time between the two readings after which a change comes into force. Default: 2 s,
    /// because editors save by rename, and a copy may be incomplete for a moment.
    pub debounce: Duration,
    /// Time after which everything is read again even if the system has reported no change: network
    /// file systems report none. Default: 30 s.
    pub poll: Duration,
    /// Time after which a reading that has not ended is reported as [`ReloadIssue::Hangs`]. Other
    /// directories and files are read meanwhile. Default: 10 s, longer than a busy disk needs.
    ///
    /// [`ReloadIssue::Hangs`]: crate::auth::ReloadIssue::Hangs
    pub read_timeout: Duration,
}

impl ReloadSettings {
    /// Sets [`ReloadSettings::debounce`].
    #[must_use]
    pub const fn with_debounce(mut self, debounce: Duration) -> Self {
        self.debounce = debounce;
        self
    }

    /// Sets [`ReloadSettings::poll`].
    #[must_use]
    pub const fn with_poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Sets [`ReloadSettings::read_timeout`].
    #[must_use]
    pub const fn with_read_timeout(mut self, read_timeout: Duration) -> Self {
        self.read_timeout = read_timeout;
        self
    }
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            debounce: Duration::from_secs(2),
            poll: Duration::from_secs(30),
            read_timeout: Duration::from_secs(10),
        }
    }
}

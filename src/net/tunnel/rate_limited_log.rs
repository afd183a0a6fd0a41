//! Bounds the log lines that peers of a tunnel can cause.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::lock::lock;
use std::collections::HashMap;
use std::mem;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two lines of one cause. One minute, so that a person sees that the failures go on,
/// and the log of a day stays short.
const INTERVAL: Duration = Duration::from_secs(60);

/// Most causes with an interval of their own. 64, which a person can read in a minute. Peers
/// determine the number of causes, so all others share one interval.
const MAX_CAUSES: usize = 64;

/// Lets one line of each cause through in each interval, and counts the others. Dropping it logs
/// how many were not written.
#[derive(Debug)]
pub(crate) struct RateLimitedLog {
    /// The subject of its lines.
    about: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    causes: HashMap<Cause, Interval>,
    others: Interval,
}

/// What happens, and the peer that causes it.
type Cause = (&'static str, String);

#[derive(Debug, Default)]
struct Interval {
    last: Option<Instant>,
    unlogged: u64,
}

/// The number of lines left out, as a field that a line shows if there is one.
pub(crate) type LeftOut = Option<NonZeroU64>;

impl RateLimitedLog {
    pub(crate) fn new(about: &'static str) -> Self {
        Self {
            about,
            state: Mutex::default(),
        }
    }

    /// If a line about `what`, which `who` causes, may be written now: the number of lines left out
    /// since the last one, or `None` for zero.
    pub(crate) fn admit(&self, what: &'static str, who: String) -> Option<LeftOut> {
        let mut state = lock(&self.state);
        let cause = (what, who);
        let is_known = state.causes.contains_key(&cause);
        if !is_known && state.causes.len() >= MAX_CAUSES {
            state.forget_the_quiet();
        }
        if is_known || state.causes.len() < MAX_CAUSES {
            state.causes.entry(cause).or_default().admit()
        } else {
            state.others.admit()
        }
        .map(NonZeroU64::new)
    }
}

impl State {
    /// Removes causes whose interval is over. Their counts are added to the shared one.
    fn forget_the_quiet(&mut self) {
        let others = &mut self.others;
        self.causes.retain(|_, interval| {
            if !interval.is_over() {
                return true;
            }
            others.unlogged = others.unlogged.saturating_add(interval.unlogged);
            false
        });
    }

    fn unlogged(&self) -> u64 {
        let causes = self.causes.values().map(|interval| interval.unlogged);
        causes.fold(self.others.unlogged, u64::saturating_add)
    }
}

impl Interval {
    fn is_over(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= INTERVAL)
    }

    fn admit(&mut self) -> Option<u64> {
        if !self.is_over() {
            self.unlogged = self.unlogged.saturating_add(1);
            return None;
        }
        self.last = Some(Instant::now());
        Some(mem::take(&mut self.unlogged))
    }
}

impl Drop for RateLimitedLog {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let unlogged = state.unlogged();
        if unlogged > 0 {
            let about = self.about;
            tracing::warn!(
                "the tunnel ends: {unlogged} more lines about {about} were left out, since each cause \
                 has one a minute"
            );
        }
    }
}

/// Stands for a peer without a name: its address, or its user over ipc, because a process id
/// changes with each start.
pub(crate) fn origin(address: &PeerAddress) -> String {
    match address {
        PeerAddress::Ipc(peer) => format!("uid {}", peer.uid),
        address => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_says_how_many_there_would_have_been() {
        let log = RateLimitedLog::new("a test");
        let mut lines = Vec::new();
        for _ in 0..130 {
            let left_out = log.admit("limit", "alice".into());
            lines.extend(left_out.map(|count| count.map_or(0, NonZeroU64::get)));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(lines, [0, 59, 59]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_user_and_no_limit_makes_another_mute() {
        let log = RateLimitedLog::new("a test");
        for _ in 0..2 {
            log.admit("one", "mallory".into());
        }
        assert_eq!(log.admit("one", "mallory".into()), None);
        assert_eq!(log.admit("one", "alice".into()), Some(None));
        assert_eq!(log.admit("other", "mallory".into()), Some(None));
    }

    #[tokio::test(start_paused = true)]
    async fn causes_are_bounded_and_no_count_is_lost() {
        let log = RateLimitedLog::new("a test");
        let lines = |names: std::ops::Range<usize>| {
            let lines = names.map(|name| log.admit("limit", name.to_string()));
            lines.flatten().collect::<Vec<_>>()
        };
        // The others share one line.
        assert_eq!(lines(0..1000).len(), MAX_CAUSES + 1);
        let unlogged = || log.state.lock().unwrap().unlogged();
        assert_eq!(log.state.lock().unwrap().causes.len(), MAX_CAUSES);
        assert_eq!(unlogged(), 935);
        lines(0..10);
        assert_eq!(unlogged(), 945);
        // The quiet make room for the new.
        advance(INTERVAL).await;
        assert_eq!(lines(2000..2010), [None; 10]);
        assert_eq!(log.state.lock().unwrap().causes.len(), 10);
        assert_eq!(unlogged(), 945);
    }
}

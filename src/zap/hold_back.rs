//! Refusals that are held back, so that a peer that comes back at once does not hammer a provider
//! that is away: for how long, and how many at once.
#![forbid(unsafe_code)]

use crate::lock::lock;
#[cfg(feature = "tokio")]
use crate::zap::contain::Contained;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest time at first. A refusal is held back for half of it at least: 0.5 s, five times as
/// long as libzmq waits before it comes back.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time of all. 5 s: a peer is back soon after the provider is, and a refusal fits into
/// the handshake's 30 s behind a time-out.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// Time between two log lines about one provider, and after which a failure is a new one.
const MINUTE: Duration = Duration::from_secs(60);

/// For how long to hold back a refusal while something has failed for that time. `random` spreads
/// it, so that peers that were refused together do not come back together.
fn delay(failing: Duration, random: u32) -> Duration {
    let longest = (FIRST + failing / 2).min(LONGEST);
    longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Enough to spread peers. It guards nothing.
fn random() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 32) as u32
}

/// For how long to hold back a refusal for something whose failures are not counted.
pub(crate) fn first_delay() -> Duration {
    delay(Duration::ZERO, random())
}

/// How a provider fares.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first of its failures without an answer between, and the last.
    failing: Option<(Instant, Instant)>,
    /// When the log was told last, and how many failures there were since.
    told: Option<Instant>,
    untold: u64,
    /// That it has no thread left was told.
    is_stuck: bool,
}

/// What a failure means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The time for which the refusal is to be held back.
    pub(crate) hold_back: Duration,
    /// If the log is to be told: how many failures before this one it was not told of.
    pub(crate) untold: Option<u64>,
}

impl Outage {
    fn update<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        update(&mut lock(&self.0))
    }

    /// The provider gave no answer.
    pub(crate) fn failed(&self, now: Instant) -> Failure {
        self.update(|state| {
            let first = match state.failing {
                Some((first, last)) if now.saturating_duration_since(last) < MINUTE => first,
                _ => now,
            };
            state.failing = Some((first, now));
            let told = state.told;
            let is_due = told.is_none_or(|told| now.saturating_duration_since(told) >= MINUTE);
            let untold = is_due.then(|| {
                state.told = Some(now);
                std::mem::take(&mut state.untold)
            });
            if !is_due {
                state.untold += 1;
            }
            Failure {
                hold_back: delay(now.saturating_duration_since(first), random()),
                untold,
            }
        })
    }

    /// The provider has no thread left. True if that is news.
    pub(crate) fn is_newly_stuck(&self) -> bool {
        self.update(|state| !std::mem::replace(&mut state.is_stuck, true))
    }

    /// The provider gave an answer.
    pub(crate) fn is_over(&self) {
        self.update(|state| {
            state.failing = None;
            state.is_stuck = false;
        });
    }
}

/// Refusals that are held back now. One is a timer and what its caller holds anyway.
#[derive(Debug)]
pub(crate) struct HeldBack {
    count: AtomicUsize,
    max: usize,
}

struct Held<'a>(&'a HeldBack);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HeldBack {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            max,
        }
    }

    /// Waits for that time, [`LONGEST`] at most. If too many wait already, or there is no clock,
    /// the time is over at once: the refusal is not delayed, and stays one. Dropping the future
    /// makes room.
    pub(crate) async fn wait(&self, time: Duration) {
        // The counter guards no other memory, so relaxed is enough.
        let count = |count| (count < self.max).then_some(count + 1);
        let (relaxed, counter) = (Ordering::Relaxed, &self.count);
        if counter.fetch_update(relaxed, relaxed, count).is_err() {
            return;
        }
        let _held = Held(self);
        sleep(time.min(LONGEST)).await;
    }
}

async fn sleep(time: Duration) {
    #[cfg(feature = "tokio")]
    if tokio::runtime::Handle::try_current().is_ok() {
        // A runtime without timers panics.
        let slept = Contained::new(Box::pin(async move { tokio::time::sleep(time).await })).await;
        let _or_at_once = slept;
    }
    #[cfg(not(feature = "tokio"))]
    let _no_clock = time;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_with_the_outage_from_half_a_second_to_five() {
        let range = |seconds| {
            let failing = Duration::from_secs(seconds);
            [0, u32::MAX].map(|random| delay(failing, random).as_millis())
        };
        assert_eq!(range(0), [500, 1000]);
        assert_eq!(range(2), [1000, 2000]);
        assert_eq!(range(8), [2500, 5000]);
        assert_eq!(range(u64::MAX / 4), [2500, 5000]);
        let delays: std::collections::HashSet<_> = (0..10).map(|_| first_delay()).collect();
        assert!(delays.len() > 1);
    }

    #[test]
    fn an_answer_ends_the_outage_and_the_log_is_told_once_a_minute() {
        let (outage, start) = (Outage::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.failed(at(0)).untold, Some(0));
        for second in 1..60 {
            assert_eq!(outage.failed(at(second)).untold, None);
        }
        let late = outage.failed(at(60));
        assert_eq!(late.untold, Some(59));
        assert!(late.hold_back >= Duration::from_millis(2500));
        outage.is_over();
        let next = outage.failed(at(61));
        assert_eq!(next.untold, None);
        assert!(next.hold_back <= FIRST);
        // Long after the last failure, too.
        assert!(outage.failed(at(1000)).hold_back <= FIRST);
    }

    #[test]
    fn that_no_thread_is_left_is_news_once_until_there_is_an_answer() {
        let outage = Outage::default();
        assert!(outage.is_newly_stuck() && !outage.is_newly_stuck());
        outage.is_over();
        assert!(outage.is_newly_stuck());
    }
}

//! Delayed refusals. A peer that reconnects as soon as it is refused would flood a provider that
//! is down, so its refusal is held back for a while.
#![forbid(unsafe_code)]

use crate::lock::lock;
#[cfg(feature = "tokio")]
use crate::zap::contain::Contained;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Maximum delay when an outage begins. 1 s. The delay is random, and at least half of the maximum:
/// 0.5 s is five times as long as libzmq waits before it reconnects.
const FIRST: Duration = Duration::from_secs(1);

/// Maximum delay of all. 5 s: peers are back soon after the provider is, and a provider's time-out
/// and the delay together fit into the 30 s of a handshake.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// Time between two log lines about one provider. A failure this long after the last one begins a
/// new outage.
const MINUTE: Duration = Duration::from_secs(60);

/// The delay of a refusal in an outage that has lasted for `failing`. `random` spreads the delays,
/// so that peers that are refused together do not come back together.
fn delay(failing: Duration, random: u32) -> Duration {
    let longest = (FIRST + failing / 2).min(LONGEST);
    longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A random number that is good enough to spread peers. Nothing secret depends on it.
fn random() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 32) as u32
}

/// The delay of a refusal for a failure that no [`Outage`] counts.
pub(crate) fn first_delay() -> Duration {
    delay(Duration::ZERO, random())
}

/// The outages of a provider: how long the present one has lasted, and when it was last logged.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first and the last failure of the present outage.
    failing: Option<(Instant, Instant)>,
    /// The time of the last log line.
    logged: Option<Instant>,
    /// Failures since the last log line.
    untold: u64,
    /// Whether it was reported that the provider has no thread left.
    is_stuck: bool,
}

/// The consequences of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The delay of the refusal.
    pub(crate) hold_back: Duration,
    /// `Some` if this failure is to be logged: the number of earlier failures that were not.
    pub(crate) untold: Option<u64>,
}

impl Outage {
    fn update<T>(&self, update: impl FnOnce(&mut State) -> T) -> T {
        update(&mut lock(&self.0))
    }

    /// Records that the provider gave no answer.
    pub(crate) fn failed(&self, now: Instant) -> Failure {
        self.update(|state| {
            let first = match state.failing {
                Some((first, last)) if now.saturating_duration_since(last) < MINUTE => first,
                _ => now,
            };
            state.failing = Some((first, now));
            let logged = state.logged;
            let is_due =
                logged.is_none_or(|logged| now.saturating_duration_since(logged) >= MINUTE);
            let untold = is_due.then(|| {
                state.logged = Some(now);
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

    /// Records that the provider has no thread left. True if that was not recorded before.
    pub(crate) fn mark_stuck(&self) -> bool {
        self.update(|state| !std::mem::replace(&mut state.is_stuck, true))
    }

    /// Records that the provider gave an answer, which ends the outage.
    pub(crate) fn recovered(&self) {
        self.update(|state| {
            state.failing = None;
            state.is_stuck = false;
        });
    }
}

/// A bounded number of refusals that are held back. Each costs a timer, and keeps alive what its
/// caller holds.
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

    /// Waits for `time`, but at most for [`LONGEST`]. Returns at once if `max` refusals wait
    /// already, or if there is no timer: the peer is then refused without a delay. Dropping the
    /// future makes room for another refusal.
    pub(crate) async fn wait(&self, time: Duration) {
        // The counter protects no other memory, so relaxed ordering is enough.
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
        // tokio panics if the runtime has no timers. The refusal is then sent without a delay.
        let slept = Contained::new(Box::pin(async move { tokio::time::sleep(time).await })).await;
        let _slept_or_no_timer = slept;
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
        outage.recovered();
        let next = outage.failed(at(61));
        assert_eq!(next.untold, None);
        assert!(next.hold_back <= FIRST);
        // Long after the last failure, too.
        assert!(outage.failed(at(1000)).hold_back <= FIRST);
    }

    #[test]
    fn a_stuck_provider_is_reported_once_until_it_answers() {
        let outage = Outage::default();
        assert!(outage.mark_stuck() && !outage.mark_stuck());
        outage.recovered();
        assert!(outage.mark_stuck());
    }
}

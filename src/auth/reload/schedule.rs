//! The schedule of readings. A reading that hangs does not delay other sources.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Maximum number of concurrent readings that are not slow. 4: enough to keep a disk busy.
const AT_ONCE: usize = 4;
/// Time after which a reading is slow, and the next one no longer waits for it. 250 ms: longer than
/// a directory of 10,000 certificates takes.
const SLOW: Duration = Duration::from_millis(250);
/// Maximum number of readings in progress, including those that hang. Each has a thread of its own,
/// because a read may never return. 128: only if more sources than this hang are others delayed, and
/// each hanging one has been reported by then.
const MAX_READINGS: usize = 128;

/// The schedule of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    due: Instant,
    /// The start of the reading in progress.
    begun: Option<Instant>,
    /// Whether the reading in progress was reported as hanging.
    is_reported: bool,
}

impl Schedule {
    /// A source that is due at once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            due: now,
            begun: None,
            is_reported: false,
        }
    }

    /// Makes it due at `at`, unless it is due earlier.
    pub(crate) fn make_due_by(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    /// Records that a reading begins at `now`. The next one is due after `time`.
    pub(crate) fn begin(&mut self, now: Instant, time: Duration) {
        self.begun = Some(now);
        self.due = later(now, time);
    }

    /// Records that the reading has ended. Returns whether it was reported as hanging.
    pub(crate) fn end(&mut self) -> bool {
        self.begun = None;
        std::mem::take(&mut self.is_reported)
    }

    /// Whether the reading takes longer than `read_timeout` and was not reported before. It counts
    /// as reported from then on.
    pub(crate) fn newly_hangs(&mut self, now: Instant, read_timeout: Duration) -> bool {
        let hangs = self
            .begun
            .is_some_and(|begun| now >= later(begun, read_timeout));
        hangs && !std::mem::replace(&mut self.is_reported, true)
    }
}

/// `now + time`, but at most a day later, so that the addition does not overflow.
pub(crate) fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_secs(24 * 60 * 60))
}

/// The index of the source to read next; `None` if no reading may begin at `now`.
///
/// `in_progress` is the number of all readings, including those whose source is no longer watched.
pub(crate) fn next<'a>(
    schedules: impl Iterator<Item = &'a Schedule> + Clone,
    in_progress: usize,
    now: Instant,
) -> Option<usize> {
    let begun = schedules.clone().filter_map(|schedule| schedule.begun);
    let quick = begun.filter(|&begun| now < begun + SLOW).count();
    if quick >= AT_ONCE || in_progress >= MAX_READINGS {
        return None;
    }
    let due = schedules.enumerate();
    let due = due.filter(|(_, schedule)| schedule.begun.is_none() && schedule.due <= now);
    due.min_by_key(|(_, schedule)| schedule.due)
        .map(|(index, _)| index)
}

/// The time at which the schedule must be looked at next, unless a reading ends before. Sources that
/// were due by `now` are being read already, or wait for another reading.
pub(crate) fn next_wakeup<'a>(
    schedules: impl Iterator<Item = &'a Schedule>,
    now: Instant,
    read_timeout: Duration,
) -> Option<Instant> {
    schedules
        .filter_map(|schedule| match schedule.begun {
            None => (schedule.due > now).then_some(schedule.due),
            Some(begun) if now < begun + SLOW => Some(begun + SLOW),
            Some(_) if schedule.is_reported => None,
            Some(begun) => Some(later(begun, read_timeout)),
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(30);
    const READ_TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn a_reading_that_hangs_is_reported_once_and_delays_no_other() {
        let start = Instant::now();
        let mut schedules = [Schedule::new(start); 6];
        for expected in 0..AT_ONCE {
            assert_eq!(next(schedules.iter(), 0, start), Some(expected));
            schedules[expected].begin(start, POLL);
        }
        assert_eq!(next(schedules.iter(), 0, start), None);
        // They are slow by then.
        assert_eq!(
            next_wakeup(schedules.iter(), start, READ_TIMEOUT),
            Some(start + SLOW)
        );
        let later = start + SLOW;
        assert_eq!(next(schedules.iter(), 0, later), Some(4));
        schedules[4].begin(later, POLL);
        schedules[5].begin(later, POLL);
        schedules[4].end();
        schedules[5].end();
        assert_eq!(
            next_wakeup(schedules.iter(), later, READ_TIMEOUT),
            Some(start + READ_TIMEOUT)
        );
        let hung = start + READ_TIMEOUT;
        let mut told = |now| {
            schedules
                .each_mut()
                .map(|schedule| schedule.newly_hangs(now, READ_TIMEOUT))
        };
        assert_eq!(told(hung), [true, true, true, true, false, false]);
        assert_eq!(told(hung + READ_TIMEOUT), [false; 6]);
        // The others are read again, and the hanging ones are not.
        assert_eq!(next(schedules.iter(), 0, later + POLL), Some(4));
        assert_eq!(
            next_wakeup(schedules.iter(), hung, READ_TIMEOUT),
            Some(later + POLL)
        );
        // A source whose reading has ended is read again.
        assert!(schedules[0].end());
        assert!(!schedules[4].end());
        assert_eq!(next(schedules.iter(), 0, later + POLL), Some(0));
    }

    #[test]
    fn readings_are_bounded() {
        let start = Instant::now();
        let mut schedules = vec![Schedule::new(start); MAX_READINGS + 1];
        let mut now = start;
        let mut begun = 0;
        while let Some(index) = next(schedules.iter(), begun, now) {
            schedules[index].begin(now, POLL);
            begun += 1;
            now += SLOW;
        }
        assert_eq!(begun, MAX_READINGS);
        schedules[7].end();
        assert_eq!(
            next(schedules.iter(), MAX_READINGS - 1, now),
            Some(MAX_READINGS)
        );
    }
}

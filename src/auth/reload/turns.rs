//! Whose turn it is to be read: one that hangs keeps no other from its turn.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Readings at once, as long as none is slow. 4: enough for a disk, and no burden.
const AT_ONCE: usize = 4;
/// A reading that takes longer is slow, and the next one need not wait for it. 250 ms: a directory
/// of 10,000 certificates takes less.
const SLOW: Duration = Duration::from_millis(250);
/// Readings at once in all, each on a thread of its own, since the system may never give it back.
/// 128: a mount that hangs under more sources than this holds the others up, after each of them was told of.
const MAX_READINGS: usize = 128;

/// When a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    due: Instant,
    /// Since when it is being read.
    begun: Option<Instant>,
    /// Whether it was told that it hangs.
    is_told: bool,
}

impl Turn {
    /// It is due at once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            due: now,
            begun: None,
            is_told: false,
        }
    }

    /// It is due no later than `at`.
    pub(crate) fn is_due_by(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    /// It is being read from `now` on, and due again `poll` later.
    pub(crate) fn begin(&mut self, now: Instant, poll: Duration) {
        self.begun = Some(now);
        self.due = later(now, poll);
    }

    /// It has been read. Whether it was told that it hangs.
    pub(crate) fn end(&mut self) -> bool {
        self.begun = None;
        std::mem::take(&mut self.is_told)
    }

    /// Whether it has just come to hang.
    pub(crate) fn comes_to_hang(&mut self, now: Instant, patience: Duration) -> bool {
        let hangs = self
            .begun
            .is_some_and(|begun| now >= later(begun, patience));
        hangs && !std::mem::replace(&mut self.is_told, true)
    }
}

/// A day later at most: clocks end somewhere.
pub(crate) fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_secs(24 * 60 * 60))
}

/// Which of the turns is next, if one may begin at `now`.
///
/// `in_progress` are the readings in all, also those whose source is no longer followed.
pub(crate) fn next<'a>(
    turns: impl Iterator<Item = &'a Turn> + Clone,
    in_progress: usize,
    now: Instant,
) -> Option<usize> {
    let begun = turns.clone().filter_map(|turn| turn.begun);
    let quick = begun.filter(|&begun| now < begun + SLOW).count();
    if quick >= AT_ONCE || in_progress >= MAX_READINGS {
        return None;
    }
    let due = turns.enumerate();
    let due = due.filter(|(_, turn)| turn.begun.is_none() && turn.due <= now);
    due.min_by_key(|(_, turn)| turn.due).map(|(index, _)| index)
}

/// When something is to be done next, if no reading ends before. What was due by `now` has begun,
/// or waits for another.
pub(crate) fn wake<'a>(
    turns: impl Iterator<Item = &'a Turn>,
    now: Instant,
    patience: Duration,
) -> Option<Instant> {
    turns
        .filter_map(|turn| match turn.begun {
            None => (turn.due > now).then_some(turn.due),
            Some(begun) if now < begun + SLOW => Some(begun + SLOW),
            Some(_) if turn.is_told => None,
            Some(begun) => Some(later(begun, patience)),
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn one_that_hangs_is_told_of_once_and_keeps_no_other_from_its_turn() {
        let start = Instant::now();
        let mut turns = [Turn::new(start); 6];
        for expected in 0..AT_ONCE {
            assert_eq!(next(turns.iter(), 0, start), Some(expected));
            turns[expected].begin(start, POLL);
        }
        assert_eq!(next(turns.iter(), 0, start), None);
        // They are slow.
        assert_eq!(wake(turns.iter(), start, PATIENCE), Some(start + SLOW));
        let later = start + SLOW;
        assert_eq!(next(turns.iter(), 0, later), Some(4));
        turns[4].begin(later, POLL);
        turns[5].begin(later, POLL);
        turns[4].end();
        turns[5].end();
        assert_eq!(wake(turns.iter(), later, PATIENCE), Some(start + PATIENCE));
        let hung = start + PATIENCE;
        let mut told = |now| {
            turns
                .each_mut()
                .map(|turn| turn.comes_to_hang(now, PATIENCE))
        };
        assert_eq!(told(hung), [true, true, true, true, false, false]);
        assert_eq!(told(hung + PATIENCE), [false; 6]);
        // The others have their turns, and those that hang none.
        assert_eq!(next(turns.iter(), 0, later + POLL), Some(4));
        assert_eq!(wake(turns.iter(), hung, PATIENCE), Some(later + POLL));
        // What comes back has its turn again.
        assert!(turns[0].end());
        assert!(!turns[4].end());
        assert_eq!(next(turns.iter(), 0, later + POLL), Some(0));
    }

    #[test]
    fn readings_are_bounded() {
        let start = Instant::now();
        let mut turns = vec![Turn::new(start); MAX_READINGS + 1];
        let mut now = start;
        let mut begun = 0;
        while let Some(index) = next(turns.iter(), begun, now) {
            turns[index].begin(now, POLL);
            begun += 1;
            now += SLOW;
        }
        assert_eq!(begun, MAX_READINGS);
        turns[7].end();
        assert_eq!(
            next(turns.iter(), MAX_READINGS - 1, now),
            Some(MAX_READINGS)
        );
    }
}

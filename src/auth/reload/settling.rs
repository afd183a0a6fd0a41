//! When a change on disk comes into force. Each entry of a source settles independently.
#![forbid(unsafe_code)]

use crate::auth::policy::watched::reading::Content;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Number of debounces after which an entry is removed from force if no reading has shown it, even
/// if nothing else has settled. 4: an editor that saves a file several times in a row is done by
/// then, and a file that is written all the time must not keep a key in force that it no longer
/// holds.
const MAX_DEBOUNCES_AWAY: u32 = 4;

impl<E: Content> Content for Option<&E> {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Some(one), Some(other)) => one.is_same(other),
            (None, None) => true,
            _ => false,
        }
    }
}

/// The entries of a source by name, and their changes that are not in force yet.
///
/// A change of an entry comes into force once two readings, at least the debounce apart, have shown
/// the same content and no reading between them has shown another. While an editor saves by rename,
/// or a copy is incomplete, a reading shows something else and the wait begins again. Entries that
/// change in the same reading come into force together. An entry that keeps changing does not delay
/// others.
pub(crate) struct Settling<N, E> {
    in_force: BTreeMap<N, E>,
    /// Entries that differ from those in force in the last reading.
    changing: BTreeMap<N, Changing<E>>,
}

/// A change of an entry that is not in force yet.
struct Changing<E> {
    /// The time of the first reading that differed from what is in force.
    away: Instant,
    /// The content in the last reading; `None` if the entry was absent.
    seen: Option<E>,
    /// The time of the first of the consecutive readings with this content.
    since: Instant,
    /// The time of the first of the consecutive readings since then that say nothing about the
    /// entry.
    silent_since: Option<Instant>,
}

impl<N: Ord + Clone, E: Content + Clone> Settling<N, E> {
    /// Starts from what is in force.
    pub(crate) const fn new(in_force: BTreeMap<N, E>) -> Self {
        Self {
            in_force,
            changing: BTreeMap::new(),
        }
    }

    /// What is in force.
    pub(crate) const fn in_force(&self) -> &BTreeMap<N, E> {
        &self.in_force
    }

    /// The names of the entries whose changes are not in force yet.
    pub(crate) fn changing(&self) -> impl Iterator<Item = &N> {
        self.changing.keys()
    }

    /// Takes a reading, and returns the entries before those whose change comes into force by it; `None`
    /// stands for no entry. A reading may be `about` some names alone; what the reading before has shown of
    /// others counts again. If an entry is missing from the reading, `is_covered` says whether it is absent.
    /// Otherwise the reading says nothing about it.
    pub(crate) fn see(
        &mut self,
        reading: &BTreeMap<N, E>,
        about: Option<&BTreeSet<N>>,
        is_covered: impl Fn(&N) -> bool,
        now: Instant,
        debounce: Duration,
    ) -> BTreeMap<N, Option<E>> {
        // A reading that says nothing about an entry restarts the wait for its change: the readings
        // before it no longer count. After a whole debounce without information the change is
        // forgotten.
        self.changing.retain(|name, changing| {
            let is_silent = !reading.contains_key(name) && !is_covered(name);
            let silent_since = is_silent.then(|| changing.silent_since.unwrap_or(now));
            changing.silent_since = silent_since;
            changing.since = if is_silent { now } else { changing.since };
            silent_since.is_none_or(|since| now.saturating_duration_since(since) < debounce)
        });
        // Entries that are as they are in force need no look, unless they were changing before.
        let mut looked_at = match about {
            Some(about) => about.clone(),
            None => differing(&self.in_force, reading),
        };
        looked_at.extend(self.changing.keys().cloned());
        let mut settled = BTreeMap::new();
        for name in looked_at {
            let is_unchanged = about.is_some_and(|about| !about.contains(&name));
            let changing = self.changing.get(&name).filter(|_| is_unchanged);
            let last_seen = changing.map(|changing| changing.seen.clone());
            let seen = match &last_seen {
                Some(seen) => seen.as_ref(),
                None => reading.get(&name),
            };
            if seen.is_none() && !is_covered(&name) {
                continue;
            }
            let was_in_force = self.in_force.get(&name).cloned();
            if self.see_one(&name, seen, now, debounce) {
                settled.insert(name, was_in_force);
            }
        }
        settled
    }

    fn see_one(&mut self, name: &N, seen: Option<&E>, now: Instant, debounce: Duration) -> bool {
        if self.in_force.get(name).is_same(&seen) {
            self.changing.remove(name);
            return false;
        }
        let fresh = |away| Changing {
            away,
            seen: seen.cloned(),
            since: now,
            silent_since: None,
        };
        let changing = self.changing.entry(name.clone());
        let changing = changing.or_insert_with(|| fresh(now));
        if !changing.seen.as_ref().is_same(&seen) {
            *changing = fresh(changing.away);
        }
        let passed = |since| now.saturating_duration_since(since);
        if passed(changing.since) >= debounce {
            self.changing.remove(name);
            match seen {
                Some(entry) => self.in_force.insert(name.clone(), entry.clone()),
                None => self.in_force.remove(name),
            };
            return true;
        }
        let is_restless = passed(changing.away) >= debounce.saturating_mul(MAX_DEBOUNCES_AWAY);
        is_restless && self.in_force.remove(name).is_some()
    }

    /// The time until a change may come into force; `None` if nothing is changing.
    pub(crate) fn due_in(&self, now: Instant, debounce: Duration) -> Option<Duration> {
        let first = self
            .changing
            .values()
            .map(|changing| changing.since)
            .min()?;
        Some(debounce.saturating_sub(now.saturating_duration_since(first)))
    }
}

/// The names whose entries differ between two maps, found by one walk through both.
fn differing<N: Ord + Clone, E: Content>(
    one: &BTreeMap<N, E>,
    other: &BTreeMap<N, E>,
) -> BTreeSet<N> {
    let mut names = BTreeSet::new();
    let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
    loop {
        let order = match (ones.peek(), others.peek()) {
            (None, None) => return names,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let one = ones.next_if(|_| order.is_le());
        let other = others.next_if(|_| order.is_ge());
        let (one_entry, other_entry) = (one.map(|(_, entry)| entry), other.map(|(_, entry)| entry));
        if !one_entry.is_same(&other_entry) {
            names.extend(one.or(other).map(|(name, _)| name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Content for &str {
        fn is_same(&self, other: &Self) -> bool {
            self == other
        }
    }

    const DEBOUNCE: Duration = Duration::from_secs(2);

    type Entries = BTreeMap<&'static str, &'static str>;

    /// Readings at given seconds.
    struct Clock {
        start: Instant,
        settling: Settling<&'static str, &'static str>,
    }

    impl Clock {
        fn new(in_force: &[(&'static str, &'static str)]) -> Self {
            Self {
                start: Instant::now(),
                settling: Settling::new(in_force.iter().copied().collect()),
            }
        }

        /// What is in force after a reading; `None` if it brought no change into force.
        fn see(
            &mut self,
            seconds: u64,
            reading: &[(&'static str, &'static str)],
        ) -> Option<Entries> {
            self.see_told(seconds, reading, |_| true)
        }

        fn see_told(
            &mut self,
            seconds: u64,
            reading: &[(&'static str, &'static str)],
            is_told: impl Fn(&&'static str) -> bool,
        ) -> Option<Entries> {
            let now = self.start + Duration::from_secs(seconds);
            let reading = reading.iter().copied().collect();
            let settled = self.settling.see(&reading, None, is_told, now, DEBOUNCE);
            (!settled.is_empty()).then(|| self.settling.in_force().clone())
        }

        fn due_in(&self, seconds: u64) -> Option<u64> {
            let now = self.start + Duration::from_secs(seconds);
            let due = self.settling.due_in(now, DEBOUNCE);
            due.map(|due| due.as_secs())
        }
    }

    fn entries<const N: usize>(entries: [(&'static str, &'static str); N]) -> Option<Entries> {
        Some(entries.into())
    }

    #[test]
    fn a_change_comes_into_force_once_it_was_read_twice_a_debounce_apart() {
        let mut clock = Clock::new(&[("a", "old")]);
        assert_eq!(clock.see(0, &[("a", "old")]), None);
        assert_eq!(clock.due_in(0), None);
        assert_eq!(clock.see(1, &[("a", "new")]), None);
        assert_eq!(clock.due_in(2), Some(1));
        assert_eq!(clock.see(2, &[("a", "new")]), None);
        assert_eq!(clock.see(3, &[("a", "new")]), entries([("a", "new")]));
        assert_eq!(clock.see(9, &[("a", "new")]), None);
    }

    #[test]
    fn another_content_in_between_restarts_the_wait() {
        let mut clock = Clock::new(&[("a", "old")]);
        assert_eq!(clock.see(0, &[]), None);
        assert_eq!(clock.see(1, &[("a", "half")]), None);
        assert_eq!(clock.see(2, &[]), None);
        assert_eq!(clock.see(3, &[("a", "old")]), None);
        assert_eq!(clock.see(4, &[]), None);
        assert_eq!(clock.see(6, &[]), entries([]));
    }

    #[test]
    fn an_entry_that_keeps_changing_does_not_delay_others() {
        let mut clock = Clock::new(&[("gone", "x"), ("kept", "x"), ("restless", "x")]);
        let restless = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
        let mut seen = restless.iter().zip(0..).map(|(value, second)| {
            let reading = [("kept", "x"), ("new", "x"), ("restless", *value)];
            clock.see(second, &reading)
        });
        // At 0 and 1 s nothing has settled, at 2 s all but one.
        assert_eq!((seen.next(), seen.next()), (Some(None), Some(None)));
        let settled = entries([("kept", "x"), ("new", "x"), ("restless", "x")]);
        assert_eq!(seen.next(), Some(settled));
        // It is removed from force once no reading has shown it for four debounces.
        let changes: Vec<_> = seen.collect();
        let (before, after) = changes.split_at(5);
        assert!(before.iter().all(Option::is_none), "{before:?}");
        assert_eq!(after[0], entries([("kept", "x"), ("new", "x")]));
        assert!(after[1..].iter().all(Option::is_none), "{after:?}");
        let at_rest = [("kept", "x"), ("new", "x"), ("restless", "11")];
        assert_eq!(clock.see(12, &at_rest), entries(at_rest));
    }

    #[test]
    fn entries_that_change_in_one_reading_come_into_force_together() {
        let mut clock = Clock::new(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let swapped = [("a", "2"), ("b", "2"), ("d", "2")];
        assert_eq!(clock.see(0, &swapped), None);
        assert_eq!(clock.see(1, &swapped), None);
        assert_eq!(clock.see(2, &swapped), entries(swapped));
    }

    #[test]
    fn a_reading_that_says_nothing_about_an_entry_is_not_one_of_its_two_readings() {
        let only_whole = |name: &&'static str| *name == "whole";
        let bad = [("whole", "bad")];
        let mut clock = Clock::new(&[("a", "x"), ("b", "x")]);
        assert_eq!(clock.see(0, &[("a", "x")]), None);
        assert_eq!(clock.see_told(1, &bad, only_whole), None);
        assert_eq!(clock.see(2, &[("a", "x")]), None);
        assert_eq!(clock.see(3, &[("a", "x")]), entries([("a", "x")]));

        // After a debounce the change is forgotten: a short absence is not a removal.
        let mut clock = Clock::new(&[("a", "x")]);
        assert_eq!(clock.see(0, &[]), None);
        assert_eq!(clock.see_told(1, &bad, only_whole), None);
        let after = clock.see_told(3, &bad, only_whole);
        assert_eq!(after, entries([("a", "x"), ("whole", "bad")]));
        assert_eq!(clock.see(60, &[]), None);
        assert_eq!(clock.see(61, &[("a", "x")]), None);
        assert_eq!(clock.see(62, &[("a", "x")]), entries([("a", "x")]));

        // If such readings alternate with readings that show a change, the entry is removed from
        // force.
        let mut clock = Clock::new(&[("a", "x"), ("b", "x")]);
        for second in (0..8).step_by(2) {
            assert_eq!(clock.see(second, &[("a", "x")]), None);
            assert_eq!(clock.see_told(second + 1, &bad, only_whole), None);
        }
        assert_eq!(clock.see(8, &[("a", "x")]), entries([("a", "x")]));
    }

    #[test]
    fn what_a_reading_is_not_about_is_as_the_reading_before_has_shown_it() {
        let mut clock = Clock::new(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let mut see = |second, reading: &[(&'static str, &'static str)], about: &[&'static str]| {
            let now = clock.start + Duration::from_secs(second);
            let reading = reading.iter().copied().collect();
            let about = about.iter().copied().collect();
            let settling = &mut clock.settling;
            let settled = settling.see(&reading, Some(&about), |_| true, now, DEBOUNCE);
            (settled, settling.in_force().clone())
        };
        let before: Entries = [("a", "1"), ("b", "1"), ("c", "1")].into();
        assert_eq!(
            see(0, &[("a", "2")], &["a", "b"]),
            ([].into(), before.clone())
        );
        // One change goes on, and another begins again.
        assert_eq!(see(1, &[("b", "3")], &["b"]), ([].into(), before));
        let settled = [("a", Some("1"))].into();
        let after = [("a", "2"), ("b", "1"), ("c", "1")].into();
        assert_eq!(see(2, &[], &[]), (settled, after));
        let settled = [("b", Some("1"))].into();
        let after = [("a", "2"), ("b", "3"), ("c", "1")].into();
        assert_eq!(see(3, &[], &[]), (settled, after));
    }
}

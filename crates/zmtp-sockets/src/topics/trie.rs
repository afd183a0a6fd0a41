//! Who subscribes to which topics: a trie of prefixes.
//!
//! A branch stands for the bytes on the way to it, and an edge for one byte or more. What follows is more
//! branches, or a bucket of a few topics in one piece, so that only little memory is read for a message
//! even if there are a million topics. The topic of a message visits only branches on its own way, at most
//! one for each of its bytes, and one bucket, however many topics there are.
//!
//! As in libzmq, a subscriber has a topic once, however often it has subscribed to it: a SUB of libzmq
//! announces each subscription, and takes back only the last one.
#![forbid(unsafe_code)]

pub(crate) mod branch;
pub(crate) mod bucket;
pub(crate) mod buckets;
pub(crate) mod label;
pub(crate) mod tree;

use crate::topics::places::{Inserted, Removed};
use crate::topics::trie::tree::Tree;
use std::collections::HashSet;
use std::sync::Arc;

/// The topics of all subscribers. A subscriber is named by its place, a small number.
pub(crate) struct Trie {
    tree: Tree,
    subscribers: Vec<Subscriber>,
    /// Numbers the matches, so that each yields a subscriber once.
    turn: u64,
}

#[derive(Default)]
struct Subscriber {
    topics: HashSet<Arc<[u8]>>,
    /// The length of all its topics.
    bytes: usize,
    /// The match that has yielded it last.
    turn: u64,
}

impl Trie {
    pub(crate) fn new() -> Self {
        Self {
            tree: Tree::new(),
            subscribers: Vec::new(),
            turn: 0,
        }
    }

    /// Subscribes `place` to `topic`.
    pub(crate) fn insert(&mut self, place: usize, topic: &[u8]) -> Inserted {
        if self.subscribers.len() <= place {
            self.subscribers.resize_with(place + 1, Default::default);
        }
        let subscriber = &mut self.subscribers[place];
        if subscriber.topics.contains(topic) {
            return Inserted::Known;
        }
        let topic: Arc<[u8]> = topic.into();
        subscriber.bytes += topic.len();
        subscriber.topics.insert(Arc::clone(&topic));
        self.tree.enter(place, &topic)
    }

    /// Takes the subscription of `place` to `topic` back.
    pub(crate) fn remove(&mut self, place: usize, topic: &[u8]) -> Removed {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return Removed::Unknown;
        };
        if !subscriber.topics.remove(topic) {
            return Removed::Unknown;
        }
        subscriber.bytes -= topic.len();
        self.tree.leave(place, topic)
    }

    /// Takes all subscriptions of `place` back. The work depends on their number alone.
    pub(crate) fn remove_all(&mut self, place: usize) {
        self.remove_each(place, |_, _| {});
    }

    /// As [`Trie::remove_all`]. Returns each topic, and whether others have it.
    pub(crate) fn take_all(&mut self, place: usize) -> Vec<(Vec<u8>, Removed)> {
        let mut taken = Vec::with_capacity(self.count(place));
        self.remove_each(place, |topic, removed| {
            taken.push((topic.to_vec(), removed));
        });
        taken
    }

    /// Calls `each` with each topic that `place` had, and what its end has changed.
    fn remove_each(&mut self, place: usize, mut each: impl FnMut(&[u8], Removed)) {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        for topic in std::mem::take(subscriber).topics {
            let removed = self.tree.leave(place, &topic);
            each(&topic, removed);
        }
    }

    /// Adds the places of all who subscribe to a beginning of `topic` to `found`, each once.
    pub(crate) fn find_matches(&mut self, topic: &[u8], found: &mut Vec<usize>) {
        let mut places = self.tree.way(topic);
        let Some(first) = places.next() else {
            return;
        };
        let Some(second) = places.next() else {
            // Each is there once, without a look at what each has.
            found.extend(self.tree.groups.each(first));
            return;
        };
        self.turn += 1;
        for places in [first, second].into_iter().chain(places) {
            for place in self.tree.groups.each(places) {
                let turn = &mut self.subscribers[place].turn;
                if std::mem::replace(turn, self.turn) != self.turn {
                    found.push(place);
                }
            }
        }
    }

    /// Whether somebody subscribes to a beginning of `topic`.
    pub(crate) fn has_match(&self, topic: &[u8]) -> bool {
        self.tree.way(topic).next().is_some()
    }

    /// Whether any subscriber has a topic.
    pub(crate) fn has_topics(&self) -> bool {
        self.subscribers.iter().any(|it| !it.topics.is_empty())
    }

    /// The topics of `place`.
    pub(crate) fn topics(&self, place: usize) -> Vec<Vec<u8>> {
        let topics = self.subscribers.get(place).map(|it| it.topics.iter());
        let topics = topics.into_iter().flatten();
        topics.map(|topic| topic.to_vec()).collect()
    }

    /// Whether `place` has this topic.
    pub(crate) fn has(&self, place: usize, topic: &[u8]) -> bool {
        let subscriber = self.subscribers.get(place);
        subscriber.is_some_and(|it| it.topics.contains(topic))
    }

    /// How many topics `place` has.
    pub(crate) fn count(&self, place: usize) -> usize {
        self.subscribers.get(place).map_or(0, |it| it.topics.len())
    }

    /// The length of all topics of `place`.
    pub(crate) fn bytes(&self, place: usize) -> usize {
        self.subscribers.get(place).map_or(0, |it| it.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::trie::branch::Child;
    use crate::topics::trie::tree::ROOT;
    use std::collections::{BTreeMap, BTreeSet};

    fn matches(trie: &mut Trie, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        trie.find_matches(topic.as_bytes(), &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn a_match_yields_each_subscriber_of_a_beginning_once() {
        let mut trie = Trie::new();
        for (place, topic) in [
            (0, ""),
            (1, "weather"),
            (1, "weather.north"),
            (2, "weather.north"),
            (3, "wea"),
            (4, "weather.south"),
            (5, "weather.north."),
        ] {
            trie.insert(place, topic.as_bytes());
        }
        assert_eq!(matches(&mut trie, "weather.north"), [0, 1, 2, 3]);
        assert_eq!(matches(&mut trie, "weather.north.1"), [0, 1, 2, 3, 5]);
        assert_eq!(matches(&mut trie, "weathe"), [0, 3]);
        assert_eq!(matches(&mut trie, ""), [0]);
        assert_eq!(matches(&mut trie, "x"), [0]);
    }

    #[test]
    fn a_topic_counts_once_for_a_subscriber_and_once_for_each_of_them() {
        let mut trie = Trie::new();
        assert_eq!(trie.insert(7, b"a"), Inserted::First);
        assert_eq!(trie.insert(7, b"a"), Inserted::Known);
        assert_eq!(trie.insert(3, b"a"), Inserted::Added);
        assert_eq!(trie.remove(7, b"a"), Removed::Taken);
        assert_eq!(trie.remove(7, b"a"), Removed::Unknown);
        assert_eq!(trie.remove(9, b"a"), Removed::Unknown);
        assert_eq!(trie.remove(3, b"ab"), Removed::Unknown);
        assert_eq!(trie.remove(3, b""), Removed::Unknown);
        assert_eq!(trie.remove(3, b"a"), Removed::Last);
        assert!(!trie.has_match(b"a"));
    }

    #[test]
    fn what_a_subscriber_leaves_behind_is_nothing() {
        let mut trie = Trie::new();
        let topics = ["", "a", "ab", "abc", "abd", "xyz", "xy"];
        for topic in topics {
            trie.insert(0, topic.as_bytes());
            trie.insert(1, topic.as_bytes());
        }
        trie.remove(1, b"ab");
        assert_eq!((trie.count(1), trie.bytes(1)), (6, 12));
        for (topic, removed) in trie.take_all(0) {
            let is_last = topic == b"ab";
            assert_eq!(removed == Removed::Last, is_last);
        }
        let mut last = trie.take_all(1);
        last.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let others = ["", "a", "abc", "abd", "xy", "xyz"];
        let others = others.map(|it| (it.as_bytes().to_vec(), Removed::Last));
        assert_eq!(last, others);
        assert_eq!((trie.count(0), trie.bytes(0)), (0, 0));
        check_empty(&trie);
    }

    /// Nothing is left of all topics.
    fn check_empty(trie: &Trie) {
        assert_eq!(trie.tree.branches.len(), 1);
        assert!(trie.tree.branches[ROOT].children().next().is_none());
        assert!(trie.tree.branches[ROOT].places.is_none());
        assert_eq!(trie.tree.buckets.used(), 0);
        assert!(trie.tree.buckets.long.is_empty());
        assert_eq!(trie.tree.groups.len(), 0);
    }

    /// All that a trie has belongs to a topic.
    fn check_parts(trie: &Trie, topics: &BTreeMap<&[u8], usize>) {
        assert!(trie.tree.branches.len() <= 2 * topics.len() + 1);
        let several = topics.values().filter(|places| **places > 1);
        assert_eq!(trie.tree.groups.len(), several.count());
        let children = trie.tree.branches.iter().flat_map(|it| it.1.children());
        let (mut used, mut in_buckets, mut long) = (0, 0, 0);
        for (_, child) in children {
            if let Child::Bucket(bucket) = child {
                used += trie.tree.buckets.units(bucket);
                in_buckets += trie.tree.buckets.get(bucket).len();
                long += trie.tree.buckets.get(bucket).long_labels();
            }
        }
        assert_eq!(trie.tree.buckets.used(), used);
        assert_eq!(trie.tree.buckets.long.len(), long);
        let branches = trie.tree.branches.iter();
        let in_branches = branches.filter(|it| !it.1.places.is_none()).count();
        assert_eq!(in_buckets + in_branches, topics.len());
    }

    /// Each letter of a topic so often, that labels of all kinds occur.
    const REPEATED: usize = 9;

    /// Thousands of subscriptions in no order agree with a plain list of them, and so do the branches.
    #[test]
    fn it_agrees_with_a_list() {
        agrees_with_a_list(2);
        agrees_with_a_list(60);
    }

    fn agrees_with_a_list(alphabet: u64) {
        let mut trie = Trie::new();
        let mut list = BTreeSet::new();
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut most = 0;
        for step in 0..4_000 {
            let letters = (0..random(7)).map(|_| [b'a' + random(alphabet) as u8; REPEATED]);
            let topic: Vec<u8> = letters.flatten().collect();
            let place = random(5) as usize;
            let entry = (topic.clone(), place);
            match random(10) {
                0..5 => {
                    let inserted = trie.insert(place, &topic);
                    let has_others = list.iter().any(|(other, _)| *other == topic);
                    let expected = match (list.insert(entry), has_others) {
                        (false, _) => Inserted::Known,
                        (true, true) => Inserted::Added,
                        (true, false) => Inserted::First,
                    };
                    assert_eq!(inserted, expected);
                }
                5..9 => {
                    let removed = trie.remove(place, &topic);
                    let was_there = list.remove(&entry);
                    let has_others = list.iter().any(|(other, _)| *other == topic);
                    let expected = match (was_there, has_others) {
                        (false, _) => Removed::Unknown,
                        (true, true) => Removed::Taken,
                        (true, false) => Removed::Last,
                    };
                    assert_eq!(removed, expected);
                }
                _ if step % 20 == 0 => {
                    trie.remove_all(place);
                    list.retain(|(_, other)| *other != place);
                }
                _ => {}
            }
            let mut found = Vec::new();
            trie.find_matches(&topic, &mut found);
            let begins = |entry: &&(Vec<u8>, usize)| topic.starts_with(&entry.0);
            let expected: BTreeSet<_> = list.iter().filter(begins).map(|it| it.1).collect();
            assert_eq!(found.len(), expected.len());
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
            assert_eq!(trie.has_match(&topic), !expected.is_empty());
            let of_place = list.iter().filter(|entry| entry.1 == place);
            let bytes: usize = of_place.clone().map(|entry| entry.0.len()).sum();
            assert_eq!(trie.count(place), of_place.count());
            assert_eq!(trie.bytes(place), bytes);
            if step % 7 == 0 {
                let mut topics = BTreeMap::<&[u8], usize>::new();
                for (topic, _) in &list {
                    *topics.entry(topic).or_default() += 1;
                }
                check_parts(&trie, &topics);
            }
            most = most.max(trie.tree.branches.len());
        }
        assert!(most > 20, "{most} branches");
        for place in 0..5 {
            trie.remove_all(place);
        }
        check_empty(&trie);
    }

    /// Where the long topics are.
    fn memory(trie: &Trie) -> Vec<*const u8> {
        let branches = trie.tree.branches.iter().map(|it| &it.1.label[..]);
        let long = trie.tree.buckets.long.iter().map(|it| &it.1[..]);
        branches
            .chain(long)
            .map(|it| it.as_ptr_range().end)
            .collect()
    }

    /// Otherwise each subscription of a few bytes could cost as much as the longest one of a peer.
    #[test]
    fn a_short_topic_copies_nothing_of_a_long_one() {
        let mut trie = Trie::new();
        let long = vec![b'a'; 1024 * 1024];
        trie.insert(0, &long);
        let subscriber = &trie.subscribers[0];
        let whole = subscriber.topics.iter().next().unwrap().as_ptr_range().end;
        for len in 1..100 {
            trie.insert(0, &long[..len]);
            trie.insert(0, &long[..len + 1]);
            assert_eq!(trie.remove(0, &long[..len]), Removed::Last);
            assert!(memory(&trie).contains(&whole));
        }
        assert!(trie.has(0, &long) && trie.count(0) == 2);
        for len in 1..100 {
            trie.insert(0, &long[..len]);
        }
        assert!(memory(&trie).contains(&whole));
    }

    /// Ten times as many topics make the way longer by a branch or two, and the way decides what a match
    /// costs.
    #[test]
    fn the_way_of_a_topic_does_not_grow_with_the_topics() {
        let steps = |topics: u32| {
            let mut trie = Trie::new();
            let topic = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
            for number in 0..topics {
                trie.insert(0, &topic(number));
            }
            let steps = |number| {
                let topic = topic(number);
                let (mut at, mut branches) = (ROOT, 1);
                while let Some(Child::Branch(child)) =
                    trie.tree.branches[at].child(topic[branches - 1])
                {
                    (at, branches) = (child, branches + 1);
                }
                branches
            };
            (0..topics).map(steps).max().unwrap()
        };
        assert!(steps(20_000) <= 3);
        let mut trie = Trie::new();
        let long = [b'x'; 1000];
        for len in 0..=1000 {
            trie.insert(len, &long[..len]);
        }
        assert_eq!(trie.tree.way(&long).count(), 1001);
        assert_eq!(trie.tree.way(b"xxx and more").count(), 4);
    }
    /// A peer that makes many gaps pays for each time that they are closed, also if the trie is large.
    #[test]
    fn what_moves_when_gaps_close_follows_what_has_changed() {
        let mut trie = Trie::new();
        let topic = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
        for number in 0..5_000 {
            trie.insert(0, &topic(number));
        }
        trie.remove_all(0);
        check_empty(&trie);
        let (mut changes, mut closed, mut work) = (0, 0, 0);
        let mut change = |trie: &mut Trie, is_added: bool, number: u32| {
            let before = trie.tree.buckets.gaps();
            if is_added {
                trie.insert(0, &topic(number));
            } else {
                trie.remove(0, &topic(number));
            }
            changes += 1;
            if trie.tree.buckets.gaps() < before {
                closed += 1;
                work += trie.tree.buckets.used() + trie.tree.branches.capacity();
            }
        };
        for number in 0..5_000 {
            change(&mut trie, true, number);
        }
        for round in 0..20 {
            // One bucket comes and goes, and another grows and shrinks, below thousands that stay.
            for number in 0..500 {
                change(&mut trie, false, number % (round + 1));
                change(&mut trie, true, number % (round + 1));
            }
        }
        for number in 0..5_000 {
            change(&mut trie, false, number);
        }
        check_empty(&trie);
        assert!(closed > 5, "{closed} times");
        assert!(work < 8 * changes, "{work} for {changes} changes");
    }
}

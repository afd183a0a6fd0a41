//! Who subscribes to which topics: a trie of prefixes.
//!
//! A branch stands for the bytes on the way to it, and an edge for one byte or more. What follows is more
//! branches, or a bucket of a few topics, so that of a million topics only little memory is read for a
//! message. The topic of a message visits only branches on its own way, at most one for each of its
//! bytes, and one bucket, however many topics there are.
//!
//! As in libzmq, a subscriber has a topic once, however often it has subscribed to it: a SUB of libzmq
//! announces each subscription, and takes back only the last one.
#![forbid(unsafe_code)]

use crate::topics::node::{BUCKET, Branch, Child, Entry, index};
use crate::topics::places::{Inserted, Places, Removed};
use slab::Slab;
use std::collections::HashSet;
use std::slice::Iter;
use std::sync::Arc;

/// The topics of all subscribers. A subscriber is named by its place, a small number.
pub(crate) struct Trie {
    branches: Slab<Branch>,
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

/// The way of a topic. It yields the subscribers to its beginnings, the shortest one first.
struct Way<'a> {
    branches: &'a Slab<Branch>,
    next: Option<usize>,
    /// The bucket at the end of the way.
    bucket: Iter<'a, Entry>,
    /// What follows the last branch.
    rest: &'a [u8],
}

const ROOT: usize = 0;

impl Trie {
    pub(crate) fn new() -> Self {
        let mut branches = Slab::new();
        branches.insert(Branch::new(ROOT, &[], 0));
        Self {
            branches,
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
        self.enter(place, &topic)
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
        self.leave(place, topic)
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
            let removed = self.leave(place, &topic);
            each(&topic, removed);
        }
    }

    /// Adds the places of all who subscribe to a beginning of `topic` to `found`, each once.
    pub(crate) fn find_matches(&mut self, topic: &[u8], found: &mut Vec<usize>) {
        let places = way(&self.branches, topic).map(|places| &**places);
        let mut places = places.filter(|places| !places.is_empty());
        let Some(first) = places.next() else {
            return;
        };
        let Some(second) = places.next() else {
            // Each is there once, without a look at what each has.
            found.extend_from_slice(first);
            return;
        };
        self.turn += 1;
        for place in [first, second].into_iter().chain(places).flatten() {
            let turn = &mut self.subscribers[*place].turn;
            if std::mem::replace(turn, self.turn) != self.turn {
                found.push(*place);
            }
        }
    }

    /// Whether somebody subscribes to a beginning of `topic`.
    pub(crate) fn has_match(&self, topic: &[u8]) -> bool {
        way(&self.branches, topic).any(|places| !places.is_empty())
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

    /// Adds `place` to those who subscribe to `topic`.
    fn enter(&mut self, place: usize, topic: &Arc<[u8]>) -> Inserted {
        let (mut at, mut depth) = (ROOT, 0);
        while let Some(&first) = topic.get(depth) {
            let rest = &topic[depth..];
            let branch = &mut self.branches[at];
            match branch.child_mut(first) {
                None => {
                    let bucket = vec![Entry::new(topic, depth, place)];
                    branch.set_child(first, Child::Bucket(bucket));
                    return Inserted::First;
                }
                Some(Child::Bucket(entries)) => {
                    if let Some(entry) = entries.iter_mut().find(|it| *it.label == *rest) {
                        return entry.places.enter(place);
                    }
                    if entries.len() < BUCKET {
                        entries.reserve_exact(1);
                        entries.push(Entry::new(topic, depth, place));
                        return Inserted::First;
                    }
                    let entries = std::mem::take(entries);
                    self.burst(at, &topic[..depth], entries);
                }
                Some(Child::Branch(child)) => {
                    let child = *child as usize;
                    let label = &self.branches[child].label;
                    let common = common_len(label, rest);
                    at = if common == label.len() {
                        child
                    } else {
                        self.split(child, &topic[..depth + common], depth)
                    };
                    depth += common;
                }
            }
        }
        self.branches[at].places.enter(place)
    }

    /// Puts a branch in the place of a full bucket below `parent`, whose topic is `above`. The branch has
    /// what all topics of the bucket begin with.
    fn burst(&mut self, parent: usize, above: &[u8], entries: Vec<Entry>) {
        let Some((one, others)) = entries.split_first() else {
            return;
        };
        let common = others
            .iter()
            .map(|other| common_len(&one.label, &other.label))
            .min()
            .unwrap_or(one.label.len());
        let topic = [above, &one.label[..common]].concat();
        let mut branch = Branch::new(parent, &topic, above.len());
        for mut entry in entries {
            entry.label.shorten(common);
            let Some(&first) = entry.label.first() else {
                branch.places = entry.places;
                continue;
            };
            match branch.child_mut(first) {
                Some(Child::Bucket(bucket)) => {
                    bucket.reserve_exact(1);
                    bucket.push(entry);
                }
                _ => branch.set_child(first, Child::Bucket(vec![entry])),
            }
        }
        let child = self.branches.insert(branch);
        self.branches[parent].set_child(topic[above.len()], Child::Branch(index(child)));
    }

    /// Puts a new branch for `topic` above `child`, whose parent has the first `start` bytes of it.
    fn split(&mut self, child: usize, topic: &[u8], start: usize) -> usize {
        let branch = &mut self.branches[child];
        let parent = branch.parent();
        branch.label.shorten(topic.len() - start);
        let mut upper = Branch::new(parent, topic, start);
        upper.set_child(branch.label[0], Child::Branch(index(child)));
        let middle = self.branches.insert(upper);
        self.branches[child].parent = index(middle);
        self.branches[parent].set_child(topic[start], Child::Branch(index(middle)));
        middle
    }

    /// Drops `place` from those who subscribe to `topic`, and what nothing needs then.
    fn leave(&mut self, place: usize, topic: &[u8]) -> Removed {
        let (mut at, mut rest) = (ROOT, topic);
        while let Some(&first) = rest.first() {
            match self.branches[at].child_mut(first) {
                None => return Removed::Unknown,
                Some(Child::Bucket(entries)) => {
                    let Some(number) = entries.iter().position(|it| *it.label == *rest) else {
                        return Removed::Unknown;
                    };
                    let removed = entries[number].places.leave(place);
                    if removed == Removed::Last {
                        entries.swap_remove(number);
                        entries.shrink_to_fit();
                        if entries.is_empty() {
                            self.branches[at].remove_child(first);
                            self.prune(at);
                        }
                    }
                    return removed;
                }
                Some(Child::Branch(child)) => {
                    at = *child as usize;
                    let Some(after) = self.branches[at].label.stripped(rest) else {
                        return Removed::Unknown;
                    };
                    rest = after;
                }
            }
        }
        let removed = self.branches[at].places.leave(place);
        if removed == Removed::Last {
            self.prune(at);
        }
        removed
    }

    /// Drops a branch that nothing needs, and those above it. A branch stays if it has
    /// subscribers, a bucket or several children, so there are at most two branches for each topic.
    fn prune(&mut self, mut at: usize) {
        while at != ROOT && self.branches[at].places.is_empty() {
            let parent = self.branches[at].parent();
            match *self.branches[at].children() {
                [] => {
                    let first = self.branches.remove(at).label[0];
                    self.branches[parent].remove_child(first);
                    at = parent;
                }
                [(_, Child::Branch(child))] => {
                    let upper = self.branches.remove(at).label;
                    let mut lower = std::mem::take(&mut self.branches[child as usize].label);
                    lower.lengthen(&upper, || [&self.topic(parent)[..], &upper].concat());
                    let lowest = &mut self.branches[child as usize];
                    lowest.label = lower;
                    lowest.parent = index(parent);
                    self.branches[parent].set_child(upper[0], Child::Branch(child));
                    return;
                }
                _ => return,
            }
        }
    }

    /// The topic of a branch.
    fn topic(&self, mut at: usize) -> Vec<u8> {
        let mut labels = Vec::new();
        while at != ROOT {
            labels.push(&self.branches[at].label[..]);
            at = self.branches[at].parent();
        }
        labels.reverse();
        labels.concat()
    }
}

fn way<'a>(branches: &'a Slab<Branch>, topic: &'a [u8]) -> Way<'a> {
    Way {
        branches,
        next: Some(ROOT),
        bucket: [].iter(),
        rest: topic,
    }
}

/// How many bytes two begin with in common.
fn common_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

impl<'a> Iterator for Way<'a> {
    type Item = &'a Places;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(at) = self.next.take() else {
            let rest = self.rest;
            let entry = self.bucket.find(|it| it.label.stripped(rest).is_some())?;
            return Some(&entry.places);
        };
        let branch = &self.branches[at];
        let first = self.rest.first();
        match first.and_then(|first| branch.child(*first)) {
            Some(Child::Bucket(entries)) => self.bucket = entries.iter(),
            Some(Child::Branch(child)) => {
                let child = *child as usize;
                if let Some(rest) = self.branches[child].label.stripped(self.rest) {
                    (self.rest, self.next) = (rest, Some(child));
                }
            }
            None => {}
        }
        Some(&branch.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
        assert_eq!(
            (trie.count(0), trie.bytes(0), trie.branches.len()),
            (0, 0, 1)
        );
    }

    /// Each letter of a topic so often, that labels of all kinds occur.
    const REPEATED: usize = 9;

    /// Thousands of subscriptions in no order agree with a plain list of them, and so do the nodes.
    #[test]
    fn it_agrees_with_a_list() {
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
            let letters = (0..random(7)).map(|_| [b'a' + random(2) as u8; REPEATED]);
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
            let topics: BTreeSet<_> = list.iter().map(|entry| &entry.0).collect();
            assert!(trie.branches.len() <= 2 * topics.len() + 1);
            most = most.max(trie.branches.len());
        }
        assert!(most > 20, "{most} branches");
        for place in 0..5 {
            trie.remove_all(place);
        }
        assert_eq!(trie.branches.len(), 1);
    }

    /// Where the bytes of the topics are that follow the root.
    fn memory(trie: &Trie) -> Vec<*const u8> {
        let mut found = Vec::new();
        for (_, branch) in &trie.branches {
            found.push(branch.label.as_ptr_range().end);
            for (_, child) in branch.children() {
                if let Child::Bucket(entries) = child {
                    found.extend(entries.iter().map(|it| it.label.as_ptr_range().end));
                }
            }
        }
        found
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
                let mut way = way(&trie.branches, &topic);
                let mut branches = 0;
                while way.next.is_some() {
                    branches += 1;
                    way.next();
                }
                (branches, way.bucket.len())
            };
            (0..topics).map(steps).max().unwrap()
        };
        assert!(steps(20_000) <= (3, BUCKET));
        let mut trie = Trie::new();
        let long = [b'x'; 1000];
        for len in 0..=1000 {
            trie.insert(len, &long[..len]);
        }
        assert_eq!(way(&trie.branches, &long).count(), 1001);
        assert_eq!(way(&trie.branches, b"xxx and more").count(), 4);
    }
}

//! Who subscribes to which topics: a trie of prefixes.
//!
//! A node stands for the bytes on the way to it, and an edge for one byte or more. A topic without a
//! branch is one edge, so there are at most two nodes for each topic. The topic of a message visits
//! only nodes on its own way, at most one for each of its bytes, however many topics there are.
//!
//! As in libzmq, a subscriber has a topic once, however often it has subscribed to it: a SUB of libzmq
//! announces each subscription, and takes back only the last one.
#![forbid(unsafe_code)]

use crate::topics::node::{Node, index};
use slab::Slab;
use std::collections::HashSet;

/// The topics of all subscribers. A subscriber is named by its place, a small number.
pub(crate) struct Trie {
    nodes: Slab<Node>,
    subscribers: Vec<Subscriber>,
    /// Numbers the matches, so that each yields a subscriber once.
    turn: u64,
}

#[derive(Default)]
struct Subscriber {
    /// The nodes whose topics it has. A node with a subscriber keeps its place.
    nodes: HashSet<usize>,
    /// The length of all its topics.
    bytes: usize,
    /// The match that has yielded it last.
    turn: u64,
}

/// The nodes on the way of a topic, from the root.
struct Way<'a> {
    nodes: &'a Slab<Node>,
    next: Option<usize>,
    rest: &'a [u8],
}

/// What a subscription has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The subscriber had the topic.
    Known,
    /// Others have the topic.
    Added,
    /// No other subscriber has the topic.
    First,
}

/// What the end of a subscription has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The subscriber did not have the topic.
    Unknown,
    /// Others have the topic.
    Taken,
    /// No subscriber is left.
    Last,
}

const ROOT: usize = 0;

impl Trie {
    pub(crate) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT, &[], 0));
        Self {
            nodes,
            subscribers: Vec::new(),
            turn: 0,
        }
    }

    /// Subscribes `place` to `topic`.
    pub(crate) fn insert(&mut self, place: usize, topic: &[u8]) -> Inserted {
        let node = self.node_for(topic);
        let places = &mut self.nodes[node].places;
        let inserted = if places.is_empty() {
            Inserted::First
        } else {
            Inserted::Added
        };
        if !places.insert(place) {
            return Inserted::Known;
        }
        if self.subscribers.len() <= place {
            self.subscribers.resize_with(place + 1, Default::default);
        }
        let subscriber = &mut self.subscribers[place];
        subscriber.nodes.insert(node);
        subscriber.bytes += topic.len();
        inserted
    }

    /// Takes the subscription of `place` to `topic` back.
    pub(crate) fn remove(&mut self, place: usize, topic: &[u8]) -> Removed {
        let Some(node) = self.find(topic) else {
            return Removed::Unknown;
        };
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return Removed::Unknown;
        };
        if !subscriber.nodes.remove(&node) {
            return Removed::Unknown;
        }
        subscriber.bytes -= topic.len();
        self.leave(node, place)
    }

    /// Takes all subscriptions of `place` back. The work depends on their number alone.
    pub(crate) fn remove_all(&mut self, place: usize) {
        self.remove_each(place, |_, _| {});
    }

    /// As [`Trie::remove_all`]. Returns each topic, and whether others have it.
    pub(crate) fn take_all(&mut self, place: usize) -> Vec<(Vec<u8>, Removed)> {
        let mut taken = Vec::with_capacity(self.count(place));
        self.remove_each(place, |trie, node| {
            let removed = match trie.nodes[node].places.len() {
                1 => Removed::Last,
                _ => Removed::Taken,
            };
            taken.push((trie.topic(node), removed));
        });
        taken
    }

    /// Calls `before` with each node of `place`, then drops `place` from it.
    fn remove_each(&mut self, place: usize, mut before: impl FnMut(&Self, usize)) {
        let Some(subscriber) = self.subscribers.get_mut(place) else {
            return;
        };
        for node in std::mem::take(subscriber).nodes {
            before(self, node);
            self.leave(node, place);
        }
    }

    /// Adds the places of all who subscribe to a beginning of `topic` to `found`, each once.
    pub(crate) fn find_matches(&mut self, topic: &[u8], found: &mut Vec<usize>) {
        self.turn += 1;
        for (node, _) in way(&self.nodes, topic) {
            for &place in &*self.nodes[node].places {
                let turn = &mut self.subscribers[place].turn;
                if std::mem::replace(turn, self.turn) != self.turn {
                    found.push(place);
                }
            }
        }
    }

    /// Whether somebody subscribes to a beginning of `topic`.
    pub(crate) fn has_match(&self, topic: &[u8]) -> bool {
        way(&self.nodes, topic).any(|(node, _)| !self.nodes[node].places.is_empty())
    }

    /// Whether any subscriber has a topic.
    pub(crate) fn has_topics(&self) -> bool {
        self.subscribers.iter().any(|it| !it.nodes.is_empty())
    }

    /// The topics of `place`.
    pub(crate) fn topics(&self, place: usize) -> Vec<Vec<u8>> {
        let nodes = self.subscribers.get(place).map(|it| it.nodes.iter());
        let nodes = nodes.into_iter().flatten();
        nodes.map(|node| self.topic(*node)).collect()
    }

    /// Whether `place` has this topic.
    pub(crate) fn has(&self, place: usize, topic: &[u8]) -> bool {
        let subscriber = self.subscribers.get(place);
        self.find(topic)
            .zip(subscriber)
            .is_some_and(|(node, subscriber)| subscriber.nodes.contains(&node))
    }

    /// How many topics `place` has.
    pub(crate) fn count(&self, place: usize) -> usize {
        self.subscribers.get(place).map_or(0, |it| it.nodes.len())
    }

    /// The length of all topics of `place`.
    pub(crate) fn bytes(&self, place: usize) -> usize {
        self.subscribers.get(place).map_or(0, |it| it.bytes)
    }

    /// The node for `topic`, which is made if it is missing.
    fn node_for(&mut self, topic: &[u8]) -> usize {
        let (mut node, mut depth) = (ROOT, 0);
        while let Some(&first) = topic.get(depth) {
            let Some(child) = self.nodes[node].child(first) else {
                let leaf = self.nodes.insert(Node::new(node, topic, depth));
                self.nodes[node].set_child(first, leaf);
                return leaf;
            };
            let label = &self.nodes[child].label;
            let common = common_len(label, &topic[depth..]);
            node = if common == label.len() {
                child
            } else {
                self.split(child, &topic[..depth + common], depth)
            };
            depth += common;
        }
        node
    }

    /// Puts a new node for `topic` above `child`, whose parent has the first `start` bytes of it.
    fn split(&mut self, child: usize, topic: &[u8], start: usize) -> usize {
        let node = &mut self.nodes[child];
        let parent = node.parent();
        node.label.shorten(topic.len() - start);
        let mut upper = Node::new(parent, topic, start);
        upper.set_child(node.label[0], child);
        let middle = self.nodes.insert(upper);
        self.nodes[child].parent = index(middle);
        self.nodes[parent].set_child(topic[start], middle);
        middle
    }

    /// Drops `place` from `node`, and the nodes that nothing needs then.
    fn leave(&mut self, node: usize, place: usize) -> Removed {
        let places = &mut self.nodes[node].places;
        if !places.remove(place) {
            return Removed::Unknown;
        }
        if !places.is_empty() {
            return Removed::Taken;
        }
        self.prune(node);
        Removed::Last
    }

    fn prune(&mut self, mut node: usize) {
        while node != ROOT && self.nodes[node].places.is_empty() {
            let parent = self.nodes[node].parent();
            match *self.nodes[node].children {
                [] => {
                    let first = self.nodes.remove(node).label[0];
                    self.nodes[parent].remove_child(first);
                    node = parent;
                }
                [(_, child)] => {
                    let child = child as usize;
                    let upper = self.nodes.remove(node).label;
                    let mut lower = std::mem::take(&mut self.nodes[child].label);
                    lower.lengthen(&upper, || [&self.topic(parent)[..], &upper].concat());
                    self.nodes[child].label = lower;
                    self.nodes[child].parent = index(parent);
                    self.nodes[parent].set_child(upper[0], child);
                    return;
                }
                _ => return,
            }
        }
    }

    /// The node of exactly this topic.
    fn find(&self, topic: &[u8]) -> Option<usize> {
        way(&self.nodes, topic).find_map(|(node, is_end)| is_end.then_some(node))
    }

    /// The topic of a node.
    fn topic(&self, mut node: usize) -> Vec<u8> {
        let mut labels = Vec::new();
        while node != ROOT {
            labels.push(&self.nodes[node].label[..]);
            node = self.nodes[node].parent();
        }
        labels.reverse();
        labels.concat()
    }
}

const fn way<'a>(nodes: &'a Slab<Node>, topic: &'a [u8]) -> Way<'a> {
    Way {
        nodes,
        next: Some(ROOT),
        rest: topic,
    }
}

/// How many bytes two begin with in common.
fn common_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

impl Iterator for Way<'_> {
    /// A node, and whether it stands for the whole topic.
    type Item = (usize, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.next.take()?;
        let is_end = self.rest.is_empty();
        if let Some(&first) = self.rest.first()
            && let Some(child) = self.nodes[node].child(first)
            && let Some(rest) = self.rest.strip_prefix(&*self.nodes[child].label)
        {
            self.rest = rest;
            self.next = Some(child);
        }
        Some((node, is_end))
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
        assert_eq!((trie.count(0), trie.bytes(0), trie.nodes.len()), (0, 0, 1));
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
            // A node has a subscriber or two children, so there are at most two for each topic.
            let topics: BTreeSet<_> = list.iter().map(|entry| &entry.0).collect();
            assert!(trie.nodes.len() <= 2 * topics.len() + 1);
        }
    }

    /// Otherwise each subscription of a few bytes could cost as much as the longest one of a peer.
    #[test]
    fn a_short_topic_copies_nothing_of_a_long_one() {
        let mut trie = Trie::new();
        let long = vec![b'a'; 1024 * 1024];
        trie.insert(0, &long);
        let node = trie.find(&long).unwrap();
        let memory = trie.nodes[node].label.as_ptr_range().end;
        for len in 1..100 {
            trie.insert(0, &long[..len]);
            trie.insert(0, &long[..len + 1]);
            assert_eq!(trie.remove(0, &long[..len]), Removed::Last);
            assert_eq!(trie.nodes[node].label.as_ptr_range().end, memory);
        }
        assert!(trie.has(0, &long) && trie.count(0) == 2);
    }

    /// Ten times as many topics make the way longer by a step or two, and the way decides what a match
    /// costs.
    #[test]
    fn the_way_of_a_topic_does_not_grow_with_the_topics() {
        let steps = |topics: u32| {
            let mut trie = Trie::new();
            let topic = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes();
            for number in 0..topics {
                trie.insert(0, &topic(number));
            }
            (0..topics)
                .map(|number| way(&trie.nodes, &topic(number)).count())
                .max()
                .unwrap()
        };
        assert!(steps(20_000) <= 5);
        let mut trie = Trie::new();
        let long = [b'x'; 1000];
        for len in 0..=1000 {
            trie.insert(len, &long[..len]);
        }
        assert_eq!(way(&trie.nodes, &long).count(), 1001);
        assert_eq!(way(&trie.nodes, b"xxx and more").count(), 4);
    }
}

//! The branches and buckets of the trie of topics, and how they come and go.
#![forbid(unsafe_code)]

use crate::topics::places::{Groups, Inserted, Places, Removed, number};
use crate::topics::trie::branch::{Branch, Child};
use crate::topics::trie::bucket::{BUCKET, Beginnings, Record, write};
use crate::topics::trie::buckets::Buckets;
use crate::topics::trie::label::common_len;
use slab::Slab;
use std::sync::Arc;

/// Topics, each with the places of those who subscribe to it.
pub(super) struct Tree {
    pub(super) branches: Slab<Branch>,
    pub(super) buckets: Buckets,
    pub(super) groups: Groups,
    /// A bucket that is being written. Kept for its memory.
    bytes: Vec<u8>,
}

/// The way of a topic. It yields the subscribers to its beginnings, the shortest one first.
pub(super) struct Way<'a> {
    branches: &'a Slab<Branch>,
    buckets: &'a Buckets,
    topic: &'a [u8],
    next: Option<usize>,
    /// How many bytes of the topic are above the next branch, with the label of that branch.
    depth: usize,
    /// The bucket at the end of the way.
    bucket: Option<Beginnings<'a>>,
}

pub(super) const ROOT: usize = 0;

impl Tree {
    pub(super) fn new() -> Self {
        let mut branches = Slab::new();
        branches.insert(Branch::new(ROOT, &[], 0));
        Self {
            branches,
            buckets: Buckets::default(),
            groups: Groups::default(),
            bytes: Vec::new(),
        }
    }

    /// The way of a topic.
    pub(super) fn way<'a>(&'a self, topic: &'a [u8]) -> Way<'a> {
        Way {
            branches: &self.branches,
            buckets: &self.buckets,
            topic,
            next: Some(ROOT),
            depth: 0,
            bucket: None,
        }
    }

    /// Adds `place` to those who subscribe to `topic`.
    pub(super) fn enter(&mut self, place: usize, topic: &Arc<[u8]>) -> Inserted {
        let (mut at, mut depth) = (ROOT, 0);
        while let Some(&first) = topic.get(depth) {
            match self.branches[at].child(first) {
                None => {
                    self.add(at, None, topic, depth, place);
                    return Inserted::First;
                }
                Some(Child::Bucket(number)) => {
                    let bucket = self.buckets.get(number);
                    if let Some(entry) = bucket.find(topic, depth, &self.buckets.long) {
                        let mut places = bucket.places(entry);
                        let inserted = self.groups.enter(&mut places, place);
                        self.set_places(at, topic, depth, (number, entry), places);
                        return inserted;
                    }
                    if bucket.len() < BUCKET {
                        self.add(at, Some(number), topic, depth, place);
                        return Inserted::First;
                    }
                    self.burst(at, &topic[..depth], number);
                }
                Some(Child::Branch(child)) => {
                    let label = &self.branches[child].label;
                    let common = common_len(label, &topic[depth..]);
                    at = if common == label.len() {
                        child
                    } else {
                        self.split(child, &topic[..depth + common], depth)
                    };
                    depth += common;
                }
            }
        }
        self.groups.enter(&mut self.branches[at].places, place)
    }

    /// Adds a topic, whose first `depth` bytes a branch has, to a bucket of the branch or to a new one.
    fn add(
        &mut self,
        branch: usize,
        bucket: Option<usize>,
        topic: &Arc<[u8]>,
        depth: usize,
        place: usize,
    ) {
        let record = Record::new(topic, depth, Places::one(place), &mut self.buckets.long);
        let long = &self.buckets.long;
        match bucket {
            None => write(&[record], long, &mut self.bytes),
            Some(bucket) => {
                let bucket = self.buckets.get(bucket);
                bucket.write_added(record, depth, long, &mut self.bytes);
            }
        }
        self.store(branch, topic[depth], bucket);
    }

    /// Sets the places of a topic in a bucket of a branch, which has the first `depth` bytes of the topic.
    fn set_places(
        &mut self,
        branch: usize,
        topic: &[u8],
        depth: usize,
        (number, entry): (usize, usize),
        places: Places,
    ) {
        if self.buckets.set_places(number, entry, places) {
            return;
        }
        let mut records = self.buckets.get(number).records(depth);
        records[entry].places = places;
        write(&records, &self.buckets.long, &mut self.bytes);
        self.store(branch, topic[depth], Some(number));
    }

    /// Stores the bucket that was written, a child of a branch by its first byte.
    fn store(&mut self, branch: usize, first: u8, bucket: Option<usize>) {
        let bucket = match bucket {
            Some(bucket) => self.buckets.replace(bucket, &self.bytes),
            None => self.buckets.insert(&self.bytes),
        };
        self.branches[branch].set_child(first, Child::Bucket(bucket));
        self.close_gaps();
    }

    /// Closes the gaps between buckets once there are many. Then the buckets of a branch are next to each
    /// other.
    fn close_gaps(&mut self) {
        if self.buckets.has_gaps(self.branches.capacity()) {
            self.buckets.close_gaps(|renumber| {
                for (_, branch) in &mut self.branches {
                    branch.renumber_buckets(&mut *renumber);
                }
            });
        }
    }

    /// Puts a branch in the place of a full bucket below `parent`, whose topic is `above`. The branch has
    /// what all topics of the bucket begin with.
    fn burst(&mut self, parent: usize, above: &[u8], bucket: usize) {
        let mut records = self.buckets.get(bucket).records(above.len());
        self.buckets.remove(bucket);
        let long = &mut self.buckets.long;
        let Some((one, others)) = records.split_first() else {
            return;
        };
        let one = one.label(long);
        let others = others
            .iter()
            .map(|other| common_len(one, other.label(long)));
        let common = others.min().unwrap_or(one.len());
        let topic = [above, &one[..common]].concat();
        let mut branch = Branch::new(parent, &topic, above.len());
        for record in &mut records {
            record.shorten(common, long);
        }
        records.sort_unstable_by_key(|it| it.label(long).first().copied());
        let mut records = &records[..];
        while let Some(one) = records.first() {
            let long = &self.buckets.long;
            let first = one.label(long).first();
            let alike = records.partition_point(|it| it.label(long).first() <= first);
            let (alike, others) = records.split_at(alike);
            if let Some(&first) = first {
                write(alike, long, &mut self.bytes);
                let bucket = self.buckets.insert(&self.bytes);
                branch.set_child(first, Child::Bucket(bucket));
            } else {
                branch.places = one.places;
            }
            records = others;
        }
        let child = self.branches.insert(branch);
        self.branches[parent].set_child(topic[above.len()], Child::Branch(child));
        self.close_gaps();
    }

    /// Puts a new branch for `topic` above `child`, whose parent has the first `start` bytes of it.
    fn split(&mut self, child: usize, topic: &[u8], start: usize) -> usize {
        let branch = &mut self.branches[child];
        let parent = branch.parent();
        branch.label.shorten(topic.len() - start);
        let mut upper = Branch::new(parent, topic, start);
        upper.set_child(branch.label[0], Child::Branch(child));
        let middle = self.branches.insert(upper);
        self.branches[child].parent = number(middle);
        self.branches[parent].set_child(topic[start], Child::Branch(middle));
        middle
    }

    /// Drops `place` from those who subscribe to `topic`, and what nothing needs then.
    pub(super) fn leave(&mut self, place: usize, topic: &[u8]) -> Removed {
        let (mut at, mut depth) = (ROOT, 0);
        while let Some(&first) = topic.get(depth) {
            match self.branches[at].child(first) {
                None => return Removed::Unknown,
                Some(Child::Bucket(number)) => {
                    let bucket = self.buckets.get(number);
                    let Some(entry) = bucket.find(topic, depth, &self.buckets.long) else {
                        return Removed::Unknown;
                    };
                    let mut places = bucket.places(entry);
                    let removed = self.groups.leave(&mut places, place);
                    if removed != Removed::Last {
                        self.set_places(at, topic, depth, (number, entry), places);
                        return removed;
                    }
                    let mut records = bucket.records(depth);
                    records.swap_remove(entry).remove(&mut self.buckets.long);
                    if records.is_empty() {
                        self.buckets.remove(number);
                        self.branches[at].remove_child(first);
                        self.prune(at);
                        self.close_gaps();
                    } else {
                        write(&records, &self.buckets.long, &mut self.bytes);
                        self.store(at, first, Some(number));
                    }
                    return removed;
                }
                Some(Child::Branch(child)) => {
                    at = child;
                    let label = &self.branches[at].label;
                    if !topic[depth..].starts_with(label) {
                        return Removed::Unknown;
                    }
                    depth += label.len();
                }
            }
        }
        let removed = self.groups.leave(&mut self.branches[at].places, place);
        if removed == Removed::Last {
            self.prune(at);
        }
        removed
    }

    /// Drops a branch that nothing needs, and those above it. A branch stays if it has
    /// subscribers, a bucket or several children, so there are at most two branches for each topic.
    fn prune(&mut self, mut at: usize) {
        while at != ROOT && self.branches[at].places.is_none() {
            let parent = self.branches[at].parent();
            let mut children = self.branches[at].children();
            match (children.next(), children.next()) {
                (None, _) => {
                    drop(children);
                    let first = self.branches.remove(at).label[0];
                    self.branches[parent].remove_child(first);
                    if self.branches.len() == 1 {
                        self.branches.shrink_to_fit();
                    }
                    at = parent;
                }
                (Some((_, Child::Branch(child))), None) => {
                    drop(children);
                    let upper = self.branches.remove(at).label;
                    let mut lower = std::mem::take(&mut self.branches[child].label);
                    lower.lengthen(&upper, || [&self.topic(parent)[..], &upper].concat());
                    let lowest = &mut self.branches[child];
                    lowest.label = lower;
                    lowest.parent = number(parent);
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

impl Iterator for Way<'_> {
    type Item = Places;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(at) = self.next.take() {
            let branch = &self.branches[at];
            let first = self.topic.get(self.depth);
            match first.and_then(|first| branch.child(*first)) {
                Some(Child::Bucket(bucket)) => {
                    let bucket = self.buckets.get(bucket);
                    let long = &self.buckets.long;
                    self.bucket = Some(bucket.beginnings(self.topic, self.depth, long));
                }
                Some(Child::Branch(child)) => {
                    let label = &self.branches[child].label;
                    if let Some(rest) = label.stripped(&self.topic[self.depth..]) {
                        self.depth = self.topic.len() - rest.len();
                        self.next = Some(child);
                    }
                }
                None => {}
            }
            if !branch.places.is_none() {
                return Some(branch.places);
            }
        }
        self.bucket.as_mut()?.next()
    }
}

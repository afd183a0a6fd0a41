//! A bucket of the trie of topics: up to 64 topics in one piece of memory.
//!
//! It has, in this order, a head of [`HEAD`] bytes, and for each topic a fingerprint, its places and the
//! length of its label. Then follow what all labels begin with, and the rest of each label. A match reads
//! all fingerprints, and the labels whose fingerprint fits.
#![forbid(unsafe_code)]

use crate::topics::places::{Places, number};
use crate::topics::trie::label::common_len;
use slab::Slab;
use std::sync::Arc;

/// The most topics of a bucket. Tests have smaller ones, so that few topics make many branches.
pub(crate) const BUCKET: usize = if cfg!(test) { 4 } else { 64 };
/// The longest label that lies in the bucket.
const SHORT: usize = if cfg!(test) { 20 } else { 48 };
/// How much memory the bucket has, how many topics, and how long their common beginning is.
pub(crate) const HEAD: usize = 3;
/// Marks the length of a label that lies elsewhere. The bucket has its number.
const LONG: u8 = 1 << 7;
/// How many bytes of a label, behind the common beginning, make its fingerprint. A topic then has a few
/// fingerprints to look for: those of its beginnings of this length and less.
const FINGER: usize = 3;

/// Topics whose labels are too long for a bucket. Each is shared with the subscriber's list of topics.
pub(crate) type LongTopics = Slab<Arc<[u8]>>;

/// A topic that was read from a bucket, or is to be written to one.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) places: Places,
    label: Text,
}

/// The bytes between a branch and the end of a topic.
#[derive(Clone, Copy)]
enum Text {
    Short(u8, [u8; SHORT]),
    /// The number of the topic among the long ones, and how many of its first bytes are above.
    Long(u32, usize),
}

/// A view of a bucket.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bucket<'a> {
    fingers: &'a [u8],
    places: &'a [[u8; 4]],
    lens: &'a [u8],
    common: &'a [u8],
    /// Behind the labels may be memory that is not in use.
    labels: &'a [u8],
}

/// The topics of a bucket that a topic begins with.
pub(crate) struct Beginnings<'a> {
    bucket: Bucket<'a>,
    long: &'a LongTopics,
    topic: &'a [u8],
    /// How many bytes of the topic are above the labels.
    depth: usize,
    /// The fingerprints that a beginning can have.
    fingers: [u8; FINGER + 1],
    next: usize,
}

/// The fingerprint of what a label has behind the common beginning.
fn finger(label: &[u8]) -> u8 {
    let mut bytes = [0; 4];
    for (byte, from) in bytes.iter_mut().zip(label.iter().take(FINGER)) {
        *byte = *from;
    }
    (u32::from_le_bytes(bytes).wrapping_mul(0x9E37_79B1) >> 24) as u8
}

/// How many bytes a bucket has of these labels.
fn label_lens(lens: &[u8]) -> usize {
    lens.iter().map(|len| usize::from(len & !LONG)).sum()
}

/// The number of a long topic.
fn read_number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it))
}

impl Record {
    /// The record for `topic`, below a branch that has the first `start` bytes of it.
    pub(crate) fn new(
        topic: &Arc<[u8]>,
        start: usize,
        places: Places,
        long: &mut LongTopics,
    ) -> Self {
        let label = Text::short(&topic[start..])
            .unwrap_or_else(|| Text::Long(number(long.insert(Arc::clone(topic))), start));
        Self { places, label }
    }

    pub(crate) fn label<'a>(&'a self, long: &'a LongTopics) -> &'a [u8] {
        match &self.label {
            Text::Short(len, bytes) => &bytes[..usize::from(*len)],
            Text::Long(number, start) => &long[*number as usize][*start..],
        }
    }

    /// Drops the first `len` bytes of the label, which a branch has from now on.
    pub(crate) fn shorten(&mut self, len: usize, long: &mut LongTopics) {
        let shorter = Text::short(&self.label(long)[len..]);
        self.label = match (shorter, self.label) {
            (Some(short), Text::Long(number, _)) => {
                long.remove(number as usize);
                short
            }
            (Some(short), _) => short,
            (None, Text::Long(number, start)) => Text::Long(number, start + len),
            (None, short) => short,
        };
    }

    /// Forgets the topic.
    pub(crate) fn remove(self, long: &mut LongTopics) {
        if let Text::Long(number, _) = self.label {
            long.remove(number as usize);
        }
    }
}

impl Text {
    fn short(label: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT];
        let len = u8::try_from(label.len()).ok()?;
        short.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self::Short(len, short))
    }
}

/// Writes a bucket. [`Buckets`](crate::topics::trie::buckets::Buckets) sets its first byte.
pub(crate) fn write(records: &[Record], long: &LongTopics, bytes: &mut Vec<u8>) {
    let mut labels = records.iter().map(|it| it.label(long));
    let first = labels.next().unwrap_or_default();
    let first = &first[..first.len().min(SHORT)];
    let common = labels.fold(first.len(), |common, label| {
        common_len(&first[..common], label)
    });
    let empty = Bucket {
        common: &first[..common],
        ..Bucket::default()
    };
    empty.write_with(records, long, bytes);
}

impl<'a> Bucket<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let (head, rest) = bytes.split_at(HEAD);
        let (len, common) = (usize::from(head[1]), usize::from(head[2]));
        let (fingers, rest) = rest.split_at(len);
        let (places, rest) = rest.split_at(4 * len);
        let (lens, rest) = rest.split_at(len);
        let (common, labels) = rest.split_at(common);
        Self {
            fingers,
            places: places.as_chunks().0,
            lens,
            common,
            labels,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fingers.len()
    }

    /// Writes the bucket with another topic, below a branch of `depth` bytes.
    pub(crate) fn write_added(
        &self,
        record: Record,
        depth: usize,
        long: &LongTopics,
        bytes: &mut Vec<u8>,
    ) {
        if record.label(long).starts_with(self.common) {
            self.write_with(&[record], long, bytes);
        } else {
            let mut records = self.records(depth);
            records.push(record);
            write(&records, long, bytes);
        }
    }

    /// Writes the bucket with more topics, which have its common beginning.
    fn write_with(&self, more: &[Record], long: &LongTopics, bytes: &mut Vec<u8>) {
        let common = self.common.len();
        bytes.clear();
        bytes.extend([0, (self.len() + more.len()) as u8, common as u8]);
        bytes.extend(self.fingers);
        bytes.extend(more.iter().map(|it| finger(&it.label(long)[common..])));
        bytes.extend(self.places.as_flattened());
        bytes.extend(more.iter().flat_map(|it| it.places.to_bytes()));
        bytes.extend(self.lens);
        bytes.extend(more.iter().map(|it| match it.label {
            Text::Short(len, _) => len - common as u8,
            Text::Long(..) => LONG | 4,
        }));
        bytes.extend(self.common);
        bytes.extend(&self.labels[..label_lens(self.lens)]);
        for record in more {
            match &record.label {
                Text::Short(len, label) => bytes.extend(&label[common..usize::from(*len)]),
                Text::Long(number, _) => bytes.extend(number.to_ne_bytes()),
            }
        }
    }

    pub(crate) fn places(&self, at: usize) -> Places {
        Places::from_bytes(self.places[at])
    }

    /// What a record has of its label: bytes, or the number of a long topic.
    fn label(&self, at: usize) -> (&'a [u8], bool) {
        let start = label_lens(&self.lens[..at]);
        let label = &self.labels[start..start + label_lens(&self.lens[at..=at])];
        (label, self.lens[at] & LONG != 0)
    }

    /// Reads all topics, below a branch of `depth` bytes.
    pub(crate) fn records(&self, depth: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.len() + 1);
        records.extend((0..self.len()).map(|at| {
            let (label, is_long) = self.label(at);
            let label = if is_long {
                Text::Long(read_number(label), depth)
            } else {
                let mut short = [0; SHORT];
                let len = self.common.len() + label.len();
                short[..self.common.len()].copy_from_slice(self.common);
                short[self.common.len()..len].copy_from_slice(label);
                Text::Short(len as u8, short)
            };
            Record {
                places: self.places(at),
                label,
            }
        }));
        records
    }

    /// The topics that `topic` begins with, below a branch of `depth` bytes.
    pub(crate) fn beginnings(
        self,
        topic: &'a [u8],
        depth: usize,
        long: &'a LongTopics,
    ) -> Beginnings<'a> {
        let rest = topic[depth..].strip_prefix(self.common);
        let next = if rest.is_some() { 0 } else { self.len() };
        let rest = rest.unwrap_or_default();
        Beginnings {
            bucket: self,
            long,
            topic,
            depth: topic.len() - rest.len(),
            fingers: std::array::from_fn(|len| finger(&rest[..len.min(rest.len())])),
            next,
        }
    }

    /// Where `topic` is.
    pub(crate) fn find(self, topic: &'a [u8], depth: usize, long: &'a LongTopics) -> Option<usize> {
        let mut all = self.beginnings(topic, depth, long);
        while let Some(at) = all.next_at() {
            if all.label(at).len() == topic.len() - all.depth {
                return Some(at);
            }
        }
        None
    }
}

impl Beginnings<'_> {
    /// What a topic has behind the depth.
    fn label(&self, at: usize) -> &[u8] {
        let (label, is_long) = self.bucket.label(at);
        if is_long {
            &self.long[read_number(label) as usize][self.depth..]
        } else {
            label
        }
    }

    /// Where the next one is in the bucket.
    fn next_at(&mut self) -> Option<usize> {
        loop {
            let at = self.next;
            let finger = self.bucket.fingers.get(at)?;
            self.next += 1;
            if self.fingers.contains(finger) && self.topic[self.depth..].starts_with(self.label(at))
            {
                return Some(at);
            }
        }
    }
}

impl Iterator for Beginnings<'_> {
    type Item = Places;

    fn next(&mut self) -> Option<Places> {
        let at = self.next_at()?;
        Some(self.bucket.places(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bucket<'_> {
        /// How many labels are elsewhere.
        pub(crate) fn long_labels(&self) -> usize {
            self.lens.iter().filter(|len| **len & LONG != 0).count()
        }
    }

    fn bucket(topics: &[Vec<u8>], depth: usize, long: &mut LongTopics) -> Vec<u8> {
        let mut records = Vec::new();
        for (place, topic) in topics.iter().enumerate() {
            let topic: Arc<[u8]> = topic[..].into();
            records.push(Record::new(&topic, depth, Places::one(place), long));
        }
        let mut bytes = Vec::new();
        write(&records, long, &mut bytes);
        bytes
    }

    /// Topics of every length about what a bucket has room for are found, also when branches have taken
    /// what they begin with.
    #[test]
    fn topics_of_any_length_are_kept() {
        let mut long = LongTopics::new();
        let whole: Vec<u8> = (0..=255).collect();
        let lens = [1, 2, 3, 4, 5, SHORT, SHORT + 1, SHORT + 2, 100, 256];
        let topics = lens.map(|len| whole[..len].to_vec());
        let mut bytes = bucket(&topics, 0, &mut long);
        let mut depth = 0;
        for taken in [0, 1, 1, 2, SHORT - 3, 80, 100] {
            let all = Bucket::new(&bytes).records(depth);
            depth += taken;
            let mut records = Vec::new();
            for mut record in all {
                if record.label(&long).len() < taken {
                    record.remove(&mut long);
                    continue;
                }
                record.shorten(taken, &mut long);
                records.push(record);
            }
            write(&records, &long, &mut bytes);
            // What is behind a bucket does not belong to it.
            bytes.push(b'?');
            let read = Bucket::new(&bytes);
            let left: Vec<_> = lens.iter().filter(|len| **len >= depth).collect();
            assert_eq!(read.len(), left.len());
            for (at, len) in left.into_iter().enumerate() {
                assert_eq!(read.find(&whole[..*len], depth, &long), Some(at));
                let found = read.beginnings(&whole[..*len], depth, &long);
                assert_eq!(found.count(), at + 1);
            }
            assert_eq!(read.find(&whole[..255], depth, &long), None);
        }
        assert_eq!(long.len(), 1);
    }

    /// A match compares the labels whose fingerprint fits. They are few if topics differ behind what all
    /// have in common.
    #[test]
    fn a_match_compares_few_labels() {
        let texts: [fn(usize) -> String; 3] = [
            |n| format!("{:08}", n * 1_234_567),
            |n| format!("weather.station.{n}.wind"),
            |n| format!("{}.of.many.sensors.with.a.rather.long.name.for.each", n * 7),
        ];
        for text in texts {
            let topics: Vec<_> = (0..64).map(|n| text(n).into_bytes()).collect();
            let mut long = LongTopics::new();
            let bytes = bucket(&topics, 0, &mut long);
            let mut compared = 0;
            for topic in &topics {
                let found = Bucket::new(&bytes).beginnings(topic, 0, &long);
                let fits = |finger: &&u8| found.fingers.contains(finger);
                compared += found.bucket.fingers.iter().filter(fits).count();
            }
            assert!(compared < 5 * topics.len(), "{compared}");
        }
    }
}

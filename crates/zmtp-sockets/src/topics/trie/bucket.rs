//! A bucket of the trie of topics: up to 64 topics in one piece of memory.
//!
//! It has, in this order, a head of [`HEAD`] bytes, a fingerprint of each topic, the places of each, the
//! length of the label of each, what all labels begin with, and the rest of each label. If all topics have
//! the same places, or labels of the same length, it says so once. A match reads all fingerprints, and the
//! labels whose fingerprint fits.
#![forbid(unsafe_code)]

use crate::topics::places::{Places, number};
use crate::topics::trie::label::common_len;
use slab::Slab;
use std::sync::Arc;

/// The most topics of a bucket. Tests have smaller ones, so that few topics make many branches.
pub(crate) const BUCKET: usize = if cfg!(test) { 4 } else { 64 };
/// The longest label that lies in the bucket.
const SHORT: usize = if cfg!(test) { 20 } else { 48 };
/// How much memory the bucket has, how many topics, how many places and lengths, which is one or that of
/// topics, and how long the common beginning is.
pub(crate) const HEAD: usize = 5;
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
    places: Column<'a, [u8; 4]>,
    lens: Column<'a, u8>,
    common: &'a [u8],
    /// Behind the labels may be memory that is not in use.
    labels: &'a [u8],
}

/// A value for each topic, or one for all.
#[derive(Clone, Copy, Default)]
struct Column<'a, T>(&'a [T]);

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

/// How many bytes a bucket has of a label.
fn label_len(len: u8) -> usize {
    usize::from(len & !LONG)
}

/// How many of the values a column has: one if all are equal.
fn column_len<T: PartialEq>(mut values: impl Iterator<Item = T> + Clone) -> usize {
    let len = values.clone().count();
    let first = values.next();
    let alike = values.all(|it| Some(it) == first);
    if alike { 1 } else { len }
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
        let [fingers, places, lens, common] = [1, 2, 3, 4].map(|at| usize::from(head[at]));
        let (fingers, rest) = rest.split_at(fingers);
        let (places, rest) = rest.split_at(4 * places);
        let (lens, rest) = rest.split_at(lens);
        let (common, labels) = rest.split_at(common);
        Self {
            fingers,
            places: Column(places.as_chunks().0),
            lens: Column(lens),
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
        let (len, common) = (self.len() + more.len(), self.common.len());
        let places = more.iter().map(|it| it.places.to_bytes());
        let places = self.places.values(self.len()).chain(places);
        let lens = more.iter().map(|it| match it.label {
            Text::Short(len, _) => len - common as u8,
            Text::Long(..) => LONG | 4,
        });
        let lens = self.lens.values(self.len()).chain(lens);
        let (places_len, lens_len) = (column_len(places.clone()), column_len(lens.clone()));
        bytes.clear();
        bytes.push(0);
        bytes.extend([len, places_len, lens_len, common].map(|it| it as u8));
        bytes.extend(self.fingers);
        bytes.extend(more.iter().map(|it| finger(&it.label(long)[common..])));
        bytes.extend(places.take(places_len).flatten());
        bytes.extend(lens.take(lens_len));
        bytes.extend(self.common);
        bytes.extend(&self.labels[..self.label_start(self.len())]);
        for record in more {
            match &record.label {
                Text::Short(len, label) => bytes.extend(&label[common..usize::from(*len)]),
                Text::Long(number, _) => bytes.extend(number.to_ne_bytes()),
            }
        }
    }

    pub(crate) fn places(&self, at: usize) -> Places {
        Places::from_bytes(self.places.get(at))
    }

    /// Where the bucket has the places of this topic alone.
    pub(crate) fn places_start(&self, at: usize) -> Option<usize> {
        let alone = self.places.0.len() == self.len();
        alone.then_some(HEAD + self.len() + 4 * at)
    }

    /// Where the label begins among the labels.
    fn label_start(&self, at: usize) -> usize {
        match self.lens.0 {
            [len] => at * label_len(*len),
            lens => lens[..at].iter().map(|len| label_len(*len)).sum(),
        }
    }

    /// What a record has of its label: bytes, or the number of a long topic.
    fn label(&self, at: usize) -> (&'a [u8], bool) {
        let (start, len) = (self.label_start(at), self.lens.get(at));
        let label = &self.labels[start..start + label_len(len)];
        (label, len & LONG != 0)
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

impl<T: Copy> Column<'_, T> {
    fn get(&self, at: usize) -> T {
        match self.0 {
            [value] => *value,
            values => values[at],
        }
    }

    /// The values of this many topics.
    fn values(&self, len: usize) -> impl Iterator<Item = T> + Clone {
        (0..len).map(|at| self.get(at))
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
            let lens = self.lens.values(self.len());
            lens.filter(|len| len & LONG != 0).count()
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

    /// Topics of one subscriber, or of one length, need less memory for it.
    #[test]
    fn what_topics_have_in_common_is_written_once() {
        let size = |place: fn(usize) -> usize, topic: fn(usize) -> String| {
            let mut long = LongTopics::new();
            let topics: Vec<Arc<[u8]>> = (0..64).map(|n| topic(n).into_bytes().into()).collect();
            let mut record =
                |n: usize| Record::new(&topics[n], 0, Places::one(place(n)), &mut long);
            let records: Vec<_> = (0..64).map(&mut record).collect();
            let (mut grown, mut bytes) = (Vec::new(), Vec::new());
            write(&records[..1], &long, &mut grown);
            for record in &records[1..] {
                Bucket::new(&grown).write_added(*record, 0, &long, &mut bytes);
                std::mem::swap(&mut grown, &mut bytes);
            }
            write(&records, &long, &mut bytes);
            assert_eq!(grown, bytes);
            let bucket = Bucket::new(&bytes);
            for (n, topic) in topics.iter().enumerate() {
                let found = bucket.find(topic, 0, &long).unwrap();
                assert_eq!(found, n);
                assert!(bucket.places(found) == Places::one(place(n)));
            }
            bytes.len()
        };
        let labels: usize = (0..64).map(|n: usize| n.to_string().len()).sum();
        let fixed = |n| format!("{n:05}");
        let common = size(|_| 7, |n| format!("{n:05}"));
        assert_eq!(common, HEAD + 64 + 4 + 1 + 3 + 64 * 2);
        assert_eq!(size(|n| n, fixed), common + 63 * 4);
        let of_any_length = size(|_| 7, |n| n.to_string());
        assert_eq!(of_any_length, HEAD + 64 + 4 + 64 + labels);
        assert_eq!(size(|n| n, |n| n.to_string()), of_any_length + 63 * 4);
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

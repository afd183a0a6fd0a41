//! Where the buckets of the trie of topics are: next to each other in one piece of memory.
#![forbid(unsafe_code)]

use crate::topics::places::Places;
use crate::topics::trie::bucket::{BUCKET, Bucket, LongTopics};
use std::hint::black_box;

/// Buckets by number. A bucket that outgrows its place moves to the end and leaves a gap.
#[derive(Default)]
pub(crate) struct Buckets {
    /// The first byte of each bucket is how many units it has.
    memory: Vec<[u8; UNIT]>,
    /// How many units are gaps.
    gaps: usize,
    /// What the buckets have no room for.
    pub(crate) long: LongTopics,
}

/// A bucket has a multiple of this many bytes.
const UNIT: usize = 32;
/// Units of a bucket in its second and third cache line. A bucket of two dozen short topics ends there.
const AHEAD: [usize; 2] = [2, 4];

impl Buckets {
    fn bytes(&self, bucket: usize) -> &[u8] {
        let units = usize::from(self.memory[bucket][0]);
        self.memory[bucket..][..units].as_flattened()
    }

    /// The head says which label is read next. The cache lines with labels are asked for together with it,
    /// so that among many topics the processor waits for all of them once. What lies there may belong to
    /// another bucket, and is not used.
    pub(crate) fn get(&self, bucket: usize) -> Bucket<'_> {
        for unit in AHEAD {
            if let Some(bytes) = self.memory.get(bucket + unit) {
                black_box(bytes[0]);
            }
        }
        Bucket::new(self.bytes(bucket))
    }

    /// Sets the places of one topic. Returns whether the bucket had room for them.
    pub(crate) fn set_places(&mut self, bucket: usize, at: usize, places: Places) -> bool {
        let known = self.get(bucket);
        if known.places(at) == places {
            return true;
        }
        let Some(start) = known.places_start(at) else {
            return false;
        };
        let bytes = self.memory[bucket..].as_flattened_mut();
        bytes[start..start + 4].copy_from_slice(&places.to_bytes());
        true
    }

    /// Returns the number of the new bucket.
    pub(crate) fn insert(&mut self, bytes: &[u8]) -> usize {
        let bucket = self.memory.len();
        let units = bytes.len().div_ceil(UNIT);
        if self.memory.capacity() - bucket < units {
            // By itself, a vector doubles.
            self.memory.reserve_exact(units.max(bucket / 4));
        }
        self.memory.resize(bucket + units, [0; UNIT]);
        self.fill(bucket, bytes, units);
        bucket
    }

    /// Writes a bucket, which gets this many units.
    fn fill(&mut self, bucket: usize, bytes: &[u8], units: usize) {
        let memory = self.memory[bucket..].as_flattened_mut();
        memory[..bytes.len()].copy_from_slice(bytes);
        memory[0] = units as u8;
    }

    /// Puts other contents into a bucket. Returns its number from now on.
    pub(crate) fn replace(&mut self, bucket: usize, bytes: &[u8]) -> usize {
        let units = usize::from(self.memory[bucket][0]);
        let needed = bytes.len().div_ceil(UNIT);
        if needed > units {
            self.remove(bucket);
            return self.insert(bytes);
        }
        self.fill(bucket, bytes, needed);
        self.gaps += units - needed;
        bucket
    }

    /// Leaves a gap.
    pub(crate) fn remove(&mut self, bucket: usize) {
        self.gaps += usize::from(self.memory[bucket][0]);
    }

    /// Whether gaps take more than a quarter as much memory as buckets. To close them takes as much time as
    /// there are buckets and `branches`, so the changes that have made the gaps have taken a part of it at
    /// least.
    pub(crate) fn has_gaps(&self, branches: usize) -> bool {
        let used = self.memory.len() - self.gaps;
        self.gaps > used / 4 + branches / 2 + BUCKET
    }

    /// Closes all gaps. `renumber` calls its argument with the number of each bucket, for a new one.
    pub(crate) fn close_gaps(&mut self, renumber: impl FnOnce(&mut dyn FnMut(usize) -> usize)) {
        let used = self.memory.len() - std::mem::take(&mut self.gaps);
        let memory = Vec::with_capacity(used + used / 4);
        let old = std::mem::replace(&mut self.memory, memory);
        renumber(&mut |bucket| {
            let units = usize::from(old[bucket][0]);
            let number = self.memory.len();
            self.memory.extend_from_slice(&old[bucket..][..units]);
            number
        });
    }
}

#[cfg(test)]
impl Buckets {
    /// How many units the buckets have.
    pub(crate) fn used(&self) -> usize {
        self.memory.len() - self.gaps
    }

    /// How many units are gaps.
    pub(crate) fn gaps(&self) -> usize {
        self.gaps
    }

    /// How many units a bucket has.
    pub(crate) fn units(&self, bucket: usize) -> usize {
        usize::from(self.memory[bucket][0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::trie::bucket::{Record, write};
    use std::sync::Arc;

    /// What is read ahead ends with the memory, and buckets of any size are found next to each other.
    #[test]
    fn a_bucket_is_read_at_the_end_of_the_memory() {
        let mut buckets = Buckets::default();
        let mut known = Vec::new();
        let mut bytes = Vec::new();
        for len in (1..=20).rev() {
            let topics = ["a", "b", "c"].map(|it| it.repeat(len));
            let topics = topics.map(|it| Arc::<[u8]>::from(it.as_bytes()));
            let mut record = |it| Record::new(it, 0, Places::one(len), &mut buckets.long);
            let records = topics.each_ref().map(&mut record);
            write(&records, &buckets.long, &mut bytes);
            known.push((buckets.insert(&bytes), topics));
            for (bucket, topics) in &known {
                let found = topics.each_ref().map(|topic| {
                    let bucket = buckets.get(*bucket);
                    let at = bucket.find(topic, 0, &buckets.long);
                    at.map(|at| bucket.places(at))
                });
                assert!(found == [Some(Places::one(topics[0].len())); 3]);
            }
        }
    }
}

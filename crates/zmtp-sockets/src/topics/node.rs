//! The nodes of the trie of topics: branches in a cache line each, and buckets of a few topics.
#![forbid(unsafe_code)]

use crate::topics::label::Label;
use crate::topics::places::Places;
use std::sync::Arc;

/// A visit costs one cache line, and another one for the child. Only a long label, or several subscribers,
/// are elsewhere.
#[repr(align(64))]
pub(crate) struct Branch {
    pub(crate) parent: u32,
    /// The bytes between the parent and this branch. Only the root has none.
    pub(crate) label: Label,
    /// The first bytes of the labels of the first children, so that the others need not be read.
    firsts: [u8; FIRSTS],
    /// The children by the first bytes of their labels, in order.
    children: Box<[(u8, Child)]>,
    /// The places of those who subscribe to exactly this.
    pub(crate) places: Places,
}

/// What follows a branch.
pub(crate) enum Child {
    Branch(u32),
    /// Topics that begin with one byte in common. There is at least one.
    Bucket(Vec<Entry>),
}

/// A topic in a bucket.
pub(crate) struct Entry {
    /// The bytes between the branch and the end of the topic.
    pub(crate) label: Label,
    pub(crate) places: Places,
}

/// The most topics of a bucket: 64, which lie next to each other in memory. To look at all of them takes
/// less time than one more branch does, once there are too many branches for the processor's caches. Tests
/// have smaller ones, so that few topics make many branches.
pub(crate) const BUCKET: usize = if cfg!(test) { 4 } else { 64 };

/// How many first bytes a branch has room for.
const FIRSTS: usize = 12;

/// The index of a branch in half the space. There is no memory for more branches.
pub(crate) fn index(branch: usize) -> u32 {
    u32::try_from(branch).unwrap_or(u32::MAX)
}

impl Entry {
    /// The entry for the topic of one subscriber, below a branch that has the first `start` bytes of it.
    pub(crate) fn new(topic: &Arc<[u8]>, start: usize, place: usize) -> Self {
        Self {
            label: Label::new(topic, start),
            places: Places::One(place),
        }
    }
}

impl Branch {
    /// The branch for `topic`, whose parent has the first `start` bytes of it.
    pub(crate) fn new(parent: usize, topic: &[u8], start: usize) -> Self {
        Self {
            parent: index(parent),
            label: Label::of_part(topic, start),
            firsts: [0; FIRSTS],
            children: Box::default(),
            places: Places::None,
        }
    }

    pub(crate) fn parent(&self) -> usize {
        self.parent as usize
    }

    /// Where the child is whose label begins with this, or would be.
    fn place_of(&self, first: u8) -> Result<usize, usize> {
        match self.firsts.get(..self.children.len()) {
            Some(firsts) => firsts.binary_search(&first),
            None => self.children.binary_search_by_key(&first, |child| child.0),
        }
    }

    /// The children by the first bytes of their labels, in order.
    pub(crate) fn children(&self) -> &[(u8, Child)] {
        &self.children
    }

    fn set_children(&mut self, children: Vec<(u8, Child)>) {
        for (first, child) in self.firsts.iter_mut().zip(&children) {
            *first = child.0;
        }
        self.children = children.into();
    }

    /// The child whose label begins with this.
    pub(crate) fn child(&self, first: u8) -> Option<&Child> {
        let at = self.place_of(first).ok()?;
        Some(&self.children[at].1)
    }

    pub(crate) fn child_mut(&mut self, first: u8) -> Option<&mut Child> {
        let at = self.place_of(first).ok()?;
        Some(&mut self.children[at].1)
    }

    /// Sets the child whose label begins with this.
    pub(crate) fn set_child(&mut self, first: u8, child: Child) {
        match self.place_of(first) {
            Ok(at) => self.children[at].1 = child,
            Err(at) => {
                let mut children = std::mem::take(&mut self.children).into_vec();
                children.reserve_exact(1);
                children.insert(at, (first, child));
                self.set_children(children);
            }
        }
    }

    pub(crate) fn remove_child(&mut self, first: u8) {
        let mut children = std::mem::take(&mut self.children).into_vec();
        children.retain(|child| child.0 != first);
        self.set_children(children);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_branch_is_one_cache_line() {
        assert_eq!((size_of::<Branch>(), align_of::<Branch>()), (64, 64));
    }
}

//! A node of the trie of topics, in a cache line.
#![forbid(unsafe_code)]

use std::ops::Deref;

/// A visit costs one cache line, and those of the children. Only a long label, or several subscribers,
/// are elsewhere. Most nodes have no children.
#[repr(align(64))]
pub(crate) struct Node {
    pub(crate) parent: u32,
    /// The bytes between the parent and this node. Only the root has none.
    pub(crate) label: Label,
    /// The children by the first bytes of their labels, in order.
    pub(crate) children: Box<[(u8, u32)]>,
    /// The places of those who subscribe to exactly this, in order.
    pub(crate) places: Places,
}

pub(crate) enum Label {
    Short(u8, [u8; SHORT]),
    Long(Box<Tail>),
}

/// The end of a topic. The whole of it is kept, so that nothing is copied when a node comes or goes above:
/// a peer with one long topic could otherwise make each short one cost as much.
pub(crate) struct Tail {
    topic: Box<[u8]>,
    start: usize,
}

pub(crate) enum Places {
    None,
    One(usize),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "a node has room for one pointer")]
    Many(Box<Vec<usize>>),
}

/// The longest label that a node has room for.
const SHORT: usize = 22;

/// The index of a node in half the space. There is no memory for more nodes.
pub(crate) fn index(node: usize) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX)
}

impl Label {
    /// The label of the node for `topic` whose parent has the first `start` bytes of it.
    pub(crate) fn new(topic: &[u8], start: usize) -> Self {
        Self::short(&topic[start..]).unwrap_or_else(|| {
            let topic = topic.into();
            Self::Long(Box::new(Tail { topic, start }))
        })
    }

    fn short(label: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT];
        let len = u8::try_from(label.len()).ok()?;
        short.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self::Short(len, short))
    }

    /// Drops the first `len` bytes, which another node has from now on.
    pub(crate) fn shorten(&mut self, len: usize) {
        match (Self::short(&self[len..]), &mut *self) {
            (Some(short), _) => *self = short,
            (None, Self::Long(tail)) => tail.start += len,
            // What is shorter than a short label is one.
            (None, Self::Short(..)) => {}
        }
    }

    /// Puts the bytes of `upper`, a node that goes, before this. `above` returns the topic of that node.
    pub(crate) fn lengthen(&mut self, upper: &[u8], above: impl FnOnce() -> Vec<u8>) {
        match self {
            Self::Long(tail) => tail.start -= upper.len(),
            Self::Short(..) => {
                let topic = [&above()[..], self].concat();
                let start = topic.len() - self.len() - upper.len();
                *self = Self::new(&topic, start);
            }
        }
    }
}

impl Default for Label {
    fn default() -> Self {
        Self::Short(0, [0; SHORT])
    }
}

impl Deref for Label {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(tail) => &tail.topic[tail.start..],
        }
    }
}

impl Deref for Places {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        match self {
            Self::None => &[],
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }
}

impl Places {
    /// Returns whether the place was not there.
    pub(crate) fn insert(&mut self, place: usize) -> bool {
        let Err(at) = self.binary_search(&place) else {
            return false;
        };
        match self {
            Self::None => *self = Self::One(place),
            Self::One(other) => {
                let mut places = Box::new(vec![*other]);
                places.insert(at, place);
                *self = Self::Many(places);
            }
            Self::Many(places) => places.insert(at, place),
        }
        true
    }

    /// Returns whether the place was there.
    pub(crate) fn remove(&mut self, place: usize) -> bool {
        let Ok(at) = self.binary_search(&place) else {
            return false;
        };
        match self {
            Self::Many(places) if places.len() > 2 => {
                places.remove(at);
            }
            Self::Many(places) => *self = Self::One(places[1 - at]),
            Self::None | Self::One(_) => *self = Self::None,
        }
        true
    }
}

impl Node {
    /// The node for `topic`, whose parent has the first `start` bytes of it.
    pub(crate) fn new(parent: usize, topic: &[u8], start: usize) -> Self {
        Self {
            parent: index(parent),
            label: Label::new(topic, start),
            children: Box::default(),
            places: Places::None,
        }
    }

    pub(crate) fn parent(&self) -> usize {
        self.parent as usize
    }

    /// The child whose label begins with this.
    pub(crate) fn child(&self, first: u8) -> Option<usize> {
        let at = self.children.binary_search_by_key(&first, |child| child.0);
        at.ok().map(|at| self.children[at].1 as usize)
    }

    pub(crate) fn set_child(&mut self, first: u8, child: usize) {
        let child = index(child);
        let mut children = std::mem::take(&mut self.children).into_vec();
        match children.binary_search_by_key(&first, |child| child.0) {
            Ok(at) => children[at].1 = child,
            Err(at) => {
                children.reserve_exact(1);
                children.insert(at, (first, child));
            }
        }
        self.children = children.into();
    }

    pub(crate) fn remove_child(&mut self, first: u8) {
        let mut children = std::mem::take(&mut self.children).into_vec();
        children.retain(|child| child.0 != first);
        self.children = children.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_node_is_one_cache_line() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (64, 64));
    }

    #[test]
    fn a_label_of_any_length_is_kept() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256] {
            assert_eq!(&*Label::new(&bytes[..len], 0), &bytes[..len]);
            for start in [0, 1, SHORT, SHORT + 1].into_iter().filter(|it| *it <= len) {
                let (above, below) = bytes[..len].split_at(start);
                let mut label = Label::new(&bytes[..len], 0);
                label.shorten(start);
                assert_eq!(&*label, below);
                label.lengthen(above, || above.to_vec());
                assert_eq!(&*label, &bytes[..len]);
            }
        }
    }
}

//! The branches of the trie of topics, in two cache lines each.
#![forbid(unsafe_code)]

use crate::topics::places::{MARK, Places, number};
use crate::topics::trie::label::Label;

/// A visit reads these two cache lines, which the processor fetches together. Only a long label, and the
/// children of a branch that has many, are elsewhere.
#[repr(align(128))]
pub(crate) struct Branch {
    pub(crate) parent: u32,
    /// The places of those who subscribe to exactly this.
    pub(crate) places: Places,
    /// The bytes between the parent and this branch. Only the root has none.
    pub(crate) label: Label,
    children: Children,
}

/// The children by the first bytes of their labels.
enum Children {
    /// In no order.
    Few {
        len: u8,
        firsts: [u8; FEW],
        children: [Packed; FEW],
    },
    /// The child for each byte.
    Many(Box<[Packed; 256]>),
}

/// What follows a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Branch(usize),
    /// Topics that begin with one byte in common. There is at least one.
    Bucket(usize),
}

/// A child or none in four bytes. No child has number 0, since that is the root.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed(u32);

/// How many children a branch has room for.
const FEW: usize = 20;

impl Packed {
    const NONE: Self = Self(0);

    fn new(child: Child) -> Self {
        match child {
            Child::Branch(branch) => Self(number(branch)),
            Child::Bucket(bucket) => Self(MARK | number(bucket)),
        }
    }

    fn child(self) -> Option<Child> {
        match self.0.checked_sub(MARK) {
            Some(bucket) => Some(Child::Bucket(bucket as usize)),
            None if self == Self::NONE => None,
            None => Some(Child::Branch(self.0 as usize)),
        }
    }
}

impl Branch {
    /// The branch for `topic`, whose parent has the first `start` bytes of it.
    pub(crate) fn new(parent: usize, topic: &[u8], start: usize) -> Self {
        Self {
            parent: number(parent),
            places: Places::NONE,
            label: Label::new(topic, start),
            children: Children::NONE,
        }
    }

    pub(crate) fn parent(&self) -> usize {
        self.parent as usize
    }

    /// The child whose label begins with this.
    pub(crate) fn child(&self, first: u8) -> Option<Child> {
        self.children.get(first)?.child()
    }

    /// The children and the first bytes of their labels.
    pub(crate) fn children(&self) -> impl Iterator<Item = (u8, Child)> {
        self.children.iter()
    }

    /// Sets the child whose label begins with this.
    pub(crate) fn set_child(&mut self, first: u8, child: Child) {
        self.children.set(first, Packed::new(child));
    }

    /// Gives each bucket the number that `renumber` returns for it.
    pub(crate) fn renumber_buckets(&mut self, mut renumber: impl FnMut(usize) -> usize) {
        let children = match &mut self.children {
            Children::Few { children, .. } => &mut children[..],
            Children::Many(children) => &mut children[..],
        };
        for packed in children {
            if let Some(Child::Bucket(bucket)) = packed.child() {
                *packed = Packed::new(Child::Bucket(renumber(bucket)));
            }
        }
    }

    /// Drops the child whose label begins with this.
    pub(crate) fn remove_child(&mut self, first: u8) {
        self.children.remove(first);
    }
}

impl Children {
    const NONE: Self = Self::Few {
        len: 0,
        firsts: [0; FEW],
        children: [Packed::NONE; FEW],
    };

    fn get(&self, first: u8) -> Option<Packed> {
        match self {
            Self::Few {
                len,
                firsts,
                children,
            } => {
                let mut firsts = firsts[..usize::from(*len)].iter();
                Some(children[firsts.position(|it| *it == first)?])
            }
            Self::Many(children) => Some(children[usize::from(first)]),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u8, Child)> {
        let (firsts, children) = match self {
            Self::Few {
                firsts, children, ..
            } => (&firsts[..], &children[..]),
            Self::Many(children) => (&[][..], &children[..]),
        };
        let children = children.iter().zip(0..=255);
        children.filter_map(|(packed, at)| {
            let first = firsts.get(usize::from(at)).copied().unwrap_or(at);
            Some((first, packed.child()?))
        })
    }

    fn set(&mut self, first: u8, child: Packed) {
        match self {
            Self::Many(children) => children[usize::from(first)] = child,
            Self::Few {
                len,
                firsts,
                children,
            } => {
                let in_use = usize::from(*len);
                let known = firsts[..in_use].iter().position(|it| *it == first);
                if let Some(at) = known {
                    children[at] = child;
                } else if in_use < FEW {
                    (firsts[in_use], children[in_use]) = (first, child);
                    *len += 1;
                } else {
                    let mut many = Box::new([Packed::NONE; 256]);
                    for (first, child) in firsts.iter().zip(children) {
                        many[usize::from(*first)] = *child;
                    }
                    many[usize::from(first)] = child;
                    *self = Self::Many(many);
                }
            }
        }
    }

    fn remove(&mut self, first: u8) {
        match self {
            Self::Few {
                len,
                firsts,
                children,
            } => {
                let in_use = usize::from(*len);
                let known = firsts[..in_use].iter().position(|it| *it == first);
                if let Some(at) = known {
                    let last = in_use - 1;
                    (firsts[at], children[at]) = (firsts[last], children[last]);
                    children[last] = Packed::NONE;
                    *len -= 1;
                }
            }
            Self::Many(children) => {
                children[usize::from(first)] = Packed::NONE;
                if self.iter().count() <= FEW / 2 {
                    let mut few = Self::NONE;
                    for (first, child) in self.iter() {
                        few.set(first, Packed::new(child));
                    }
                    *self = few;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_branch_is_two_cache_lines() {
        assert_eq!((size_of::<Branch>(), align_of::<Branch>()), (128, 128));
    }

    #[test]
    fn children_come_and_go_in_any_number() {
        let mut branch = Branch::new(0, b"", 0);
        let mut expected = BTreeMap::new();
        let check = |branch: &Branch, expected: &BTreeMap<u8, Child>| {
            let children: BTreeMap<u8, Child> = branch.children().collect();
            assert_eq!(children, *expected);
            for first in 0..=255 {
                assert_eq!(branch.child(first), expected.get(&first).copied());
            }
        };
        for step in 0..=255_u8 {
            let first = step.wrapping_mul(37);
            for number in [1, 7 + usize::from(step)] {
                let child = [Child::Branch(number), Child::Bucket(number)][number % 2];
                branch.set_child(first, child);
                expected.insert(first, child);
                check(&branch, &expected);
            }
        }
        for step in 0..=255_u8 {
            let first = step.wrapping_mul(91);
            branch.remove_child(first);
            expected.remove(&first);
            branch.remove_child(first);
            check(&branch, &expected);
        }
    }
}

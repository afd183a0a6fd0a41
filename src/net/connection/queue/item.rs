//! What a queue holds.
#![forbid(unsafe_code)]

use crate::traffic::inbox::Incoming;
use std::collections::vec_deque::Iter;
use std::slice;

/// An item of a queue. Most have one part, themselves.
pub(crate) trait Item {
    /// What the consumer takes.
    type Part: Clone;

    /// The most parts of one that grows, and the most bytes that they cost together.
    const MOST: (usize, usize) = (1, 0);

    /// Its parts, at least one, once it grows no more.
    fn parts(&self) -> &[Self::Part];

    /// Its first part.
    fn into_part(self) -> Option<Self::Part>;

    /// Ends its growth, and returns what its parts cost together. `None` if it never grows.
    fn end_growth(&self) -> Option<usize> {
        None
    }
}

impl Item for Incoming {
    type Part = Self;

    fn parts(&self) -> &[Self] {
        slice::from_ref(self)
    }

    #[inline]
    fn into_part(self) -> Option<Self> {
        Some(self)
    }
}

/// The parts of items, one after another.
pub(crate) struct Parts<'a, T: Item> {
    items: Iter<'a, (T, usize)>,
    parts: slice::Iter<'a, T::Part>,
    left: usize,
}

impl<'a, T: Item> Parts<'a, T> {
    /// The parts of `items` but for the first `used` ones. `left` is their number.
    pub(crate) fn new(mut items: Iter<'a, (T, usize)>, used: usize, left: usize) -> Self {
        let first = items.next().map_or(&[][..], |(item, _)| item.parts());
        let parts = first.get(used..).unwrap_or_default().iter();
        Self { items, parts, left }
    }
}

impl<'a, T: Item> Iterator for Parts<'a, T> {
    type Item = &'a T::Part;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(part) = self.parts.next() {
                self.left = self.left.saturating_sub(1);
                return Some(part);
            }
            self.parts = self.items.next()?.0.parts().iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Item> ExactSizeIterator for Parts<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// What the tests of queues put into them.
    macro_rules! plain {
        ($($item:ty),*) => {
            $(impl Item for $item {
                type Part = Self;

                fn parts(&self) -> &[Self] {
                    slice::from_ref(self)
                }

                fn into_part(self) -> Option<Self> {
                    Some(self)
                }
            })*
        };
    }

    plain!((), char, i32, usize, Arc<()>);
}

//! The two sides of a tunnel.
#![forbid(unsafe_code)]

use std::ops::{Index, IndexMut};

/// One of a tunnel's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that was accepted.
    Front,
    /// The one that was dialled for it.
    Back,
}

impl Side {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::Front, Self::Back];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

/// One of something for each side.
#[derive(Debug)]
pub(crate) struct Sides<T> {
    pub(crate) front: T,
    pub(crate) back: T,
}

impl<T> Sides<T> {
    /// The two ends of the direction that leads from `from`, in this order.
    pub(crate) const fn direction(&mut self, from: Side) -> (&mut T, &mut T) {
        match from {
            Side::Front => (&mut self.front, &mut self.back),
            Side::Back => (&mut self.back, &mut self.front),
        }
    }
}

impl<T> Index<Side> for Sides<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Front => &self.front,
            Side::Back => &self.back,
        }
    }
}

impl<T> IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Front => &mut self.front,
            Side::Back => &mut self.back,
        }
    }
}

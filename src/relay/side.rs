//! The two sides of a tunnel.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Index, IndexMut};

/// One of a tunnel's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a tunnel has two sides")]
pub enum Side {
    /// The connection that was accepted.
    Front,
    /// The connection that was made for it.
    Back,
}

impl Side {
    /// Both sides.
    pub(crate) const BOTH: [Self; 2] = [Self::Front, Self::Back];

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Front => "front",
            Self::Back => "back",
        })
    }
}

/// A pair with one value for each side.
#[derive(Debug, Default)]
pub(crate) struct Sides<T> {
    pub(crate) front: T,
    pub(crate) back: T,
}

impl<T> Sides<T> {
    /// The value of `from`, and then that of the other side.
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

//! Who subscribes to exactly one topic.
#![forbid(unsafe_code)]

use std::ops::Deref;

/// The places of subscribers, in order.
pub(crate) enum Places {
    None,
    One(usize),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "a branch has room for one pointer")]
    Many(Box<Vec<usize>>),
}

/// What a subscription has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The subscriber had the topic.
    Known,
    /// Others have the topic.
    Added,
    /// No other subscriber has the topic.
    First,
}

/// What the end of a subscription has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The subscriber did not have the topic.
    Unknown,
    /// Others have the topic.
    Taken,
    /// No subscriber is left.
    Last,
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
    /// Adds a place.
    pub(crate) fn enter(&mut self, place: usize) -> Inserted {
        let Err(at) = self.binary_search(&place) else {
            return Inserted::Known;
        };
        match self {
            Self::None => {
                *self = Self::One(place);
                return Inserted::First;
            }
            Self::One(other) => {
                let mut places = Box::new(vec![*other]);
                places.insert(at, place);
                *self = Self::Many(places);
            }
            Self::Many(places) => places.insert(at, place),
        }
        Inserted::Added
    }

    /// Takes a place out.
    pub(crate) fn leave(&mut self, place: usize) -> Removed {
        let Ok(at) = self.binary_search(&place) else {
            return Removed::Unknown;
        };
        match self {
            Self::Many(places) if places.len() > 2 => {
                places.remove(at);
            }
            Self::Many(places) => *self = Self::One(places[1 - at]),
            Self::None | Self::One(_) => {
                *self = Self::None;
                return Removed::Last;
            }
        }
        Removed::Taken
    }
}

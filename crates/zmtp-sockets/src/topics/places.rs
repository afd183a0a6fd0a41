//! Who subscribes to exactly one topic.
#![forbid(unsafe_code)]

use slab::Slab;

/// The places of subscribers, in four bytes: none, one, or the number of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places(u32);

/// Places of two subscribers or more, in order.
#[derive(Default)]
pub(crate) struct Groups(Slab<Vec<u32>>);

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

/// Marks a number of another kind, such as that of a group.
pub(crate) const MARK: u32 = 1 << 31;

/// A number below [`MARK`] in half the space. There is no memory for more subscribers, branches or topics.
pub(crate) fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(MARK).min(MARK - 1)
}

impl Places {
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn one(place: usize) -> Self {
        Self(number(place))
    }

    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl Groups {
    /// The places one by one.
    pub(crate) fn each(&self, places: Places) -> impl Iterator<Item = usize> {
        let many = (places.0 >= MARK).then(|| self.0.get((places.0 - MARK) as usize));
        let many = many.flatten().map_or(&[][..], |many| many);
        let one = (places.0 < MARK).then_some(places.0);
        one.into_iter()
            .chain(many.iter().copied())
            .map(|it| it as usize)
    }

    /// Adds a place.
    pub(crate) fn enter(&mut self, places: &mut Places, place: usize) -> Inserted {
        if places.is_none() {
            *places = Places::one(place);
            return Inserted::First;
        }
        let place = number(place);
        if let Some(many) = self.many(*places) {
            let Err(at) = many.binary_search(&place) else {
                return Inserted::Known;
            };
            many.insert(at, place);
            return Inserted::Added;
        }
        if places.0 == place {
            return Inserted::Known;
        }
        let two = vec![places.0.min(place), places.0.max(place)];
        *places = Places(MARK | number(self.0.insert(two)));
        Inserted::Added
    }

    /// Takes a place out.
    pub(crate) fn leave(&mut self, places: &mut Places, place: usize) -> Removed {
        let place = number(place);
        let Some(many) = self.many(*places) else {
            if places.0 != place {
                return Removed::Unknown;
            }
            *places = Places::NONE;
            return Removed::Last;
        };
        let Ok(at) = many.binary_search(&place) else {
            return Removed::Unknown;
        };
        many.remove(at);
        if let [last] = **many {
            self.0.remove((places.0 - MARK) as usize);
            *places = Places(last);
        }
        Removed::Taken
    }

    fn many(&mut self, places: Places) -> Option<&mut Vec<u32>> {
        let group = places.0.checked_sub(MARK)?;
        self.0.get_mut(group as usize)
    }
}

#[cfg(test)]
impl Groups {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

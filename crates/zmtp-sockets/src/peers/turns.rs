//! The order in which places have their turns. A place is in it at most once, and leaves it at once
//! when its peer is gone: a place that stayed would count for the next peer there, which could get more
//! turns than others by connecting again and again.
#![forbid(unsafe_code)]

use tokio::runtime::{Handle, RuntimeFlavor};

/// How many turns count as one operation for a runtime of several threads, which lets a task do 128 before
/// others have their turn. The other threads take what waits meanwhile, and such a switch costs as much as
/// many turns. On a runtime of one thread, each turn counts.
const TURNS_OF_AN_OPERATION: u8 = 16;

/// A queue of places. Every operation takes the same time, however many places there are.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The neighbours of each place.
    links: Vec<Link>,
    front: Option<usize>,
    back: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Link {
    is_listed: bool,
    before: Option<usize>,
    after: Option<usize>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The place whose turn it is.
    pub(crate) const fn front(&self) -> Option<usize> {
        self.front
    }

    /// The place whose turn it is has had it, and gets the last one next.
    pub(crate) fn front_to_back(&mut self) {
        if self.front == self.back {
            return;
        }
        if let Some(place) = self.front {
            self.remove(place);
            self.push_back(place);
        }
    }

    /// Gives a place the last turn, unless it has one already.
    pub(crate) fn push_back(&mut self, place: usize) {
        if place >= self.links.len() {
            self.links.resize(place + 1, Link::default());
        }
        if self.links[place].is_listed {
            return;
        }
        let before = self.back.replace(place);
        self.links[place] = Link {
            is_listed: true,
            before,
            after: None,
        };
        match before {
            Some(before) => self.links[before].after = Some(place),
            None => self.front = Some(place),
        }
    }

    /// Takes a place out, if it is there.
    pub(crate) fn remove(&mut self, place: usize) {
        let Some(link) = self.links.get_mut(place).filter(|link| link.is_listed) else {
            return;
        };
        let Link { before, after, .. } = std::mem::take(link);
        match before {
            Some(before) => self.links[before].after = after,
            None => self.front = after,
        }
        match after {
            Some(after) => self.links[after].before = before,
            None => self.back = before,
        }
    }
}

/// How many turns count as one operation for the runtime of this task.
pub(crate) fn turns_of_an_operation() -> u8 {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => TURNS_OF_AN_OPERATION,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(turns: &mut Turns) -> Vec<usize> {
        let next = || {
            let place = turns.front()?;
            turns.remove(place);
            Some(place)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_place_has_one_turn_in_the_order_of_arrival() {
        let mut turns = Turns::new();
        for place in [3, 0, 3, 7, 0] {
            turns.push_back(place);
        }
        assert_eq!(turns.front(), Some(3));
        assert_eq!(drain(&mut turns), [3, 0, 7]);
        turns.push_back(7);
        assert_eq!(drain(&mut turns), [7]);
    }

    #[test]
    fn a_place_that_has_had_its_turn_is_the_last() {
        let mut turns = Turns::new();
        turns.front_to_back();
        turns.push_back(5);
        turns.front_to_back();
        assert_eq!(turns.front(), Some(5));
        turns.push_back(2);
        turns.push_back(9);
        turns.front_to_back();
        assert_eq!(drain(&mut turns), [2, 9, 5]);
    }

    #[test]
    fn a_place_that_is_removed_leaves_no_trace() {
        for removed in 0..4 {
            let mut turns = Turns::new();
            for place in 0..4 {
                turns.push_back(place);
            }
            turns.remove(removed);
            turns.remove(removed);
            turns.remove(9);
            turns.push_back(removed);
            let mut expected: Vec<_> = (0..4).filter(|place| *place != removed).collect();
            expected.push(removed);
            assert_eq!(drain(&mut turns), expected);
            assert_eq!((turns.front(), turns.back), (None, None));
        }
    }
}

//! The bytes on an edge of the trie of topics.
#![forbid(unsafe_code)]

use std::ops::Deref;

/// The bytes between one branch and the next, one or more.
pub(crate) enum Label {
    Short(u8, [u8; SHORT]),
    /// The first bytes are here too. They are enough for most topics that differ.
    Long([u8; FIRST], Box<Tail>),
}

/// The end of a topic. The whole of it is kept, so that nothing is copied when a branch comes or goes above:
/// a peer with one long topic could otherwise make each short one cost as much.
pub(crate) struct Tail {
    topic: Box<[u8]>,
    start: usize,
}

/// The longest label that a branch has room for.
const SHORT: usize = 14;
/// How much of a longer label is at hand.
const FIRST: usize = 7;

impl Label {
    /// What follows the first `start` bytes of `topic`.
    pub(crate) fn new(topic: &[u8], start: usize) -> Self {
        Self::short(&topic[start..]).unwrap_or_else(|| {
            let topic = topic.into();
            Self::long(Box::new(Tail { topic, start }))
        })
    }

    fn short(label: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT];
        let len = u8::try_from(label.len()).ok()?;
        short.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self::Short(len, short))
    }

    fn long(tail: Box<Tail>) -> Self {
        let mut first = [0; FIRST];
        for (first, byte) in first.iter_mut().zip(&tail.topic[tail.start..]) {
            *first = *byte;
        }
        Self::Long(first, tail)
    }

    /// What follows this in a topic that begins with it.
    pub(crate) fn stripped<'a>(&self, topic: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Long(first, _) if !topic.starts_with(first) => None,
            Self::Long(..) => topic.strip_prefix(&**self),
            // Most topics of a bucket differ in one of the first bytes. So this is faster than a call.
            Self::Short(..) => {
                let (beginning, rest) = topic.split_at_checked(self.len())?;
                let mut pairs = beginning.iter().zip(&**self);
                pairs.all(|(byte, own)| byte == own).then_some(rest)
            }
        }
    }

    /// Drops the first `len` bytes, which another branch has from now on.
    pub(crate) fn shorten(&mut self, len: usize) {
        *self = match (Self::short(&self[len..]), std::mem::take(self)) {
            (Some(short), _) => short,
            (None, Self::Long(_, mut tail)) => {
                tail.start += len;
                Self::long(tail)
            }
            // What is shorter than a short label is one.
            (None, short) => short,
        };
    }

    /// Puts the bytes of `upper`, a branch that goes, before this. `above` returns the topic of that branch.
    pub(crate) fn lengthen(&mut self, upper: &[u8], above: impl FnOnce() -> Vec<u8>) {
        *self = match std::mem::take(self) {
            Self::Long(_, mut tail) => {
                tail.start -= upper.len();
                Self::long(tail)
            }
            short @ Self::Short(..) => {
                let topic = [&above()[..], &short].concat();
                let start = topic.len() - short.len() - upper.len();
                Self::new(&topic, start)
            }
        };
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
            Self::Long(_, tail) => &tail.topic[tail.start..],
        }
    }
}

/// How many bytes two begin with in common.
pub(crate) fn common_len(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_any_length_is_kept() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256] {
            assert_eq!(&*Label::new(&bytes[..len], 0), &bytes[..len]);
            for start in [0, 1, 2, SHORT, SHORT + 1]
                .into_iter()
                .filter(|it| *it <= len)
            {
                let (above, below) = bytes[..len].split_at(start);
                let mut label = Label::new(&bytes[..len], 0);
                label.shorten(start);
                assert_eq!(&*label, below);
                assert_eq!(label.stripped(&bytes[start..]), Some(&bytes[len..]));
                let other = label.stripped(&bytes[1..]);
                assert_eq!(other.is_some(), start == 1 || start == len);
                label.lengthen(above, || above.to_vec());
                assert_eq!(&*label, &bytes[..len]);
            }
        }
    }
}

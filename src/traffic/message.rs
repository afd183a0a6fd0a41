//! Messages: one frame or several, delivered whole or not at all.
#![forbid(unsafe_code)]

use crate::printable::printable;
use bytes::Bytes;
use std::fmt;

/// A message of one or more frames.
///
/// ```
/// use zmtp_auth::traffic::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.frames(), ["hello"]);
/// let message: Message = ["topic", "body"].into_iter().collect();
/// assert_eq!(message.frames().len(), 2);
/// ```
///
/// A connection carries frames as they are: the empty delimiter frame that REQ sends before its
/// body and REP expects (RFC 28) is the application's to write and to strip.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message(Frames);

/// Most messages have one frame, and need no list then.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Frames {
    One(Bytes),
    /// Two or more, so that equal messages are equal here too.
    Many(Vec<Bytes>),
}

/// What a frame costs in the queues besides its bytes: its place in memory. Without it, a flood
/// of empty frames would be free.
const FRAME_COST: usize = 64;

impl Message {
    /// The frames, in order; never none.
    #[must_use]
    pub fn frames(&self) -> &[Bytes] {
        match &self.0 {
            Frames::One(frame) => std::slice::from_ref(frame),
            Frames::Many(frames) => frames,
        }
    }

    /// The frames, taken out.
    #[must_use]
    pub fn into_frames(self) -> Vec<Bytes> {
        match self.0 {
            Frames::One(frame) => vec![frame],
            Frames::Many(frames) => frames,
        }
    }

    /// The frame of a message that has just one, taken out.
    ///
    /// # Errors
    /// The message, if it has more.
    pub fn into_single(self) -> Result<Bytes, Self> {
        match self.0 {
            Frames::One(frame) => Ok(frame),
            Frames::Many(_) => Err(self),
        }
    }

    /// The frame of a message that has just one.
    #[must_use]
    pub fn single(&self) -> Option<&Bytes> {
        match &self.0 {
            Frames::One(frame) => Some(frame),
            Frames::Many(_) => None,
        }
    }

    /// Bytes in all frames together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.frames()
            .iter()
            .fold(0, |size, frame| size.saturating_add(frame.len()))
    }

    pub(crate) fn frames_mut(&mut self) -> &mut [Bytes] {
        match &mut self.0 {
            Frames::One(frame) => std::slice::from_mut(frame),
            Frames::Many(frames) => frames,
        }
    }

    /// What the message counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        cost(self.frames().len(), self.size())
    }
}

/// The beginning of each frame, and how long it is.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = |frame: &Bytes| format!("{} ({} bytes)", printable(frame), frame.len());
        f.debug_list()
            .entries(self.frames().iter().map(frame))
            .finish()
    }
}

/// What `bytes` in `frames` frames count for in a queue.
pub(crate) const fn cost(frames: usize, bytes: usize) -> usize {
    frames.saturating_mul(FRAME_COST).saturating_add(bytes)
}

/// A message of these frames. A message has at least one frame, so no frames at all become one
/// empty frame.
impl From<Vec<Bytes>> for Message {
    fn from(mut frames: Vec<Bytes>) -> Self {
        match frames.len() {
            0 => Self::from(Bytes::new()),
            1 => Self::from(frames.swap_remove(0)),
            _ => Self(Frames::Many(frames)),
        }
    }
}

impl From<Bytes> for Message {
    fn from(frame: Bytes) -> Self {
        Self(Frames::One(frame))
    }
}

impl From<&str> for Message {
    fn from(frame: &str) -> Self {
        Self::from(frame.as_bytes())
    }
}

impl From<String> for Message {
    fn from(frame: String) -> Self {
        Self::from(Bytes::from(frame))
    }
}

impl From<&[u8]> for Message {
    fn from(frame: &[u8]) -> Self {
        Self::from(Bytes::copy_from_slice(frame))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(frame: &[u8; N]) -> Self {
        Self::from(frame.as_slice())
    }
}

impl From<Vec<u8>> for Message {
    fn from(frame: Vec<u8>) -> Self {
        Self::from(Bytes::from(frame))
    }
}

impl<F: Into<Bytes>> FromIterator<F> for Message {
    fn from_iter<I: IntoIterator<Item = F>>(frames: I) -> Self {
        Self::from(frames.into_iter().map(Into::into).collect::<Vec<Bytes>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_at_least_one_frame() {
        assert_eq!(Message::from(Vec::<Bytes>::new()).frames(), [""]);
        assert_eq!(Message::from("").single(), Some(&Bytes::new()));
    }

    #[test]
    fn one_frame_is_single_and_two_are_not() {
        assert_eq!(Message::from(b"abc").single().unwrap(), "abc");
        let two: Message = ["a", "bc"].into_iter().collect();
        assert_eq!((two.single(), two.size()), (None, 3));
        assert_eq!(two.into_frames(), ["a", "bc"]);
    }

    #[test]
    fn a_long_message_makes_a_short_log_line() {
        let message = Message::from(vec![b'x'; 1 << 20]);
        let shown = format!("{message:?}");
        assert!(
            shown.contains("(1048576 bytes)") && shown.len() < 200,
            "{shown}"
        );
    }

    #[test]
    fn empty_frames_are_not_free() {
        let frames: Message = std::iter::repeat_n("", 1000).collect();
        assert_eq!(frames.cost(), 1000 * FRAME_COST);
    }
}

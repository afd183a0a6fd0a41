//! Messages of one frame or several.
#![forbid(unsafe_code)]

use crate::printable::printable;
use bytes::Bytes;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A message of one or more frames. It is delivered whole or not at all.
///
/// ```
/// use zmtp_auth::traffic::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message.frames(), ["hello"]);
/// let message = Message::from(["topic", "body"]);
/// for frame in &message {
///     println!("{} bytes", frame.len());
/// }
/// let frames: Vec<_> = message.into_iter().collect();
/// assert_eq!(frames, ["topic", "body"]);
/// ```
///
/// A connection carries frames as they are. The application itself adds and removes the empty
/// delimiter frame that a REQ sends before its body and a REP expects (RFC 28).
///
/// Cloning is cheap: frames are [`Bytes`] and share their memory. After [`Message::share`] a clone also
/// shares the list of frames.
#[derive(Clone)]
pub struct Message(Frames);

/// Most messages have one frame, and then need no list. The others have two frames or more.
#[derive(Clone)]
enum Frames {
    One(Bytes),
    Many(Vec<Bytes>),
    /// The list belongs to clones, too.
    Shared(Arc<Vec<Bytes>>),
}

/// The frames of a message, one after another.
#[derive(Debug)]
pub(crate) enum FramesLeft {
    Own(std::vec::IntoIter<Bytes>),
    /// A list with others, and the place of the next frame.
    Shared(Arc<Vec<Bytes>>, usize),
}

/// What a frame counts for in the queues in addition to its bytes: about the memory of its `Bytes`
/// and its place in a list. Without it a flood of empty frames would cost nothing.
const FRAME_COST: usize = 64;

impl Message {
    /// The frames in order, at least one.
    #[must_use]
    #[inline]
    pub fn frames(&self) -> &[Bytes] {
        match &self.0 {
            Frames::One(frame) => std::slice::from_ref(frame),
            Frames::Many(frames) => frames,
            Frames::Shared(frames) => frames,
        }
    }

    /// Takes the frames out, in order, at least one.
    #[must_use]
    pub fn into_frames(self) -> Vec<Bytes> {
        match self.0 {
            Frames::One(frame) => vec![frame],
            Frames::Many(frames) => frames,
            Frames::Shared(frames) => Arc::unwrap_or_clone(frames),
        }
    }

    /// Takes out the only frame.
    ///
    /// # Errors
    /// Returns the message if it has more than one frame.
    pub fn into_single(self) -> Result<Bytes, Self> {
        match self.0 {
            Frames::One(frame) => Ok(frame),
            Frames::Many(_) | Frames::Shared(_) => Err(self),
        }
    }

    /// The only frame. `None` if there are more.
    #[must_use]
    pub fn single(&self) -> Option<&Bytes> {
        match &self.0 {
            Frames::One(frame) => Some(frame),
            Frames::Many(_) | Frames::Shared(_) => None,
        }
    }

    /// Number of bytes in all frames together.
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
            Frames::Shared(frames) => Arc::make_mut(frames).as_mut_slice(),
        }
    }

    /// Lets clones share the list of frames. To be called before a message of several frames is cloned
    /// for many peers: each clone then allocates nothing.
    pub fn share(&mut self) {
        if let Frames::Many(frames) = &mut self.0 {
            let frames = std::mem::take(frames);
            self.0 = Frames::Shared(Arc::new(frames));
        }
    }

    /// The frames, one after another, without a list of their own if they share one.
    pub(crate) fn into_frames_left(self) -> FramesLeft {
        match self.0 {
            Frames::Shared(frames) => FramesLeft::Shared(frames, 0),
            frames => FramesLeft::Own(Self(frames).into_frames().into_iter()),
        }
    }

    /// What the message counts for in a queue, in bytes.
    pub(crate) fn cost(&self) -> usize {
        cost(self.frames().len(), self.size())
    }
}

/// Shows the beginning of each frame, and its length.
impl FramesLeft {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Own(frames) => frames.as_slice().is_empty(),
            Self::Shared(frames, next) => *next >= frames.len(),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Own(frames) => frames.next(),
            Self::Shared(frames, next) => {
                let frame = frames.get(*next)?.clone();
                *next += 1;
                Some(frame)
            }
        }
    }
}

impl Default for FramesLeft {
    fn default() -> Self {
        Self::Own(Vec::new().into_iter())
    }
}

/// Whether they have the same frames.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.frames() == other.frames()
    }
}

impl Eq for Message {}

impl Hash for Message {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.frames().hash(hasher);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for frame in self.frames() {
            let (shown, len) = (printable(frame), frame.len());
            let plural = if len == 1 { "" } else { "s" };
            list.entry(&format_args!("b\"{shown}\" ({len} byte{plural})"));
        }
        list.finish()
    }
}

/// What `frames` frames with `bytes` bytes together count for in a queue, in bytes.
pub(crate) const fn cost(frames: usize, bytes: usize) -> usize {
    frames.saturating_mul(FRAME_COST).saturating_add(bytes)
}

/// A message of these frames. A message has at least one frame, so an empty list becomes one empty
/// frame.
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

/// A message of these frames, as from a `Vec`.
impl<F: Into<Bytes>, const N: usize> From<[F; N]> for Message {
    fn from(frames: [F; N]) -> Self {
        frames.into_iter().collect()
    }
}

impl From<Message> for Vec<Bytes> {
    fn from(message: Message) -> Self {
        message.into_frames()
    }
}

/// Takes the frames out, in order.
impl IntoIterator for Message {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_frames().into_iter()
    }
}

/// The frames in order.
impl<'a> IntoIterator for &'a Message {
    type Item = &'a Bytes;
    type IntoIter = std::slice::Iter<'a, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.frames().iter()
    }
}

/// A message of these frames, as from a `Vec`.
impl<F: Into<Bytes>> FromIterator<F> for Message {
    fn from_iter<I: IntoIterator<Item = F>>(frames: I) -> Self {
        Self::from(frames.into_iter().map(Into::into).collect::<Vec<Bytes>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

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
    fn a_message_that_shares_its_list_is_the_same_message() {
        let message = Message::from(["a", "bc", ""]);
        let mut shared = message.clone();
        shared.share();
        let clone = shared.clone();
        assert_eq!(clone.frames().as_ptr(), shared.frames().as_ptr());
        let hasher = std::hash::RandomState::new();
        let hash = |message: &Message| hasher.hash_one(message);
        assert_eq!((&clone, hash(&clone)), (&message, hash(&message)));
        assert_eq!((clone.single(), clone.cost()), (None, message.cost()));
        let mut left = clone.into_frames_left();
        for frame in ["a", "bc", ""] {
            assert!(!left.is_empty());
            assert_eq!(left.next().unwrap(), frame);
        }
        assert!(left.is_empty() && left.next().is_none());
        let mut changed = shared.clone();
        changed.frames_mut()[0] = "changed".into();
        assert_eq!(shared, message);
        assert_eq!(shared.clone().into_frames(), ["a", "bc", ""]);
        assert_eq!(shared.into_single(), Err(message));
        let mut single = Message::from("a");
        single.share();
        assert_eq!(single.into_single().unwrap(), "a");
    }

    #[test]
    fn each_frame_is_shown_escaped_once_and_apart_from_its_length() {
        let message: Message = [&b"x"[..], b"a\n\"\xFF"].into_iter().collect();
        let shown = r#"[b"x" (1 byte), b"a\n\"\xff" (4 bytes)]"#;
        assert_eq!(format!("{message:?}"), shown);
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
    fn empty_frames_cost_something_too() {
        let frames: Message = std::iter::repeat_n("", 1000).collect();
        assert_eq!(frames.cost(), 1000 * FRAME_COST);
    }
}

//! Messages out of a host's own buffer: the receiving half of a secured connection.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::host::messages::shared::{Shared, Silence};
use crate::host::traffic_error::TrafficError;
use crate::limits::Limits;
use crate::traffic::frames::FrameReader;
use crate::traffic::inbox::{Arrivals, Inbox, Incoming};
use crate::traffic::seal::{Opener, TOGETHER};
use crate::wire::socket_type::SocketType;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::sync::Arc;

/// Turns the bytes of a peer into messages and subscriptions, out of a buffer that the host reads into.
///
/// [`Secured::into_messages`](crate::host::Secured::into_messages) makes one. It opens several frames
/// at a time, checks the peer's admission for each such batch, and leaves the answers to PINGs to the
/// [`MessageWriter`](crate::host::MessageWriter).
///
/// Messages share the memory of the buffer. Copy what is kept for long.
pub struct MessageReader {
    inbox: Inbox,
    arrivals: Arrivals,
    /// The rest of the message that [`MessageReader::read_frame`] has begun.
    frames: std::vec::IntoIter<Bytes>,
    /// Subscriptions become messages.
    as_messages: bool,
    /// Bytes of the largest buffer so far.
    buffer: usize,
    /// Why nothing more comes.
    error: Option<TrafficError>,
    silence: Silence,
    shared: Arc<Shared>,
}

impl MessageReader {
    pub(crate) fn new(
        opener: Opener,
        ours: SocketType,
        limits: &Limits,
        as_messages: bool,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            inbox: Inbox::new(FrameReader::new(opener, limits), ours),
            arrivals: Arrivals::default(),
            frames: Vec::new().into_iter(),
            as_messages,
            buffer: 0,
            error: None,
            silence: Silence::default(),
            shared,
        }
    }

    /// The peer: what it has proven, and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Takes the next message or subscription off the front of `input`. `None` means that more bytes
    /// are needed.
    ///
    /// It takes several frames at a time, so `input` may be empty while messages are left. Call it
    /// until it returns `None`, then read more.
    ///
    /// # Errors
    /// Returns [`TrafficError::Revoked`] as soon as the admission of the peer is revoked. Messages that
    /// have arrived before are dropped. Returns [`TrafficError::Failed`] if the peer breaks the
    /// protocol or exceeds a limit, and [`TrafficError::UnreadAnswers`] if it does not read the answers to
    /// its PINGs, after the messages before that place. Every later call returns the same error.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, TrafficError> {
        self.silence.before_read(input, &self.shared);
        let read = self.read_unless_revoked(input);
        if let Err(TrafficError::Revoked) = &read {
            self.arrivals.clear();
            self.inbox.discard();
        }
        let waits = matches!(&read, Ok(None));
        self.silence.after_read(waits, input, &self.shared);
        read
    }

    /// As [`MessageReader::read`], by frame, for a host whose messages are lists of frames with flags:
    /// the next frame, and whether more frames of its message follow. Subscriptions come as messages, in
    /// the form of [`Incoming::into_message_3_0`].
    ///
    /// # Errors
    /// As [`MessageReader::read`].
    pub fn read_frame(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<(Bytes, bool)>, TrafficError> {
        loop {
            self.shared.require_not_revoked()?;
            if let Some(frame) = self.frames.next() {
                return Ok(Some((frame, !self.frames.as_slice().is_empty())));
            }
            let Some(incoming) = self.read(input)? else {
                return Ok(None);
            };
            if let Some(message) = incoming.into_message_3_0() {
                self.frames = message.into_iter();
            }
        }
    }

    fn read_unless_revoked(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Incoming>, TrafficError> {
        self.shared.require_not_revoked()?;
        loop {
            if let Some(incoming) = self.arrivals.pop() {
                if !self.as_messages {
                    return Ok(Some(incoming));
                }
                let Some(message) = incoming.into_message_3_0() else {
                    continue;
                };
                return Ok(Some(Incoming::Message(message)));
            }
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            if !self.take_batch(input)? {
                // The host may now read into another buffer.
                self.inbox.unshare(self.buffer);
                return Ok(None);
            }
        }
    }

    /// Opens one batch of frames. Returns whether there may be something to deliver.
    fn take_batch(&mut self, input: &mut BytesMut) -> Result<bool, TrafficError> {
        if input.is_empty() {
            return Ok(false);
        }
        self.buffer = self.buffer.max(input.capacity());
        let (buffer, arrivals) = (self.buffer, &mut self.arrivals);
        let taken = self.inbox.take(input, buffer, TOGETHER, arrivals);
        if !self.arrivals.pings.is_empty() {
            self.queue_answers();
        }
        if std::mem::take(&mut self.arrivals.has_pong) {
            self.shared.replies().on_pong();
        }
        match taken {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => self.error = Some(TrafficError::Failed(error)),
        }
        self.shared.require_admitted()?;
        Ok(true)
    }

    fn queue_answers(&mut self) {
        let (wakers, is_too_many) = {
            let mut replies = self.shared.replies();
            for ping in self.arrivals.pings.drain(..) {
                replies.on_ping(&ping);
            }
            (replies.wakers(), replies.are_too_many())
        };
        if is_too_many {
            self.error = Some(TrafficError::UnreadAnswers);
        }
        wakers.wake();
    }

    /// Number of bytes to make room for before more is read into `input`, as
    /// [`FrameReader::wanted`].
    #[must_use]
    pub fn wanted(&self, input: &BytesMut) -> usize {
        self.inbox.wanted(input)
    }
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("peer", self.peer())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

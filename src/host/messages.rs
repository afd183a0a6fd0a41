//! Messages over a host's own buffers: the two halves of a secured connection.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::error::Error;
use crate::handshake::Established;
use crate::host::shared_state::Shared;
use crate::host::traffic_error::TrafficError;
use crate::limits::Limits;
use crate::traffic::frames::{FrameReader, FrameWriter};
use crate::traffic::heartbeat::ping;
use crate::traffic::inbox::{Arrivals, Inbox, Incoming};
use crate::traffic::outgoing::Outgoing;
use crate::traffic::seal::TOGETHER;
use crate::wire::frame::Flags;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Makes both halves of a connection.
pub(crate) fn halves(established: Established, limits: &Limits) -> (MessageReader, MessageWriter) {
    let Established {
        sealer,
        opener,
        peer,
        socket_type,
        zmtp_3_0,
    } = established;
    let shared = Arc::new(Shared::new(peer));
    let reader = MessageReader {
        inbox: Inbox::new(FrameReader::new(opener, limits), socket_type),
        arrivals: Arrivals::default(),
        buffer: 0,
        is_stopped: false,
        error: None,
        shared: Arc::clone(&shared),
    };
    let writer = MessageWriter {
        writer: FrameWriter::new(sealer),
        zmtp_3_0,
        batch: Vec::new(),
        shared,
    };
    (reader, writer)
}

/// Turns the bytes of a peer into messages and subscriptions, out of a buffer that the host reads into.
///
/// [`Secured::into_messages`](crate::host::Secured::into_messages) makes one. It opens several frames
/// at a time, checks the peer's admission for each such batch, and leaves the answers to PINGs to the
/// [`MessageWriter`]. It has no clock: it does not enforce the time that a peer's PING announces, which a
/// [`Channel`](crate::traffic::Channel) does.
///
/// Messages share the memory of the buffer. Copy what is kept for long.
pub struct MessageReader {
    inbox: Inbox,
    arrivals: Arrivals,
    /// Bytes of the largest buffer so far.
    buffer: usize,
    /// The last read has left frames in its input, because too many answers waited.
    is_stopped: bool,
    /// Why nothing more comes.
    error: Option<Error>,
    shared: Arc<Shared>,
}

impl MessageReader {
    /// The peer: what it has proven, and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Takes the next message or subscription off the front of `input`. `None` means that more bytes
    /// are needed, or that the reader [is held up](MessageReader::is_held_up).
    ///
    /// It takes several frames at a time, so `input` may be empty while messages are left. Call it
    /// until it returns `None`, then read more.
    ///
    /// # Errors
    /// Returns [`TrafficError::Revoked`] as soon as the admission of the peer is revoked. Messages that
    /// have arrived before are dropped. Returns [`TrafficError::Failed`] if the peer breaks the
    /// protocol or exceeds a limit, after the messages before that place. Every later call returns the
    /// same error.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, TrafficError> {
        let read = self.read_unless_revoked(input);
        if let Err(TrafficError::Revoked) = &read {
            self.arrivals.clear();
            self.inbox.discard();
        }
        read
    }

    fn read_unless_revoked(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<Incoming>, TrafficError> {
        self.shared.require_not_revoked()?;
        loop {
            if let Some(incoming) = self.arrivals.pop() {
                return Ok(Some(incoming));
            }
            if let Some(error) = &self.error {
                return Err(TrafficError::Failed(error.clone()));
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
        let max = TOGETHER.min(self.shared.replies().pings.room());
        self.is_stopped = max == 0 && !input.is_empty();
        if max == 0 || input.is_empty() {
            return Ok(false);
        }
        self.buffer = self.buffer.max(input.capacity());
        let taken = self.inbox.take(input, self.buffer, max, &mut self.arrivals);
        if !self.arrivals.pings.is_empty() {
            self.queue_answers();
        }
        self.arrivals.has_pong = false;
        match taken {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => self.error = Some(error),
        }
        self.shared.require_admitted()?;
        Ok(true)
    }

    fn queue_answers(&mut self) {
        let waker = {
            let mut replies = self.shared.replies();
            for ping in self.arrivals.pings.drain(..) {
                replies.pings.answer(&ping.context);
            }
            replies.writer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether 16 answers to PINGs wait for the writer, or did so when [`MessageReader::read`] returned
    /// `None` last. A peer that does not read them is not read from either: do not read from the
    /// stream, but wait until the writer has encoded them ([`MessageReader::not_held_up`]), and call
    /// [`MessageReader::read`] again, because frames are left in its input.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.is_stopped || !self.shared.replies().pings.may_take_more()
    }

    /// Ready while there is room for another answer. As with [`Future::poll`](std::future::Future::poll), the
    /// task of the last call is woken.
    pub fn poll_not_held_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut replies = self.shared.replies();
        if replies.pings.may_take_more() {
            return Poll::Ready(());
        }
        let before = replies.reader.replace(cx.waker().clone());
        drop(replies);
        // The drop of a waker is foreign code, so the lock is free.
        drop(before);
        Poll::Pending
    }

    /// Waits until there is room for another answer. Cancel-safe.
    pub async fn not_held_up(&mut self) {
        poll_fn(|cx| self.poll_not_held_up(cx)).await;
    }

    /// Number of bytes to make room for before more is read into `input`, as
    /// [`FrameReader::wanted`].
    #[must_use]
    pub fn wanted(&self, input: &BytesMut) -> usize {
        self.inbox.wanted(input)
    }
}

/// Turns messages and subscriptions into bytes for the peer, in a buffer that the host sends.
///
/// [`Secured::into_messages`](crate::host::Secured::into_messages) makes one. Bytes must be sent in the
/// order in which they were written, and none may be left out: the peer of a CURVE connection closes it
/// otherwise. Dropping the writer drops the answers to PINGs that wait.
pub struct MessageWriter {
    writer: FrameWriter,
    zmtp_3_0: bool,
    /// Frames that are sealed together next.
    batch: Vec<(Flags, Bytes)>,
    shared: Arc<Shared>,
}

impl MessageWriter {
    /// The peer: what it has proven, and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Appends the answers to PINGs that wait, then a message or a subscription, to `out`. Whether our
    /// type of socket may send it is for the caller to check.
    ///
    /// # Errors
    /// Returns [`TrafficError::Revoked`] if the admission of the peer is revoked, and
    /// [`TrafficError::Failed`] if the connection can send no more.
    pub fn write(
        &mut self,
        message: impl Into<Outgoing>,
        out: &mut BytesMut,
    ) -> Result<(), TrafficError> {
        self.write_many([message], out)
    }

    /// As [`MessageWriter::write`], for several. Small messages are sealed together, which is faster.
    ///
    /// # Errors
    /// As [`MessageWriter::write`]. Some of the messages may be in `out` then.
    pub fn write_many<M: Into<Outgoing>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
        out: &mut BytesMut,
    ) -> Result<(), TrafficError> {
        self.write_replies(out)?;
        for message in messages {
            match message.into() {
                Outgoing::Message(message) => {
                    let frames = message.frames();
                    for (at, body) in frames.iter().enumerate() {
                        let is_last = at + 1 == frames.len();
                        let flags = if is_last { Flags::Last } else { Flags::More };
                        self.push(flags, body.clone(), out)?;
                    }
                }
                other => {
                    if let Some((flags, body)) = other.into_control(self.zmtp_3_0) {
                        self.push(flags, body, out)?;
                    }
                }
            }
        }
        self.seal(out)
    }

    /// Appends the answers to PINGs that wait. Call it when [`MessageWriter::replies_ready`] says so
    /// and there is nothing else to write.
    ///
    /// # Errors
    /// As [`MessageWriter::write`].
    pub fn write_replies(&mut self, out: &mut BytesMut) -> Result<(), TrafficError> {
        self.shared.require_admitted()?;
        let waker = {
            let shared = Arc::clone(&self.shared);
            let mut replies = shared.replies();
            while let Some(pong) = replies.pings.take() {
                if let Some(body) = pong.encode() {
                    self.push(Flags::Command, body, out)?;
                }
            }
            replies.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.seal(out)
    }

    /// Appends the answers to PINGs that wait, then a PING of our own, unless the peer speaks ZMTP 3.0.
    ///
    /// `ttl` allows the peer to close the connection if it receives nothing for so long. It is rounded
    /// down to tenths of a second, and at most [`MAX_TTL`](crate::traffic::heartbeat::MAX_TTL). Zero
    /// announces none. Every byte that arrives is a sign of life, so the host itself measures the time
    /// since it last read something.
    ///
    /// # Errors
    /// As [`MessageWriter::write`].
    pub fn write_ping(&mut self, ttl: Duration, out: &mut BytesMut) -> Result<(), TrafficError> {
        self.write_replies(out)?;
        if self.zmtp_3_0 {
            return Ok(());
        }
        if let Some(body) = ping(ttl).encode() {
            self.push(Flags::Command, body, out)?;
        }
        self.seal(out)
    }

    /// Ready if answers to PINGs wait to be written. As with
    /// [`Future::poll`](std::future::Future::poll), the task of the last call is woken.
    pub fn poll_replies_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut replies = self.shared.replies();
        if replies.pings.are_waiting() {
            return Poll::Ready(());
        }
        let before = replies.writer.replace(cx.waker().clone());
        drop(replies);
        // The drop of a waker is foreign code, so the lock is free.
        drop(before);
        Poll::Pending
    }

    /// Waits until answers to PINGs wait to be written. Cancel-safe.
    pub async fn replies_ready(&mut self) {
        poll_fn(|cx| self.poll_replies_ready(cx)).await;
    }

    fn push(&mut self, flags: Flags, body: Bytes, out: &mut BytesMut) -> Result<(), TrafficError> {
        self.batch.push((flags, body));
        if self.batch.len() < TOGETHER {
            return Ok(());
        }
        self.seal(out)
    }

    /// Seals the frames of the batch.
    fn seal(&mut self, out: &mut BytesMut) -> Result<(), TrafficError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut frames = [(Flags::Last, &[][..]); TOGETHER];
        for (frame, (flags, body)) in frames.iter_mut().zip(&self.batch) {
            *frame = (*flags, body);
        }
        let sealed = self.writer.write_many(&frames[..self.batch.len()], out);
        self.batch.clear();
        sealed.map_err(TrafficError::Failed)
    }
}

/// Nothing answers PINGs from now on, so the reader is not held up for answers.
impl Drop for MessageWriter {
    fn drop(&mut self) {
        let waker = {
            let mut replies = self.shared.replies();
            replies.pings.stop();
            replies.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("peer", self.peer())
            .field("is_held_up", &self.is_held_up())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MessageWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

//! Messages into a host's own buffer: the sending half of a secured connection.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::host::messages::replies_ready::{RepliesReady, Waiting};
use crate::host::messages::shared::{Place, Shared};
use crate::host::traffic_error::TrafficError;
use crate::traffic::frames::FrameWriter;
use crate::traffic::heartbeat::ping;
use crate::traffic::outgoing::Outgoing;
use crate::traffic::seal::{Sealer, TOGETHER};
use crate::wire::frame::Flags;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
    /// Messages of this socket may be subscriptions.
    as_messages: bool,
    replies: Waiting,
    shared: Arc<Shared>,
}

impl MessageWriter {
    pub(crate) fn new(
        sealer: Sealer,
        zmtp_3_0: bool,
        as_messages: bool,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            writer: FrameWriter::new(sealer),
            zmtp_3_0,
            batch: Vec::new(),
            as_messages,
            replies: Waiting::new(Place::Writer, Arc::clone(&shared)),
            shared,
        }
    }

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
        self.shared.replies().on_send();
        for message in messages {
            let outgoing = match message.into() {
                Outgoing::Message(message) if self.as_messages => {
                    Outgoing::from_message_3_0(message)
                }
                other => other,
            };
            match outgoing {
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

    /// Appends the answers to PINGs that wait, and a PING of our own if one is due. Call it when
    /// [`MessageWriter::replies_ready`] says so and there is nothing else to write.
    ///
    /// # Errors
    /// As [`MessageWriter::write`], and [`TrafficError::Silent`] if the heartbeat finds that the peer is
    /// gone. Writing anything else does the same.
    pub fn write_replies(&mut self, out: &mut BytesMut) -> Result<(), TrafficError> {
        self.shared.require_admitted()?;
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        let mut replies = shared.replies();
        if let Some(now) = now {
            replies.beat(now)?;
        }
        while let Some(reply) = replies.pings.take() {
            if let Some(body) = reply.encode() {
                self.push(Flags::Command, body, out)?;
            }
        }
        drop(replies);
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

    /// Ready if [`MessageWriter::write_replies`] has something to do: answers to PINGs wait, a heartbeat
    /// is due, or the admission of the peer is revoked. As with
    /// [`Future::poll`](std::future::Future::poll), the task of the last call is woken.
    ///
    /// So this one wait keeps the peer of an idle connection informed, and ends the connection.
    pub fn poll_replies_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // `write_replies` returns the reason of an end.
        self.replies.poll(cx, None).map(|_| ())
    }

    /// Waits until [`MessageWriter::write_replies`] has something to do, as
    /// [`MessageWriter::poll_replies_ready`]. Cancel-safe.
    pub async fn replies_ready(&mut self) {
        poll_fn(|cx| self.poll_replies_ready(cx)).await;
    }

    /// The same wait as a value of its own, for a loop that cannot borrow the writer.
    #[must_use]
    pub fn replies_ready_owned(&self) -> RepliesReady {
        RepliesReady::new(Arc::clone(&self.shared))
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

/// Nothing answers PINGs from now on.
impl Drop for MessageWriter {
    fn drop(&mut self) {
        self.shared.replies().pings.stop();
    }
}

impl fmt::Debug for MessageWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

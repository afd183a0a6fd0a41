//! The application's ends of the queues between it and the driver of its connection.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::net::connection::link::{Ends, Link};
use crate::net::connection::queue::consumer::Consumer;
use crate::net::connection::queue::producer::{Gone, Producer, Rejected};
use crate::net::connection::queue::run::{MessageRun, Queued};
use crate::net::connection::sendable::require_sendable;
use crate::net::connection::try_error::{TryRecvError, TrySendError, TrySendReason};
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use crate::traffic::outgoing::Outgoing;
use crate::wire::socket_type::SocketType;
use bytes::Bytes;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The sending half of a [`Connection`](crate::net::Connection).
pub struct SendHalf {
    queue: Producer<Queued>,
    link: Link,
}

/// The receiving half of a [`Connection`](crate::net::Connection).
///
/// Once it is dropped, what arrives is discarded.
pub struct RecvHalf {
    queue: Consumer<Incoming>,
    link: Link,
    /// Whether the stream has returned the reason of the end.
    is_stream_ended: bool,
}

impl SendHalf {
    pub(crate) const fn new(queue: Producer<Queued>, link: Link) -> Self {
        Self { queue, link }
    }

    /// Queues a message. Waits while
    /// [`Options::send_ahead`](crate::net::Options::send_ahead) bytes are queued already.
    ///
    /// `Ok` means that the message is queued. ZMTP has no acknowledgements, so if the connection
    /// fails later, the message may be lost without notice.
    ///
    /// [`Limits::max_message`](crate::Limits::max_message) bounds what we receive. A message beyond
    /// the peer's limit makes the peer close, which shows here as [`NetError::Closed`].
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    ///
    /// # Errors
    /// Returns [`NetError::CannotSend`] if our socket type only receives,
    /// [`NetError::Delimiter`] if a message of a REQ or REP has no delimiter frame, and the reason
    /// if the connection has ended.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        let mut message = message.into();
        loop {
            message = match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError { message, reason }) => match reason {
                    TrySendReason::Full => message,
                    TrySendReason::Failed(error) => return Err(error),
                },
            };
            self.ready().await?;
        }
    }

    /// Queues a message if there is room, and does not wait.
    ///
    /// # Errors
    /// Returns the message with [`TrySendReason::Full`] if
    /// [`Options::send_ahead`](crate::net::Options::send_ahead) bytes are queued already, and with
    /// [`TrySendReason::Failed`] if [`SendHalf::send`] would fail.
    #[inline]
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        if let Err(error) = self.require_sendable(&message) {
            let reason = TrySendReason::Failed(error);
            return Err(TrySendError { message, reason });
        }
        let cost = message.cost();
        match self.queue.push_into_room(message, cost) {
            Ok(()) => Ok(()),
            Err(Rejected::Full(message)) => Err(TrySendError {
                message,
                reason: TrySendReason::Full,
            }),
            Err(Rejected::Gone(message)) => Err(TrySendError {
                message,
                reason: TrySendReason::Failed(self.reason()),
            }),
        }
    }

    /// Queues a run of messages if there is room for the longest run, 64 messages and 32 KiB, and does not
    /// wait. To many connections this sends with less work than [`SendHalf::try_send`].
    ///
    /// # Errors
    /// Returns [`TrySendReason::Full`] if there is less room, and for a connection that keeps only the last
    /// message ([`Options::conflate`](crate::net::Options::conflate)) or sends from a
    /// [`SendQueue`](crate::net::SendQueue): send it each message alone. Returns [`TrySendReason::Failed`] if
    /// the connection has ended, and if our socket type is REQ or REP or only receives.
    pub fn try_send_run(&mut self, run: &MessageRun) -> Result<(), TrySendReason> {
        let ours = self.link.ours();
        let sendable = if ours.sends() && !matches!(ours, SocketType::Req | SocketType::Rep) {
            Ok(())
        } else {
            Err(NetError::CannotSend(ours))
        };
        sendable.map_err(TrySendReason::Failed)?;
        let (item, cost) = Queued::run(run);
        let pushed = self.queue.push_growing(item, cost);
        pushed.map_err(|rejected| match rejected {
            Rejected::Full(_) => TrySendReason::Full,
            Rejected::Gone(_) => TrySendReason::Failed(self.reason()),
        })
    }

    /// Waits until there is room for a message. [`SendHalf::try_send`] then succeeds, unless the
    /// connection ends in between.
    ///
    /// Cancel-safe: room is not reserved. The waker of the last call is woken.
    ///
    /// # Errors
    /// Returns the reason if the connection has ended.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let room = self.queue.poll_room(context);
        room.map_err(|Gone| self.reason())
    }

    /// Waits until the system has taken everything that was queued.
    ///
    /// `Ok` says that the bytes are in the system's buffers. It does not say that the peer has read
    /// them. Cancel-safe: what is queued is sent also if this is not polled again. The waker of the
    /// last call is woken.
    ///
    /// # Errors
    /// Returns the reason if the connection ended before everything was sent.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let done = self.queue.poll_done(context);
        // After our own close, too, the reason is what prevented the sending.
        done.map_err(|Gone| self.link.reason())
    }

    /// Sends nothing more, and waits until the system has taken everything that was queued. After
    /// the first call sending fails with [`NetError::SendClosed`]. The [`RecvHalf`] goes on. Once it is
    /// dropped too, the connection is closed.
    ///
    /// Cancel-safe: what is queued is sent also if this is not polled again. The waker of the last
    /// call is woken.
    ///
    /// # Errors
    /// Returns the reason if the connection ended before everything was sent.
    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        self.queue.close();
        self.poll_flush(context)
    }

    /// Asks a publisher for messages that begin with `topic` (RFC 29), in the form that the peer's
    /// version of ZMTP knows. For SUB and XSUB only. Cancel-safe, as [`SendHalf::send`].
    ///
    /// # Errors
    /// Returns [`NetError::CannotSubscribe`] for another socket type, and the reason if the
    /// connection has ended.
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Subscribe(topic)).await
    }

    /// Takes back one subscription to `topic`. For SUB and XSUB only. Cancel-safe, as
    /// [`SendHalf::send`].
    ///
    /// # Errors
    /// As [`SendHalf::subscribe`].
    pub async fn unsubscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.subscription(Outgoing::Unsubscribe(topic)).await
    }

    async fn subscription(&mut self, outgoing: Outgoing) -> Result<(), NetError> {
        if !self.link.ours().subscribes() {
            return Err(NetError::CannotSubscribe(self.link.ours()));
        }
        self.ready().await?;
        self.push(outgoing)
    }

    /// As [`SendHalf::poll_ready`].
    pub(crate) async fn ready(&mut self) -> Result<(), NetError> {
        poll_fn(|context| self.poll_ready(context)).await
    }

    /// Queues without waiting, for callers that have waited for [`SendHalf::ready`].
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> Result<(), NetError> {
        let cost = outgoing.cost();
        let pushed = self.queue.push(outgoing.into(), cost);
        pushed.map_err(|_| self.reason())
    }

    /// As [`SendHalf::push`], for a message. One of a SUB or XSUB may be a subscription.
    pub(crate) fn push_message(&mut self, message: Message) -> Result<(), NetError> {
        let outgoing = match self.link.ours().subscribes() {
            true => Outgoing::from_message_3_0(message),
            false => Outgoing::Message(message),
        };
        if let Outgoing::Message(message) = &outgoing {
            self.require_sendable(message)?;
        }
        self.push(outgoing)
    }

    /// Refuses a message that no peer would accept. If the connection has ended, that is the reason.
    fn require_sendable(&self, message: &Message) -> Result<(), NetError> {
        require_sendable(self.link.ours(), message).map_err(|refused| {
            if self.queue.is_closed() {
                NetError::SendClosed
            } else {
                self.link.end().unwrap_or(refused)
            }
        })
    }

    /// Why nothing can be sent. Our own close comes first: it stays the reason when the connection
    /// has ended by it.
    fn reason(&self) -> NetError {
        if self.queue.is_closed() {
            NetError::SendClosed
        } else {
            self.link.reason()
        }
    }

    /// The peer: its authenticated identity and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.link.peer()
    }

    /// As [`Connection::shared_peer`](crate::net::Connection::shared_peer).
    pub(crate) fn shared_peer(&self) -> Arc<Peer> {
        Arc::clone(self.link.peer())
    }

    /// Waits until the connection has ended by itself, and returns the reason. From then on nothing
    /// can be sent. What has arrived can still be received. Cancel-safe.
    pub async fn closed(&self) -> NetError {
        let mut link = self.link.clone();
        let _ = link.ended().await;
        link.reason()
    }

    /// Sends what is queued and waits until the system has taken it. The [`RecvHalf`] goes on.
    /// Once it is dropped too, the connection is closed.
    ///
    /// If the future is dropped early, what is queued is still sent in the background.
    ///
    /// # Errors
    /// Returns what ended the connection if not everything was sent.
    pub async fn finish(mut self) -> Result<(), NetError> {
        poll_fn(|context| self.poll_close(context)).await
    }

    /// Closes both halves. Returns what [`Connection::poll_close`](crate::net::Connection::poll_close)
    /// waits for.
    pub(crate) fn close_with(
        &self,
        receiver: &mut RecvHalf,
    ) -> impl Future<Output = Result<(), NetError>> + use<> {
        receiver.queue.refuse();
        self.queue.close();
        let mut link = self.link.clone();
        async move { link.ended().await }
    }

    pub(crate) fn is_of_one_connection(&self, receiver: &RecvHalf) -> bool {
        self.link.is_of_one_connection(&receiver.link)
    }
}

impl RecvHalf {
    pub(crate) const fn new(queue: Consumer<Incoming>, link: Link) -> Self {
        Self {
            queue,
            link,
            is_stream_ended: false,
        }
    }

    /// Receives the next message or subscription.
    ///
    /// What had arrived completely before the connection ended is still received, however late,
    /// except after [`NetError::Revoked`].
    ///
    /// Cancel-safe: a message stays queued until it is returned.
    ///
    /// # Errors
    /// Returns the reason once the connection has ended and everything is received.
    #[inline]
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Receives a message or subscription if one has arrived, and does not wait.
    ///
    /// # Errors
    /// Returns [`TryRecvError::Empty`] if nothing has arrived, and [`TryRecvError::Ended`] with the
    /// reason once the connection has ended and everything is received.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Incoming, TryRecvError> {
        match self.queue.take() {
            Some(incoming) => Ok(incoming),
            None if self.queue.is_finished() => Err(TryRecvError::Ended(self.link.reason())),
            None => Err(TryRecvError::Empty),
        }
    }

    /// As [`RecvHalf::recv`]. The waker of the last call is woken.
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    #[inline]
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Incoming, NetError>> {
        let next = self.queue.poll_next(context);
        next.map(|next| next.ok_or_else(|| self.link.reason()))
    }

    /// How the connection ends.
    pub(crate) fn ends(&self) -> Ends {
        Ends::new(self.link.clone(), self.queue.watch())
    }

    /// Whether the connection has ended and everything was received.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.queue.is_finished()
    }

    /// The next item of the stream: after the reason of the end there is nothing.
    pub(crate) fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Incoming, NetError>>> {
        if self.is_stream_ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_recv(context));
        self.is_stream_ended = item.is_err();
        Poll::Ready(Some(item))
    }

    pub(crate) const fn is_stream_ended(&self) -> bool {
        self.is_stream_ended
    }

    /// Receives the next message, and skips subscriptions before it. For every socket type but PUB
    /// and XPUB. Cancel-safe, as [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As [`RecvHalf::recv`].
    #[inline]
    pub async fn recv_message(&mut self) -> Result<Message, NetError> {
        loop {
            if let Some(message) = self.recv().await?.into_message() {
                return Ok(message);
            }
        }
    }

    /// The peer: its authenticated identity and what it claims.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.link.peer()
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf")
            .field("peer", self.link.peer())
            .field("queued", &self.queue.bytes())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf")
            .field("peer", self.link.peer())
            .finish_non_exhaustive()
    }
}

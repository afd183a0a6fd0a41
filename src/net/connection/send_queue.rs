//! A queue of messages to one peer that outlives the connections to it.
#![forbid(unsafe_code)]

use crate::net::connection::queue::pair::kept_queue;
use crate::net::connection::queue::producer::{Gone, KeptQueue, Producer, Rejected};
use crate::net::connection::queue::run::Queued;
use crate::net::connection::queues::conflated_to_send;
use crate::net::connection::sendable::require_sendable;
use crate::net::connection::try_error::{TrySendError, TrySendReason};
use crate::net::error::NetError;
use crate::net::options::Options;
use crate::traffic::message::Message;
use crate::wire::socket_type::SocketType;
use std::fmt;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

/// A queue of messages to one peer that outlives the connections to it.
///
/// [`Connector::with_queue`](crate::net::Connector::with_queue) lets connections send from it, one
/// after another. Messages can be queued before the first connection, and what a lost connection
/// has not taken waits for the next one. ZMTP has no acknowledgements, so what a connection has taken
/// may be lost with it.
///
/// Dropping the queue closes it: what is queued is still sent if there is, or comes, a connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use zmtp_auth::net::Listener;
/// # use zmtp_auth::{Config, SocketType};
/// # let pair = || Config::builder(SocketType::Pair).null().accept_any_peer().finish();
/// # let listener = Listener::bind("tcp://127.0.0.1:*", pair()?).await?;
/// use zmtp_auth::net::{Connector, Options, SendQueue};
///
/// let mut queue = SendQueue::new(SocketType::Pair, &Options::default());
/// queue.try_send("before there is a connection")?;
/// let mut connector = Connector::new(listener.local_endpoint(), pair()?)?.with_queue(&queue);
/// let connection = connector.next().await?;
/// # let received = listener.accept().await?.recv_message().await?;
/// # assert_eq!(received.frames(), ["before there is a connection"]);
/// # drop(connection);
/// # Ok(()) }
/// ```
pub struct SendQueue {
    queue: Producer<Queued>,
    ours: SocketType,
}

impl SendQueue {
    /// A queue for a socket of type `ours`, bounded by [`Options::send_ahead`] and
    /// [`Options::send_ahead_messages`], or conflated by [`Options::conflate`].
    #[must_use]
    pub fn new(ours: SocketType, options: &Options) -> Self {
        let queue = kept_queue(
            options.send_ahead,
            options.send_ahead_messages,
            conflated_to_send(options, ours),
        );
        Self { queue, ours }
    }

    /// Queues a message. Waits while the queue is full.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message was not queued.
    ///
    /// # Errors
    /// Returns [`NetError::CannotSend`] if the socket type only receives, [`NetError::Delimiter`] if
    /// a message of a REQ or REP has no delimiter frame, and [`NetError::SendClosed`] after
    /// [`SendQueue::poll_close`].
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
            poll_fn(|context| self.poll_ready(context)).await?;
        }
    }

    /// Queues a message if there is room, and does not wait.
    ///
    /// # Errors
    /// Returns the message with [`TrySendReason::Full`] if the queue is full, and with
    /// [`TrySendReason::Failed`] if [`SendQueue::send`] would fail.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        if let Err(error) = require_sendable(self.ours, &message) {
            let reason = TrySendReason::Failed(error);
            return Err(TrySendError { message, reason });
        }
        let cost = message.cost();
        self.queue
            .push_into_room(message, cost)
            .map_err(|rejected| {
                let (message, reason) = match rejected {
                    Rejected::Full(message) => (message, TrySendReason::Full),
                    Rejected::Gone(message) => {
                        (message, TrySendReason::Failed(NetError::SendClosed))
                    }
                };
                TrySendError { message, reason }
            })
    }

    /// Waits until there is room for a message. Cancel-safe: room is not reserved. The waker of the
    /// last call is woken.
    ///
    /// # Errors
    /// Returns [`NetError::SendClosed`] after [`SendQueue::poll_close`].
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        let room = self.queue.poll_room(context);
        room.map_err(|Gone| NetError::SendClosed)
    }

    /// Waits until the system has taken everything that was queued, or a connection was lost with
    /// the last of it. Cancel-safe. The waker of the last call is woken.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // A kept queue goes on without a consumer, so waiting does not fail.
        self.queue.poll_done(context).map(|_| ())
    }

    /// Takes no more messages, and waits as [`SendQueue::poll_flush`] does. Cancel-safe: what is
    /// queued is sent also if this is not polled again.
    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.queue.close();
        self.poll_flush(context)
    }

    /// Waits until the queue is closed or dropped, nothing waits in it, and no connection sends from it.
    /// As a future without a borrow, for the task that makes the connections. Cancel-safe.
    pub fn finished_owned(&self) -> impl Future<Output = ()> + Send + use<> {
        let source = self.source();
        async move { poll_fn(|context| source.poll_finished(context)).await }
    }

    /// Where connections send from.
    pub(crate) fn source(&self) -> KeptQueue<Queued> {
        self.queue.source()
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue")
            .field("socket_type", &self.ours)
            .field("queued", &self.queue.bytes())
            .finish_non_exhaustive()
    }
}

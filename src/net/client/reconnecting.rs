//! A connection that reconnects on its own.
#![forbid(unsafe_code)]

use crate::access::peer::Peer;
use crate::net::client::connector::{Attempt, Connector};
use crate::net::connection::halves::RecvHalf;
use crate::net::connection::handle::Connection;
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use crate::traffic::outgoing::Outgoing;
use bytes::Bytes;
use std::collections::VecDeque;

/// Maximum number of lost connections from which messages wait to be received. Each holds at most
/// [`Limits::read_ahead`](crate::Limits) bytes, or one message. 16: a peer that restarts a few times
/// loses none of its messages, and with the default limits at most 4 MiB wait.
const MAX_LOST: usize = 16;

/// A connection that is made again when it is lost.
///
/// It promises no more than the protocol does: a message that was queued or on its way when the
/// connection failed is lost, and no error says which. Subscriptions are made again on each new
/// connection. Connecting happens inside the calls; between calls only the driver of an existing
/// connection runs.
///
/// A wrong server key or a refused CURVE key is retried for ever, up to once a minute, and the calls
/// wait meanwhile. To see such failures, bound a call by a timeout and ask
/// [`Reconnecting::last_error`], or use [`Connector::next_attempt`].
/// [`AfterRefusal::Stop`](crate::net::AfterRefusal::Stop) ends the retries after a refusal. It does not
/// cover a wrong server key, which shows as a close and not as a refusal.
///
/// There is no split, no `Stream` and no `Sink`, because both directions share the connection that is
/// made. One task sends and receives with `select!` over [`Reconnecting::recv`], which is cancel-safe,
/// and a channel of messages to send:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use zmtp_auth::net::Listener;
/// # use zmtp_auth::{Config, SocketType};
/// # let pair = || Config::builder(SocketType::Pair).null().accept_any_peer().finish();
/// # let listener = Listener::bind("tcp://127.0.0.1:*", pair()?).await?;
/// use zmtp_auth::net::{Connector, Reconnecting};
///
/// let connector = Connector::new(listener.local_endpoint(), pair()?)?;
/// let mut connection = Reconnecting::new(connector);
/// let (to_send, mut outgoing) = tokio::sync::mpsc::channel::<&str>(16);
/// # to_send.send("ping").await?;
/// # tokio::spawn(async move {
/// #     let mut peer = listener.accept().await.unwrap();
/// #     peer.recv().await.unwrap();
/// #     peer.send("pong").await.unwrap();
/// #     peer.closed().await;
/// # });
/// loop {
///     tokio::select! {
///         Some(message) = outgoing.recv() => connection.send(message).await?,
///         incoming = connection.recv() => {
///             println!("{:?}", incoming?);
/// #             break;
///         }
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reconnecting {
    connector: Connector,
    current: Option<Connection>,
    /// The receiving halves of lost connections, oldest first, while messages that arrived on them
    /// may wait.
    lost: VecDeque<RecvHalf>,
    /// Every subscription that was made and not removed, as often as it was made.
    subscriptions: Vec<Bytes>,
    last_error: Option<NetError>,
}

impl Reconnecting {
    /// Makes its connections with `connector`, the first one when it is needed.
    #[must_use]
    pub const fn new(connector: Connector) -> Self {
        Self {
            connector,
            current: None,
            lost: VecDeque::new(),
            subscriptions: Vec::new(),
            last_error: None,
        }
    }

    /// Queues a message, on a new connection if need be. Cancel-safe, as
    /// [`SendHalf::send`](crate::net::SendHalf::send).
    ///
    /// # Errors
    /// As [`Reconnecting::connected`]. As [`SendHalf::send`](crate::net::SendHalf::send), if our type
    /// of socket cannot send the message.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        let message = message.into();
        self.connector.require_sendable(&message)?;
        loop {
            match self.connected().await?.sender().ready().await {
                Ok(()) => {
                    // If the driver ends just now, the message is lost as if on its way.
                    self.queue(Outgoing::Message(message));
                    return Ok(());
                }
                Err(error) => self.lose(error),
            }
        }
    }

    /// The next message or subscription, from a new connection if need be. What had arrived on
    /// earlier connections, when sending on them failed, comes first, in the order in which it
    /// arrived. Cancel-safe, as [`RecvHalf::recv`](crate::net::RecvHalf::recv).
    ///
    /// # Errors
    /// As [`Connector::next`], if no later attempt can succeed.
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        loop {
            while let Some(oldest) = self.lost.front_mut() {
                match oldest.recv().await {
                    Ok(incoming) => return Ok(incoming),
                    Err(_) => self.lost.pop_front(),
                };
            }
            match self.connected().await?.recv().await {
                Ok(incoming) => return Ok(incoming),
                Err(error) => self.lose(error),
            }
        }
    }

    /// Subscribes on the current connection, if there is one, and on every later one. SUB and XSUB
    /// only. Cancel-safe: if the future is dropped before it completes, nothing was subscribed.
    ///
    /// # Errors
    /// Returns [`NetError::CannotSubscribe`] if our socket has another type.
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.connector.require_subscriber()?;
        self.await_room().await;
        self.subscriptions.push(topic.clone());
        self.queue(Outgoing::Subscribe(topic));
        Ok(())
    }

    /// Removes one subscription to `topic`. SUB and XSUB only. Cancel-safe, as
    /// [`Reconnecting::subscribe`].
    ///
    /// # Errors
    /// Returns [`NetError::CannotSubscribe`] if our socket has another type.
    pub async fn unsubscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.connector.require_subscriber()?;
        self.await_room().await;
        let made = self.subscriptions.iter().position(|made| *made == topic);
        if let Some(index) = made {
            self.subscriptions.remove(index);
            self.queue(Outgoing::Unsubscribe(topic));
        }
        Ok(())
    }

    /// Returns the current connection, or makes one. Cancel-safe.
    ///
    /// # Errors
    /// As [`Connector::next`], if no later attempt can succeed. Returns [`NetError::NotReceived`]
    /// instead of making a connection if messages of 16 lost connections wait to be received. After
    /// [`Reconnecting::recv`] the call succeeds.
    pub async fn connected(&mut self) -> Result<&mut Connection, NetError> {
        loop {
            // Taken and put back, because a borrow that may be returned cannot end early.
            if let Some(connection) = self.current.take() {
                return Ok(self.current.insert(connection));
            }
            if self.lost.len() >= MAX_LOST {
                self.lost.retain(|lost| !lost.is_finished());
                if self.lost.len() >= MAX_LOST {
                    return Err(NetError::NotReceived);
                }
            }
            match self.connector.next_attempt().await {
                Attempt::Connected(connection) => {
                    self.current = Some(*connection);
                    for topic in self.subscriptions.clone() {
                        self.queue(Outgoing::Subscribe(topic));
                    }
                }
                Attempt::Failed { error, retry_after } => {
                    self.last_error = Some(error.clone());
                    if retry_after.is_none() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Waits until the current connection, if there is one, has room for a message.
    async fn await_room(&mut self) {
        if let Some(connection) = &mut self.current
            && let Err(error) = connection.sender().ready().await
        {
            self.lose(error);
        }
    }

    /// Queues on the current connection, if there is one.
    fn queue(&mut self, outgoing: Outgoing) {
        if let Some(connection) = &mut self.current
            && let Err(error) = connection.sender().push(outgoing)
        {
            self.lose(error);
        }
    }

    fn lose(&mut self, error: NetError) {
        self.last_error = Some(error);
        if let Some(connection) = self.current.take() {
            self.lost.push_back(connection.split().1);
        }
    }

    /// The peer of the current connection; `None` while there is no connection.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.current.as_ref().map(Connection::peer)
    }

    /// The error of the latest lost connection or failed attempt, whichever came later.
    #[must_use]
    pub const fn last_error(&self) -> Option<&NetError> {
        self.last_error.as_ref()
    }

    /// What makes the connections, for example to [`reset`](Connector::reset) it.
    pub const fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    /// Closes as [`Connection::close`] does.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub async fn close(self) -> Result<(), NetError> {
        match self.current {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

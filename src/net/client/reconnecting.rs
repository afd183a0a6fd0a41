//! One handle that sends and receives across reconnects.
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

/// A connection that is made again when it is lost.
///
/// What it promises is no more than the protocol can: a message that was queued, or under way,
/// when the connection failed is lost, and no error tells which. Subscriptions are made again.
/// Connecting happens inside the calls: nothing runs while none of them is awaited but the
/// driver of a connection that is there.
#[derive(Debug)]
pub struct Reconnecting {
    connector: Connector,
    current: Option<Connection>,
    /// The connection before, as long as what had arrived on it may not have been received.
    before: Option<RecvHalf>,
    /// Every subscription that was made and not taken back, as often as it was made.
    subscriptions: Vec<Bytes>,
    last_error: Option<NetError>,
}

impl Reconnecting {
    /// Makes its connections with `connector`, the first when it is first needed.
    #[must_use]
    pub const fn new(connector: Connector) -> Self {
        Self {
            connector,
            current: None,
            before: None,
            subscriptions: Vec::new(),
            last_error: None,
        }
    }

    /// Queues a message, on a new connection if need be. Cancel-safe as
    /// [`SendHalf::send`](crate::net::SendHalf::send).
    ///
    /// # Errors
    /// As [`Connector::next`]: trying again is of no use. As
    /// [`SendHalf::send`](crate::net::SendHalf::send) for what our type of socket cannot send.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NetError> {
        let message = message.into();
        self.connector.require_sendable(&message)?;
        loop {
            match self.connected().await?.sender().ready().await {
                Ok(()) => {
                    // If the driver ends just now, the message is lost as if under way.
                    self.tell(Outgoing::Message(message));
                    return Ok(());
                }
                Err(error) => self.lose(error),
            }
        }
    }

    /// The next message or subscription, from a new connection if need be. What had arrived on the
    /// connection before, when sending on it failed, comes first. Cancel-safe as
    /// [`RecvHalf::recv`](crate::net::RecvHalf::recv).
    ///
    /// # Errors
    /// As [`Connector::next`]: trying again is of no use.
    pub async fn recv(&mut self) -> Result<Incoming, NetError> {
        loop {
            if let Some(before) = &mut self.before {
                match before.recv().await {
                    Ok(incoming) => return Ok(incoming),
                    Err(_) => self.before = None,
                }
            }
            match self.connected().await?.recv().await {
                Ok(incoming) => return Ok(incoming),
                Err(error) => self.lose(error),
            }
        }
    }

    /// Subscribes, now if there is a connection, and on every one to come. SUB and XSUB only.
    /// Cancel-safe: if the future is dropped before it is done, nothing was subscribed.
    ///
    /// # Errors
    /// [`NetError::CannotSubscribe`] for another type of socket.
    pub async fn subscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.connector.require_subscriber()?;
        self.await_room().await;
        self.subscriptions.push(topic.clone());
        self.tell(Outgoing::Subscribe(topic));
        Ok(())
    }

    /// Takes one subscription to `topic` back. SUB and XSUB only. Cancel-safe as
    /// [`Reconnecting::subscribe`].
    ///
    /// # Errors
    /// [`NetError::CannotSubscribe`] for another type of socket.
    pub async fn unsubscribe(&mut self, topic: impl Into<Bytes>) -> Result<(), NetError> {
        let topic = topic.into();
        self.connector.require_subscriber()?;
        self.await_room().await;
        let made = self.subscriptions.iter().position(|made| *made == topic);
        if let Some(index) = made {
            self.subscriptions.remove(index);
            self.tell(Outgoing::Unsubscribe(topic));
        }
        Ok(())
    }

    /// Waits until there is a connection, and makes one if need be. Cancel-safe.
    ///
    /// # Errors
    /// As [`Connector::next`]: trying again is of no use.
    pub async fn connected(&mut self) -> Result<&mut Connection, NetError> {
        loop {
            // Taken out and put back, since a borrow that may be returned cannot end early.
            if let Some(connection) = self.current.take() {
                return Ok(self.current.insert(connection));
            }
            match self.connector.next_attempt().await {
                Attempt::Connected(connection) => {
                    self.current = Some(*connection);
                    for topic in self.subscriptions.clone() {
                        self.tell(Outgoing::Subscribe(topic));
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

    /// Waits until the current connection, if there is one, has room for something to send.
    async fn await_room(&mut self) {
        if let Some(connection) = &mut self.current
            && let Err(error) = connection.sender().ready().await
        {
            self.lose(error);
        }
    }

    /// Queues on the current connection, if there is one.
    fn tell(&mut self, outgoing: Outgoing) {
        if let Some(connection) = &mut self.current
            && let Err(error) = connection.sender().push(outgoing)
        {
            self.lose(error);
        }
    }

    fn lose(&mut self, error: NetError) {
        tracing::debug!(%error, "connection lost");
        self.last_error = Some(error);
        self.before = self.current.take().map(|connection| connection.split().1);
    }

    /// Who the peer of the current connection is; `None` while there is none.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.current.as_ref().map(Connection::peer)
    }

    /// Why the latest connection was lost or the latest attempt failed, whichever came later.
    #[must_use]
    pub const fn last_error(&self) -> Option<&NetError> {
        self.last_error.as_ref()
    }

    /// What makes the connections, to [`reset`](Connector::reset) it for example.
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

//! Errors of sending and receiving without waiting.
#![forbid(unsafe_code)]

use crate::net::error::NetError;
use crate::traffic::message::Message;
use std::fmt;
use thiserror::Error as ThisError;

/// A message was not queued. It is given back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use zmtp_auth::net::{Connection, Listener};
/// # use zmtp_auth::{Config, SocketType};
/// # let pair = || Config::builder(SocketType::Pair).null().accept_any_peer().finish();
/// # let listener = Listener::bind("tcp://127.0.0.1:*", pair()?).await?;
/// # let mut one = Connection::connect(listener.local_endpoint(), pair()?).await?;
/// # let mut other = listener.accept().await?;
/// use zmtp_auth::net::TrySendReason;
///
/// match one.try_send("now") {
///     Ok(()) => {}
///     // The message comes back. `send` or `poll_ready` waits for room.
///     Err(refused) if matches!(refused.reason, TrySendReason::Full) => drop(refused.message),
///     Err(refused) => return Err(refused.into()),
/// }
/// assert_eq!(other.recv_message().await?.frames(), ["now"]);
/// # Ok(()) }
/// ```
#[derive(Clone, ThisError)]
#[error("the message was not queued")]
#[non_exhaustive]
pub struct TrySendError {
    /// The message, to be sent later.
    pub message: Message,
    /// Why it was not queued.
    #[source]
    pub reason: TrySendReason,
}

/// Why a message was not queued.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum TrySendReason {
    /// [`Options::send_ahead`](crate::net::Options::send_ahead) bytes are queued already.
    #[error("the queue is full")]
    Full,
    /// The connection has ended, or it sends no such messages. Trying again fails too.
    #[error(transparent)]
    Failed(NetError),
}

/// Shows the length of the message and not its contents.
impl fmt::Debug for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySendError")
            .field("message", &format_args!("{} bytes", self.message.size()))
            .field("reason", &self.reason)
            .finish()
    }
}

/// Nothing was received.
#[derive(Debug, Clone, ThisError)]
#[non_exhaustive]
pub enum TryRecvError {
    /// Nothing waits to be received now.
    #[error("nothing waits to be received")]
    Empty,
    /// The connection has ended, and everything that had arrived was received.
    #[error("the connection has ended")]
    Ended(#[source] NetError),
}

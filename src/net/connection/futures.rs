//! `Stream` and `Sink`, for the combinators of the `futures` crates.
#![forbid(unsafe_code)]

use crate::net::connection::halves::{RecvHalf, SendHalf};
use crate::net::connection::handle::Connection;
use crate::net::error::NetError;
use crate::traffic::inbox::Incoming;
use crate::traffic::message::Message;
use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Receives as [`RecvHalf::recv`]. The last item is the reason why the connection ended, after it the
/// stream returns `None`. Cancel-safe. `StreamExt::next` of the `futures` crate does what this example
/// does:
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
/// use futures_core::Stream;
/// use std::{future::poll_fn, pin::Pin};
///
/// one.send("hello").await?;
/// let next = poll_fn(|context| Pin::new(&mut other).poll_next(context)).await;
/// assert_eq!(next.unwrap()?.into_message(), Some("hello".into()));
/// # Ok(()) }
/// ```
impl Stream for RecvHalf {
    type Item = Result<Incoming, NetError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_stream(context)
    }
}

impl FusedStream for RecvHalf {
    fn is_terminated(&self) -> bool {
        self.is_stream_ended()
    }
}

/// Sends as [`SendHalf::send`]. `poll_flush` is [`SendHalf::poll_flush`], and `poll_close` is
/// [`SendHalf::poll_close`]. `SinkExt::feed` of the `futures` crate does what this example does:
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
/// use futures_sink::Sink;
/// use std::{future::poll_fn, pin::Pin};
///
/// let (mut sender, _receiver) = one.split();
/// poll_fn(|context| Sink::poll_ready(Pin::new(&mut sender), context)).await?;
/// Pin::new(&mut sender).start_send("hello".into())?;
/// assert_eq!(other.recv_message().await?.frames(), ["hello"]);
/// # Ok(()) }
/// ```
///
/// A SUB or XSUB sends subscriptions: the messages that begin with 1 or 0, as in
/// [`Outgoing::from_message_3_0`](crate::traffic::Outgoing::from_message_3_0).
///
/// A message that `start_send` takes without a `poll_ready` before it is queued beyond
/// [`Options::send_ahead`](crate::net::Options::send_ahead).
impl Sink<Message> for SendHalf {
    type Error = NetError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_ready(self.get_mut(), context)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), NetError> {
        self.get_mut().push_message(message)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_flush(self.get_mut(), context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_close(self.get_mut(), context)
    }
}

/// As the stream of [`RecvHalf`].
impl Stream for Connection {
    type Item = Result<Incoming, NetError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().halves().1.poll_stream(context)
    }
}

impl FusedStream for Connection {
    fn is_terminated(&self) -> bool {
        self.receiver().is_stream_ended()
    }
}

/// As the sink of [`SendHalf`], except that `poll_close` is [`Connection::poll_close`].
impl Sink<Message> for Connection {
    type Error = NetError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_ready(self.get_mut(), context)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), NetError> {
        self.get_mut().sender().push_message(message)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_flush(self.get_mut(), context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Self::poll_close(self.get_mut(), context)
    }
}

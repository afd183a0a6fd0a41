//! A connection over a stream that the caller has opened.
#![forbid(unsafe_code)]

use crate::host::known_peer::KnownPeer;
use crate::mechanism::session::PeerContext;
use crate::net::connection::handle::Connection;
use crate::net::error::NetError;
use crate::net::options::Options;
use crate::net::socket::stream::Stream;
use crate::net::span::connection_span;
use crate::security::Security;
use std::io;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A TCP or Unix stream that the caller has connected or accepted, for [`Connection::over`].
#[derive(Debug)]
pub struct OpenStream(Stream);

impl KnownPeer for OpenStream {
    fn peer_context(&self) -> io::Result<PeerContext> {
        self.0.peer()
    }
}

/// The options of the stream stay as they are. [`Connection::over`] sets `TCP_NODELAY`.
impl From<TcpStream> for OpenStream {
    fn from(stream: TcpStream) -> Self {
        Self(Stream::tcp(stream, None))
    }
}

#[cfg(unix)]
impl From<UnixStream> for OpenStream {
    fn from(stream: UnixStream) -> Self {
        Self(Stream::Ipc(stream))
    }
}

impl Connection {
    /// Performs the handshake over a stream that the caller has connected or accepted, and makes a
    /// connection of it. For a host that has transports of its own, a socket that it inherits, or a
    /// proxy.
    ///
    /// `context` is the peer's address, which policy is asked about: take
    /// [`KnownPeer::peer_context`]. [`PeerContext::for_socket`] says which of the host's sockets it is.
    ///
    /// What bounds all peers of a listener does not act here: [`Limits::max_pending_handshakes`] and the
    /// numbers of connections. The options that act are those of queues and heartbeats, and `linger`.
    ///
    /// Cancel-safe: dropping the future closes the stream.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::net::{TcpListener, TcpStream};
    /// use zmtp_auth::host::KnownPeer;
    /// use zmtp_auth::net::{Connection, Options};
    /// use zmtp_auth::{Config, Security, SocketType};
    ///
    /// async fn secure(
    ///     stream: TcpStream,
    ///     socket_type: SocketType,
    ///     security: &Security,
    /// ) -> Result<Connection, Box<dyn std::error::Error>> {
    ///     let context = stream.peer_context()?.for_socket(socket_type, "")?;
    ///     Ok(Connection::over(stream, context, security, &Options::default()).await?)
    /// }
    ///
    /// let null = Config::untyped_builder().null().accept_any_peer().finish()?;
    /// let security = Security::from(null);
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let connecting = TcpStream::connect(listener.local_addr()?);
    /// let (one, other) = tokio::join!(connecting, listener.accept());
    /// let (push, pull) = tokio::join!(
    ///     secure(one?, SocketType::Push, &security),
    ///     secure(other?.0, SocketType::Pull, &security),
    /// );
    /// let (mut push, mut pull) = (push?, pull?);
    /// push.send("hello").await?;
    /// assert_eq!(pull.recv_message().await?.frames(), ["hello"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns the reason why there is no connection, as [`NetError`] lists them.
    ///
    /// [`Limits::max_pending_handshakes`]: crate::Limits::max_pending_handshakes
    pub async fn over(
        stream: impl Into<OpenStream>,
        context: PeerContext,
        security: &Security,
        options: &Options,
    ) -> Result<Self, NetError> {
        let OpenStream(stream) = stream.into();
        let span = connection_span(&context);
        Self::establish(stream, (context, &span), security, options, None).await
    }
}

//! `AuthStream` over streams with tokio's traits.
#![forbid(unsafe_code)]

use crate::host::byte_stream::TokioStream;
use crate::host::clock::TokioClock;
use crate::host::failed::Failed;
use crate::host::stream::auth_stream::{AuthStream, AuthStreamOptions};
use crate::host::stream::engine::Adapter;
use crate::mechanism::session::PeerContext;
use crate::security::Security;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Adapts streams with tokio's traits.
enum Tokio {}

impl<S: AsyncRead + AsyncWrite + Unpin> Adapter<S> for Tokio {
    type Stream<'a>
        = TokioStream<&'a mut S>
    where
        S: 'a;

    fn adapt(stream: &mut S) -> Self::Stream<'_> {
        TokioStream(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AuthStream<S> {
    /// Secures a connection that a peer has opened. `peer` is where it comes from: a
    /// [`SocketAddr`](std::net::SocketAddr), or a [`PeerAddress`](crate::PeerAddress).
    ///
    /// Resolves once policy has admitted the peer. A peer that is refused gets an ERROR and
    /// [`Limits::linger_timeout`](crate::Limits::linger_timeout) to read it. The handshake goes on with
    /// the host's reads and writes: the host has to greet and to send its READY within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout), counted from this call. A client
    /// that accepts resolves once the server has sent WELCOME.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake with the peer fails: [`Failed::kind`] says how.
    pub async fn accept(
        stream: S,
        peer: impl Into<PeerContext>,
        security: &Security,
    ) -> Result<Self, Failed> {
        Self::accept_with(stream, peer, security, &AuthStreamOptions::default()).await
    }

    /// As [`AuthStream::accept`], with options.
    ///
    /// # Errors
    /// As [`AuthStream::accept`].
    pub async fn accept_with(
        stream: S,
        peer: impl Into<PeerContext>,
        security: &Security,
        options: &AuthStreamOptions,
    ) -> Result<Self, Failed> {
        Self::meet::<Tokio>(stream, peer.into(), security, options, TokioClock).await
    }

    /// Secures a connection that we have opened.
    ///
    /// Resolves once the server has sent WELCOME. So a server of another mechanism or an old protocol,
    /// and one that has another key than we expect, are found here, and so is a PLAIN server that
    /// refuses the password. The host's READY is then sent on, and the host has to send it within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout), counted from this call. A
    /// server that refuses us after that, as CURVE's do, makes the host's reads and writes fail with
    /// [`Failed`] as the cause.
    ///
    /// Under NULL there is no WELCOME, and it resolves after the greeting, or after the verdict.
    ///
    /// If our own policy is asked about the peer, it sees no address, and a list of denied addresses
    /// refuses that. So a server that connects calls `accept`, with the address that it has connected
    /// to. If both ends are an `AuthStream` with NULL, one has to call `connect`.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake with the server fails: [`Failed::kind`] says how.
    pub async fn connect(stream: S, security: &Security) -> Result<Self, Failed> {
        Self::connect_with(stream, security, &AuthStreamOptions::default()).await
    }

    /// As [`AuthStream::connect`], with options.
    ///
    /// # Errors
    /// As [`AuthStream::connect`].
    pub async fn connect_with(
        stream: S,
        security: &Security,
        options: &AuthStreamOptions,
    ) -> Result<Self, Failed> {
        Self::connect_by::<Tokio>(stream, security, options, TokioClock).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for AuthStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.get_mut().engine.poll_read::<Tokio>(cx, buffer);
        read.map_ok(|_| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for AuthStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let parts = [IoSlice::new(bytes)];
        self.get_mut().engine.poll_write::<Tokio>(cx, &parts)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().engine.poll_write::<Tokio>(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().engine.poll_flush::<Tokio>(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().engine.poll_shutdown::<Tokio>(cx)
    }
}

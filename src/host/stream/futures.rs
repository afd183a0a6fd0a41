//! `AuthStream` over streams with the traits of `futures-io`.
#![forbid(unsafe_code)]

use crate::host::byte_stream::FuturesStream;
use crate::host::clock::Clock;
use crate::host::failed::Failed;
use crate::host::stream::auth_stream::{AuthStream, AuthStreamOptions};
use crate::host::stream::engine::Adapter;
use crate::mechanism::session::PeerContext;
use crate::security::Security;
use futures_io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Adapts streams with the traits of `futures-io`.
enum Futures {}

impl<S: AsyncRead + AsyncWrite + Unpin> Adapter<S> for Futures {
    type Stream<'a>
        = FuturesStream<&'a mut S>
    where
        S: 'a;

    fn adapt(stream: &mut S) -> Self::Stream<'_> {
        FuturesStream(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AuthStream<S> {
    /// As `AuthStream::accept` (feature `tokio`), over a stream with the traits of `futures-io` and
    /// with the clock of any runtime.
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake with the peer fails: [`Failed::kind`] says how.
    pub async fn accept_on(
        clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static,
        stream: S,
        peer: impl Into<PeerContext>,
        security: &Security,
        options: &AuthStreamOptions,
    ) -> Result<Self, Failed> {
        Self::meet::<Futures>(stream, peer.into(), security, options, clock).await
    }

    /// As `AuthStream::connect` (feature `tokio`), over a stream with the traits of `futures-io` and
    /// with the clock of any runtime.
    ///
    /// # Errors
    /// Returns [`Failed`] if the handshake with the server fails: [`Failed::kind`] says how.
    pub async fn connect_on(
        clock: impl Clock<Sleep: Send + 'static> + Send + Sync + 'static,
        stream: S,
        security: &Security,
        options: &AuthStreamOptions,
    ) -> Result<Self, Failed> {
        Self::connect_by::<Futures>(stream, security, options, clock).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for AuthStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().engine.poll_read::<Futures>(cx, &mut buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for AuthStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let parts = [IoSlice::new(bytes)];
        self.get_mut().engine.poll_write::<Futures>(cx, &parts)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().engine.poll_write::<Futures>(cx, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().engine.poll_flush::<Futures>(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().engine.poll_shutdown::<Futures>(cx)
    }
}

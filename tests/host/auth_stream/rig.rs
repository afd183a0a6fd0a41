//! Hosts behind an `AuthStream`, and the peers that they talk to, over streams in memory.

use super::party::{Party, client, here, null, server_with};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::time::timeout;
use zmtp_auth::PeerContext;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::host::{AuthStream, AuthStreamOptions};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Limits, Security, SocketType};

pub const MECHANISMS: [&str; 3] = ["null", "plain", "curve"];
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes on their way in one direction. Two commands of a handshake fit.
pub const ROOM: usize = 2000;

/// A host, and the peer at the other end of the network.
pub type Pair<S> = (Party<AuthStream<S>>, Party<S>);

/// Fails a test that hangs.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hangs")
}

/// A server's security that admits every peer as `alice`.
pub fn admitting(mechanism: &str) -> Security {
    admitting_with(mechanism, Limits::default())
}

pub fn admitting_with(mechanism: &str, limits: Limits) -> Security {
    let router = ZapRouter::new();
    let admit = async |request: ZapRequest| request.allow("alice");
    router.bind("host", admit).unwrap();
    Security::from((server_with(SocketType::Dealer, mechanism, limits), router))
}

/// A CURVE server's security that admits every key, until `auth` says otherwise.
pub fn judging(auth: &Authenticator) -> Security {
    let router = ZapRouter::new();
    let _ = auth.configure_curve_any("host");
    router.bind("host", auth.clone()).unwrap();
    let config = server_with(SocketType::Dealer, "curve", Limits::default());
    Security::from((config, router))
}

/// A host that has accepted, and the client that has connected to it.
pub async fn accepted(mechanism: &str, room: usize) -> Pair<DuplexStream> {
    let options = AuthStreamOptions::default();
    accepted_over(duplex(room), mechanism, &admitting(mechanism), &options).await
}

pub async fn accepted_over<S>(
    (network, far): (S, S),
    mechanism: &str,
    security: &Security,
    options: &AuthStreamOptions,
) -> Pair<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = async {
        let peer = PeerContext::new(here());
        let stream = AuthStream::accept_with(network, peer, security, options);
        let stream = stream.await.unwrap();
        assert!(stream.peer().is_some());
        Party::meet(stream, null(SocketType::Dealer)).await.unwrap()
    };
    let peer = Party::meet(far, client(SocketType::Dealer, mechanism));
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    (host, peer.unwrap())
}

/// A host that has connected, and the server at the other end.
pub async fn connected(mechanism: &str, room: usize) -> Pair<DuplexStream> {
    connected_over(duplex(room), mechanism).await
}

pub async fn connected_over<S>((network, far): (S, S), mechanism: &str) -> Pair<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let security = Security::from(client(SocketType::Pair, mechanism));
    let host = async {
        let stream = AuthStream::connect(network, &security).await.unwrap();
        assert!(stream.peer().is_none(), "the server has not said who it is");
        let host = Party::meet(stream, null(SocketType::Dealer)).await.unwrap();
        assert!(host.stream.peer().is_some());
        host
    };
    let peer = Party::meet(far, admitting(mechanism));
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    (host, peer.unwrap())
}

/// A stream that reads and writes at most so many bytes at once.
pub struct Dripping<S>(pub S, pub usize);

impl<S: AsyncRead + Unpin> AsyncRead for Dripping<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.1);
        let mut part = vec![0; count];
        let mut part = ReadBuf::new(&mut part);
        let outcome = Pin::new(&mut self.0).poll_read(cx, &mut part);
        buffer.put_slice(part.filled());
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Dripping<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.1);
        Pin::new(&mut self.0).poll_write(cx, &bytes[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

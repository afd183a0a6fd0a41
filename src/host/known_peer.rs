//! Who is at the other end of a stream.
#![forbid(unsafe_code)]

use crate::mechanism::session::PeerContext;
use std::io;

#[cfg(feature = "tokio")]
use tokio::io::{AsyncRead, AsyncWrite, Join};
#[cfg(feature = "tokio")]
use tokio::net::{TcpStream, tcp};
#[cfg(all(unix, feature = "tokio"))]
use tokio::net::{UnixStream, unix};

/// A stream that knows the peer at its other end. The streams of std and tokio do, and tokio's halves
/// of them, so code that is generic over its stream can ask it, instead of passing an address along.
pub trait KnownPeer {
    /// The peer, as policy is asked about it: its address and port, or the user, group and process
    /// that the kernel reports for a Unix stream.
    ///
    /// # Errors
    /// Returns the system's error, such as that of a stream that is no longer connected.
    fn peer_context(&self) -> io::Result<PeerContext>;
}

impl<S: KnownPeer + ?Sized> KnownPeer for &mut S {
    fn peer_context(&self) -> io::Result<PeerContext> {
        (**self).peer_context()
    }
}

impl KnownPeer for std::net::TcpStream {
    fn peer_context(&self) -> io::Result<PeerContext> {
        Ok(self.peer_addr()?.into())
    }
}

#[cfg(feature = "tokio")]
impl KnownPeer for TcpStream {
    fn peer_context(&self) -> io::Result<PeerContext> {
        Ok(self.peer_addr()?.into())
    }
}

#[cfg(all(unix, feature = "tokio"))]
impl KnownPeer for UnixStream {
    fn peer_context(&self) -> io::Result<PeerContext> {
        Ok(self.peer_cred()?.into())
    }
}

/// The halves of a stream ask the stream.
#[cfg(feature = "tokio")]
macro_rules! halves {
    ($($half:ty: $stream:ty),*) => {$(
        impl KnownPeer for $half {
            fn peer_context(&self) -> io::Result<PeerContext> {
                AsRef::<$stream>::as_ref(self).peer_context()
            }
        }
    )*};
}

#[cfg(feature = "tokio")]
halves!(tcp::OwnedReadHalf: TcpStream, tcp::OwnedWriteHalf: TcpStream);
#[cfg(all(unix, feature = "tokio"))]
halves!(unix::OwnedReadHalf: UnixStream, unix::OwnedWriteHalf: UnixStream);

/// Two halves that are joined again. The half that is read knows the peer.
#[cfg(feature = "tokio")]
impl<R: KnownPeer + AsyncRead, W: AsyncWrite> KnownPeer for Join<R, W> {
    fn peer_context(&self) -> io::Result<PeerContext> {
        self.reader().peer_context()
    }
}

#[cfg(feature = "tokio")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::address::PeerAddress;

    #[tokio::test]
    async fn a_tcp_stream_knows_its_peer_whole_and_in_halves() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = |stream: &dyn KnownPeer| {
            let context = stream.peer_context().unwrap();
            (context.address, context.port)
        };
        let expected = (PeerAddress::from(address), Some(address.port()));
        let stream = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(known(&stream), expected);
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(known(&stream), expected);
        let (mut read, mut write) = stream.into_split();
        assert_eq!(known(&write), expected);
        assert_eq!(known(&tokio::io::join(&mut read, &mut write)), expected);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_unix_stream_knows_the_user_at_its_other_end() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let uid = stream.peer_cred().unwrap().uid();
        let whole = stream.peer_context().unwrap().address;
        let (read, _write) = stream.into_split();
        assert_eq!(read.peer_context().unwrap().address, whole);
        let PeerAddress::Ipc(peer) = whole else {
            panic!("{whole:?}");
        };
        assert_eq!(peer.uid, uid);
    }
}

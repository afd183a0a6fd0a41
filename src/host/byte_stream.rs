//! A byte stream of any runtime.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use bytes::buf::Limit;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

#[cfg(feature = "futures-io")]
use bytes::BufMut;
#[cfg(feature = "futures-io")]
use futures_io::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use std::pin::Pin;
#[cfg(feature = "tokio")]
use std::{future::Future, pin::pin};
#[cfg(feature = "tokio")]
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A connected byte stream in both directions, such as a TCP connection.
///
/// `TokioStream` (feature `tokio`) and `FuturesStream` (feature `futures-io`) adapt the streams of
/// these crates. Implement the trait for a stream that has neither of their traits.
///
/// Every method has the rules of [`std::future::Future::poll`]: if it returns
/// [`Poll::Pending`], it has arranged that the waker in `cx` is woken as soon as another call is
/// worth a try. Reading and writing may wait at the same time, with different wakers.
pub trait ByteStream {
    /// Reads into `room`, behind the bytes that its buffer holds, and returns how many bytes it has
    /// appended. 0 means that the peer has closed its side.
    ///
    /// The room is at least one byte, and lies within the buffer's capacity. The buffer must not grow
    /// beyond that, because this would leave a copy of the bytes before, which may hold a password, in
    /// memory.
    ///
    /// # Errors
    /// Returns the stream's own error. [`io::ErrorKind::WouldBlock`] and
    /// [`io::ErrorKind::Interrupted`] are handled inside.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>>;

    /// Writes the beginning of `parts`, one after the other, and returns how many bytes it took.
    /// At least one part is not empty, and 0 means that the stream takes no more.
    ///
    /// # Errors
    /// As [`ByteStream::poll_read`].
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sends what the stream itself has buffered. It is ready at once for a stream that buffers
    /// nothing.
    ///
    /// # Errors
    /// As [`ByteStream::poll_read`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes, and tells the peer that nothing more will come. The stream can still be read.
    ///
    /// # Errors
    /// As [`ByteStream::poll_read`].
    fn poll_shutdown_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<S: ByteStream + ?Sized> ByteStream for &mut S {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_read(cx, room)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_write(cx, parts)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(cx)
    }

    fn poll_shutdown_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_shutdown_write(cx)
    }
}

/// A stream with tokio's [`AsyncRead`] and [`AsyncWrite`] as a [`ByteStream`].
#[cfg(feature = "tokio")]
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a wrapper, made by its only field"
)]
pub struct TokioStream<S>(pub S);

#[cfg(feature = "tokio")]
impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for TokioStream<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        // This future keeps nothing between two polls, so a new one may go on where it stopped.
        pin!(self.0.read_buf(room)).poll(cx)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Bounds what one read initialises. 64 KiB, as much as a system call is worth: the room grows with the
/// message under way, and a peer that drips single bytes would make us initialise all of it for each.
#[cfg(feature = "futures-io")]
const MAX_INITIALISED: usize = 64 * 1024;

/// A stream with the traits of `futures-io` as a [`ByteStream`].
#[cfg(feature = "futures-io")]
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a wrapper, made by its only field"
)]
pub struct FuturesStream<S>(pub S);

#[cfg(feature = "futures-io")]
impl<S: FuturesRead + FuturesWrite + Unpin> ByteStream for FuturesStream<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        let limit = room.remaining_mut();
        let offered = limit.min(MAX_INITIALISED);
        let buffer = room.get_mut();
        let len = buffer.len();
        // The trait takes initialised bytes only.
        buffer.resize(len + offered, 0);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer[len..]);
        let count = match &read {
            Poll::Ready(Ok(count)) => *count,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        buffer.truncate(len + count);
        room.set_limit(limit - count);
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// Whether a read or write failed because the peer is gone.
pub(crate) fn is_hangup(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

#[cfg(any(feature = "futures-io", feature = "tokio"))]
#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(feature = "futures-io"))]
    use bytes::BufMut;

    /// What both adapters do alike, over a pair of connected streams.
    fn carries_bytes_both_ways(mut ours: impl ByteStream, mut theirs: impl ByteStream) {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut read = BytesMut::with_capacity(8);
        read.extend_from_slice(b"x");
        assert!(theirs.poll_read(cx, &mut (&mut read).limit(2)).is_pending());
        assert_eq!(read, "x", "nothing was read");

        let parts = [&b""[..], b"ab", b"c"].map(IoSlice::new);
        let Poll::Ready(written) = ours.poll_write(cx, &parts) else {
            panic!("there is room");
        };
        assert!(matches!(written.unwrap(), 2 | 3));
        assert!(ours.poll_flush(cx).is_ready());
        let mut room = (&mut read).limit(2);
        let count = theirs.poll_read(cx, &mut room).map(Result::unwrap);
        assert_eq!(count, Poll::Ready(2), "as much as there is room for");
        assert_eq!(room.remaining_mut(), 0);
        assert_eq!((&read[..], read.capacity()), (&b"xab"[..], 8));

        assert!(ours.poll_shutdown_write(cx).is_ready());
        let mut rest = BytesMut::with_capacity(8);
        let mut room = (&mut rest).limit(8);
        while theirs.poll_read(cx, &mut room).map(Result::unwrap) != Poll::Ready(0) {}
        // One direction is closed, the other is not.
        assert!(theirs.poll_write(cx, &[IoSlice::new(b"back")]).is_ready());
        assert!(theirs.poll_flush(cx).is_ready());
        let count = ours.poll_read(cx, &mut room).map(Result::unwrap);
        assert_eq!(count, Poll::Ready(4));
        assert!(rest.ends_with(b"back"));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn streams_of_tokio_are_byte_streams() {
        let (ours, theirs) = tokio::io::duplex(64);
        carries_bytes_both_ways(TokioStream(ours), TokioStream(theirs));
    }

    #[cfg(feature = "futures-io")]
    #[test]
    fn streams_of_futures_are_byte_streams() {
        let (ours, theirs) = futures::pair();
        carries_bytes_both_ways(FuturesStream(ours), FuturesStream(theirs));
    }

    #[cfg(feature = "futures-io")]
    #[test]
    fn one_read_initialises_little_of_a_large_room() {
        struct Drips;

        impl FuturesRead for Drips {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                room: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                assert!(room.len() <= MAX_INITIALISED);
                room[0] = 7;
                Poll::Ready(Ok(1))
            }
        }

        impl FuturesWrite for Drips {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Pending
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Pending
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Pending
            }
        }

        const MIB: usize = 1024 * 1024;
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut buffer = BytesMut::with_capacity(MIB);
        let mut room = (&mut buffer).limit(MIB);
        for _ in 0..3 {
            let read = FuturesStream(Drips).poll_read(cx, &mut room);
            assert!(matches!(read, Poll::Ready(Ok(1))));
        }
        assert_eq!(room.remaining_mut(), MIB - 3);
        assert_eq!(&buffer[..], [7; 3]);
    }

    /// Connected streams with the traits of `futures-io`.
    #[cfg(feature = "futures-io")]
    mod futures {
        use super::*;
        use std::collections::VecDeque;
        use std::sync::{Arc, Mutex};

        /// Bytes on their way, and whether their sender has closed.
        type Way = Arc<Mutex<(VecDeque<u8>, bool)>>;

        pub(super) struct End {
            from: Way,
            to: Way,
        }

        pub(super) fn pair() -> (End, End) {
            let (one, other) = (Way::default(), Way::default());
            let (from, to) = (Arc::clone(&one), Arc::clone(&other));
            (
                End { from, to },
                End {
                    from: other,
                    to: one,
                },
            )
        }

        impl FuturesRead for End {
            fn poll_read(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                room: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let (bytes, closed) = &mut *self.from.lock().unwrap();
                if bytes.is_empty() && !*closed {
                    return Poll::Pending;
                }
                Poll::Ready(io::Read::read(bytes, room))
            }
        }

        impl FuturesWrite for End {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.to.lock().unwrap().0.extend(bytes);
                Poll::Ready(Ok(bytes.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.to.lock().unwrap().1 = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

//! The end of a connection whose peer should still read what was sent last.
#![forbid(unsafe_code)]

use crate::host::byte_stream::ByteStream;
use crate::host::clock::{Clock, deadline, in_time};
use crate::host::wiped_buffer::HandshakeBytes;
use crate::limits::Limits;
use bytes::{BufMut, BytesMut};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::ready;

/// Bounds one read of bytes that are dropped. 4096, a page.
const DISCARD_SIZE: usize = 4096;

/// Writes all of `bytes` and flushes the stream. What is written is taken off the front, so after a
/// cancellation the rest is left.
pub(crate) async fn write_all(
    stream: &mut impl ByteStream,
    bytes: &mut HandshakeBytes,
) -> io::Result<()> {
    poll_fn(|cx| {
        while !bytes.is_empty() {
            match ready!(stream.poll_write(cx, &[IoSlice::new(bytes.as_slice())]))? {
                0 => return Err(io::ErrorKind::WriteZero.into()).into(),
                written => bytes.consume(written),
            }
        }
        stream.poll_flush(cx)
    })
    .await
}

/// Reads and drops what the peer sends until it closes its side, but no more than about `limit`
/// bytes.
pub(crate) async fn discard(stream: &mut impl ByteStream, limit: usize) -> io::Result<()> {
    let mut discarded = 0_usize;
    let mut buffer = BytesMut::with_capacity(DISCARD_SIZE);
    poll_fn(|cx| {
        while discarded < limit {
            match ready!(stream.poll_read(cx, &mut (&mut buffer).limit(DISCARD_SIZE)))? {
                0 => break,
                read => discarded = discarded.saturating_add(read),
            }
            buffer.clear();
        }
        Ok(()).into()
    })
    .await
}

/// Ends a connection so that the peer can read what was sent last. Closing a socket with unread input
/// resets the connection, and a reset discards what the peer has not read. So this sends
/// `error_frame`, shuts down writing, and drops the peer's bytes until it closes. It takes at most
/// [`Limits::linger_timeout`] and reads about [`Limits::linger_bytes`].
pub(crate) async fn close_gracefully(
    stream: &mut impl ByteStream,
    clock: &impl Clock,
    mut error_frame: HandshakeBytes,
    limits: &Limits,
) {
    let until = deadline(clock.now(), limits.linger_timeout);
    let closing = async {
        write_all(stream, &mut error_frame).await?;
        poll_fn(|cx| stream.poll_shutdown_write(cx)).await?;
        discard(stream, limits.linger_bytes).await
    };
    // The connection is closed next, also after an error or the time-out.
    let _ = in_time(clock, until, pin!(closing)).await;
}

//! One byte stream, over tcp or ipc, with the address of its peer.
#![forbid(unsafe_code)]

use crate::host::byte_stream::ByteStream;
use crate::host::clock::TokioClock;
use crate::host::known_peer::KnownPeer;
use crate::host::linger::{self, discard};
use crate::host::wiped_buffer::HandshakeBytes;
use crate::limits::Limits;
use crate::mechanism::session::PeerContext;
use crate::net::endpoint::{Endpoint, EndpointError, Host};
use crate::net::error::NetError;
use crate::net::options::{Options, TcpKeepalive};
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use socket2::{SockRef, Socket};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpSocket, TcpStream};

/// A connected stream. All methods take `&self`, so that the one task that owns it can wait for both
/// directions at once, without a buffer for either.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Ipc(UnixStream),
}

impl Stream {
    /// A stream that may lack the options of ours. Small messages leave at once (`TCP_NODELAY`), and the
    /// system notices a peer that vanishes (`keepalive`).
    pub(crate) fn tcp(stream: TcpStream, keepalive: Option<&TcpKeepalive>) -> Self {
        set_tcp_options(&SockRef::from(&stream), keepalive);
        Self::Tcp(stream)
    }

    /// A stream from `accept` of a listener with [`set_inherited_options`].
    pub(crate) fn accepted(stream: TcpStream, keepalive: Option<&TcpKeepalive>) -> Self {
        if IS_INHERITED {
            return Self::Tcp(stream);
        }
        Self::tcp(stream, keepalive)
    }

    /// Waits until reading is worth a try. One task at a time may wait: the task that waited last is
    /// woken. In return the future takes a word, where tokio's own takes 200 bytes. Cancel-safe.
    pub(crate) fn readable(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |context| match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.poll_read_ready(context),
        })
    }

    /// Waits until writing is worth a try, as [`Stream::readable`] does. Cancel-safe.
    pub(crate) fn writable(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |context| match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.poll_write_ready(context),
        })
    }

    /// Reads what has arrived into the spare room of `buffer`, which must have some. Returns 0 if the
    /// peer has closed its side.
    ///
    /// A read that leaves room has taken everything, so the stream then counts as not readable until
    /// more arrives. That saves a second read, which would only find nothing. tokio's own `poll_read`
    /// does the same where the system tells of each arrival (epoll).
    pub(crate) fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        #[cfg(test)]
        count::READS.set(count::READS.get() + 1);
        let room = buffer.remaining_mut();
        let mut read = 0;
        // What arrives after this begins makes the stream readable again: the outer call takes back
        // only the readiness that it has found.
        let tried = self.try_io(|| {
            read = retry_interrupted(|| match self {
                Self::Tcp(stream) => stream.try_read_buf(buffer),
                #[cfg(unix)]
                Self::Ipc(stream) => stream.try_read_buf(buffer),
            })?;
            let has_all = cfg!(target_os = "linux") && read > 0 && read < room;
            if has_all {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match tried {
            Err(_) if read > 0 => Ok(read),
            tried => tried.map(|()| read),
        }
    }

    fn try_io(&self, read: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, read),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.try_io(Interest::READABLE, read),
        }
    }

    /// Writes `parts` one after the other, as much as the system takes. Returns how many bytes that
    /// were.
    pub(crate) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(test)]
        count::WRITES.set(count::WRITES.get() + 1);
        let last = parts.iter().rposition(|part| !part.is_empty());
        let parts = &parts[..last.map_or(0, |last| last + 1)];
        retry_interrupted(|| match self {
            Self::Tcp(stream) => stream.try_write_vectored(parts),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.try_write_vectored(parts),
        })
    }

    /// Reads and drops what the peer sends until it closes its side, but no more than about `limit`
    /// bytes.
    pub(crate) async fn discard(&self, limit: usize) -> io::Result<()> {
        discard(&mut &*self, limit).await
    }

    /// Ends a connection so that the peer can read what was sent last, `error_frame` at the end.
    pub(crate) async fn close_gracefully(&self, error_frame: HandshakeBytes, limits: &Limits) {
        linger::close_gracefully(&mut &*self, &TokioClock, error_frame, limits).await;
    }

    /// Makes the coming close a reset, so that the peer learns that it was not read to the end, and
    /// the system keeps nothing of the connection.
    pub(crate) fn reset_when_closed(&self) {
        let done = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            // The system resets a connection whose peer's bytes are unread.
            #[cfg(unix)]
            Self::Ipc(_) => Ok(()),
        };
        // The close is an ordinary one then.
        if let Err(error) = done {
            tracing::trace!(%error, "cannot make a close a reset");
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shutdown_write(&self) {
        let done = match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Ipc(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        };
        // This fails if the peer is gone already.
        if let Err(error) = done {
            tracing::trace!(%error, "cannot shut down writing");
        }
    }

    /// The address of the peer. For ipc that is its user, group and process, as the kernel reports
    /// them.
    pub(crate) fn peer(&self) -> io::Result<PeerContext> {
        match self {
            Self::Tcp(stream) => stream.peer_context(),
            #[cfg(unix)]
            Self::Ipc(stream) => stream.peer_context(),
        }
    }
}

/// Counts this thread's attempts to read and to write, which are at least its system calls.
#[cfg(test)]
pub(crate) mod count {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static READS: Cell<usize> = const { Cell::new(0) };
        pub(crate) static WRITES: Cell<usize> = const { Cell::new(0) };
    }

    /// How many there were since the last call.
    pub(crate) fn taken() -> [usize; 2] {
        [READS.take(), WRITES.take()]
    }
}

/// tokio counts each wait for readiness against the turn of the task, so a peer that sends without end
/// does not keep the other tasks of the thread waiting.
impl ByteStream for &Stream {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut Limit<&mut BytesMut>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(match self {
                Stream::Tcp(stream) => stream.poll_read_ready(cx),
                #[cfg(unix)]
                Stream::Ipc(stream) => stream.poll_read_ready(cx),
            })?;
            match self.try_read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(match self {
                Stream::Tcp(stream) => stream.poll_write_ready(cx),
                #[cfg(unix)]
                Stream::Ipc(stream) => stream.poll_write_ready(cx),
            })?;
            match self.try_write(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

/// Our own user id, as the other end of an ipc connection sees it.
#[cfg(unix)]
pub(crate) fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Without ipc there is no user to compare with.
#[cfg(not(unix))]
pub(crate) fn own_uid() -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether an accepted connection has the options of its listener. Linux copies them, so that the five
/// system calls are made once for a listener and not for each connection.
const IS_INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Sets the options that the connections of a listener inherit, before it listens.
pub(crate) fn set_inherited_options(listener: &Socket, keepalive: Option<&TcpKeepalive>) {
    if IS_INHERITED {
        set_tcp_options(&SockRef::from(listener), keepalive);
    }
}

fn set_tcp_options(socket: &SockRef<'_>, keepalive: Option<&TcpKeepalive>) {
    // These fail only on a socket that is dead already. The next read reports that.
    if let Err(error) = socket.set_tcp_nodelay(true) {
        tracing::trace!(%error, "cannot set TCP_NODELAY");
    }
    if let Some(keepalive) = keepalive
        && let Err(error) = socket.set_tcp_keepalive(&as_system(keepalive))
    {
        tracing::debug!(%error, "cannot set TCP keepalive");
    }
}

/// The settings in the system's form. The system counts in whole seconds and refuses 0.
fn as_system(keepalive: &TcpKeepalive) -> socket2::TcpKeepalive {
    let at_least_a_second = |time: Duration| time.max(Duration::from_secs(1));
    let system = socket2::TcpKeepalive::new().with_time(at_least_a_second(keepalive.idle));
    // These systems have no setting but the idle time.
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris")))]
    let system = system
        .with_interval(at_least_a_second(keepalive.interval))
        .with_retries(keepalive.retries.max(1));
    system
}

fn retry_interrupted(mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Connects to the first address of `endpoint` that accepts. [`Options::connect_timeout`] bounds the
/// name resolution and each attempt.
pub(crate) async fn connect(endpoint: &Endpoint, options: &Options) -> Result<Stream, NetError> {
    endpoint.require_connectable()?;
    let limit = options.connect_timeout;
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let mut last = io::ErrorKind::NotFound.into();
            for address in resolve(host, *port, limit).await? {
                match in_time(limit, connect_tcp(address, options)).await {
                    Ok(stream) => return Ok(Stream::Tcp(stream)),
                    Err(error) => last = error,
                }
            }
            Err(NetError::io("connect")(last))
        }
        #[cfg(unix)]
        Endpoint::IpcPath(path) => in_time(limit, UnixStream::connect(path))
            .await
            .map(Stream::Ipc)
            .map_err(NetError::io("connect")),
        #[cfg(unix)]
        Endpoint::IpcAbstract(name) => {
            // tokio takes a path that begins with a zero byte for an abstract name.
            in_time(limit, UnixStream::connect(format!("\0{name}")))
                .await
                .map(Stream::Ipc)
                .map_err(NetError::io("connect"))
        }
        Endpoint::Inproc(_) => Err(EndpointError::Inproc.into()),
        #[cfg(not(unix))]
        _ => Err(EndpointError::NotOnThisSystem.into()),
    }
}

/// Connects. The options are set first, so that nothing keeps the greeting waiting after that.
async fn connect_tcp(address: SocketAddr, options: &Options) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    set_tcp_options(&SockRef::from(&socket), options.tcp_keepalive.as_ref());
    socket.connect(address).await
}

/// Bounds a step by time.
///
/// # Errors
/// Returns [`io::ErrorKind::TimedOut`] if it takes longer.
async fn in_time<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Resolves a host to one or more addresses. [`Host::Any`] has none to connect to.
pub(crate) async fn resolve(
    host: &Host,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, NetError> {
    let name = match host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Any => return Err(EndpointError::Wildcard(format!("tcp://*:{port}")).into()),
        Host::Scoped(ip, scope) => format!("{ip}%{scope}"),
        Host::Name(name) => name.clone(),
    };
    let failed = |source| NetError::Resolve {
        host: name.clone(),
        source: Arc::new(source),
    };
    let addresses: Vec<SocketAddr> = in_time(limit, tokio::net::lookup_host((name.as_str(), port)))
        .await
        .map_err(failed)?
        .collect();
    if addresses.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::socket::bind::Bound;
    use std::io::Write;
    use std::pin::pin;

    #[tokio::test]
    async fn discarding_lets_other_tasks_run_between_reads() {
        const MUCH: usize = 64 * 1024;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = Stream::tcp(TcpStream::connect(address).await.unwrap(), None);
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(&vec![7; MUCH]).unwrap();
        ours.readable().await.unwrap();
        let mut turns = 0;
        let mut discarding = pin!(ours.discard(MUCH));
        std::future::poll_fn(|context| {
            // Use up most of tokio's budget for the first turn.
            for _ in 0..if turns == 0 { 125 } else { 0 } {
                let _ = pin!(tokio::task::coop::consume_budget()).poll(context);
            }
            turns += 1;
            discarding.as_mut().poll(context)
        })
        .await
        .unwrap();
        assert!(turns > 1);
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_read_that_leaves_room_is_not_repeated_before_more_arrives() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = Stream::tcp(TcpStream::connect(address).await.unwrap(), None);
        let (mut peer, _) = listener.accept().unwrap();
        let read = |max| {
            let mut buffer = BytesMut::with_capacity(100);
            ours.try_read(&mut (&mut buffer).limit(max)).unwrap()
        };
        let is_readable = || {
            let mut context = Context::from_waker(std::task::Waker::noop());
            pin!(ours.readable()).poll(&mut context).is_ready()
        };
        for _ in 0..3 {
            peer.write_all(b"ten bytes.").unwrap();
            ours.readable().await.unwrap();
            assert_eq!(read(4), 4);
            // It has filled its room, so more may wait.
            assert!(is_readable());
            assert_eq!(read(50), 6);
            assert!(!is_readable());
        }
        // Neither what arrives later nor the end is missed.
        peer.write_all(b"last").unwrap();
        drop(peer);
        ours.readable().await.unwrap();
        assert_eq!(read(50), 4);
        ours.readable().await.unwrap();
        assert_eq!(read(50), 0);
    }

    /// The keepalive of both ends of a connection with `options`: idle time, interval and retries, if
    /// it is on.
    async fn keepalives(options: &Options) -> [Option<(u64, u64, u32)>; 2] {
        let any_port = "tcp://127.0.0.1:*".parse().unwrap();
        let (acceptor, local) = Bound::bind(&any_port, options).await.unwrap();
        let (accepted, made) = tokio::join!(acceptor.accept(), connect(&local, options));
        [accepted.unwrap().0, made.unwrap()].map(|stream| {
            let Stream::Tcp(stream) = &stream else {
                panic!("{stream:?}");
            };
            let socket = SockRef::from(stream);
            assert!(socket.tcp_nodelay().unwrap());
            let figures = (
                socket.tcp_keepalive_time().unwrap().as_secs(),
                socket.tcp_keepalive_interval().unwrap().as_secs(),
                socket.tcp_keepalive_retries().unwrap(),
            );
            socket.keepalive().unwrap().then_some(figures)
        })
    }

    #[tokio::test]
    async fn both_ends_of_a_tcp_connection_use_the_keepalive_of_the_options() {
        let mut options = Options::default();
        assert_eq!(keepalives(&options).await, [Some((60, 15, 4)); 2]);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_millis(1),
            interval: Duration::from_secs(2),
            retries: 0,
        });
        assert_eq!(keepalives(&options).await, [Some((1, 2, 1)); 2]);
        options.tcp_keepalive = None;
        assert_eq!(keepalives(&options).await, [None; 2]);
    }
}

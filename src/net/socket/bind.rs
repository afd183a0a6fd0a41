//! Listening sockets over tcp and ipc.
//!
//! A wildcard binds IPv6 and IPv4 together. The file of an ipc socket is at no time open to more
//! users than [`Options::ipc_mode`] says, is never taken from a live listener, and is removed with
//! the listener.
#![forbid(unsafe_code)]

use crate::mechanism::session::PeerContext;
use crate::net::endpoint::{Endpoint, EndpointError, Host};
use crate::net::error::NetError;
use crate::net::options::{Options, TcpKeepalive};
use crate::net::socket::stream::{Stream, resolve, set_inherited_options};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;
#[cfg(unix)]
use {
    crate::net::socket::socket_file::{self, SocketFile},
    socket2::SockAddr,
    std::fs,
    std::os::fd::OwnedFd,
    std::os::unix::fs::{FileTypeExt, PermissionsExt},
    std::path::Path,
    std::time::Duration,
    tokio::net::UnixListener,
};

/// How often to try for the lock of a directory in which another listener of this crate binds: with
/// [`LOCK_PAUSE`] for one second. A bind takes far less than one pause.
#[cfg(unix)]
const LOCK_ATTEMPTS: u32 = 100;
/// Time between two attempts.
#[cfg(unix)]
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp {
        listener: TcpListener,
        /// Applied to accepted connections.
        keepalive: Option<TcpKeepalive>,
    },
    #[cfg(unix)]
    Ipc {
        listener: UnixListener,
        /// Removed with the listener. An abstract socket has no file.
        _file: Option<SocketFile>,
    },
}

impl Bound {
    /// Binds and listens. The returned endpoint names the port that the system has chosen.
    pub(crate) async fn bind(
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<(Self, Endpoint), NetError> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let listener = bind_tcp(endpoint, host, *port, options).await?;
                let local = listener.local_addr().map_err(NetError::bind(endpoint))?;
                let host = match host {
                    Host::Scoped(..) | Host::Name(_) => host.clone(),
                    Host::Any | Host::Ip(_) => Host::Ip(local.ip()),
                };
                let port = local.port();
                let keepalive = options.tcp_keepalive.clone();
                let acceptor = Self::Tcp {
                    listener,
                    keepalive,
                };
                Ok((acceptor, Endpoint::Tcp { host, port }))
            }
            #[cfg(unix)]
            Endpoint::IpcPath(path) => {
                let (listener, file) = bind_path(path, options)
                    .await
                    .map_err(NetError::bind(endpoint))?;
                let _file = Some(file);
                Ok((Self::Ipc { listener, _file }, endpoint.clone()))
            }
            #[cfg(unix)]
            Endpoint::IpcAbstract(name) => {
                let listener = unix_socket(Path::new(&format!("\0{name}")))
                    .and_then(|socket| listen_unix(socket, options))
                    .map_err(NetError::bind(endpoint))?;
                let _file = None;
                Ok((Self::Ipc { listener, _file }, endpoint.clone()))
            }
            Endpoint::Inproc(_) => Err(EndpointError::Inproc.into()),
            #[cfg(not(unix))]
            _ => Err(EndpointError::NotOnThisSystem.into()),
        }
    }

    /// Accepts the next connection, with the address of its peer. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, PeerContext)> {
        match self {
            Self::Tcp {
                listener,
                keepalive,
            } => {
                let (stream, address) = listener.accept().await?;
                let stream = Stream::accepted(stream, keepalive.as_ref());
                Ok((stream, address.into()))
            }
            #[cfg(unix)]
            Self::Ipc { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let stream = Stream::Ipc(stream);
                let context = stream.peer().map_err(|_| io::ErrorKind::NotConnected)?;
                Ok((stream, context))
            }
        }
    }
}

/// Binds the first address that can be bound.
async fn bind_tcp(
    endpoint: &Endpoint,
    host: &Host,
    port: u16,
    options: &Options,
) -> Result<TcpListener, NetError> {
    let candidates = match host {
        // Both protocols where there is IPv6, else IPv4 alone.
        Host::Any => vec![
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        ],
        host => resolve(host, port, options.connect_timeout).await?,
    };
    let mut first_error = None;
    for address in candidates {
        match listen_tcp(address, matches!(host, Host::Any), options) {
            Ok(listener) => return Ok(listener),
            // Another program has the port. Binding IPv4 alone might succeed and would hide that.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(NetError::bind(endpoint)(error));
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    let error = first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    Err(NetError::bind(endpoint)(error))
}

fn listen_tcp(address: SocketAddr, wildcard: bool, options: &Options) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if wildcard && address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // On Windows this option would let another program take over the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    set_inherited_options(&socket, options.tcp_keepalive.as_ref());
    socket.listen(system_backlog(options.backlog))?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Binds an ipc socket to a file. No peer can connect between bind and listen, so the file's mode is
/// set in time. A socket that does not listen yet looks stale, so a lock on the directory keeps other
/// listeners of this crate from removing it.
#[cfg(unix)]
async fn bind_path(path: &Path, options: &Options) -> io::Result<(UnixListener, SocketFile)> {
    let mode = options.ipc_mode & 0o777;
    let socket = private_socket(mode)?;
    let address = SockAddr::unix(path)?;
    let lock = lock_directory(path).await;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && lock.is_some() => {
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile::new(path)?;
    socket_file::widen(path, mode)?;
    Ok((listen_unix(socket, options)?, file))
}

/// A socket whose file will have `mode`, or fewer bits. Linux gives the file the mode that the socket
/// has before bind, without the bits of the umask. Setting the mode afterwards means to look the path
/// up again, and by then it could be a link to another file.
#[cfg(unix)]
fn private_socket(mode: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let file = fs::File::from(OwnedFd::from(socket));
    // Other systems may refuse this. There `widen` sets the mode after bind.
    if let Err(error) = file.set_permissions(fs::Permissions::from_mode(mode)) {
        tracing::trace!(%error, "cannot set the mode of an ipc socket before bind");
    }
    Ok(OwnedFd::from(file).into())
}

/// Locks the directory of `path` against other listeners of this crate, until the returned file is
/// dropped. Returns `None` if the directory cannot be locked, or if another process keeps the lock
/// for long. Then the caller removes no file.
#[cfg(unix)]
async fn lock_directory(path: &Path) -> Option<fs::File> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = fs::File::open(directory.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(fs::TryLockError::Error(_)) => return None,
        }
    }
    None
}

#[cfg(unix)]
fn unix_socket(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The backlog in the system's type. The system lowers a greater one to what it allows.
fn system_backlog(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

#[cfg(unix)]
fn listen_unix(socket: Socket, options: &Options) -> io::Result<UnixListener> {
    socket.listen(system_backlog(options.backlog))?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// Removes a socket file that a listener has left behind.
///
/// # Errors
/// Returns [`io::ErrorKind::AddrInUse`] if there is another kind of file, or a process has the socket
/// bound.
#[cfg(unix)]
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
    let before = fs::symlink_metadata(path)?;
    if !before.file_type().is_socket() {
        return Err(in_use());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener with a full backlog must not block us. Non-blocking, it reports that it is busy.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(in_use()),
    }
    // A socket that is bound and does not listen yet refuses connections too.
    if socket_file::is_starting(path) {
        return Err(in_use());
    }
    // Another program may have replaced the stale file since the first look.
    let after = fs::symlink_metadata(path)?;
    if !socket_file::is_same(&before, &after) {
        return Err(in_use());
    }
    fs::remove_file(path)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    async fn bind(path: &Path, options: &Options) -> Result<Bound, io::ErrorKind> {
        match Bound::bind(&Endpoint::IpcPath(path.into()), options).await {
            Ok((acceptor, _)) => Ok(acceptor),
            Err(NetError::Bind { source, .. }) => Err(source.kind()),
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_ipc_file_is_its_owners_alone_unless_told_otherwise_and_goes_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut options = Options::default();
        let acceptor = bind(&path, &options).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(acceptor);
        assert!(!path.exists());
        options.ipc_mode = 0o666;
        let _acceptor = bind(&path, &options).await.unwrap();
        assert_eq!(mode(&path), 0o666);
    }

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let options = Options::default();
        // A listener of the standard library leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = bind(&path, &options).await.unwrap();
        let second = bind(&path, &options).await;
        assert_eq!(second.unwrap_err(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_does_not_listen_yet_is_not_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let starting = unix_socket(&path).unwrap();
        let second = bind(&path, &Options::default()).await;
        assert_eq!(second.unwrap_err(), io::ErrorKind::AddrInUse);
        starting.listen(1).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(starting);
        assert!(bind(&path, &Options::default()).await.is_ok());
    }

    #[tokio::test]
    async fn of_many_listeners_that_find_a_stale_file_at_once_one_gets_its_place() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = directory.path().join(round.to_string());
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let start = std::sync::Arc::new(std::sync::Barrier::new(4));
            let binding = [(); 4].map(|()| {
                let (path, start) = (path.clone(), start.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    start.wait();
                    runtime.unwrap().block_on(bind(&path, &Options::default()))
                })
            });
            let bound = binding.map(|thread| thread.join().unwrap());
            let living: Vec<_> = bound.iter().filter(|bound| bound.is_ok()).collect();
            assert_eq!(living.len(), 1, "{bound:?}");
            assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_another_holds_the_directory_nothing_is_removed_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let held = fs::File::open(directory.path()).unwrap();
        held.lock().unwrap();
        let bound = bind(&path, &Options::default()).await;
        assert_eq!(bound.unwrap_err(), io::ErrorKind::AddrInUse);
        assert!(
            bind(&directory.path().join("other"), &Options::default())
                .await
                .is_ok()
        );
        drop(held);
        assert!(bind(&path, &Options::default()).await.is_ok());
    }

    #[tokio::test]
    async fn a_live_listener_with_a_full_backlog_is_still_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = unix_socket(&path).unwrap();
        socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            if client.connect(&SockAddr::unix(&path).unwrap()).is_err() {
                break;
            }
            waiting.push(client);
        }
        let second = bind(&path, &Options::default()).await;
        assert_eq!(second.unwrap_err(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        let bound = bind(&path, &Options::default()).await;
        assert_eq!(bound.unwrap_err(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[tokio::test]
    async fn a_successors_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let first = bind(&path, &Options::default()).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _second = bind(&path, &Options::default()).await.unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn wildcards_get_a_port_and_name_it() {
        for text in ["tcp://*:*", "tcp://127.0.0.1:0", "tcp://localhost:*"] {
            let endpoint = text.parse().unwrap();
            let (_acceptor, local) = Bound::bind(&endpoint, &Options::default()).await.unwrap();
            assert!(
                matches!(&local, Endpoint::Tcp { host, port } if *host != Host::Any && *port != 0),
                "{local}"
            );
        }
    }
}

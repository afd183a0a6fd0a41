//! The file of an ipc listener: its mode, whether a socket is still bound to it, and its removal.
#![forbid(unsafe_code)]

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use {
    std::ffi::OsStr,
    std::fs::OpenOptions,
    std::os::fd::AsRawFd,
    std::os::unix::ffi::OsStrExt,
    std::os::unix::fs::{FileTypeExt, OpenOptionsExt},
};

/// Adds the bits of `mode` that the umask has removed from the file of a socket that was just bound.
/// One descriptor is used to check the file and to set its mode. So another file, or a link, that was
/// put at `path` in the meantime keeps its mode.
#[cfg(target_os = "linux")]
pub(crate) fn widen(path: &Path, mode: u32) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() || metadata.nlink() != 1 {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if metadata.mode() & 0o777 == mode {
        return Ok(());
    }
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(descriptor, Permissions::from_mode(mode))
}

/// Sets the mode of the file of a socket that was just bound.
#[cfg(not(target_os = "linux"))]
pub(crate) fn widen(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Whether a stream socket that does not listen yet is bound to `path`. Such a socket refuses
/// connections, just as a stale file does.
///
/// The kernel's list of sockets has the path with which each was bound, but neither the working
/// directory nor the user. So only two paths count: the absolute one, and the one without links. If
/// relative paths counted, any user could bind the same relative path elsewhere and keep a stale file
/// in its place. The price: a socket that another program has bound by a relative path is taken for
/// stale until it listens.
#[cfg(target_os = "linux")]
pub(crate) fn is_starting(path: &Path) -> bool {
    // Without the list, no socket is known to be starting.
    let Ok(sockets) = fs::read("/proc/net/unix") else {
        return false;
    };
    let names = [std::path::absolute(path).ok(), fs::canonicalize(path).ok()];
    let mut lines = sockets.split(|byte| *byte == b'\n');
    lines.any(|line| {
        starting_path(line).is_some_and(|bound| names.iter().flatten().any(|name| name == bound))
    })
}

/// The path in a line of `/proc/net/unix`, if the line describes such a socket. The columns are
/// number, references, protocol, flags, type, state, inode, path. Flags of 0 mean that it does not
/// listen, type 1 is a stream, state 1 is not connected.
#[cfg(target_os = "linux")]
fn starting_path(line: &[u8]) -> Option<&Path> {
    let mut rest = line;
    let mut column = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (column, after) = rest.split_at(end);
        rest = after;
        Some(column)
    };
    let [_, _, _, flags, kind, state, _] = std::array::from_fn(|_| column());
    let is_starting = [flags, kind, state] == [&b"00000000"[..], b"0001", b"01"].map(Some);
    let path = rest
        .strip_prefix(b" ")
        .filter(|path| !path.starts_with(b"@"))?;
    is_starting.then(|| Path::new(OsStr::from_bytes(path)))
}

/// Other systems have no such list.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn is_starting(_: &Path) -> bool {
    false
}

/// Whether both are metadata of the same file.
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The file of an ipc listener. It is removed when this is dropped, unless another file has taken its
/// place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            // The working directory may change before the file is removed.
            path: std::path::absolute(path)?,
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the ipc socket");
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_that_was_put_in_the_place_of_a_socket_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "data").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let link = directory.path().join("link");
        symlink(&secret, &link).unwrap();
        let other = directory.path().join("other");
        let _other = UnixListener::bind(&other).unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o600)).unwrap();
        let hard_link = directory.path().join("hard link");
        fs::hard_link(&other, &hard_link).unwrap();
        for place in [&link, &secret, &hard_link, &directory.path().to_owned()] {
            assert!(widen(place, 0o666).is_err(), "{place:?}");
        }
        assert_eq!((mode(&secret), mode(&other)), (0o600, 0o600));
        fs::remove_file(&hard_link).unwrap();
        widen(&other, 0o666).unwrap();
        assert_eq!(mode(&other), 0o666);
    }

    #[test]
    fn a_socket_counts_as_starting_from_bind_to_listen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a socket");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        assert!(is_starting(&path));
        assert!(is_starting(&link.join("a socket")));
        // Another file of that name, in another directory.
        let elsewhere = tempfile::tempdir().unwrap();
        let other = elsewhere.path().join("a socket");
        drop(UnixListener::bind(&other).unwrap());
        assert!(!is_starting(&other));
        socket.listen(1).unwrap();
        assert!(!is_starting(&path));
        drop(socket);
        assert!(!is_starting(&path));
    }

    #[test]
    fn a_socket_without_a_path_or_with_other_columns_is_not_starting() {
        let starting = |line: &'static str| starting_path(line.as_bytes());
        let line = "0000000000000000: 00000002 00000000 00000000 0001 01    42 run/a b";
        assert_eq!(starting(line), Some(Path::new("run/a b")));
        for line in [
            "",
            "Num       RefCount Protocol Flags    Type St Inode Path",
            "0000000000000000: 00000002 00000000 00000000 0001 01 4242",
            "0000000000000000: 00000002 00000000 00000000 0001 01 4242 @abstract",
            "0000000000000000: 00000002 00000000 00010000 0001 01 4242 /listening",
            "0000000000000000: 00000002 00000000 00000000 0002 01 4242 /datagrams",
            "0000000000000000: 00000003 00000000 00000000 0001 03 4242 /connected",
        ] {
            assert_eq!(starting(line), None, "{line}");
        }
    }
}

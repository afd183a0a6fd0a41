//! The address of a peer, as a ZAP request carries it (RFC 27, "The Request", address frame).
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;

/// The origin of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddress {
    /// An IP address without a port. An IPv4 client of an IPv6 socket is kept as
    /// `::ffff:a.b.c.d`, which is how libzmq shows it. Policy treats both forms alike.
    Ip(IpAddr),
    /// An IPv6 address with its zone: the name or number of an interface.
    ScopedIp(Ipv6Addr, Box<str>),
    /// A process on this machine, connected over ipc.
    Ipc(IpcPeer),
    /// Another socket of this process, which no handshake has admitted.
    InProcess,
    /// Anything else, as its bytes. Only an exact address rule matches it, and a deny list
    /// always refuses it.
    Other(Bytes),
}

/// What the kernel says about the process at the other end of an ipc connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a rule or a test names all that the kernel says of a peer"
)]
pub struct IpcPeer {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, where the operating system gives it.
    pub pid: Option<u32>,
}

/// The text is not the address of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error(
    "not the address of a peer: write an IP address without a port, an IPv6 address with its zone \
     such as fe80::1%eth0, or localhost:UID:GID:PID"
)]
#[non_exhaustive]
pub struct PeerAddressError;

const IPC_PREFIX: &str = "localhost:";

/// The peer of a Unix socket, as the kernel reports it:
/// `PeerAddress::from(stream.peer_cred()?)`.
#[cfg(all(unix, feature = "tokio"))]
impl From<tokio::net::unix::UCred> for PeerAddress {
    fn from(peer: tokio::net::unix::UCred) -> Self {
        Self::Ipc(IpcPeer {
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()),
        })
    }
}

impl PeerAddress {
    /// Reads a ZAP address frame. It never fails: bytes of no known form become
    /// [`PeerAddress::Other`].
    #[must_use]
    pub fn from_zap(frame: &[u8]) -> Self {
        if let Some(ip) = dotted_quad(frame) {
            return ip.into();
        }
        std::str::from_utf8(frame)
            .ok()
            .and_then(Self::from_text)
            .unwrap_or_else(|| Self::Other(Bytes::copy_from_slice(frame)))
    }

    fn from_text(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        if let Some((ip, scope)) = text.split_once('%') {
            let ip = ip.parse().ok()?;
            // Names of interfaces have no other bytes, and no others may reach a log line.
            let is_name = !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
            return is_name.then(|| Self::ScopedIp(ip, scope.into()));
        }
        let mut fields = text.strip_prefix(IPC_PREFIX)?.split(':');
        let uid = number(fields.next()?)?;
        let gid = number(fields.next()?)?;
        let pid = match fields.next()? {
            "" => None,
            pid => Some(number(pid)?),
        };
        fields
            .next()
            .is_none()
            .then_some(Self::Ipc(IpcPeer { uid, gid, pid }))
    }

    /// The bytes of the ZAP address frame: a numeric host without port, or
    /// `localhost:uid:gid:pid`.
    #[must_use]
    pub fn to_zap(&self) -> Bytes {
        match self {
            Self::Other(bytes) => bytes.clone(),
            known => Bytes::from(known.to_string()),
        }
    }

    /// The address as log lines show it: with the port, if there is one.
    pub(crate) fn with_port(&self, port: Option<u16>) -> impl fmt::Display {
        struct WithPort<'a>(&'a PeerAddress, Option<u16>);

        impl fmt::Display for WithPort<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match (self.0, self.1) {
                    (PeerAddress::Ip(ip), Some(port)) => SocketAddr::new(*ip, port).fmt(f),
                    (PeerAddress::ScopedIp(ip, scope), Some(port)) => {
                        write!(f, "[{ip}%{scope}]:{port}")
                    }
                    (address, _) => address.fmt(f),
                }
            }
        }

        WithPort(self, port)
    }

    /// The IP address, with v4-mapped addresses converted to IPv4, for comparisons. `None` for ipc,
    /// for this process and for addresses of no known form.
    #[must_use]
    pub fn canonical_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip.to_canonical()),
            Self::ScopedIp(ip, _) => Some(IpAddr::V6(*ip).to_canonical()),
            Self::Ipc(_) | Self::InProcess | Self::Other(_) => None,
        }
    }

    /// Whether the peer is on this machine: loopback, ipc or this process.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Ipc(_) | Self::InProcess)
            || self.canonical_ip().is_some_and(|ip| ip.is_loopback())
    }
}

/// Parses the form of most peers' addresses, four numbers with dots, in less time than the parser of all
/// forms. `None` for every other form.
fn dotted_quad(text: &[u8]) -> Option<Ipv4Addr> {
    let digit = |byte: &u8| Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    let mut bits = 0;
    let mut rest = text;
    for at in 0..4 {
        if at > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (first, mut after) = rest.split_first()?;
        let mut number = u32::from(digit(first)?);
        // No number begins with a zero: some systems read it as octal.
        if number > 0 {
            for _ in 0..2 {
                let Some((byte, more)) = after.split_first() else {
                    break;
                };
                let Some(next) = digit(byte) else {
                    break;
                };
                number = number * 10 + u32::from(next);
                after = more;
            }
        }
        bits = bits << 8 | u32::from(u8::try_from(number).ok()?);
        rest = after;
    }
    rest.is_empty().then_some(Ipv4Addr::from_bits(bits))
}

/// Parses decimal digits only. `u32::from_str` would also accept a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    /// Parses what `Display` shows, in every form but [`PeerAddress::InProcess`], which nothing outside
    /// of the process can claim, and [`PeerAddress::Other`], which [`PeerAddress::from_zap`] takes.
    ///
    /// # Errors
    /// Returns [`PeerAddressError`] if the text has none of the known forms.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(text).ok_or(PeerAddressError)
    }
}

impl From<IpAddr> for PeerAddress {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl From<Ipv4Addr> for PeerAddress {
    fn from(ip: Ipv4Addr) -> Self {
        Self::Ip(ip.into())
    }
}

impl From<Ipv6Addr> for PeerAddress {
    fn from(ip: Ipv6Addr) -> Self {
        Self::Ip(ip.into())
    }
}

impl From<IpcPeer> for PeerAddress {
    fn from(peer: IpcPeer) -> Self {
        Self::Ipc(peer)
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                Self::ScopedIp(*v6.ip(), v6.scope_id().to_string().into())
            }
            other => Self::Ip(other.ip()),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::ScopedIp(ip, scope) => write!(f, "{ip}%{scope}"),
            Self::Ipc(IpcPeer { uid, gid, pid }) => {
                write!(f, "{IPC_PREFIX}{uid}:{gid}:")?;
                pid.map_or(Ok(()), |pid| write!(f, "{pid}"))
            }
            Self::InProcess => f.write_str("inproc"),
            Self::Other(bytes) => f.write_str(&crate::printable::printable(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_that_libzmq_sends_read_back() {
        for text in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1%eth0",
            "localhost:1000:100:4711",
        ] {
            let address = PeerAddress::from_zap(text.as_bytes());
            assert!(!matches!(address, PeerAddress::Other(_)), "{text}");
            assert_eq!(address.to_zap(), text);
        }
    }

    #[test]
    fn everything_else_is_kept_as_bytes() {
        for bytes in [
            &b"localhost:+1:2:3"[..],
            b"localhost:1:2",
            b"fe80::1%",
            b"fe80::1%eth0\nforged",
            b"\xFF",
            b"",
        ] {
            let address = PeerAddress::from_zap(bytes);
            assert_eq!(address, PeerAddress::Other(Bytes::copy_from_slice(bytes)));
            assert_eq!(address.to_zap(), bytes);
        }
    }

    #[test]
    fn a_port_is_shown_with_an_ip_address_and_with_nothing_else() {
        for (address, shown) in [
            ("192.0.2.1", "192.0.2.1:5555"),
            ("2001:db8::1", "[2001:db8::1]:5555"),
            ("fe80::1%eth0", "[fe80::1%eth0]:5555"),
            ("localhost:1000:100:4711", "localhost:1000:100:4711"),
        ] {
            let address = PeerAddress::from_zap(address.as_bytes());
            assert_eq!(address.with_port(Some(5555)).to_string(), shown);
            assert_eq!(address.with_port(None).to_string(), address.to_string());
        }
    }

    proptest! {
        #[test]
        fn an_address_with_dots_is_read_as_the_system_reads_it(
            text in "([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9.]{1,15}|([0-9]{1,2}\\.){2,4}[0-9a.]?",
        ) {
            let address = text.parse::<IpAddr>().map(PeerAddress::Ip);
            let other = |_| PeerAddress::Other(Bytes::copy_from_slice(text.as_bytes()));
            prop_assert_eq!(PeerAddress::from_zap(text.as_bytes()), address.unwrap_or_else(other));
        }

        #[test]
        fn every_known_form_reads_back_from_its_text(
            ip in any::<IpAddr>(),
            v6 in any::<Ipv6Addr>(),
            zone in "[!-~]{1,8}",
            (uid, gid, pid) in any::<(u32, u32, Option<u32>)>(),
        ) {
            for address in [
                PeerAddress::Ip(ip),
                PeerAddress::ScopedIp(v6, zone.into()),
                PeerAddress::Ipc(IpcPeer { uid, gid, pid }),
            ] {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn a_text_parses_if_a_request_with_it_has_a_known_form(text in "[0-9a-f.:%]{0,24}|.{0,24}") {
            let known = match PeerAddress::from_zap(text.as_bytes()) {
                PeerAddress::Other(_) => Err(PeerAddressError),
                known => Ok(known),
            };
            prop_assert_eq!(text.parse(), known);
        }
    }

    #[test]
    fn nothing_that_arrives_says_that_it_is_of_this_process() {
        let shown = PeerAddress::InProcess.to_zap();
        assert_eq!(shown, "inproc");
        assert_eq!(
            PeerAddress::from_zap(&shown),
            PeerAddress::Other(shown.clone())
        );
        assert!("inproc".parse::<PeerAddress>().is_err());
        assert!(PeerAddress::InProcess.is_local());
    }

    #[test]
    fn mapped_v4_is_v4() {
        let mapped = PeerAddress::from_zap(b"::ffff:127.0.0.1");
        assert_eq!(mapped.canonical_ip(), Some("127.0.0.1".parse().unwrap()));
        assert!(mapped.is_local());
    }
}

//! Endpoints in text: `tcp://host:port` and `ipc://path`.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error as ThisError;

/// Where to bind or to connect.
///
/// | text | meaning |
/// |---|---|
/// | `tcp://127.0.0.1:5555`, `tcp://[::1]:5555` | a numeric address |
/// | `tcp://[fe80::1%eth0]:5555` | a scoped IPv6 address |
/// | `tcp://example.org:5555` | a host name, resolved at each attempt |
/// | `tcp://*:5555` | bind only: every address, IPv6 and IPv4 |
/// | `tcp://127.0.0.1:*`, `tcp://127.0.0.1:0` | bind only: the system chooses the port |
/// | `ipc:///run/app.sock` | a Unix socket at this path |
/// | `ipc://@name` | Linux: an abstract Unix socket. It has no file, so no file mode: every process in the network namespace can connect |
///
/// [`fmt::Display`] returns the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// The host.
        host: Host,
        /// The port; 0 means that the system chooses one.
        port: u16,
    },
    /// A Unix socket at a path of at most [`MAX_IPC_PATH`] bytes.
    IpcPath(PathBuf),
    /// A Linux abstract socket; its name without the leading zero byte.
    IpcAbstract(String),
    /// A name within this process. It has no security, so no text becomes such an endpoint, and `net`
    /// neither binds it nor connects to it. [`InProcess`](crate::net::InProcess) connects sockets of one
    /// process.
    Inproc(String),
}

/// The host of a TCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Host {
    /// `*`: every address of this machine.
    Any,
    /// A numeric address.
    Ip(IpAddr),
    /// A scoped IPv6 address: the interface by name or number.
    Scoped(Ipv6Addr, String),
    /// A name to resolve.
    Name(String),
}

/// Most bytes in the path of an ipc endpoint, which is what a Unix socket address holds before its
/// closing zero byte: 107 on Linux, 103 on systems with a shorter address.
pub const MAX_IPC_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Most bytes in a host name (RFC 1035, section 2.3.4).
const MAX_HOST_NAME: usize = 255;

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum EndpointError {
    /// This text has no `scheme://`.
    #[error("{0:?} does not begin with tcp:// or ipc://")]
    NoScheme(String),
    /// A transport that we do not speak.
    #[error("transport {0:?} is not supported, only tcp and ipc")]
    Transport(String),
    /// `inproc`, which has no security. [`InProcess`](crate::net::InProcess) connects sockets of one
    /// process, and the sockets of `zmtp-sockets` have calls for it.
    #[error(
        "inproc is within one program, and no endpoint here: sockets have bind_inproc and connect_inproc"
    )]
    Inproc,
    /// This text after `tcp://` has no `:port`.
    #[error("{0:?} does not end in :port")]
    NoPort(String),
    /// The port is neither a number up to 65535 nor `*`.
    #[error("{0:?} is not a port")]
    Port(String),
    /// The host is missing, or has characters that no host name has.
    #[error("{0:?} is not a host")]
    Host(String),
    /// This host is an IPv6 address without its brackets.
    #[error("{0:?} is no host: an IPv6 address stands in brackets, such as [::1]")]
    Brackets(String),
    /// An ipc path or name that is empty or holds a zero byte, or `*`, for which libzmq would
    /// choose a path.
    #[error("{0:?} is not an ipc path")]
    IpcPath(String),
    /// An ipc path longer than a Unix socket address holds.
    #[error("an ipc path of {0} bytes, {MAX_IPC_PATH} allowed")]
    IpcPathLength(usize),
    /// Abstract names exist on Linux only, and Unix sockets not on every system.
    #[error("this kind of ipc endpoint does not exist on this system")]
    NotOnThisSystem,
    /// This endpoint has the host `*`, or port 0, and can be bound but not connected to.
    #[error("{0:?} can be bound, but not connected to: it is a wildcard")]
    Wildcard(String),
}

impl Endpoint {
    /// Whether only processes of this machine can reach it, judged by the text alone: loopback
    /// addresses, `localhost`, ipc and inproc.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => match host {
                Host::Ip(ip) => ip.to_canonical().is_loopback(),
                Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
                Host::Any | Host::Scoped(..) => false,
            },
            Self::IpcPath(_) | Self::IpcAbstract(_) | Self::Inproc(_) => true,
        }
    }

    /// Checks that this endpoint can be connected to.
    pub(crate) fn require_connectable(&self) -> Result<(), EndpointError> {
        match self {
            Self::Tcp {
                host: Host::Any, ..
            }
            | Self::Tcp { port: 0, .. } => Err(EndpointError::Wildcard(shorten(&self.to_string()))),
            Self::Inproc(_) => Err(EndpointError::Inproc),
            _ => Ok(()),
        }
    }

    fn parse_tcp(rest: &str) -> Result<Self, EndpointError> {
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| EndpointError::NoPort(shorten(rest)))?;
        let port = match port {
            "*" => 0,
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits
                    .parse()
                    .map_err(|_| EndpointError::Port(shorten(port)))?
            }
            _ => return Err(EndpointError::Port(shorten(port))),
        };
        let host = Host::parse(host)?;
        Ok(Self::Tcp { host, port })
    }

    fn parse_ipc(rest: &str) -> Result<Self, EndpointError> {
        if !cfg!(unix) {
            return Err(EndpointError::NotOnThisSystem);
        }
        if rest.is_empty() || rest == "*" || rest == "@" || rest.contains('\0') {
            return Err(EndpointError::IpcPath(shorten(rest)));
        }
        if rest.len() > MAX_IPC_PATH {
            return Err(EndpointError::IpcPathLength(rest.len()));
        }
        match rest.strip_prefix('@') {
            Some(_) if !cfg!(target_os = "linux") => Err(EndpointError::NotOnThisSystem),
            Some(name) => Ok(Self::IpcAbstract(name.to_owned())),
            None => Ok(Self::IpcPath(rest.into())),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError::Host(shorten(text));
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(bad)?;
            return match inner.split_once('%') {
                Some((ip, scope)) if is_name(scope) => {
                    let ip = ip.parse().map_err(|_| bad())?;
                    Ok(Self::Scoped(ip, scope.to_owned()))
                }
                Some(_) => Err(bad()),
                None => inner
                    .parse::<Ipv6Addr>()
                    .map(|ip| Self::Ip(ip.into()))
                    .map_err(|_| bad()),
            };
        }
        if text.contains(':') {
            return Err(EndpointError::Brackets(shorten(text)));
        }
        match text.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(bad()),
        }
    }
}

/// Whether this can name a host or an interface. Only letters, digits, `-`, `_` and `.` pass, so
/// that no resolver meets anything else.
fn is_name(text: &str) -> bool {
    (1..=MAX_HOST_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The part of a bad text that an error quotes.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("://") {
            Some(("tcp", rest)) => Self::parse_tcp(rest),
            Some(("ipc", rest)) => Self::parse_ipc(rest),
            Some(("inproc", _)) => Err(EndpointError::Inproc),
            Some((other, _)) => Err(EndpointError::Transport(shorten(other))),
            None => Err(EndpointError::NoScheme(shorten(text))),
        }
    }
}

/// A text or an [`Endpoint`]. Sealed; implemented for every type that converts into an `Endpoint`
/// by [`TryInto`].
pub trait IntoEndpoint: sealed::IntoEndpoint {}

impl<T: sealed::IntoEndpoint> IntoEndpoint for T {}

mod sealed {
    use super::{Endpoint, EndpointError};

    /// Keeps [`super::IntoEndpoint`] from being implemented elsewhere.
    #[expect(unnameable_types, reason = "the trait is sealed")]
    pub trait IntoEndpoint {
        fn into_endpoint(self) -> Result<Endpoint, EndpointError>;
    }

    impl<T> IntoEndpoint for T
    where
        T: TryInto<Endpoint>,
        EndpointError: From<T::Error>,
    {
        fn into_endpoint(self) -> Result<Endpoint, EndpointError> {
            Ok(self.try_into()?)
        }
    }
}

/// Converting an [`Endpoint`] into itself cannot fail.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<&Self> for Endpoint {
    fn from(endpoint: &Self) -> Self {
        endpoint.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port: 0 } => write!(f, "tcp://{host}:*"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::IpcPath(path) => write!(f, "ipc://{}", path.display()),
            Self::IpcAbstract(name) => write!(f, "ipc://@{name}"),
            Self::Inproc(name) => write!(f, "inproc://{name}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Scoped(ip, scope) => write!(f, "[{ip}%{scope}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn every_form_reads_back_what_it_writes() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://[::1]:1",
            "tcp://[fe80::1%eth0]:65535",
            "tcp://*:5555",
            "tcp://*:*",
            "tcp://[::]:*",
            "tcp://example.org:80",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("tcp://127.0.0.1:0"), parse("tcp://127.0.0.1:*"));
    }

    #[cfg(unix)]
    #[test]
    fn paths_and_abstract_names_are_told_apart() {
        assert_eq!(
            parse("ipc:///run/a b:c.sock"),
            Ok(Endpoint::IpcPath("/run/a b:c.sock".into()))
        );
        assert_eq!(
            parse("ipc://relative"),
            Ok(Endpoint::IpcPath("relative".into()))
        );
        let abstract_name = parse("ipc://@name");
        if cfg!(target_os = "linux") {
            assert_eq!(abstract_name, Ok(Endpoint::IpcAbstract("name".into())));
            assert_eq!(abstract_name.unwrap().to_string(), "ipc://@name");
        } else {
            assert_eq!(abstract_name, Err(EndpointError::NotOnThisSystem));
        }
        for bad in ["ipc://", "ipc://*", "ipc://@", "ipc:///a\0b"] {
            assert!(
                matches!(parse(bad), Err(EndpointError::IpcPath(_))),
                "{bad:?}"
            );
        }
        let longest = format!("ipc://{}", "x".repeat(MAX_IPC_PATH));
        assert!(parse(&longest).is_ok());
        assert_eq!(
            parse(&(longest + "x")),
            Err(EndpointError::IpcPathLength(MAX_IPC_PATH + 1))
        );
    }

    #[test]
    fn each_mistake_has_its_name() {
        use EndpointError as E;
        assert_eq!(
            parse("127.0.0.1:5555"),
            Err(E::NoScheme("127.0.0.1:5555".into()))
        );
        assert_eq!(parse("udp://a:1"), Err(E::Transport("udp".into())));
        assert_eq!(parse("TCP://a:1"), Err(E::Transport("TCP".into())));
        assert_eq!(parse("tcp://localhost"), Err(E::NoPort("localhost".into())));
        assert_eq!(parse("inproc://a"), Err(E::Inproc));
        for port in ["", "-1", "+1", "65536", "http", "1 ", "**"] {
            assert_eq!(
                parse(&format!("tcp://a:{port}")),
                Err(E::Port(port.into())),
                "{port:?}"
            );
        }
        for host in [
            "",
            "a b",
            "a/b",
            "[::1",
            "[::1%]",
            "[1.2.3.4]",
            "eth0;a",
            "[x%y]",
        ] {
            assert_eq!(
                parse(&format!("tcp://{host}:1")),
                Err(E::Host(host.into())),
                "{host:?}"
            );
        }
        assert_eq!(parse("tcp://::1:5555"), Err(E::Brackets("::1".into())));
    }

    #[test]
    fn an_error_quotes_the_text_so_that_it_is_printable_and_short() {
        let shown = |text: &str| parse(text).unwrap_err().to_string();
        for (text, error) in [
            (
                "localhost:5555",
                r#""localhost:5555" does not begin with tcp:// or ipc://"#,
            ),
            (
                "inproc://a",
                "inproc is within one program, and no endpoint here: sockets have bind_inproc and connect_inproc",
            ),
            ("tcp://localhost", r#""localhost" does not end in :port"#),
            (
                "tcp://::1:5555",
                r#""::1" is no host: an IPv6 address stands in brackets, such as [::1]"#,
            ),
            (
                "\u{1b}[31m\n",
                r#""\u{1b}[31m\n" does not begin with tcp:// or ipc://"#,
            ),
        ] {
            assert_eq!(shown(text), error);
        }
        assert!(shown(&"x".repeat(10_000)).len() < 120);
        let wildcard = parse("tcp://*:5555").unwrap().require_connectable();
        assert_eq!(
            wildcard.unwrap_err().to_string(),
            r#""tcp://*:5555" can be bound, but not connected to: it is a wildcard"#
        );
    }

    #[test]
    fn wildcards_are_for_binding_alone() {
        for text in ["tcp://*:1", "tcp://a:*", "tcp://a:0"] {
            assert_eq!(
                parse(text).unwrap().require_connectable(),
                Err(EndpointError::Wildcard(text.replace(":0", ":*")))
            );
        }
        assert_eq!(parse("tcp://a:1").unwrap().require_connectable(), Ok(()));
    }

    #[test]
    fn local_means_loopback_or_ipc() {
        for local in [
            "tcp://127.8.9.1:1",
            "tcp://[::1]:1",
            "tcp://localhost:1",
            "tcp://[::ffff:127.0.0.1]:1",
        ] {
            assert!(parse(local).unwrap().is_local(), "{local}");
        }
        for remote in [
            "tcp://*:1",
            "tcp://[::]:1",
            "tcp://192.0.2.1:1",
            "tcp://example.org:1",
        ] {
            assert!(!parse(remote).unwrap().is_local(), "{remote}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_what_parses_reads_back(text in "(tcp://|ipc://)?.{0,80}") {
            if let Ok(endpoint) = parse(&text) {
                prop_assert_eq!(parse(&endpoint.to_string()), Ok(endpoint));
            }
        }
    }
}

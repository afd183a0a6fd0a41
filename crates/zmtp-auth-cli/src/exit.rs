//! How the program ends: exit codes, and the one line that says why.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::process::ExitCode;
use zmtp_auth::cert::CertificateError;
use zmtp_auth::net::{EndpointError, NetError};
use zmtp_auth::{ConfigError, Error, LocalError, Stage, Status};

/// What `--help` says of the codes.
pub(crate) const HELP: &str = "Exit codes:
  0  done
  1  anything that has no code of its own, such as an endpoint that cannot be bound, or a signal
     before all was sent and written
  2  wrong usage
  3  refused by the peer, with 400 or 500
  4  refused for now, with 300
  5  the peer breaks or does not speak the protocol, or the server key is wrong
  6  time-out
  7  unreachable
  8  the connection ended before everything was sent: messages may be lost";

/// The exit codes beside 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything that has no code of its own.
    Other = 1,
    /// Arguments that make no sense together, or name what cannot be used. clap's own code.
    Usage = 2,
    /// The peer refuses us with 400, 500 or a reason of its own.
    Refused = 3,
    /// The peer has no answer for now: status 300, which shows as a close.
    Temporary = 4,
    /// The two sides do not speak the same protocol, or hold the wrong keys.
    Protocol = 5,
    /// Somebody took too long.
    TimedOut = 6,
    /// There is nobody at that endpoint, or no way there.
    Unreachable = 7,
    /// The connection ended before everything was sent.
    Unsent = 8,
}

impl Exit {
    /// The code of a connection that failed.
    pub(crate) fn of(error: &NetError) -> Self {
        match error {
            NetError::Endpoint(_) | NetError::Tunnel(_) => Self::Usage,
            NetError::Resolve { .. } => Self::Unreachable,
            NetError::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                Self::TimedOut
            }
            NetError::Io { doing: "bind", .. } => Self::Other,
            NetError::Io { .. } => Self::Unreachable,
            NetError::Heartbeat(_) => Self::TimedOut,
            NetError::Unsent => Self::Unsent,
            NetError::Handshake(error) | NetError::Traffic(error) => Self::of_protocol(error),
            _ => Self::Other,
        }
    }

    /// The code of a handshake that failed.
    pub(crate) fn of_protocol(error: &Error) -> Self {
        match error {
            Error::RefusedByPeer(refusal) => match refusal.status {
                Some(Status::TemporaryError) => Self::Temporary,
                _ => Self::Refused,
            },
            // A status of 300 is not told: the peer closes where its answer was due.
            Error::ClosedByPeer(Stage::CurveReady | Stage::PlainWelcome | Stage::NullReady) => {
                Self::Temporary
            }
            Error::ClosedByPeer(_)
            | Error::Incompatible(_)
            | Error::Protocol(_)
            | Error::Crypto(_)
            | Error::Limit(_) => Self::Protocol,
            Error::Timeout(_) => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command has failed: a code for scripts and a line for people.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    /// A failure without a code of its own.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::with(Exit::Other, message)
    }

    /// Arguments that make no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::with(Exit::Usage, message)
    }

    /// What has happened at an endpoint of ours, which it names.
    pub(crate) fn at(endpoint: &str, error: &NetError) -> Self {
        Self::with(Exit::of(error), format_args!("{endpoint}: {error}"))
    }

    /// Stdin cannot be read.
    pub(crate) fn stdin(error: io::Error) -> Self {
        Self::new(format_args!("cannot read stdin: {error}"))
    }

    /// A line of stdin that is no message.
    pub(crate) fn long_line(max: usize) -> Self {
        Self::new(format_args!(
            "a line of stdin is longer than {max} bytes: raise --max-message"
        ))
    }

    /// A failure with this code.
    pub(crate) fn with(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self::with(Exit::of(&error), error)
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Self::usage(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        Self::new(error)
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::new(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

//! How the program ends: exit codes, and the one line that says why.
#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::io;
use std::process::ExitCode;
use zmtp_auth::cert::CertificateError;
use zmtp_auth::net::NetError;
use zmtp_auth::{ConfigError, Error, LikelyCause, LocalError, WithCauses};

/// What `--help` says of the codes.
pub(crate) const HELP: &str = "Exit codes:
  0  done
  1  any other failure, such as an endpoint that cannot be bound, a key file that cannot be read,
     a policy file that 'policy' cannot use, or a signal before everything was sent and written
  2  wrong usage, or a policy file that cannot be used or admits no peer in --domain
  3  refused by the peer, or by the policy that 'policy explain' reads, with status 400 or 500
  4  refused for now, with status 300: try again later
  5  the peer speaks another protocol or violates it, or the server key is wrong
  6  time-out
  7  unreachable
  8  the connection ended before everything was sent: messages may be lost";

/// The exit codes other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Any failure without a code of its own.
    Other = 1,
    /// The arguments contradict each other or name something unusable. clap uses the same code.
    Usage = 2,
    /// The peer refuses us with status 400, 500 or a reason of its own, or `policy explain` says that a
    /// peer would be refused so.
    Refused = 3,
    /// The peer cannot decide now, or the policy that is explained refuses for now. That is status 300, which
    /// shows as an early close.
    Temporary = 4,
    /// The two sides speak different protocols, or the keys do not match.
    Protocol = 5,
    /// A step took longer than its limit.
    TimedOut = 6,
    /// Nothing listens at the endpoint, or no route leads to it.
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
            NetError::Bind { .. } => Self::Other,
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
            // A status of 300 is not sent: the peer closes where its answer is due.
            _ if matches!(
                error.likely_cause(),
                Some(LikelyCause::TemporaryRefusal | LikelyCause::NoRoom)
            ) =>
            {
                Self::Temporary
            }
            Error::RefusedByPeer(_) => Self::Refused,
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
    /// Empty if the command has printed the reason itself.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with [`Exit::Other`].
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::with(Exit::Other, message)
    }

    /// A failure with [`Exit::Other`] whose reason the command has printed itself.
    pub(crate) const fn silent() -> Self {
        Self {
            exit: Exit::Other,
            message: String::new(),
        }
    }

    /// A failure with [`Exit::Usage`].
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::with(Exit::Usage, message)
    }

    /// A failure with [`Exit::Other`], from an error with its causes.
    pub(crate) fn of(error: impl error::Error + 'static) -> Self {
        Self::new(WithCauses(&error))
    }

    /// A failure with [`Exit::Usage`], from an error with its causes.
    pub(crate) fn usage_of(error: impl error::Error + 'static) -> Self {
        Self::usage(WithCauses(&error))
    }

    /// A failure at an endpoint, which the message names.
    pub(crate) fn at(endpoint: &str, error: &NetError) -> Self {
        let (exit, why) = (Exit::of(error), WithCauses(error));
        match error {
            NetError::Bind { .. } => Self::with(exit, why), // It names the endpoint.
            _ => Self::with(exit, format_args!("{endpoint}: {why}")),
        }
    }

    /// Standard input cannot be read.
    pub(crate) fn stdin(error: io::Error) -> Self {
        let why = WithCauses(&error);
        Self::new(format_args!("cannot read standard input: {why}"))
    }

    /// A line of standard input is longer than a message may be.
    pub(crate) fn long_line(max: usize) -> Self {
        Self::new(format_args!(
            "a line of standard input is longer than {max} bytes: raise --max-message"
        ))
    }

    /// A failure with the given exit code.
    pub(crate) fn with(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self::with(Exit::of(&error), WithCauses(&error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage_of(error)
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        Self::of(error)
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::of(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::of(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_each_cause_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = NetError::Io {
            doing: "connect",
            source: std::sync::Arc::new(refused),
        };
        assert!(error::Error::source(&error).is_some());
        let failure = Failure::from(error);
        assert_eq!(failure.message, "cannot connect: connection refused");
    }
}

//! Why a handshake failed, for a host to match on.
#![forbid(unsafe_code)]

use crate::access::credentials::Credential;
use crate::access::domain::Domain;
use crate::config::config_error::ConfigError;
use crate::error::{Error, Incompatible, Stage};
use crate::fault::LikelyCause;
use crate::host::byte_stream::ByteStream;
use crate::host::clock::Clock;
use crate::host::conduct::{Failure, StepError};
use crate::host::linger::close_gracefully;
use crate::host::subject::Subject;
use crate::limits::Limits;
use crate::wire::socket_type::SocketTypeError;
use std::fmt;
use std::io;

/// A handshake that failed. [`Failed::kind`] says how, [`Failed::error`] exactly why.
///
/// Converts into an [`io::Error`] whose kind fits the failure and from which
/// [`get_ref`](io::Error::get_ref) returns this value.
pub struct Failed(Box<Inner>);

struct Inner {
    stage: Stage,
    error: StepError,
    subject: Box<Subject>,
}

/// How a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The client has another server key than the server. On the client this is probable and not
    /// certain, because the server closes without a word.
    WrongServerKey,
    /// The peer's policy refuses us, with ZAP status 400 or 500.
    Refused,
    /// The peer probably refuses us for now. Its policy does, with ZAP status 300, or it has no room
    /// for us. Neither is sent: the server closes where its answer is due.
    RefusedForNow,
    /// A time-out of [`Limits`](crate::Limits), or of our own policy.
    TimedOut,
    /// The peer speaks another mechanism.
    OtherMechanism,
    /// The peer speaks ZMTP before 3.0, which has no security, or no ZMTP.
    OldProtocol,
    /// The peer's type of socket does not fit ours. If the peer has found that, it has closed without
    /// a word, and this kind is probable and not certain.
    SocketTypeMismatch,
    /// Our own policy refuses the peer, or has revoked its admission during the handshake.
    Denied,
    /// The peer closed the connection, for no probable reason.
    PeerClosed,
    /// The peer broke the protocol, exceeded a limit, or failed a cryptographic check.
    Protocol,
    /// The stream failed.
    Io,
    /// Our own side failed.
    Local,
}

impl Failed {
    /// Gives the peer time to read its ERROR, if it gets one.
    pub(crate) async fn after_linger(
        mut failure: Failure,
        stream: &mut impl ByteStream,
        clock: &impl Clock,
        limits: &Limits,
    ) -> Self {
        let error_frame = std::mem::take(&mut failure.error_frame);
        if !error_frame.is_empty() {
            close_gracefully(stream, clock, error_frame, limits).await;
        }
        failure.into()
    }

    /// What the handshake was waiting for.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.0.stage
    }

    /// Why it failed. `None` if the stream failed, with [`Failed::io_error`].
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        match &self.0.error {
            StepError::Protocol(error) => Some(error),
            StepError::Io(..) => None,
        }
    }

    /// The stream's error, if the stream failed.
    #[must_use]
    pub const fn io_error(&self) -> Option<&io::Error> {
        match &self.0.error {
            StepError::Protocol(_) => None,
            StepError::Io(_, error) => Some(error),
        }
    }

    /// How it failed.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.error().map_or(FailureKind::Io, FailureKind::of)
    }

    /// What the peer has authenticated itself by, as far as it came and a log may show it.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        self.0.subject.credential.as_ref()
    }

    /// The domain under which policy was asked about the peer, if it was.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        self.0.subject.domain.as_ref()
    }
}

impl FailureKind {
    /// The kind of this error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error.likely_cause() {
            Some(LikelyCause::WrongServerKey) => return Self::WrongServerKey,
            Some(LikelyCause::TemporaryRefusal | LikelyCause::NoRoom) => {
                return Self::RefusedForNow;
            }
            Some(LikelyCause::SocketTypeMismatch) => return Self::SocketTypeMismatch,
            None => {}
        }
        match error {
            Error::Incompatible(Incompatible::Mechanism { .. }) => Self::OtherMechanism,
            Error::Incompatible(Incompatible::NotZmtp3 | Incompatible::OldVersion { .. }) => {
                Self::OldProtocol
            }
            Error::Incompatible(Incompatible::SocketType { .. }) => Self::SocketTypeMismatch,
            Error::RefusedByPeer(_) => Self::Refused,
            Error::Denied(_) => Self::Denied,
            Error::ClosedByPeer(_) | Error::ResetByServer(_) => Self::PeerClosed,
            Error::Timeout(_) => Self::TimedOut,
            Error::Protocol(_) | Error::Crypto(_) | Error::Limit(_) => Self::Protocol,
            Error::Local(_) => Self::Local,
        }
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self(Box::new(Inner {
            stage: failure.stage,
            error: failure.error,
            subject: failure.subject,
        }))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.error {
            StepError::Protocol(_) => f.write_str("handshake failed"),
            StepError::Io(doing, _) => write!(f, "cannot {doing}"),
        }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed")
            .field("kind", &self.kind())
            .field("stage", &self.0.stage)
            .field("error", &self.0.error)
            .field("domain", &self.domain())
            .field("credential", &self.credential())
            .finish()
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match &self.0.error {
            StepError::Protocol(error) => error,
            StepError::Io(_, error) => error,
        })
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        let kind = match &failed.0.error {
            StepError::Protocol(error) => io_kind(error),
            StepError::Io(_, error) => error.kind(),
        };
        Self::new(kind, failed)
    }
}

/// The error is kept: [`io::Error::get_ref`] returns it.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io_kind(&error), error)
    }
}

/// The error is kept: [`io::Error::get_ref`] returns it.
impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The error is kept: [`io::Error::get_ref`] returns it.
impl From<SocketTypeError> for io::Error {
    fn from(error: SocketTypeError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The kind of I/O error that says most about this one.
pub(crate) const fn io_kind(error: &Error) -> io::ErrorKind {
    match error {
        Error::RefusedByPeer(_) | Error::Denied(_) => io::ErrorKind::PermissionDenied,
        Error::Incompatible(_) | Error::Protocol(_) | Error::Crypto(_) | Error::Limit(_) => {
            io::ErrorKind::InvalidData
        }
        Error::ClosedByPeer(_) => io::ErrorKind::UnexpectedEof,
        Error::ResetByServer(_) => io::ErrorKind::ConnectionReset,
        Error::Timeout(_) => io::ErrorKind::TimedOut,
        Error::Local(_) => io::ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CryptoError, LimitExceeded, LocalError, ProtocolError};
    use crate::status::{DenialStatus, Denied, PeerRefusal, Status};
    use crate::with_causes::WithCauses;
    use std::error::Error as _;

    fn failed(error: StepError) -> Failed {
        Failed::from(Failure {
            stage: Stage::CurveReady,
            error,
            subject: Box::default(),
            error_frame: Default::default(),
        })
    }

    fn refusal(status: Option<Status>) -> Error {
        Error::RefusedByPeer(PeerRefusal {
            status,
            reason: "400".into(),
        })
    }

    #[test]
    fn each_failure_has_its_kind_and_its_io_kind() {
        use io::ErrorKind as Io;
        let denied = |status| {
            Error::Denied(Denied {
                status,
                reason: "no".into(),
                by: None,
            })
        };
        let other = Incompatible::Mechanism {
            peer: "NULL".into(),
            ours: "CURVE",
        };
        let unfit = Incompatible::SocketType {
            peer: "PUB".into(),
            ours: "PUSH",
        };
        let closed = Error::ClosedByPeer;
        for (error, kind, io_kind) in [
            (
                closed(Stage::CurveWelcome),
                FailureKind::WrongServerKey,
                Io::UnexpectedEof,
            ),
            (
                CryptoError::HelloNotOpened.into(),
                FailureKind::WrongServerKey,
                Io::InvalidData,
            ),
            (
                Error::ResetByServer(Stage::CurveWelcome),
                FailureKind::RefusedForNow,
                Io::ConnectionReset,
            ),
            (
                closed(Stage::CurveReady),
                FailureKind::RefusedForNow,
                Io::UnexpectedEof,
            ),
            (
                closed(Stage::PlainWelcome),
                FailureKind::RefusedForNow,
                Io::UnexpectedEof,
            ),
            (
                closed(Stage::NullReady),
                FailureKind::RefusedForNow,
                Io::UnexpectedEof,
            ),
            (
                closed(Stage::PlainReady),
                FailureKind::SocketTypeMismatch,
                Io::UnexpectedEof,
            ),
            (
                closed(Stage::CurveHello),
                FailureKind::PeerClosed,
                Io::UnexpectedEof,
            ),
            (
                closed(Stage::Verdict),
                FailureKind::PeerClosed,
                Io::UnexpectedEof,
            ),
            (
                refusal(Some(Status::AuthenticationFailure)),
                FailureKind::Refused,
                Io::PermissionDenied,
            ),
            (
                refusal(Some(Status::TemporaryError)),
                FailureKind::RefusedForNow,
                Io::PermissionDenied,
            ),
            (refusal(None), FailureKind::Refused, Io::PermissionDenied),
            (
                denied(DenialStatus::Failure),
                FailureKind::Denied,
                Io::PermissionDenied,
            ),
            (
                denied(DenialStatus::Temporary),
                FailureKind::Denied,
                Io::PermissionDenied,
            ),
            (
                Error::Timeout(Stage::Greeting),
                FailureKind::TimedOut,
                Io::TimedOut,
            ),
            (other.into(), FailureKind::OtherMechanism, Io::InvalidData),
            (
                Incompatible::NotZmtp3.into(),
                FailureKind::OldProtocol,
                Io::InvalidData,
            ),
            (
                unfit.into(),
                FailureKind::SocketTypeMismatch,
                Io::InvalidData,
            ),
            (
                ProtocolError::InitiateNonce.into(),
                FailureKind::Protocol,
                Io::InvalidData,
            ),
            (
                CryptoError::ReplayedNonce.into(),
                FailureKind::Protocol,
                Io::InvalidData,
            ),
            (
                LimitExceeded::Evicted.into(),
                FailureKind::Protocol,
                Io::InvalidData,
            ),
            (LocalError::Random.into(), FailureKind::Local, Io::Other),
        ] {
            let failed = failed(StepError::Protocol(error.clone()));
            assert_eq!(failed.kind(), kind, "{error}");
            assert_eq!(failed.stage(), Stage::CurveReady);
            assert_eq!(io::Error::from(error.clone()).kind(), io_kind, "{error}");
            let io = io::Error::from(failed);
            assert_eq!(io.kind(), io_kind, "{error}");
            let kept = io.get_ref().and_then(|kept| kept.downcast_ref::<Failed>());
            assert_eq!(kept.and_then(Failed::error), Some(&error));
        }
    }

    #[test]
    fn an_error_of_the_stream_keeps_its_kind_and_is_shown_once() {
        let reset = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = failed(StepError::Io("write", reset()));
        assert_eq!(failed.kind(), FailureKind::Io);
        assert!(failed.error().is_none() && failed.source().is_some());
        let shown = WithCauses(&failed).to_string();
        assert_eq!(shown, format!("cannot write: {}", reset()));
        assert_eq!(io::Error::from(failed).kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn no_cause_is_shown_twice() {
        let failed = failed(StepError::Protocol(Error::Timeout(Stage::CurveReady)));
        let shown = WithCauses(&failed).to_string();
        assert_eq!(
            shown,
            "handshake failed: time-out while waiting for CURVE READY"
        );
    }
}

//! The ERROR command, in both directions.
#![forbid(unsafe_code)]

use crate::error::{Error, ProtocolError};
use crate::printable::printable;
use crate::status::{DenialStatus, PeerRefusal, Status};
use crate::wire::command::{Command, put_short_string};
use crate::wire::reader::Reader;
use bytes::Bytes;
use std::fmt;

const ERROR: &str = "ERROR";
/// The name and its length byte as libzmq's PLAIN sends them. In its C source, a hexadecimal escape
/// swallows the E.
const LIBZMQ_PLAIN_ERROR: &[u8] = b"\x5ERROR";
/// The beginning of ERROR from the CURVE server of libzmq before 4.2.3, which counts the reason
/// wrong.
const MISCOUNTED_ERROR: &[u8] = b"\x05ERROR\x08";

/// The ERROR command for a denial. It carries only the status; reasons stay in our log. For a
/// temporary refusal there is no command: closing tells the peer to come back (RFC 37, "Error
/// Handling").
pub(super) fn error_command(status: DenialStatus, libzmq_spelling: bool) -> Option<Bytes> {
    match status {
        DenialStatus::Temporary => return None,
        DenialStatus::Failure | DenialStatus::Internal => {}
    }
    let mut body = if libzmq_spelling {
        LIBZMQ_PLAIN_ERROR.into()
    } else {
        Command::start(ERROR, 4)
    };
    put_short_string(status.as_str().as_bytes(), &mut body);
    Some(body.freeze())
}

/// The data of the one command that may come now. An ERROR, where the peer may send it, becomes
/// [`Error::RefusedByPeer`] (RFC 37, "Error Handling"). Any other command breaks the protocol.
pub(super) fn expect<'a>(body: &'a [u8], name: &'static str) -> Result<&'a [u8], Error> {
    match Command::parse(body)? {
        command if command.name == name.as_bytes() => Ok(command.data),
        command if command.name == ERROR.as_bytes() => Err(peer_refusal(command.data)?),
        command => Err(ProtocolError::UnexpectedCommand {
            expected: name,
            got: printable(command.name),
        }
        .into()),
    }
}

/// As [`expect`], for PLAIN. Also understands libzmq's misspelled ERROR.
pub(super) fn expect_plain<'a>(body: &'a [u8], name: &'static str) -> Result<&'a [u8], Error> {
    match body.strip_prefix(LIBZMQ_PLAIN_ERROR) {
        Some(data) => Err(peer_refusal(data)?),
        None => expect(body, name),
    }
}

/// As [`expect`], for a CURVE client. Also understands the ERROR of libzmq before 4.2.3, which
/// announces 8 bytes of reason and sends the three digits of a status.
pub(super) fn expect_curve<'a>(body: &'a [u8], name: &'static str) -> Result<&'a [u8], Error> {
    match body.strip_prefix(MISCOUNTED_ERROR) {
        Some(status) if status.len() == 3 && status.iter().all(u8::is_ascii_digit) => {
            Err(refused(status))
        }
        _ => expect(body, name),
    }
}

/// RFC 37, "The NULL Security Mechanism", ERROR: one reason of at most 255 bytes.
fn peer_refusal(data: &[u8]) -> Result<Error, ProtocolError> {
    let mut reader = Reader::new(ERROR, data);
    let reason = reader.short_string()?;
    reader.finish()?;
    Ok(refused(reason))
}

fn refused(reason: &[u8]) -> Error {
    Error::RefusedByPeer(PeerRefusal {
        status: Status::parse(reason),
        reason: printable(reason),
    })
}

/// A handshake that has failed.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a host takes it apart")]
pub struct Refused {
    /// The body of an ERROR command to send before closing.
    pub send: Option<Bytes>,
    /// Why.
    pub error: Error,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { send: None, error }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_400_and_500_are_told() {
        assert_eq!(error_command(DenialStatus::Temporary, false), None);
        assert_eq!(error_command(DenialStatus::Temporary, true), None);
        let body = error_command(DenialStatus::Failure, false).unwrap();
        assert_eq!(body, &b"\x05ERROR\x03400"[..]);
        let body = error_command(DenialStatus::Internal, false).unwrap();
        assert_eq!(body, &b"\x05ERROR\x03500"[..]);
    }

    #[test]
    fn libzmqs_spelling_is_nine_bytes() {
        let body = error_command(DenialStatus::Failure, true).unwrap();
        assert_eq!(
            body,
            &[0x5E, 0x52, 0x52, 0x4F, 0x52, 0x03, 0x34, 0x30, 0x30][..]
        );
    }

    #[test]
    fn both_spellings_are_understood_under_plain_and_one_elsewhere() {
        let refused = |result: Result<&[u8], Error>| match result {
            Err(Error::RefusedByPeer(refusal)) => refusal.status,
            other => panic!("{other:?}"),
        };
        let right = b"\x05ERROR\x03400";
        assert_eq!(
            refused(expect(right, "READY")),
            Some(Status::AuthenticationFailure)
        );
        assert_eq!(
            refused(expect_plain(right, "READY")),
            Some(Status::AuthenticationFailure)
        );
        let wrong = b"\x5ERROR\x03400";
        assert_eq!(
            refused(expect_plain(wrong, "READY")),
            Some(Status::AuthenticationFailure)
        );
        assert!(matches!(expect(wrong, "READY"), Err(Error::Protocol(_))));
    }

    #[test]
    fn a_miscounted_status_is_understood_under_curve_alone_and_only_if_the_body_ends_there() {
        let miscounted = b"\x05ERROR\x08400";
        let refusal = PeerRefusal {
            status: Some(Status::AuthenticationFailure),
            reason: "400".into(),
        };
        assert_eq!(
            expect_curve(miscounted, "READY"),
            Err(Error::RefusedByPeer(refusal))
        );
        assert!(matches!(
            expect(miscounted, "READY"),
            Err(Error::Protocol(_))
        ));
        assert!(matches!(
            expect_plain(miscounted, "READY"),
            Err(Error::Protocol(_))
        ));
        for body in [
            &b"\x05ERROR\x0840"[..],
            b"\x05ERROR\x0840x",
            b"\x05ERROR\x084000",
            b"\x05ERROR\x07400",
            b"\x05ERROR\x09400",
            b"\x05ERROR\x08",
        ] {
            let result = expect_curve(body, "READY");
            assert!(matches!(result, Err(Error::Protocol(_))), "{body:?}");
        }
        // Eight bytes of reason, well counted.
        let counted = expect_curve(b"\x05ERROR\x08not here", "READY");
        assert!(matches!(
            counted,
            Err(Error::RefusedByPeer(PeerRefusal { status: None, .. }))
        ));
    }

    #[test]
    fn a_reason_that_is_no_status_is_kept_printable() {
        let error = expect(b"\x05ERROR\x04no\x1b!", "READY").unwrap_err();
        let expected = PeerRefusal {
            status: None,
            reason: "no\\x1b!".into(),
        };
        assert_eq!(error, Error::RefusedByPeer(expected));
    }

    #[test]
    fn a_malformed_error_breaks_the_protocol() {
        for body in [
            &b"\x05ERROR"[..],
            b"\x05ERROR\x03",
            b"\x05ERROR\x034000",
            b"\x05ERROR400",
        ] {
            assert!(
                matches!(expect(body, "READY"), Err(Error::Protocol(_))),
                "{body:?}"
            );
        }
    }
}

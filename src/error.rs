//! The errors of handshakes and connections, one variant for each check.
#![forbid(unsafe_code)]

use crate::fault::{Fault, LikelyCause};
use crate::printable::Quoted;
use crate::status::{DenialStatus, Denied, PeerRefusal, Status};
use std::fmt;
use thiserror::Error as ThisError;

/// Why a handshake or a connection ended.
///
/// `Display` names the kind of failure, and `source()` the check that failed.
/// [`WithCauses`](crate::WithCauses) shows both on one line.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The peer has another protocol, version or mechanism, or an incompatible socket type.
    #[error("incompatible peer")]
    Incompatible(#[from] Incompatible),
    /// The peer sent something that the protocol forbids.
    #[error("protocol violation by the peer")]
    Protocol(#[from] ProtocolError),
    /// A cryptographic check failed: wrong keys, a forgery, or a replay.
    #[error("cryptographic check failed")]
    Crypto(#[from] CryptoError),
    /// The peer refused us with an ERROR command.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(PeerRefusal),
    /// Our own policy refused the peer.
    #[error("peer denied: {0}")]
    Denied(Denied),
    /// The peer closed the connection before the handshake was complete.
    #[error(
        "peer closed the connection while we waited for {0}{hint}",
        hint = Error::ClosedByPeer(*.0).likely_cause().map_or("", LikelyCause::hint)
    )]
    ClosedByPeer(Stage),
    /// The server reset the connection while its WELCOME was due. A CURVE server with another key than
    /// we expect reads HELLO before it closes. Elsewhere a reset is a [`Self::ClosedByPeer`].
    #[error("server reset the connection before {}{}", .0, LikelyCause::NoRoom.hint())]
    ResetByServer(Stage),
    /// The peer, or the ZAP handler, took too long.
    #[error("time-out while waiting for {0}")]
    Timeout(Stage),
    /// The peer sent more than [`Limits`](crate::Limits) allows.
    #[error("limit exceeded")]
    Limit(#[from] LimitExceeded),
    /// A mistake, or a failure, on our own side.
    #[error("local failure")]
    Local(#[from] LocalError),
}

impl Error {
    /// Which side has to act.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Crypto(CryptoError::WelcomeNotOpened) => Fault::OurCredentials,
            Self::Incompatible(_) | Self::Protocol(_) | Self::Crypto(_) | Self::Limit(_) => {
                Fault::Peer
            }
            Self::RefusedByPeer(refusal) => match refusal.status {
                Some(Status::TemporaryError) => Fault::Temporary,
                _ => Fault::OurCredentials,
            },
            Self::Denied(denied) => match denied.status {
                DenialStatus::Temporary => Fault::Temporary,
                DenialStatus::Failure => Fault::Policy,
                DenialStatus::Internal => Fault::Local,
            },
            Self::ClosedByPeer(_) => match self.likely_cause() {
                Some(LikelyCause::WrongServerKey) => Fault::OurCredentials,
                Some(LikelyCause::SocketTypeMismatch) => Fault::Peer,
                _ => Fault::Temporary,
            },
            Self::ResetByServer(_) => Fault::Temporary,
            Self::Timeout(Stage::Verdict) | Self::Local(_) => Fault::Local,
            Self::Timeout(_) => Fault::Peer,
        }
    }

    /// What has probably caused this error, if its cause is one that has a [`LikelyCause`].
    ///
    /// For an early close this is a guess: a peer that crashes, or a network that fails, looks the
    /// same.
    #[must_use]
    pub fn likely_cause(&self) -> Option<LikelyCause> {
        match self {
            Self::ClosedByPeer(Stage::CurveWelcome)
            | Self::Crypto(CryptoError::HelloNotOpened | CryptoError::WelcomeNotOpened) => {
                Some(LikelyCause::WrongServerKey)
            }
            Self::ClosedByPeer(Stage::NullReady | Stage::PlainWelcome | Stage::CurveReady)
            | Self::RefusedByPeer(PeerRefusal {
                status: Some(Status::TemporaryError),
                ..
            }) => Some(LikelyCause::TemporaryRefusal),
            // PLAIN's verdict came with WELCOME. After that, only the metadata can displease.
            Self::ClosedByPeer(Stage::PlainReady)
            | Self::Incompatible(Incompatible::SocketType { .. }) => {
                Some(LikelyCause::SocketTypeMismatch)
            }
            Self::ResetByServer(_) => Some(LikelyCause::NoRoom),
            _ => None,
        }
    }
}

/// What a handshake was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The 64-byte greeting.
    Greeting,
    /// NULL's READY.
    NullReady,
    /// PLAIN's HELLO.
    PlainHello,
    /// PLAIN's WELCOME.
    PlainWelcome,
    /// PLAIN's INITIATE.
    PlainInitiate,
    /// PLAIN's READY.
    PlainReady,
    /// CURVE's HELLO.
    CurveHello,
    /// CURVE's WELCOME.
    CurveWelcome,
    /// CURVE's INITIATE.
    CurveInitiate,
    /// CURVE's READY.
    CurveReady,
    /// Our own ZAP handler's verdict.
    Verdict,
    /// The metadata from a relay's far side.
    Metadata,
}

impl Stage {
    /// The stage in words, such as `CURVE WELCOME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::NullReady => "NULL READY",
            Self::PlainHello => "PLAIN HELLO",
            Self::PlainWelcome => "PLAIN WELCOME",
            Self::PlainInitiate => "PLAIN INITIATE",
            Self::PlainReady => "PLAIN READY",
            Self::CurveHello => "CURVE HELLO",
            Self::CurveWelcome => "CURVE WELCOME",
            Self::CurveInitiate => "CURVE INITIATE",
            Self::CurveReady => "CURVE READY",
            Self::Verdict => "the ZAP handler's verdict",
            Self::Metadata => "the metadata from the far side",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The peer is not one we can talk to.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Incompatible {
    /// There is no ZMTP 3 signature. ZMTP 1 peers look like this (RFC 37, "Version Negotiation").
    #[error("no ZMTP 3 greeting: the peer speaks ZMTP 1 or no ZMTP; is it the right port?")]
    NotZmtp3,
    /// The peer announces a major version below 3, which has no security. We never downgrade.
    #[error("the peer speaks ZMTP {major}, which has no security: it needs ZeroMQ 4 or later")]
    OldVersion {
        /// The peer's major version: 1 for revision byte 0, 2 for revision bytes 1 and 2.
        major: u8,
    },
    /// The mechanism differs from ours (RFC 37, "Authentication and Confidentiality").
    #[error("the peer speaks {}, we speak {ours}", Quoted(peer))]
    Mechanism {
        /// What the peer announced, non-printable bytes escaped.
        peer: String,
        /// What we announced.
        ours: &'static str,
    },
    /// A socket of this type may not talk to ours (RFC 37, "Socket-Type").
    #[error("a {ours} socket cannot talk to a {} socket", Quoted(peer))]
    SocketType {
        /// The peer's claim, non-printable bytes escaped.
        peer: String,
        /// Our type.
        ours: &'static str,
    },
}

/// The peer broke a rule of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame's flags byte has reserved bits, or MORE on a command (RFC 37, "Framing").
    #[error("frame flags {flags:#04x} are not allowed")]
    FrameFlags {
        /// The byte as received.
        flags: u8,
    },
    /// A message frame arrived during the handshake.
    #[error("a message frame arrived during the handshake")]
    MessageInHandshake,
    /// A handshake command that fits a short frame came in a long one.
    #[error("a long frame of {size} bytes, which fit a short one, during the handshake")]
    LongFrameInHandshake {
        /// The announced body size in bytes.
        size: u64,
    },
    /// The sealed flags of a CURVE MESSAGE are not MORE or COMMAND alone.
    #[error("sealed flags {flags:#04x} are not allowed")]
    SealedFlags {
        /// The byte as opened.
        flags: u8,
    },
    /// A command other than the one expected in this state.
    #[error("{} arrived where {expected} was expected", Quoted(got))]
    UnexpectedCommand {
        /// The only command allowed now.
        expected: &'static str,
        /// The name received, non-printable bytes escaped.
        got: String,
    },
    /// A command's bytes do not parse.
    #[error("malformed {what} at offset {at}")]
    Malformed {
        /// The command or structure.
        what: &'static str,
        /// Offset in bytes from its beginning.
        at: usize,
        /// What is wrong there.
        #[source]
        problem: Malformation,
    },
    /// INITIATE repeats a nonce, or goes back behind that of HELLO (RFC 26, INITIATE).
    #[error("the INITIATE nonce is not greater than the HELLO nonce")]
    InitiateNonce,
}

/// What is wrong at one place of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum Malformation {
    /// The bytes end too early.
    #[error("truncated")]
    Truncated,
    /// Bytes follow where the structure must end.
    #[error("trailing bytes")]
    Trailing,
    /// The length is not the one that RFC and version demand.
    #[error("wrong length")]
    Length,
    /// A name is empty.
    #[error("empty name")]
    EmptyName,
    /// A name holds bytes that are not printable ASCII.
    #[error("name is not printable ASCII")]
    NameBytes,
    /// A property occurs twice.
    #[error("duplicate property")]
    Duplicate,
    /// A required property is missing.
    #[error("Socket-Type is missing")]
    NoSocketType,
    /// An identity over 255 bytes.
    #[error("identity is longer than 255 bytes")]
    IdentityLength,
    /// An identity that starts with a zero byte, where limits refuse it.
    #[error("identity starts with a reserved zero byte")]
    ReservedIdentity,
    /// A version field other than 1.0.
    #[error("unsupported version")]
    Version,
    /// Bytes that must be zero are not.
    #[error("padding is not zero")]
    Padding,
    /// The signature box of HELLO does not contain 64 zero bytes.
    #[error("signature is not zero")]
    Signature,
}

/// A cryptographic check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum CryptoError {
    /// A public key is of low order, so everyone knows its shared secret.
    #[error("the {0} public key is of low order")]
    LowOrderKey(&'static str),
    /// A public key is not a number below 2^255 - 19, so it is a second encoding of another key.
    #[error("the {0} public key is not in canonical form")]
    KeyNotCanonical(&'static str),
    /// A box did not open: the key is wrong or the bytes were altered.
    #[error("the box of {0} does not open")]
    BoxNotOpened(&'static str),
    /// HELLO did not open with any of our keys: the client has another server key.
    #[error("HELLO opens with none of our keys: the client holds another server key")]
    HelloNotOpened,
    /// WELCOME did not open with the key that we have for the server.
    #[error("WELCOME does not open with the server key that we were given")]
    WelcomeNotOpened,
    /// The cookie was not made for this connection.
    #[error("the cookie was not made for this connection")]
    Cookie,
    /// The vouch names another transient key or another server.
    #[error("the vouch does not match this connection")]
    Vouch,
    /// The nonce of a message is not greater than the one before it, so this is a replay.
    #[error("a nonce was used again")]
    ReplayedNonce,
    /// The peer's nonce counter has reached its maximum.
    #[error("the peer's nonces are used up")]
    PeerNonceExhausted,
}

/// The peer exceeded one of [`Limits`](crate::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// A handshake command is longer than allowed in this state.
    #[error("a handshake command of {size} bytes, {limit} allowed")]
    HandshakeCommand {
        /// The announced size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message is too long.
    #[error("a message of at least {size} bytes, {limit} allowed")]
    Message {
        /// Bytes announced so far.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message has too many frames.
    #[error("a message of more than {limit} frames")]
    Frames {
        /// The limit.
        limit: usize,
    },
    /// Metadata with too many properties.
    #[error("more than {limit} properties")]
    Properties {
        /// The limit.
        limit: usize,
    },
    /// The handshake was evicted to make room for newer peers.
    #[error("evicted: too many handshakes are in progress")]
    Evicted,
}

impl LimitExceeded {
    /// The field of [`Limits`](crate::Limits) that was exceeded.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HandshakeCommand { .. } => "max_handshake_command",
            Self::Message { .. } => "max_message",
            Self::Frames { .. } => "max_frames",
            Self::Properties { .. } => "max_properties",
            Self::Evicted => "max_pending_handshakes",
        }
    }
}

/// Our own side cannot continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
pub enum LocalError {
    /// The random source failed. Nothing was sent.
    #[error("the random source failed")]
    Random,
    /// Our nonce counter has reached its maximum. A new connection is needed.
    #[error("our nonces are used up")]
    NonceExhausted,
    /// A state machine was used again after it had failed.
    #[error("used after an error")]
    Poisoned,
    /// More was queued before pending output was written.
    #[error("output must be written before more is queued")]
    OutputPending,
    /// A relay's handshake paused for metadata and did not get it.
    #[error("the relay's metadata was not supplied")]
    MetadataMissing,
    /// Neither the configuration nor the connection says the type of our socket.
    #[error("the type of our socket is not set")]
    SocketTypeMissing,
    /// A relay that passes on user ids as identities got a user id of more than 255 bytes.
    #[error("the user id is too long to be passed on as an identity")]
    UserIdTooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_before_welcome_hints_at_the_server_key() {
        let error = Error::ClosedByPeer(Stage::CurveWelcome);
        assert_eq!(error.fault(), Fault::OurCredentials);
        assert!(error.to_string().contains("server key"));
        assert!(error.to_string().contains("no room"));
    }

    #[test]
    fn a_reset_before_welcome_is_no_hint_at_the_server_key() {
        let error = Error::ResetByServer(Stage::CurveWelcome);
        assert_eq!(error.fault(), Fault::Temporary);
        assert_eq!(error.likely_cause(), Some(LikelyCause::NoRoom));
        assert!(!error.to_string().contains("server key"));
    }

    #[test]
    fn an_early_close_is_judged_by_the_command_that_was_due() {
        use LikelyCause::{SocketTypeMismatch, TemporaryRefusal, WrongServerKey};
        for (stage, cause, fault) in [
            (Stage::Greeting, None, Fault::Temporary),
            (Stage::NullReady, Some(TemporaryRefusal), Fault::Temporary),
            (
                Stage::PlainWelcome,
                Some(TemporaryRefusal),
                Fault::Temporary,
            ),
            (Stage::PlainReady, Some(SocketTypeMismatch), Fault::Peer),
            (
                Stage::CurveWelcome,
                Some(WrongServerKey),
                Fault::OurCredentials,
            ),
            (Stage::CurveReady, Some(TemporaryRefusal), Fault::Temporary),
        ] {
            let error = Error::ClosedByPeer(stage);
            assert_eq!(error.likely_cause(), cause, "{stage}");
            assert_eq!(error.fault(), fault, "{stage}");
            assert!(
                error
                    .to_string()
                    .ends_with(cause.map_or(stage.name(), LikelyCause::hint))
            );
        }
        assert_eq!(
            Error::ClosedByPeer(Stage::Metadata).to_string(),
            "peer closed the connection while we waited for the metadata from the far side"
        );
    }

    #[test]
    fn what_a_peer_says_has_the_same_causes_as_what_it_only_shows() {
        let status = Some(Status::TemporaryError);
        let refusal = PeerRefusal {
            status,
            reason: "300".into(),
        };
        let (peer, ours) = ("PUB".into(), "PULL");
        for (error, cause) in [
            (
                CryptoError::HelloNotOpened.into(),
                LikelyCause::WrongServerKey,
            ),
            (Error::RefusedByPeer(refusal), LikelyCause::TemporaryRefusal),
            (
                Incompatible::SocketType { peer, ours }.into(),
                LikelyCause::SocketTypeMismatch,
            ),
        ] {
            assert_eq!(error.likely_cause(), Some(cause), "{error}");
        }
        assert_eq!(
            Error::from(CryptoError::BoxNotOpened("READY")).likely_cause(),
            None
        );
    }

    #[test]
    fn a_wrong_server_key_is_the_fault_of_the_client_that_has_it() {
        let welcome = Error::from(CryptoError::WelcomeNotOpened);
        let hello = Error::from(CryptoError::HelloNotOpened);
        for (error, fault) in [(welcome, Fault::OurCredentials), (hello, Fault::Peer)] {
            assert_eq!(error.likely_cause(), Some(LikelyCause::WrongServerKey));
            assert_eq!(error.fault(), fault, "{error:?}");
        }
    }

    #[test]
    fn an_error_leaves_its_cause_to_its_source() {
        use std::error::Error as _;
        let error = Error::from(CryptoError::HelloNotOpened);
        assert_eq!(error.to_string(), "cryptographic check failed");
        let source = error.source().map(ToString::to_string);
        assert_eq!(source, Some(CryptoError::HelloNotOpened.to_string()));
    }
}

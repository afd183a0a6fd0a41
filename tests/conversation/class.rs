//! Maps the words for refusals in `vectors/README.md` to this crate's errors.

use zmtp_auth::{CryptoError, Error, Incompatible, LimitExceeded, Malformation, ProtocolError};

/// The word for an error of this crate.
pub fn word(error: &Error) -> &'static str {
    match error {
        Error::Incompatible(error) => match error {
            Incompatible::NotZmtp3 => "not-zmtp-3",
            Incompatible::OldVersion { .. } => "old-version",
            Incompatible::Mechanism { .. } => "other-mechanism",
            Incompatible::SocketType { .. } => "other-socket-type",
            other => no_word(other),
        },
        Error::Protocol(error) => match error {
            ProtocolError::FrameFlags { .. } => "frame-flags",
            ProtocolError::MessageInHandshake => "message-in-handshake",
            ProtocolError::LongFrameInHandshake { .. } => "long-frame",
            ProtocolError::SealedFlags { .. } => "sealed-flags",
            ProtocolError::UnexpectedCommand { .. } => "unexpected-command",
            ProtocolError::InitiateNonce => "initiate-nonce",
            ProtocolError::Malformed { problem, .. } => malformation(*problem),
            other => no_word(other),
        },
        Error::Crypto(error) => match error {
            CryptoError::LowOrderKey(_) => "low-order-key",
            CryptoError::KeyNotCanonical(_) => "key-not-canonical",
            CryptoError::BoxNotOpened(_) | CryptoError::WelcomeNotOpened => "box",
            CryptoError::HelloNotOpened => "hello-box",
            CryptoError::Cookie => "cookie",
            CryptoError::Vouch => "vouch",
            CryptoError::ReplayedNonce => "replayed-nonce",
            CryptoError::PeerNonceExhausted => "nonce-exhausted",
            other => no_word(other),
        },
        Error::Limit(LimitExceeded::HandshakeCommand { .. } | LimitExceeded::Message { .. }) => {
            "too-long"
        }
        other => no_word(other),
    }
}

fn malformation(problem: Malformation) -> &'static str {
    match problem {
        Malformation::Truncated => "truncated",
        Malformation::Trailing => "trailing",
        Malformation::EmptyName => "empty-name",
        Malformation::NameBytes => "name-bytes",
        Malformation::Duplicate => "duplicate",
        Malformation::NoSocketType => "no-socket-type",
        Malformation::IdentityLength => "identity-length",
        Malformation::Version => "hello-version",
        Malformation::Padding => "padding",
        Malformation::Signature => "signature",
        other => no_word(other),
    }
}

fn no_word(error: impl std::fmt::Debug) -> ! {
    panic!("no vector is refused for this: {error:?}")
}

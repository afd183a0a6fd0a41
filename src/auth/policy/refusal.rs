//! The reasons for which the Authenticator refuses a peer, with the status and text of its ZAP
//! reply.
#![forbid(unsafe_code)]

use crate::auth::policy::rule::Rule;
use crate::status::DenialStatus;
use bytes::Bytes;
use std::time::Duration;

/// A reason to refuse a peer. The texts are pyzmq's for the reasons that pyzmq has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request has fewer than six frames.
    NotEnoughFrames,
    /// The request's version is not 1.0.
    InvalidVersion,
    /// The address is not on the allow list.
    AddressNotAllowed,
    /// The address is on the deny list.
    AddressDenied,
    /// The credentials do not fit the mechanism.
    InvalidCredentials,
    /// PLAIN is not configured for any domain.
    NoPasswords,
    /// PLAIN is configured neither for this domain nor for `*`.
    InvalidDomain,
    /// PLAIN: the user is not in the table.
    InvalidUsername,
    /// PLAIN: the password is not the user's.
    InvalidPassword,
    /// CURVE: the key is not in the table, or the provider refused it.
    UnknownKey,
    /// CURVE: the key's certificate is not valid yet. The status is 300, so that the peer retries.
    KeyNotYetValid,
    /// CURVE: the key's certificate has expired.
    KeyExpired,
    /// CURVE is configured neither for this domain nor for `*`.
    UnknownDomain,
    /// PLAIN: the provider refused the user.
    RefusedByProvider,
    /// NULL: the policy file allows it neither for this domain nor for `*`.
    NullNotAllowed,
    /// GSSAPI: the policy file does not list the principal.
    UnknownPrincipal,
    /// The mechanism is unknown.
    NoAccess,
    /// The Authenticator was stopped.
    Stopped,
    /// Too many requests wait for a provider or a verification.
    Busy,
    /// The policy changed during every repetition of the decision.
    Overtaken,
    /// The verification of a hashed password took too long.
    TimedOut,
    /// The provider took too long.
    ProviderTimedOut,
    /// The provider answered that it cannot decide now.
    TemporaryFailure,
    /// The provider returned an error or panicked.
    ProviderFailed,
    /// The provider has no thread left, because none of its calls returns.
    ProviderStuck,
    /// The user id mapping, the clock or our own code failed or panicked.
    Failed,
}

/// A refusal, and the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) rule: Rule,
    /// The user that the policy names for the refused key.
    pub(crate) user: Option<Box<Bytes>>,
    /// The delay after which the peer is refused.
    pub(crate) hold_back: Option<Duration>,
}

impl Refused {
    /// The same refusal, of a peer whose key belongs to `user`.
    pub(crate) fn about(mut self, user: Option<&Bytes>) -> Self {
        self.user = user.cloned().map(Box::new);
        self
    }
}

impl Refusal {
    pub(crate) const fn by(self, rule: Rule) -> Refused {
        Refused {
            refusal: self,
            rule,
            user: None,
            hold_back: None,
        }
    }

    /// Whether a provider gave no answer, so that the peer must not retry at once.
    pub(crate) const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::ProviderTimedOut
                | Self::TemporaryFailure
                | Self::ProviderFailed
                | Self::ProviderStuck
        )
    }

    pub(crate) const fn status(self) -> DenialStatus {
        match self {
            Self::Stopped
            | Self::Busy
            | Self::Overtaken
            | Self::TimedOut
            | Self::ProviderTimedOut
            | Self::TemporaryFailure
            | Self::ProviderFailed
            | Self::ProviderStuck
            | Self::KeyNotYetValid => DenialStatus::Temporary,
            Self::Failed => DenialStatus::Internal,
            _ => DenialStatus::Failure,
        }
    }

    /// Whether the reason implies that the PLAIN user exists in the policy.
    pub(crate) const fn knows_user(self) -> bool {
        matches!(self, Self::InvalidPassword)
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NotEnoughFrames => "Not enough frames",
            Self::InvalidVersion => "Invalid version",
            Self::AddressNotAllowed => "Address not allowed",
            Self::AddressDenied => "Address denied",
            Self::InvalidCredentials => "Invalid credentials",
            Self::NoPasswords => "No passwords defined",
            Self::InvalidDomain => "Invalid domain",
            Self::InvalidUsername => "Invalid username",
            Self::InvalidPassword => "Invalid password",
            Self::UnknownKey => "Unknown key",
            Self::KeyNotYetValid => "Key not valid yet",
            Self::KeyExpired => "Key expired",
            Self::UnknownDomain => "Unknown domain",
            Self::RefusedByProvider => "Refused by the provider",
            Self::NullNotAllowed => "NULL not allowed",
            Self::UnknownPrincipal => "Unknown principal",
            Self::NoAccess => "NO ACCESS",
            Self::Stopped => "Authenticator stopped",
            Self::Busy => "Too many requests",
            Self::Overtaken => "Policy changed meanwhile",
            Self::TimedOut => "Timed out",
            Self::ProviderTimedOut => "Provider timed out",
            Self::TemporaryFailure => "Provider cannot decide now",
            Self::ProviderFailed => "Provider failed",
            Self::ProviderStuck => "Provider stuck",
            Self::Failed => "Internal error",
        }
    }
}

//! Why the Authenticator refuses, with the status and the text of its ZAP reply.
#![forbid(unsafe_code)]

use crate::auth::policy::rule::Rule;
use crate::status::DenialStatus;
use std::time::Duration;

/// A reason to refuse. Where `pyzmq` refuses too, with its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request has fewer than six frames.
    NotEnoughFrames,
    /// The request's version is not 1.0.
    InvalidVersion,
    /// There is an allow list, and the address is not on it.
    AddressNotAllowed,
    /// The address is on the deny list.
    AddressDenied,
    /// The credentials are not those of the mechanism.
    InvalidCredentials,
    /// PLAIN is not configured for any domain.
    NoPasswords,
    /// PLAIN is configured neither for this domain nor for `*`.
    InvalidDomain,
    /// PLAIN: the user is not in the table.
    InvalidUsername,
    /// PLAIN: the password is not the user's.
    InvalidPassword,
    /// CURVE: the key is not in the table, or the provider says no.
    UnknownKey,
    /// CURVE: the key's certificate does not count yet. That passes, so the status is one after
    /// which a peer comes back.
    KeyNotYetValid,
    /// CURVE: the key's certificate counts no more.
    KeyExpired,
    /// CURVE is configured neither for this domain nor for `*`.
    UnknownDomain,
    /// PLAIN: the provider says no.
    RefusedByProvider,
    /// NULL: the policy file opens neither this domain nor `*` to it.
    NullNotAllowed,
    /// GSSAPI: the principal is not one of the policy file's.
    UnknownPrincipal,
    /// The mechanism is unknown.
    NoAccess,
    /// The Authenticator was stopped.
    Stopped,
    /// Too many questions that take their time are in progress.
    Busy,
    /// Changes of the policy have overtaken the decision again and again.
    Overtaken,
    /// The verification of a hashed password, or the thread that decides, took too long.
    TimedOut,
    /// The provider took too long.
    ProviderTimedOut,
    /// The provider says that it cannot say now.
    Later,
    /// The provider failed or panicked.
    ProviderFailed,
    /// The provider has no thread left: none of its calls returns.
    ProviderStuck,
    /// The user id mapping, the clock or our own code failed or panicked.
    Failed,
}

/// A refusal and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) rule: Rule,
    /// Time after which the peer is to hear of it.
    pub(crate) hold_back: Option<Duration>,
}

impl Refusal {
    pub(crate) const fn by(self, rule: Rule) -> Refused {
        Refused {
            refusal: self,
            rule,
            hold_back: None,
        }
    }

    /// Whether a provider gave no answer, so that none is to be asked for again at once.
    pub(crate) const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::ProviderTimedOut | Self::Later | Self::ProviderFailed | Self::ProviderStuck
        )
    }

    pub(crate) const fn status(self) -> DenialStatus {
        match self {
            Self::Stopped
            | Self::Busy
            | Self::Overtaken
            | Self::TimedOut
            | Self::ProviderTimedOut
            | Self::Later
            | Self::ProviderFailed
            | Self::ProviderStuck
            | Self::KeyNotYetValid => DenialStatus::Temporary,
            Self::Failed => DenialStatus::Internal,
            _ => DenialStatus::Failure,
        }
    }

    /// Whether it says that the user of PLAIN is one of the policy's.
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
            Self::Later => "Provider says later",
            Self::ProviderFailed => "Provider failed",
            Self::ProviderStuck => "Provider stuck",
            Self::Failed => "Internal error",
        }
    }
}

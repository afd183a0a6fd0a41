//! Status codes of the ZeroMQ Authentication Protocol (RFC 27, section "The Reply"), and refusals.
#![forbid(unsafe_code)]

use crate::printable::{Quoted, printable};
use bytes::Bytes;
use std::fmt;
use std::str::FromStr;
use thiserror::Error as ThisError;

/// The four status codes a ZAP reply may carry (RFC 27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 27 has four")]
pub enum Status {
    /// 200: the peer is admitted.
    Success,
    /// 300: a temporary error; the peer may try again later.
    TemporaryError,
    /// 400: the credentials are refused. Trying again with the same ones does not help.
    AuthenticationFailure,
    /// 500: the handler itself failed.
    InternalError,
}

impl Status {
    /// The status as RFC 27 writes it: three ASCII digits.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "200",
            Self::TemporaryError => "300",
            Self::AuthenticationFailure => "400",
            Self::InternalError => "500",
        }
    }

    /// Reads three ASCII digits; `None` for anything but the four codes of RFC 27.
    #[must_use]
    pub const fn parse(digits: &[u8]) -> Option<Self> {
        match digits {
            b"200" => Some(Self::Success),
            b"300" => Some(Self::TemporaryError),
            b"400" => Some(Self::AuthenticationFailure),
            b"500" => Some(Self::InternalError),
            _ => None,
        }
    }
}

/// The text is not the digits of a [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ThisError)]
#[non_exhaustive]
#[error("a ZAP status is 200, 300, 400 or 500")]
pub struct StatusError;

impl FromStr for Status {
    type Err = StatusError;

    /// Parses the three digits of a status, such as `200`.
    ///
    /// # Errors
    /// Returns [`StatusError`] for every other text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes()).ok_or(StatusError)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status that refuses: every [`Status`] except 200, so that a denial can never read as success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 27 has three that refuse")]
pub enum DenialStatus {
    /// 300: the peer is disconnected without an ERROR and may try again.
    Temporary,
    /// 400: the credentials are refused.
    Failure,
    /// 500: the handler failed.
    Internal,
}

impl From<DenialStatus> for Status {
    fn from(denial: DenialStatus) -> Self {
        match denial {
            DenialStatus::Temporary => Self::TemporaryError,
            DenialStatus::Failure => Self::AuthenticationFailure,
            DenialStatus::Internal => Self::InternalError,
        }
    }
}

impl DenialStatus {
    /// The status as three ASCII digits.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Status::from(self).as_str()
    }
}

impl fmt::Display for DenialStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the peer refused us.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerRefusal {
    /// The ZAP status, if the reason is a status.
    pub status: Option<Status>,
    /// The reason as received, non-printable bytes escaped.
    pub reason: String,
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {}", Quoted(&self.reason))
    }
}

/// How our policy refused the peer. The peer learns only the status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Denied {
    /// The ZAP status.
    pub status: DenialStatus,
    /// The handler's reason, for logs.
    pub reason: String,
    /// What decided, if the handler is in this process and says so.
    pub by: Option<Box<DeniedBy>>,
}

/// What decided against a peer. It is for logs and never leaves this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeniedBy {
    /// The rule in words, or for a bound the name of its field in [`Limits`](crate::Limits).
    pub rule: String,
    /// The version of the policy that decided, if it has one.
    pub policy_version: Option<u64>,
    /// Whether the policy knows the user name that a PLAIN peer gave. Logs never show an unknown
    /// name, because it may be a password that was typed in the wrong place.
    pub knows_user: bool,
    /// The user that the policy names for the peer's CURVE key, if it has refused the key for
    /// another reason, such as its address.
    pub user_id: Option<Bytes>,
}

impl DeniedBy {
    /// A rule of a policy without versions. The user counts as unknown.
    #[must_use]
    pub fn new(rule: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            policy_version: None,
            knows_user: false,
            user_id: None,
        }
    }
}

impl Denied {
    /// The rule that decided, in words, if it is known.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.by.as_ref().map(|by| &by.rule[..])
    }

    /// The user that the policy names for the peer's key, as text for logs.
    pub(crate) fn user_id(&self) -> Option<String> {
        let user_id = self.by.as_ref()?.user_id.as_ref()?;
        Some(printable(user_id))
    }

    /// Whether an operator should act, because our side has failed or is short of something. A
    /// policy that refuses has done its job, even if it refuses only for now.
    pub(crate) fn needs_attention(&self) -> bool {
        let is_policy = self
            .by
            .as_ref()
            .is_some_and(|by| by.policy_version.is_some());
        match self.status {
            DenialStatus::Failure => false,
            DenialStatus::Temporary => !is_policy,
            DenialStatus::Internal => true,
        }
    }

    /// Whether logs may show the user name that a PLAIN peer gave.
    pub(crate) fn knows_user(&self) -> bool {
        self.by.as_ref().is_some_and(|by| by.knows_user)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_what_it_writes() {
        for status in [
            Status::Success,
            Status::TemporaryError,
            Status::AuthenticationFailure,
            Status::InternalError,
        ] {
            assert_eq!(Status::parse(status.as_str().as_bytes()), Some(status));
            assert_eq!(status.to_string().parse(), Ok(status));
        }
    }

    #[test]
    fn anything_else_is_no_status() {
        for text in ["", "20", "2000", "201", "600", " 200", "200\0"] {
            assert_eq!(Status::parse(text.as_bytes()), None, "{text:?}");
            assert_eq!(text.parse::<Status>(), Err(StatusError), "{text:?}");
        }
    }
}

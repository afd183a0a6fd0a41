//! What a peer authenticates with: its credentials, their public part, and the mechanism.
#![forbid(unsafe_code)]

use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::printable::printable;
use bytes::Bytes;
use std::fmt;

/// Most bytes of a PLAIN name or password. 255: HELLO gives each length one byte (RFC 24).
pub(crate) const MAX_PLAIN_LEN: usize = 255;

/// What a peer proves itself by, as its mechanism carries it (RFC 27, credentials frames).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// NULL: nothing.
    Null,
    /// PLAIN: a name and a password.
    Plain {
        /// User name, 0 to 255 bytes.
        username: Bytes,
        /// Password, 0 to 255 bytes, wiped on drop.
        password: Password,
    },
    /// CURVE: the long-term public key that the peer has proven to hold.
    Curve {
        /// The key.
        key: PublicKey,
    },
    /// GSSAPI: a principal. No socket of this crate speaks GSSAPI (RFC 38); a ZAP handler may
    /// be asked about it by others.
    Gssapi {
        /// The principal, as bytes.
        principal: Bytes,
    },
}

/// A security mechanism by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MechanismKind {
    /// RFC 37, "The NULL Security Mechanism".
    Null,
    /// RFC 24.
    Plain,
    /// RFC 25 and 26.
    Curve,
    /// RFC 38.
    Gssapi,
}

impl MechanismKind {
    /// The name as greeting and ZAP carry it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Plain => "PLAIN",
            Self::Curve => "CURVE",
            Self::Gssapi => "GSSAPI",
        }
    }
}

impl fmt::Display for MechanismKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Credentials {
    /// The mechanism these credentials belong to.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        match self {
            Self::Null => MechanismKind::Null,
            Self::Plain { .. } => MechanismKind::Plain,
            Self::Curve { .. } => MechanismKind::Curve,
            Self::Gssapi { .. } => MechanismKind::Gssapi,
        }
    }
}

/// The public part of what a peer authenticated with. Never a password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Credential {
    /// NULL: nothing.
    Null,
    /// PLAIN: the user name.
    UserName(Bytes),
    /// CURVE: the public key.
    Key(PublicKey),
    /// GSSAPI: the principal.
    Principal(Bytes),
}

impl Credential {
    /// The public part of `credentials`.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Null => Self::Null,
            Credentials::Plain { username, .. } => Self::UserName(username.clone()),
            Credentials::Curve { key } => Self::Key(*key),
            Credentials::Gssapi { principal } => Self::Principal(principal.clone()),
        }
    }

    /// The public part of the credentials of a peer that was refused, as far as a log may show
    /// it: not a user name that the policy does not know, which may be a password in the wrong
    /// place.
    pub(crate) fn for_log(credentials: &Credentials, knows_user: bool) -> Option<Self> {
        match Self::of(credentials) {
            Self::UserName(_) if !knows_user => None,
            credential => Some(credential),
        }
    }

    /// The mechanism that carries it.
    #[must_use]
    pub const fn mechanism(&self) -> MechanismKind {
        match self {
            Self::Null => MechanismKind::Null,
            Self::UserName(_) => MechanismKind::Plain,
            Self::Key(_) => MechanismKind::Curve,
            Self::Principal(_) => MechanismKind::Gssapi,
        }
    }
}

impl fmt::Display for Credential {
    /// For logs: one harmless line, the key in Z85.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("no credential"),
            Self::UserName(name) => write!(f, "user \"{}\"", printable(name)),
            Self::Key(key) => write!(f, "key {}", key.to_z85()),
            Self::Principal(name) => write!(f, "principal \"{}\"", printable(name)),
        }
    }
}

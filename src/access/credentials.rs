//! Credentials of a peer, their public part, and the mechanisms they belong to.
#![forbid(unsafe_code)]

use crate::crypto::keys::PublicKey;
use crate::crypto::password::Password;
use crate::printable::printable;
use bytes::Bytes;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Maximum length in bytes of a PLAIN user name or password. 255: a HELLO command carries each
/// length in one byte (RFC 24).
pub(crate) const MAX_PLAIN_LEN: usize = 255;

/// The credentials of a peer, as its mechanism carries them (RFC 27, credentials frames).
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
    /// CURVE: the long-term public key. The peer has proven that it holds the secret key.
    Curve {
        /// The key.
        key: PublicKey,
    },
    /// GSSAPI: a principal. This crate's sockets do not speak GSSAPI (RFC 38), but its ZAP
    /// handlers answer requests from sockets that do.
    Gssapi {
        /// The principal, as bytes.
        principal: Bytes,
    },
}

/// The name of a security mechanism.
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

/// The text is not the name of a mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("not a mechanism: the names are NULL, PLAIN, CURVE and GSSAPI, in capitals")]
#[non_exhaustive]
pub struct MechanismKindError;

impl MechanismKind {
    /// All mechanisms.
    const ALL: [Self; 4] = [Self::Null, Self::Plain, Self::Curve, Self::Gssapi];

    /// The mechanism with that name; `None` if no mechanism has it.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name().as_bytes() == name)
    }

    /// The name as greetings and ZAP requests carry it.
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

impl FromStr for MechanismKind {
    type Err = MechanismKindError;

    /// Parses the name as greetings carry it, in capitals.
    ///
    /// # Errors
    /// Returns [`MechanismKindError`] for every other text.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::from_name(name.as_bytes()).ok_or(MechanismKindError)
    }
}

/// With feature `serde` a mechanism is its name: `"NULL"`, `"PLAIN"`, `"CURVE"` or `"GSSAPI"`.
#[cfg(feature = "serde")]
impl serde::Serialize for MechanismKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for MechanismKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

impl Credentials {
    /// The mechanism that these credentials belong to.
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

/// The public part of a peer's credentials. It never holds a password.
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

    /// The public part of a refused peer's credentials, as far as a log may show it. A user name
    /// that the policy does not know is left out: it may be a password typed in the wrong place.
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
    /// For logs: one escaped line, with a key in Z85.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("no credential"),
            Self::UserName(name) => write!(f, "user \"{}\"", printable(name)),
            Self::Key(key) => write!(f, "key {}", key.to_z85()),
            Self::Principal(name) => write!(f, "principal \"{}\"", printable(name)),
        }
    }
}

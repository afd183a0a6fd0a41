//! ZAP domains: the names by which policies are looked up.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;

/// A ZAP domain: the name by which the policy for a socket is looked up (RFC 27). It is any
/// sequence of bytes, possibly empty, and is compared byte by byte.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Bytes);

impl Domain {
    /// The empty domain. libzmq sends it when no domain is set.
    pub const EMPTY: Self = Self(Bytes::new());

    /// `*`: in tables of handlers and policies, every domain without an entry of its own.
    pub const ALL: Self = Self(Bytes::from_static(b"*"));

    /// Takes the name's bytes.
    #[must_use]
    pub fn new(name: impl Into<Bytes>) -> Self {
        Self(name.into())
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name's bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl From<&'static str> for Domain {
    fn from(name: &'static str) -> Self {
        Self(Bytes::from_static(name.as_bytes()))
    }
}

impl From<String> for Domain {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::printable::printable(&self.0))
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain(\"{self}\")")
    }
}

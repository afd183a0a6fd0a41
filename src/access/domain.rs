//! ZAP domains: the names under which policies are looked up.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::fmt;

/// A ZAP domain: the name under which a socket's policy is looked up (RFC 27). It may be empty.
/// Compared as bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Bytes);

impl Domain {
    /// The empty domain, which libzmq asks for when none is set.
    pub const EMPTY: Self = Self(Bytes::new());

    /// `*`: in tables of handlers and policies, whatever has no entry of its own.
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

//! ZAP domains: the names by which policies are looked up.
#![forbid(unsafe_code)]

use bytes::Bytes;
use std::borrow::Borrow;
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

/// A map by domains finds an entry by the name's bytes.
impl Borrow<[u8]> for Domain {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Domain {
    fn from(name: &str) -> Self {
        name.as_bytes().into()
    }
}

impl From<String> for Domain {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&[u8]> for Domain {
    fn from(name: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(name))
    }
}

impl<const N: usize> From<&[u8; N]> for Domain {
    fn from(name: &[u8; N]) -> Self {
        name.as_slice().into()
    }
}

impl From<Vec<u8>> for Domain {
    fn from(name: Vec<u8>) -> Self {
        Self(name.into())
    }
}

impl From<Bytes> for Domain {
    fn from(name: Bytes) -> Self {
        Self(name)
    }
}

impl From<&Domain> for Domain {
    fn from(domain: &Domain) -> Self {
        domain.clone()
    }
}

/// With feature `serde` a domain is a string: its UTF-8 text, in which a backslash is written twice
/// and each byte that is not UTF-8 as `\x` and two hexadecimal digits. Every domain reads back.
#[cfg(feature = "serde")]
impl serde::Serialize for Domain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::byte_text::to_text(&self.0))
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Domain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = crate::byte_text::from_text(&text).ok_or_else(|| {
            serde::de::Error::custom(r"a backslash in a domain must be followed by \ or xHH")
        })?;
        Ok(bytes.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn maps_by_domains_are_searched_by_bytes() {
        let names = ["", "*", "global", "a\u{e9}\0"];
        let sorted: BTreeMap<Domain, &str> = names.map(|name| (name.into(), name)).into();
        let hashed: HashMap<Domain, &str> = names.map(|name| (name.into(), name)).into();
        for name in names {
            assert_eq!(sorted.get(name.as_bytes()), Some(&name));
            assert_eq!(hashed.get(name.as_bytes()), Some(&name));
        }
        assert_eq!(sorted.get(&b"globa"[..]), None);
    }
}

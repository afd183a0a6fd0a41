//! Metadata: the properties in READY and INITIATE, and in ZAP replies (RFC 37, "Metadata";
//! RFC 27, "The Reply").
#![forbid(unsafe_code)]

use crate::error::{LimitExceeded, Malformation, ProtocolError};
use crate::wire::reader::Reader;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use std::slice;
use thiserror::Error as ThisError;

/// Property name of the socket type.
pub const SOCKET_TYPE: &str = "Socket-Type";
/// Property name of the identity (routing id).
pub const IDENTITY: &str = "Identity";
/// Most bytes in an identity. 255, as RFC 37 says.
pub const MAX_IDENTITY_LEN: usize = 255;

/// Named properties, in order. Names are 1 to 255 bytes of printable ASCII, and unique without
/// regard to case. Values are any bytes, up to 2^32 - 1 of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(Box<str>, Bytes)>);

/// Why a property cannot be added to [`Metadata`].
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum PropertyError {
    /// The name is empty, over 255 bytes, or not printable ASCII.
    #[error("property name {0:?} is not 1 to 255 bytes of printable ASCII")]
    Name(String),
    /// The name exists already, perhaps in another case.
    #[error("property {0:?} is given twice")]
    Duplicate(String),
    /// The value exceeds 2^32 - 1 bytes.
    #[error("the value of property {0:?} is too long")]
    ValueTooLong(String),
}

/// Why received metadata was refused.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum MetadataError {
    /// The bytes do not parse.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// There are too many properties.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
}

impl Metadata {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends a property.
    ///
    /// # Errors
    /// Returns [`PropertyError`] if the name is bad or exists already, or if the value is too long
    /// to encode.
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) -> Result<(), PropertyError> {
        let value = value.into();
        if !is_name(name.as_bytes()) {
            return Err(PropertyError::Name(name.escape_debug().to_string()));
        }
        if self.get(name).is_some() {
            return Err(PropertyError::Duplicate(name.to_owned()));
        }
        if u32::try_from(value.len()).is_err() {
            return Err(PropertyError::ValueTooLong(name.to_owned()));
        }
        self.0.push((name.into(), value));
        Ok(())
    }

    /// The value of a property. Names are compared without regard to ASCII case (RFC 37).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Removes a property and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        let at = self
            .0
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.0.remove(at).1)
    }

    /// All properties, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// Number of properties.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no properties.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that [`Metadata::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| 1 + name.len() + 4 + value.len())
            .sum()
    }

    /// Appends the wire form: name length, name, value length in 4 bytes, value (RFC 37).
    pub fn encode(&self, out: &mut BytesMut) {
        for (name, value) in &self.0 {
            out.put_u8(name.len() as u8);
            out.put_slice(name.as_bytes());
            out.put_u32(value.len() as u32);
            out.put_slice(value);
        }
    }

    /// Parses the wire form, which must take all of `bytes`. `what` names the command in errors.
    /// Values are copied, so that no large buffer stays alive for a small property.
    ///
    /// # Errors
    /// Returns [`MetadataError`] if the bytes are truncated, a name is bad or repeated, or there
    /// are more than `max` properties.
    pub fn parse(bytes: &[u8], what: &'static str, max: usize) -> Result<Self, MetadataError> {
        let mut reader = Reader::new(what, bytes);
        let mut metadata = Self::new();
        while !reader.is_empty() {
            if metadata.len() == max {
                return Err(LimitExceeded::Properties { limit: max }.into());
            }
            let at = reader.at();
            let name = reader.short_string()?;
            // RFC 37: a name has at least one character. The RFC's alphabet is narrower, but libzmq
            // applications can set any `X-` name, so all printable ASCII is accepted.
            if name.is_empty() {
                return Err(reader.malformed(at, Malformation::EmptyName).into());
            }
            let name = match std::str::from_utf8(name) {
                Ok(text) if is_name(name) => text,
                _ => return Err(reader.malformed(at, Malformation::NameBytes).into()),
            };
            // RFC 37: property names are not case-sensitive, so `identity` repeats `Identity`.
            if metadata.get(name).is_some() {
                return Err(reader.malformed(at, Malformation::Duplicate).into());
            }
            let len = reader.u32()? as usize;
            let value = Bytes::copy_from_slice(reader.take(len)?);
            metadata.0.push((name.into(), value));
        }
        // A connection keeps it as long as it lasts.
        metadata.0.shrink_to_fit();
        Ok(metadata)
    }
}

fn is_name(name: &[u8]) -> bool {
    (1..=255).contains(&name.len()) && name.iter().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// The properties of [`Metadata`], in order.
#[derive(Debug, Clone)]
pub struct Iter<'a>(slice::Iter<'a, (Box<str>, Bytes)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (&**name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a Bytes);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Metadata {
    type Item = (Box<str>, Bytes);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Metadata, MetadataError> {
        Metadata::parse(bytes, "test", 4)
    }

    fn problem(bytes: &[u8]) -> Malformation {
        match parse(bytes) {
            Err(MetadataError::Protocol(ProtocolError::Malformed { problem, .. })) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_libzmq_sends_it() {
        let bytes = b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0";
        let metadata = parse(bytes).unwrap();
        assert_eq!(metadata.get("socket-TYPE").unwrap(), &b"DEALER"[..]);
        assert_eq!(metadata.get(IDENTITY).unwrap(), &b""[..]);
        let mut out = BytesMut::new();
        metadata.encode(&mut out);
        assert_eq!(out, &bytes[..]);
        assert_eq!(metadata.encoded_len(), bytes.len());
    }

    #[test]
    fn properties_are_iterated_in_order() {
        let mut metadata = Metadata::new();
        for name in ["X-b", "X-a"] {
            metadata.push(name, name.as_bytes()).unwrap();
        }
        let borrowed: Vec<_> = (&metadata).into_iter().map(|(name, _)| name).collect();
        assert_eq!(borrowed, ["X-b", "X-a"]);
        assert_eq!(metadata.iter().len(), 2);
        let mut copy = Metadata::new();
        for (name, value) in metadata.clone() {
            copy.push(&name, value).unwrap();
        }
        assert_eq!(copy, metadata);
    }

    #[test]
    fn bad_metadata_says_what_is_wrong() {
        assert_eq!(problem(b"\0\0\0\0\0"), Malformation::EmptyName);
        assert_eq!(problem(b"\x01a\0\0\0\x02x"), Malformation::Truncated);
        assert_eq!(problem(b"\x01a\0\0\0"), Malformation::Truncated);
        assert_eq!(problem(b"\x01a\xFF\xFF\xFF\xFFx"), Malformation::Truncated);
        assert_eq!(problem(b"\x01\x1b\0\0\0\0"), Malformation::NameBytes);
        assert_eq!(problem(b"\x02\xc3\xa9\0\0\0\0"), Malformation::NameBytes);
        assert_eq!(
            problem(b"\x01a\0\0\0\0\x01A\0\0\0\0"),
            Malformation::Duplicate
        );
        assert_eq!(
            parse(b"\x01a\0\0\0\0\x01b\0\0\0\0\x01c\0\0\0\0\x01d\0\0\0\0\x01e\0\0\0\0"),
            Err(MetadataError::Limit(LimitExceeded::Properties { limit: 4 }))
        );
    }

    #[test]
    fn only_what_can_be_encoded_can_be_pushed() {
        let mut metadata = Metadata::new();
        metadata.push("X-a", "1").unwrap();
        assert!(matches!(
            metadata.push("x-A", "2"),
            Err(PropertyError::Duplicate(_))
        ));
        assert!(matches!(
            metadata.push("", "2"),
            Err(PropertyError::Name(_))
        ));
        assert!(matches!(
            metadata.push(&"n".repeat(256), "2"),
            Err(PropertyError::Name(_))
        ));
        assert_eq!(metadata.remove("x-a").unwrap(), "1");
        assert!(metadata.is_empty());
    }

    proptest! {
        #[test]
        fn round_trip(values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4)) {
            let mut metadata = Metadata::new();
            for (index, value) in values.into_iter().enumerate() {
                metadata.push(&format!("X-{index}"), value).unwrap();
            }
            let mut out = BytesMut::new();
            metadata.encode(&mut out);
            prop_assert_eq!(parse(&out), Ok(metadata));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}

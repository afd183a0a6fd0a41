//! Reads fields from a byte slice. Each error names its structure and offset.
#![forbid(unsafe_code)]

use crate::error::{Malformation, ProtocolError};
use std::fmt;

/// A cursor over one structure's bytes. Nothing is copied.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; `what` names the structure in errors.
    #[must_use]
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    /// Offset of the next byte.
    #[must_use]
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Whether all bytes are read.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The error for `problem` at offset `at`.
    #[must_use]
    pub(crate) const fn malformed(&self, at: usize, problem: Malformation) -> ProtocolError {
        ProtocolError::Malformed {
            what: self.what,
            at,
            problem,
        }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ProtocolError> {
        match self.bytes[self.at..].get(..len) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.malformed(self.bytes.len(), Malformation::Truncated)),
        }
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], ProtocolError> {
        match self.bytes[self.at..].first_chunk() {
            Some(array) => {
                self.at += N;
                Ok(array)
            }
            None => Err(self.malformed(self.bytes.len(), Malformation::Truncated)),
        }
    }

    /// The next byte.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if none is left.
    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(|byte| byte[0])
    }

    /// The next two bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// The next four bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The next eight bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A byte that counts the bytes after it, and those bytes.
    ///
    /// # Errors
    /// Returns [`Malformation::Truncated`] if fewer are left.
    pub(crate) fn short_string(&mut self) -> Result<&'a [u8], ProtocolError> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// All bytes that are left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Ends the structure.
    ///
    /// # Errors
    /// Returns [`Malformation::Trailing`] if bytes are left: lengths are exact everywhere.
    pub(crate) fn finish(self) -> Result<(), ProtocolError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(self.at, Malformation::Trailing))
        }
    }
}

impl fmt::Debug for Reader<'_> {
    /// Shows only the number of bytes, because PLAIN's HELLO holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("what", &self.what)
            .field("len", &self.bytes.len())
            .field("at", &self.at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_ends_exactly() {
        let mut reader = Reader::new("test", &[1, 0, 2, 3, b'a', b'b', b'c']);
        assert_eq!(reader.u8().unwrap(), 1);
        assert_eq!(reader.u16().unwrap(), 2);
        assert_eq!(reader.short_string().unwrap(), b"abc");
        reader.finish().unwrap();
    }

    #[test]
    fn truncation_and_trailing_bytes_say_where() {
        let mut reader = Reader::new("test", &[5, 1]);
        assert_eq!(
            reader.short_string(),
            Err(ProtocolError::Malformed {
                what: "test",
                at: 2,
                problem: Malformation::Truncated
            })
        );
        assert_eq!(
            Reader::new("test", &[0]).finish(),
            Err(ProtocolError::Malformed {
                what: "test",
                at: 0,
                problem: Malformation::Trailing
            })
        );
    }
}

//! Frame headers (RFC 37, "Framing").
#![forbid(unsafe_code)]

use crate::error::ProtocolError;
use bytes::{BufMut, BytesMut};

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;

/// Longest frame header in bytes: flags and an 8-byte size.
pub const MAX_HEADER_LEN: usize = 9;

/// Longest body in bytes that a short frame carries.
pub const MAX_SHORT_BODY: usize = 255;

/// The kind of a frame. The flags byte has more values, but only these three kinds are legal: RFC
/// 37 never sets MORE on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 37 has three kinds of frames")]
pub enum Flags {
    /// The last, or only, frame of a message.
    Last,
    /// A frame of a message with more frames to come.
    More,
    /// A command.
    Command,
}

impl Flags {
    /// Whether another frame of the same message follows.
    #[must_use]
    pub const fn is_more(self) -> bool {
        matches!(self, Self::More)
    }

    /// Whether this is a command.
    #[must_use]
    pub const fn is_command(self) -> bool {
        matches!(self, Self::Command)
    }
}

/// A parsed frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameHeader {
    /// The kind of the frame.
    pub flags: Flags,
    /// Whether the size field has 8 bytes.
    pub long: bool,
    /// The body size in bytes that the peer announces, up to 2^64 - 1.
    pub size: u64,
}

impl FrameHeader {
    /// Bytes of a header for a body of `len` bytes: 2 or 9.
    #[must_use]
    pub const fn encoded_len(len: usize) -> usize {
        if len <= MAX_SHORT_BODY {
            2
        } else {
            MAX_HEADER_LEN
        }
    }

    /// Appends the header for a body of `len` bytes, in the short form if it fits.
    pub fn encode(flags: Flags, len: usize, out: &mut BytesMut) {
        let bits = match flags {
            Flags::Last => 0,
            Flags::More => MORE,
            Flags::Command => COMMAND,
        };
        match u8::try_from(len) {
            Ok(short) => out.put_slice(&[bits, short]),
            Err(_) => {
                out.put_u8(bits | LONG);
                out.put_u64(len as u64);
            }
        }
    }

    /// Parses a header, and returns it with its length in bytes. `Ok(None)` means that more bytes
    /// are needed. Bad flags are refused at the first byte.
    ///
    /// # Errors
    /// Returns [`ProtocolError::FrameFlags`] if a reserved bit is set, or MORE on a command.
    pub fn parse(received: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&bits, rest)) = received.split_first() else {
            return Ok(None);
        };
        // RFC 37, "Framing": bits 7 to 3 are zero; MORE is zero on commands.
        let flags = match bits & !LONG {
            0 => Flags::Last,
            MORE => Flags::More,
            COMMAND => Flags::Command,
            _ => return Err(ProtocolError::FrameFlags { flags: bits }),
        };
        let long = bits & LONG != 0;
        let parsed = if long {
            rest.first_chunk()
                .map(|size| (u64::from_be_bytes(*size), MAX_HEADER_LEN))
        } else {
            rest.first().map(|&size| (u64::from(size), 2))
        };
        Ok(parsed.map(|(size, taken)| (Self { flags, long, size }, taken)))
    }

    /// Whether a long header was used for a body that fits a short one. RFC 37 says SHOULD NOT, and
    /// no known peer does it during the handshake.
    #[must_use]
    pub const fn is_overlong(&self) -> bool {
        self.long && self.size <= MAX_SHORT_BODY as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(flags: Flags, len: usize) -> BytesMut {
        let mut out = BytesMut::new();
        FrameHeader::encode(flags, len, &mut out);
        out
    }

    #[test]
    fn short_up_to_255_and_long_from_256() {
        assert_eq!(encoded(Flags::Command, 255)[..], [0x04, 255]);
        assert_eq!(
            encoded(Flags::Command, 256)[..],
            [0x06, 0, 0, 0, 0, 0, 0, 1, 0]
        );
        assert_eq!(encoded(Flags::More, 0)[..], [0x01, 0]);
        assert_eq!(FrameHeader::encoded_len(255), 2);
        assert_eq!(FrameHeader::encoded_len(256), 9);
    }

    #[test]
    fn exactly_six_flag_bytes_are_legal() {
        let legal: Vec<u8> = (0..=255)
            .filter(|&bits| FrameHeader::parse(&[bits]).is_ok())
            .collect();
        assert_eq!(legal, [0x00, 0x01, 0x02, 0x03, 0x04, 0x06]);
    }

    #[test]
    fn the_largest_claims_parse_and_reserve_nothing() {
        let bytes = [0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let (header, taken) = FrameHeader::parse(&bytes).unwrap().unwrap();
        assert_eq!((header.size, taken), (u64::MAX, 9));
    }

    #[test]
    fn overlong_headers_are_recognised() {
        let bytes = [0x06, 0, 0, 0, 0, 0, 0, 0, 255];
        assert!(FrameHeader::parse(&bytes).unwrap().unwrap().0.is_overlong());
        let bytes = [0x06, 0, 0, 0, 0, 0, 0, 1, 0];
        assert!(!FrameHeader::parse(&bytes).unwrap().unwrap().0.is_overlong());
    }

    proptest! {
        #[test]
        fn round_trip(len in 0_usize..1 << 40, kind in 0_usize..3) {
            let flags = [Flags::Last, Flags::More, Flags::Command][kind];
            let bytes = encoded(flags, len);
            for cut in 0..bytes.len() {
                prop_assert_eq!(FrameHeader::parse(&bytes[..cut]), Ok(None));
            }
            let (header, taken) = FrameHeader::parse(&bytes).unwrap().unwrap();
            prop_assert_eq!((header.flags, header.size, taken), (flags, len as u64, bytes.len()));
            prop_assert!(!header.is_overlong());
        }
    }
}

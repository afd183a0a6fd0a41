//! Command bodies: a name, and data in a format that depends on the name (RFC 37, "Commands").
#![forbid(unsafe_code)]

use crate::error::{Malformation, ProtocolError};
use crate::printable::printable;
use crate::wire::reader::Reader;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// A command body, split into name and data without a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a command is a name and data")]
pub struct Command<'a> {
    /// The name without its length byte, 1 to 255 bytes.
    pub name: &'a [u8],
    /// Everything after the name.
    pub data: &'a [u8],
}

impl<'a> Command<'a> {
    /// Splits a command body.
    ///
    /// # Errors
    /// Returns [`ProtocolError::Malformed`] if the name is empty or longer than the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("command", body);
        let name = reader.short_string()?;
        // RFC 37: a command name has 1 to 255 characters.
        if name.is_empty() {
            return Err(reader.malformed(0, Malformation::EmptyName));
        }
        Ok(Self {
            name,
            data: reader.rest(),
        })
    }

    /// Splits a command body whose name must be `expected`, and returns its data.
    ///
    /// # Errors
    /// Returns [`ProtocolError::UnexpectedCommand`] if the name is another one, and the errors of
    /// [`Command::parse`].
    pub fn expect(body: &'a [u8], expected: &'static str) -> Result<&'a [u8], ProtocolError> {
        let command = Self::parse(body)?;
        if command.name == expected.as_bytes() {
            Ok(command.data)
        } else {
            Err(ProtocolError::UnexpectedCommand {
                expected,
                got: printable(command.name),
            })
        }
    }

    /// Starts a body with the name. The caller appends the data. `data_len` only sets the capacity.
    #[must_use]
    pub fn start(name: &'static str, data_len: usize) -> BytesMut {
        let mut body = BytesMut::with_capacity(1 + name.len() + data_len);
        put_short_string(name.as_bytes(), &mut body);
        body
    }
}

impl fmt::Debug for Command<'_> {
    /// Shows only the length of the data, because PLAIN's HELLO holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("name", &printable(self.name))
            .field("data_len", &self.data.len())
            .finish()
    }
}

/// Appends a length byte and the bytes. All callers pass at most 255 bytes.
pub(crate) fn put_short_string(bytes: &[u8], out: &mut BytesMut) {
    debug_assert!(bytes.len() <= 255);
    out.put_u8(bytes.len() as u8);
    out.put_slice(bytes);
}

/// A command that may arrive after the handshake (RFC 37, "Connection Heartbeating" and "The
/// Publish-Subscribe Pattern").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrafficCommand {
    /// PING.
    Ping {
        /// The time to live, in tenths of a second. If we hear nothing from the peer for that long,
        /// we close.
        ttl: u16,
        /// At most 16 bytes, to be sent back in the PONG.
        context: Bytes,
    },
    /// PONG.
    Pong {
        /// The context of the PING that this PONG answers.
        context: Bytes,
    },
    /// SUBSCRIBE.
    Subscribe(Bytes),
    /// CANCEL.
    Cancel(Bytes),
    /// Any other name. RFC 37 asks receivers to ignore it.
    Unknown,
}

/// Most bytes in a PING's context. 16, as RFC 37 says ("Connection Heartbeating").
pub const MAX_PING_CONTEXT: usize = 16;

impl TrafficCommand {
    /// Parses a command body. Contexts and topics share its memory.
    ///
    /// # Errors
    /// Returns [`ProtocolError::Malformed`] if a PING is shorter than 7 bytes, or a context longer
    /// than 16.
    pub fn parse(body: &Bytes) -> Result<Self, ProtocolError> {
        let command = Command::parse(body)?;
        match command.name {
            b"PING" => {
                let mut reader = Reader::new("PING", command.data);
                let ttl = reader.u16()?;
                let context = body.slice_ref(reader.rest());
                check_context("PING", &context)?;
                Ok(Self::Ping { ttl, context })
            }
            b"PONG" => {
                let context = body.slice_ref(command.data);
                check_context("PONG", &context)?;
                Ok(Self::Pong { context })
            }
            b"SUBSCRIBE" => Ok(Self::Subscribe(body.slice_ref(command.data))),
            b"CANCEL" => Ok(Self::Cancel(body.slice_ref(command.data))),
            _ => Ok(Self::Unknown),
        }
    }

    /// The command body; `None` for [`TrafficCommand::Unknown`].
    #[must_use]
    pub fn encode(&self) -> Option<Bytes> {
        let (name, ttl, data) = match self {
            Self::Ping { ttl, context } => ("PING", Some(*ttl), context),
            Self::Pong { context } => ("PONG", None, context),
            Self::Subscribe(topic) => ("SUBSCRIBE", None, topic),
            Self::Cancel(topic) => ("CANCEL", None, topic),
            Self::Unknown => return None,
        };
        let mut body = Command::start(name, 2 + data.len());
        if let Some(ttl) = ttl {
            body.put_u16(ttl);
        }
        body.put_slice(data);
        Some(body.freeze())
    }
}

/// RFC 37, "Connection Heartbeating": a context has at most 16 bytes.
fn check_context(what: &'static str, context: &[u8]) -> Result<(), ProtocolError> {
    if context.len() > MAX_PING_CONTEXT {
        return Err(Reader::new(what, context).malformed(MAX_PING_CONTEXT, Malformation::Trailing));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &[u8]) -> Result<TrafficCommand, ProtocolError> {
        TrafficCommand::parse(&Bytes::copy_from_slice(body))
    }

    #[test]
    fn names_are_compared_exactly() {
        assert_eq!(Command::expect(b"\x05READYdata", "READY"), Ok(&b"data"[..]));
        assert!(Command::expect(b"\x05ready", "READY").is_err());
        assert!(Command::expect(b"\x06READY\0", "READY").is_err());
        assert!(Command::expect(b"\x05READ", "READY").is_err());
        assert!(Command::expect(b"\x00", "READY").is_err());
        assert!(Command::expect(b"", "READY").is_err());
    }

    #[test]
    fn ping_as_libzmq_sends_it() {
        let ping = parse(b"\x04PING\x00\x0a").unwrap();
        assert_eq!(
            ping,
            TrafficCommand::Ping {
                ttl: 10,
                context: Bytes::new()
            }
        );
        assert_eq!(ping.encode().unwrap(), &b"\x04PING\x00\x0a"[..]);
    }

    #[test]
    fn short_pings_and_long_contexts_are_refused() {
        assert!(parse(b"\x04PING\x00").is_err());
        assert!(parse(&[b"\x04PING\x00\x00", &[0; 16][..]].concat()).is_ok());
        assert!(parse(&[b"\x04PING\x00\x00", &[0; 17][..]].concat()).is_err());
        assert!(parse(&[b"\x04PONG", &[0; 17][..]].concat()).is_err());
    }

    #[test]
    fn unknown_commands_are_no_error() {
        assert_eq!(parse(b"\x04JOINgroup"), Ok(TrafficCommand::Unknown));
    }

    proptest! {
        #[test]
        fn subscriptions_round_trip(topic in proptest::collection::vec(any::<u8>(), 0..300)) {
            for command in [
                TrafficCommand::Subscribe(topic.clone().into()),
                TrafficCommand::Cancel(topic.into()),
            ] {
                prop_assert_eq!(TrafficCommand::parse(&command.encode().unwrap()), Ok(command));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = TrafficCommand::parse(&body.into());
        }
    }
}

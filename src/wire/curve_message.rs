//! CURVE's MESSAGE command (RFC 26): the bytes around its box and in it.
#![forbid(unsafe_code)]

use crate::error::{Error, Malformation, ProtocolError};
use crate::wire::frame::Flags;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Name of the MESSAGE command with its length byte.
const NAME: &[u8; 8] = b"\x07MESSAGE";
/// Bytes of the nonce that are sent.
pub(crate) const NONCE_LEN: usize = 8;
/// Where the box begins: its tag, then the sealed flags and payload.
pub(crate) const BOX_AT: usize = NAME.len() + NONCE_LEN;
/// Bytes before the flags, which are sealed with the payload.
const CLEAR_LEN: usize = BOX_AT + 16;

/// Bytes by which a MESSAGE is longer than its payload.
pub const MESSAGE_OVERHEAD: usize = CLEAR_LEN + 1;

const SEALED_MORE: u8 = 0b01;
/// The COMMAND flag inside the box: bit 1, as libzmq has it, not bit 2 as in the frame header.
const SEALED_COMMAND: u8 = 0b10;

/// Appends a MESSAGE that is not sealed yet (RFC 26): name, nonce, room for the tag, flags and
/// payload. Returns where the box begins.
pub(crate) fn put_clear(
    flags: Flags,
    nonce: [u8; NONCE_LEN],
    body: &[u8],
    out: &mut BytesMut,
) -> usize {
    let mut head = [0; MESSAGE_OVERHEAD];
    head[..NAME.len()].copy_from_slice(NAME);
    head[NAME.len()..BOX_AT].copy_from_slice(&nonce);
    head[CLEAR_LEN] = match flags {
        Flags::Last => 0,
        Flags::More => SEALED_MORE,
        Flags::Command => SEALED_COMMAND,
    };
    out.reserve(MESSAGE_OVERHEAD + body.len());
    let box_at = out.len() + BOX_AT;
    out.put_slice(&head);
    out.put_slice(body);
    box_at
}

/// Checks a MESSAGE as far as possible before its box is opened, and returns its nonce.
#[inline]
pub(crate) fn parse(body: &[u8]) -> Result<[u8; NONCE_LEN], Error> {
    // RFC 26, MESSAGE: nonce, and a box of at least one byte of flags.
    match body.split_first_chunk() {
        // Compared as numbers: a pattern is compared byte by byte.
        Some((name, rest)) if name == NAME && body.len() >= MESSAGE_OVERHEAD => {
            rest.first_chunk().copied().ok_or_else(|| refused(body))
        }
        _ => Err(refused(body)),
    }
}

/// Why a body is no MESSAGE.
#[cold]
fn refused(body: &[u8]) -> Error {
    // RFC 26, MESSAGE: a frame with any other content was not sealed, whatever its flags are.
    if !body.starts_with(NAME) {
        return ProtocolError::UnexpectedCommand {
            expected: "MESSAGE",
            got: crate::printable::printable(&body[..body.len().min(NAME.len())]),
        }
        .into();
    }
    malformed(body.len())
}

/// The flags in a MESSAGE whose box has been opened in place. Its payload is behind the first
/// [`MESSAGE_OVERHEAD`] bytes.
#[inline]
pub(crate) fn opened_flags(body: &[u8]) -> Result<Flags, Error> {
    // RFC 26, MESSAGE: only MORE and COMMAND have a meaning, and not together.
    match body.get(CLEAR_LEN) {
        Some(0) => Ok(Flags::Last),
        Some(&SEALED_MORE) => Ok(Flags::More),
        Some(&SEALED_COMMAND) => Ok(Flags::Command),
        Some(&flags) => Err(ProtocolError::SealedFlags { flags }.into()),
        None => Err(malformed(CLEAR_LEN)),
    }
}

/// The payload of such a MESSAGE.
#[inline]
pub(crate) fn payload(body: BytesMut) -> Bytes {
    // In this order the bytes before the payload are left out in registers.
    let mut body = body.freeze();
    body.advance(MESSAGE_OVERHEAD);
    body
}

fn malformed(at: usize) -> Error {
    ProtocolError::Malformed {
        what: "MESSAGE",
        at,
        problem: Malformation::Truncated,
    }
    .into()
}

//! CURVE's handshake commands (RFC 26, "Formal Grammar"): bytes to borrowed structs and back.
//! Lengths are exact. Nothing here opens a box or knows a secret.
#![forbid(unsafe_code)]

use crate::crypto::keys::{KeyError, PublicKey};
use crate::error::{CryptoError, Error, Malformation, ProtocolError};
use crate::wire::command::Command;
use crate::wire::reader::Reader;
use bytes::{BufMut, BytesMut};

pub(super) const HELLO: &str = "HELLO";
pub(super) const WELCOME: &str = "WELCOME";
pub(super) const INITIATE: &str = "INITIATE";
pub(super) const READY: &str = "READY";

/// Bytes in a HELLO's body.
pub(in crate::mechanism) const HELLO_LEN: usize = 200;
/// Bytes in the cookie: nonce and sealed part.
pub(super) const COOKIE_LEN: usize = 96;
/// Bytes in a vouch's box: two public keys and a tag.
const VOUCH_BOX_LEN: usize = 80;
const VERSION: [u8; 2] = [1, 0];
const PADDING_LEN: usize = 72;
/// The zeros that HELLO seals, which proves that the client has c'.
pub(super) const SIGNATURE: [u8; 64] = [0; 64];

/// Reads a public key, permanent or transient. Both must be canonical, as X25519 makes them for
/// every honest peer.
fn public_key(reader: &mut Reader<'_>, whose: &'static str) -> Result<PublicKey, Error> {
    PublicKey::from_bytes(*reader.array()?).map_err(|error| {
        match error {
            KeyError::LowOrder => CryptoError::LowOrderKey(whose),
            _ => CryptoError::KeyNotCanonical(whose),
        }
        .into()
    })
}

/// The data of HELLO.
pub(super) struct Hello<'a> {
    /// The client's transient public key, C'.
    pub(super) client_transient: PublicKey,
    pub(super) nonce: u64,
    /// Box [64 zeros](C'->S).
    pub(super) signature: &'a [u8; 80],
}

impl<'a> Hello<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("CURVE HELLO", data);
        // RFC 26, HELLO: 1.0 is the only version.
        if *reader.array()? != VERSION {
            return Err(reader.malformed(0, Malformation::Version).into());
        }
        // RFC 26, HELLO: the padding keeps the reply from being longer than the request.
        let at = reader.at();
        if *reader.array()? != [0; PADDING_LEN] {
            return Err(reader.malformed(at, Malformation::Padding).into());
        }
        let hello = Self {
            client_transient: public_key(&mut reader, "client's transient")?,
            nonce: reader.u64()?,
            signature: reader.array()?,
        };
        reader.finish()?;
        Ok(hello)
    }

    /// Starts a body. The caller appends the signature box.
    pub(super) fn start(client_transient: &PublicKey, nonce: u64) -> BytesMut {
        let mut body = Command::start(HELLO, HELLO_LEN);
        body.put_slice(&VERSION);
        body.put_bytes(0, PADDING_LEN);
        body.put_slice(client_transient.as_bytes());
        body.put_u64(nonce);
        body
    }
}

/// The data of WELCOME.
pub(super) struct Welcome<'a> {
    pub(super) nonce: &'a [u8; 16],
    /// Box [S', cookie](S->C').
    pub(super) boxed: &'a [u8; 144],
}

impl<'a> Welcome<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CURVE WELCOME", data);
        let welcome = Self {
            nonce: reader.array()?,
            boxed: reader.array()?,
        };
        reader.finish()?;
        Ok(welcome)
    }

    /// Starts a body; the caller appends the box.
    pub(super) fn start(nonce: &[u8; 16]) -> BytesMut {
        let mut body = Command::start(WELCOME, 160);
        body.put_slice(nonce);
        body
    }
}

/// What WELCOME's box holds.
pub(super) struct WelcomeText<'a> {
    /// The server's transient public key, S'.
    pub(super) server_transient: PublicKey,
    pub(super) cookie: &'a [u8; COOKIE_LEN],
}

impl<'a> WelcomeText<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("CURVE WELCOME box", text);
        let parsed = Self {
            server_transient: public_key(&mut reader, "server's transient")?,
            cookie: reader.array()?,
        };
        reader.finish()?;
        Ok(parsed)
    }
}

/// The data of INITIATE.
pub(super) struct Initiate<'a> {
    pub(super) cookie: &'a [u8; COOKIE_LEN],
    pub(super) nonce: u64,
    /// Box [C, vouch, metadata](C'->S').
    pub(super) boxed: &'a [u8],
}

impl<'a> Initiate<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CURVE INITIATE", data);
        Ok(Self {
            cookie: reader.array()?,
            nonce: reader.u64()?,
            boxed: reader.rest(),
        })
    }

    /// Starts a body; the caller appends the box.
    pub(super) fn start(cookie: &[u8; COOKIE_LEN], nonce: u64, box_len: usize) -> BytesMut {
        let mut body = Command::start(INITIATE, COOKIE_LEN + 8 + box_len);
        body.put_slice(cookie);
        body.put_u64(nonce);
        body
    }
}

/// What INITIATE's box holds.
pub(super) struct InitiateText<'a> {
    /// The client's permanent public key, C.
    pub(super) client: PublicKey,
    pub(super) vouch_nonce: &'a [u8; 16],
    /// Box [C', S](C->S').
    pub(super) vouch: &'a [u8; VOUCH_BOX_LEN],
    pub(super) metadata: &'a [u8],
}

impl<'a> InitiateText<'a> {
    /// Bytes before the metadata.
    pub(super) const FIXED_LEN: usize = 32 + 16 + VOUCH_BOX_LEN;

    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("CURVE INITIATE box", text);
        Ok(Self {
            client: public_key(&mut reader, "client's permanent")?,
            vouch_nonce: reader.array()?,
            vouch: reader.array()?,
            metadata: reader.rest(),
        })
    }
}

/// The data of READY.
pub(super) struct Ready<'a> {
    pub(super) nonce: u64,
    /// Box [metadata](S'->C').
    pub(super) boxed: &'a [u8],
}

impl<'a> Ready<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CURVE READY", data);
        Ok(Self {
            nonce: reader.u64()?,
            boxed: reader.rest(),
        })
    }

    /// Starts a body; the caller appends the box.
    pub(super) fn start(nonce: u64, box_len: usize) -> BytesMut {
        let mut body = Command::start(READY, 8 + box_len);
        body.put_u64(nonce);
        body
    }
}

/// Joins the two keys of a vouch.
pub(super) fn vouch_text(client_transient: &PublicKey, server: &PublicKey) -> [u8; 64] {
    let mut text = [0; 64];
    text[..32].copy_from_slice(client_transient.as_bytes());
    text[32..].copy_from_slice(server.as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Vec<u8> {
        let mut body = Hello::start(&PublicKey::from_bytes([7; 32]).unwrap(), 1);
        body.put_bytes(0xAA, 80);
        body.to_vec()
    }

    #[test]
    fn hello_has_200_bytes_and_all_of_them_count() {
        let body = hello();
        assert_eq!(body.len(), HELLO_LEN);
        let parsed = Hello::parse(&body[6..]).unwrap();
        assert_eq!(parsed.client_transient.as_bytes(), &[7; 32]);
        assert_eq!((parsed.nonce, parsed.signature), (1, &[0xAA; 80]));
        for at in 6..80 {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert!(Hello::parse(&changed[6..]).is_err(), "{at}");
        }
        assert!(Hello::parse(&body[6..199]).is_err());
        assert!(Hello::parse(&[&body[6..], &[0]].concat()).is_err());
    }

    #[test]
    fn lengths_are_those_of_rfc_26() {
        let mut welcome = Welcome::start(&[1; 16]);
        welcome.put_bytes(0, 144);
        assert_eq!(welcome.len(), 168);
        assert!(Welcome::parse(&welcome[8..]).is_ok());
        assert!(Welcome::parse(&welcome[8..167]).is_err());
        assert_eq!(1 + 8 + COOKIE_LEN + 8 + 16 + InitiateText::FIXED_LEN, 257);
        assert_eq!(Ready::start(1, 16).len() + 16, 30);
    }
}

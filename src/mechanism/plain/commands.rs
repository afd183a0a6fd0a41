//! PLAIN's commands (RFC 24, "Formal Grammar").
#![forbid(unsafe_code)]

use crate::access::credentials::MAX_PLAIN_LEN;
use crate::access::peer::Authenticated;
use crate::access::verdict::Approved;
use crate::crypto::password::Password;
use crate::error::{Malformation, ProtocolError};
use crate::wire::command::Command;
use crate::wire::metadata::Metadata;
use crate::wire::reader::Reader;
use bytes::Bytes;
use zeroize::Zeroizing;

pub(super) const HELLO: &str = "HELLO";
pub(super) const WELCOME: &str = "WELCOME";
pub(super) const INITIATE: &str = "INITIATE";
pub(super) const READY: &str = "READY";

/// Longest HELLO body: its name, and two fields with their lengths.
pub(in crate::mechanism) const MAX_HELLO_LEN: usize = 1 + HELLO.len() + 2 * (1 + MAX_PLAIN_LEN);

/// The data of HELLO.
pub(super) struct Hello<'a> {
    pub(super) username: &'a [u8],
    pub(super) password: &'a [u8],
}

impl<'a> Hello<'a> {
    /// RFC 24: user name and password, each after its length byte, and nothing after them.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("PLAIN HELLO", data);
        let username = reader.short_string()?;
        let password = reader.short_string()?;
        reader.finish()?;
        Ok(Self { username, password })
    }
}

/// HELLO's body. Its memory is wiped when the last handle to it is dropped. The configuration has
/// checked that both fields have at most [`MAX_PLAIN_LEN`] bytes.
pub(super) fn hello(username: &[u8], password: &Password) -> Bytes {
    let password = password.expose();
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_HELLO_LEN));
    for field in [HELLO.as_bytes(), username, password] {
        body.push(field.len() as u8);
        body.extend_from_slice(field);
    }
    Bytes::from_owner(body)
}

/// RFC 24: WELCOME carries no data.
pub(super) fn check_welcome(data: &[u8]) -> Result<(), ProtocolError> {
    if data.is_empty() {
        return Ok(());
    }
    Err(Reader::new("PLAIN WELCOME", data).malformed(0, Malformation::Trailing))
}

/// WELCOME. It takes an approval, so an unapproved peer cannot get one.
pub(super) fn welcome(approved: Approved) -> (Bytes, Option<Authenticated>) {
    (
        Command::start(WELCOME, 0).freeze(),
        approved.into_authenticated(),
    )
}

/// INITIATE or READY, which hold metadata only.
pub(super) fn with_metadata(name: &'static str, metadata: &Metadata) -> Bytes {
    let mut body = Command::start(name, metadata.encoded_len());
    metadata.encode(&mut body);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hello_as_rfc_24_lays_it_out() {
        let body = hello(b"admin", &Password::from("secret"));
        assert_eq!(body, &b"\x05HELLO\x05admin\x06secret"[..]);
        assert!(Hello::parse(b"\x05admin\x06secre").is_err());
        assert!(Hello::parse(b"\x05admin\x06secretx").is_err());
        assert!(Hello::parse(b"").is_err());
    }

    #[test]
    fn the_longest_hello_fits_its_limit() {
        let longest = [b'x'; MAX_PLAIN_LEN];
        assert_eq!(
            hello(&longest, &Password::from(&longest[..])).len(),
            MAX_HELLO_LEN
        );
    }

    proptest! {
        #[test]
        fn round_trip(
            username in proptest::collection::vec(any::<u8>(), 0..256),
            password in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            let body = hello(&username, &Password::new(&password));
            let parsed = Hello::parse(&body[6..]).unwrap();
            prop_assert_eq!((parsed.username, parsed.password), (&username[..], &password[..]));
        }
    }
}

//! The cookie (RFC 26, WELCOME): the server's memory of a handshake, kept by the client.
//!
//! Its key lives for one connection, and the sealed bytes are bound to that connection's address
//! and to the server key the client has chosen. So a cookie, or a whole INITIATE, replayed on
//! another connection does not open. How it is sealed is ours alone to know: no other
//! implementation ever looks inside.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::crypto::boxes::{CookieKey, SEALED_COOKIE_LEN};
use crate::crypto::keys::{PublicKey, SecretKey};
use crate::crypto::nonce;
use crate::error::{CryptoError, Error};
use crate::mechanism::curve::commands::COOKIE_LEN;
use zeroize::Zeroizing;

const NONCE_LEN: usize = COOKIE_LEN - SEALED_COOKIE_LEN;

/// What the cookie brings back: C' and s'.
pub(super) struct Remembered {
    pub(super) client_transient: PublicKey,
    pub(super) server_transient: SecretKey,
}

/// Seals C' and s'.
pub(super) fn seal(
    key: &CookieKey,
    random: &[u8; NONCE_LEN],
    address: &PeerAddress,
    server: &PublicKey,
    client_transient: &PublicKey,
    server_transient: &SecretKey,
) -> Result<[u8; COOKIE_LEN], Error> {
    let mut text = Zeroizing::new([0; 64]);
    text[..32].copy_from_slice(client_transient.as_bytes());
    text[32..].copy_from_slice(server_transient.expose());
    let sealed = key
        .seal(
            &nonce::random(nonce::COOKIE, random),
            &context(address, server),
            &text,
        )
        .ok_or(CryptoError::Cookie)?;
    let mut cookie = [0; COOKIE_LEN];
    cookie[..NONCE_LEN].copy_from_slice(random);
    cookie[NONCE_LEN..].copy_from_slice(&sealed);
    Ok(cookie)
}

/// Opens a cookie that must be this connection's.
pub(super) fn open(
    key: &CookieKey,
    cookie: &[u8; COOKIE_LEN],
    address: &PeerAddress,
    server: &PublicKey,
) -> Result<Remembered, Error> {
    let (Some((random, _)), Some(sealed)) = (
        cookie.split_first_chunk::<NONCE_LEN>(),
        cookie.last_chunk::<SEALED_COOKIE_LEN>(),
    ) else {
        return Err(CryptoError::Cookie.into());
    };
    let text = key
        .open(
            &nonce::random(nonce::COOKIE, random),
            &context(address, server),
            sealed,
        )
        .ok_or(CryptoError::Cookie)?;
    let mut client_transient = [0; 32];
    client_transient.copy_from_slice(&text[..32]);
    let mut server_transient = Zeroizing::new([0; 32]);
    server_transient.copy_from_slice(&text[32..]);
    Ok(Remembered {
        client_transient: PublicKey::from_bytes(client_transient),
        server_transient: SecretKey::from_bytes(&server_transient),
    })
}

fn context(address: &PeerAddress, server: &PublicKey) -> Vec<u8> {
    [&server.as_bytes()[..], &address.to_zap()].concat()
}

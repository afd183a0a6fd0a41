//! The cookie (RFC 26, WELCOME): the server's state of a handshake, sealed and kept by the client.
//!
//! The key lives for one connection, and the sealed bytes are bound to that connection's address
//! and to the server key that the client has chosen. A cookie, or a whole INITIATE, that is
//! replayed on another connection therefore does not open. The sealing is free to choose, because
//! no other implementation looks inside.
#![forbid(unsafe_code)]

use crate::access::address::PeerAddress;
use crate::crypto::boxes::{CookieBox, SEALED_COOKIE_LEN};
use crate::crypto::keys::{PublicKey, SecretKey};
use crate::crypto::nonce;
use crate::error::CryptoError;
use crate::mechanism::curve::commands::COOKIE_LEN;
use zeroize::Zeroizing;

const NONCE_LEN: usize = COOKIE_LEN - SEALED_COOKIE_LEN;

/// Makes one connection's cookie, and recognises it when it comes back.
pub(super) struct CookieMaker {
    nonce: [u8; NONCE_LEN],
    /// Server key and address.
    context: Box<[u8]>,
    cookie_box: CookieBox,
}

/// The content of the cookie: C' and s'.
pub(super) struct Remembered {
    pub(super) client_transient: PublicKey,
    pub(super) server_transient: SecretKey,
}

impl CookieMaker {
    /// Takes a key and a nonce that are fresh and used for nothing else.
    pub(super) fn new(
        key: &[u8; 32],
        nonce: [u8; NONCE_LEN],
        address: &PeerAddress,
        server: &PublicKey,
    ) -> Self {
        Self {
            nonce,
            context: [&server.as_bytes()[..], &address.to_zap()].concat().into(),
            cookie_box: CookieBox::new(key, &nonce::random(nonce::COOKIE, &nonce)),
        }
    }

    /// Seals C' and s'. Call it once for each connection.
    pub(super) fn seal(
        &self,
        client_transient: &PublicKey,
        server_transient: &SecretKey,
    ) -> [u8; COOKIE_LEN] {
        let mut text = Zeroizing::new([0; 64]);
        text[..32].copy_from_slice(client_transient.as_bytes());
        text[32..].copy_from_slice(server_transient.expose());
        let sealed = self.cookie_box.seal(&self.context, &text);
        let mut cookie = [0; COOKIE_LEN];
        cookie[..NONCE_LEN].copy_from_slice(&self.nonce);
        cookie[NONCE_LEN..].copy_from_slice(&sealed);
        cookie
    }

    /// Opens a cookie that must be this connection's.
    pub(super) fn open(&self, cookie: &[u8; COOKIE_LEN]) -> Result<Remembered, CryptoError> {
        let Some((nonce, sealed)) = cookie.split_first_chunk::<NONCE_LEN>() else {
            return Err(CryptoError::Cookie);
        };
        // The nonce belongs to the connection, so another nonce is another connection's cookie.
        if *nonce != self.nonce {
            return Err(CryptoError::Cookie);
        }
        let text = sealed
            .try_into()
            .ok()
            .and_then(|sealed| self.cookie_box.open(&self.context, sealed))
            .ok_or(CryptoError::Cookie)?;
        let [client_transient, server_transient] = [&text[..32], &text[32..]].map(|half| {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(half);
            key
        });
        let not_ours = |_| CryptoError::Cookie;
        Ok(Remembered {
            client_transient: PublicKey::from_bytes(*client_transient).map_err(not_ours)?,
            server_transient: SecretKey::from_bytes(&server_transient).map_err(not_ours)?,
        })
    }
}

//! Tools for forged vectors: frames, metadata, and CURVE's boxes made with the independent crate
//! `crypto_box`.

use super::file::{Side, Vector, Who};
use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox, SecretKey};

pub const HELLO_PREFIX: &[u8; 16] = b"CurveZMQHELLO---";
pub const INITIATE_PREFIX: &[u8; 16] = b"CurveZMQINITIATE";
pub const READY_PREFIX: &[u8; 16] = b"CurveZMQREADY---";
pub const COOKIE_LEN: usize = 96;

/// A frame with the shortest header for its body.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => long_frame(flags, body),
    }
}

/// A frame with an 8-byte size, whether it needs one or not.
pub fn long_frame(flags: u8, body: &[u8]) -> Vec<u8> {
    [&[flags | 2][..], &(body.len() as u64).to_be_bytes(), body].concat()
}

/// The body of a frame.
pub fn body(frame: &[u8]) -> &[u8] {
    &frame[if frame[0] & 2 == 0 { 2 } else { 9 }..]
}

/// The body of a command.
pub fn command_body(name: &str, data: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes(), data].concat()
}

/// A command frame.
pub fn command(name: &str, data: &[u8]) -> Vec<u8> {
    frame(4, &command_body(name, data))
}

/// The data of a command frame.
pub fn data<'a>(frame: &'a [u8], name: &str) -> &'a [u8] {
    body(frame)
        .strip_prefix(&command_body(name, b"")[..])
        .unwrap()
}

/// The bytes with one bit flipped.
pub fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// One property as metadata carries it.
pub fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [
        &[name.len() as u8],
        name,
        &(value.len() as u32).to_be_bytes(),
        value,
    ]
    .concat()
}

pub fn secret(bytes: &[u8]) -> SecretKey {
    SecretKey::from_slice(bytes).unwrap()
}

pub fn public(bytes: &[u8]) -> PublicKey {
    PublicKey::from_slice(bytes).unwrap()
}

/// A nonce that ends in a counter.
pub fn counted(prefix: &[u8; 16], counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// A nonce that ends in random bytes.
pub fn random(prefix: &[u8; 8], end: &[u8]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(end);
    nonce
}

/// The 16-byte prefix of the MESSAGEs that `from` sends.
pub const fn message_prefix(from: Who) -> &'static [u8; 16] {
    match from {
        Who::Client => b"CurveZMQMESSAGEC",
        Who::Server => b"CurveZMQMESSAGES",
    }
}

pub fn seal(ours: &SecretKey, theirs: &PublicKey, nonce: [u8; 24], text: &[u8]) -> Vec<u8> {
    SalsaBox::new(theirs, ours)
        .encrypt(&nonce.into(), text)
        .unwrap()
}

pub fn open(ours: &SecretKey, theirs: &PublicKey, nonce: [u8; 24], boxed: &[u8]) -> Vec<u8> {
    SalsaBox::new(theirs, ours)
        .decrypt(&nonce.into(), boxed)
        .expect("the recorded box opens")
}

/// Every secret of a CURVE conversation.
pub struct Keys {
    /// c, s: the permanent secret keys.
    pub permanent: [SecretKey; 2],
    /// c', s': the transient secret keys of this conversation.
    pub transient: [SecretKey; 2],
}

impl Keys {
    pub fn of(vector: &Vector) -> Self {
        let permanent = |side: &Side| secret(side.secret_key.as_ref().unwrap());
        let transient = |side: &Side| secret(side.draw("transient-secret-key"));
        Self {
            permanent: [permanent(&vector.client), permanent(&vector.server)],
            transient: [transient(&vector.client), transient(&vector.server)],
        }
    }

    pub const fn permanent(&self, who: Who) -> &SecretKey {
        &self.permanent[who as usize]
    }

    pub const fn transient(&self, who: Who) -> &SecretKey {
        &self.transient[who as usize]
    }

    /// A box between the transient keys.
    pub fn seal_transient(&self, from: Who, nonce: [u8; 24], text: &[u8]) -> Vec<u8> {
        let theirs = self.transient(from.other()).public_key();
        seal(self.transient(from), &theirs, nonce, text)
    }

    /// What a WELCOME's box holds: S' and the cookie.
    pub fn open_welcome(&self, welcome: &[u8]) -> Vec<u8> {
        let (nonce, boxed) = data(welcome, "WELCOME").split_at(16);
        let server = self.permanent(Who::Server).public_key();
        let nonce = random(b"WELCOME-", nonce);
        open(self.transient(Who::Client), &server, nonce, boxed)
    }

    /// What an INITIATE's box holds: C, vouch nonce, vouch, metadata.
    pub fn open_initiate(&self, initiate: &[u8]) -> Vec<u8> {
        let (nonce, boxed) = data(initiate, "INITIATE")[COOKIE_LEN..].split_at(8);
        let counter = u64::from_be_bytes(nonce.try_into().unwrap());
        let client = self.transient(Who::Client).public_key();
        let nonce = counted(INITIATE_PREFIX, counter);
        open(self.transient(Who::Server), &client, nonce, boxed)
    }

    /// A MESSAGE's body: `text` is the sealed flags and the payload.
    pub fn message(&self, from: Who, counter: u64, text: &[u8]) -> Vec<u8> {
        let nonce = counted(message_prefix(from), counter);
        let boxed = self.seal_transient(from, nonce, text);
        [b"\x07MESSAGE", &counter.to_be_bytes()[..], &boxed].concat()
    }
}

//! The tools of a forger with every secret: frames, metadata and CURVE's boxes. They are made with
//! `crypto_box`, which shares no code with the crate under test.
#![forbid(unsafe_code)]

use crate::recording::Recording;
use crate::scripted_peer::ScriptedPeer;
use crate::setup;
use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use std::sync::OnceLock;
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};

/// A frame in its shortest form.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [&[flags | 2][..], &(body.len() as u64).to_be_bytes(), body].concat(),
    }
}

/// A command frame.
pub fn command(name: &str, data: &[u8]) -> Vec<u8> {
    frame(4, &[&[name.len() as u8], name.as_bytes(), data].concat())
}

/// A greeting.
pub fn greeting(mechanism: &str) -> [u8; 64] {
    Greeting::encode(mechanism_name(mechanism), false)
}

/// One property as metadata carries it.
pub fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    let len = (value.len() as u32).to_be_bytes();
    [&[name.len() as u8], name, &len, value].concat()
}

/// A nonce whose end counts.
pub fn counted(prefix: &[u8; 16], counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// A nonce whose end is random.
pub fn random(prefix: &[u8; 8], end: &[u8; 16]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(end);
    nonce
}

/// A box.
pub fn seal(key: &SalsaBox, nonce: [u8; 24], text: &[u8]) -> Vec<u8> {
    key.encrypt(&nonce.into(), text)
        .expect("any text can be sealed")
}

fn open(key: &SalsaBox, nonce: [u8; 24], boxed: &[u8]) -> Vec<u8> {
    key.decrypt(&nonce.into(), boxed).expect("the box opens")
}

/// The secrets of the base recording, as keys of boxes.
pub struct Secrets {
    /// S.
    pub server: [u8; 32],
    /// C'.
    pub client_transient: [u8; 32],
    /// S'.
    pub server_transient: [u8; 32],
    /// c'->S, for HELLO and WELCOME.
    pub hello: SalsaBox,
    /// c'->S', for everything else.
    pub traffic: SalsaBox,
    /// Permanent keys of clients: C, and the vouch key C->S'. The first is the recorded one.
    pub vouchers: [([u8; 32], SalsaBox); 2],
    /// The cookie that this library's server returns for the recorded HELLO.
    pub cookie: Vec<u8>,
}

/// The secrets that all CURVE targets share.
pub fn secrets() -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let base = Recording::base();
        let client_transient = SecretKey::from(base.draw("client", "transient-secret-key"));
        let server_transient = SecretKey::from(base.draw("server", "transient-secret-key"));
        let server = PublicKey::from(base.key("server.public-key"));
        let theirs = server_transient.public_key();
        let voucher = |secret: [u8; 32]| {
            let secret = SecretKey::from(secret);
            let key = SalsaBox::new(&theirs, &secret);
            (secret.public_key().to_bytes(), key)
        };
        let hello = SalsaBox::new(&server, &client_transient);
        let cookie = cookie(&hello);
        Secrets {
            server: server.to_bytes(),
            client_transient: client_transient.public_key().to_bytes(),
            server_transient: theirs.to_bytes(),
            traffic: SalsaBox::new(&theirs, &client_transient),
            vouchers: [
                voucher(base.key("client.secret-key")),
                voucher(*setup::second_client().secret_key().expose()),
            ],
            hello,
            cookie,
        }
    })
}

/// The bytes of the base's client up to and including HELLO.
pub fn recorded_hello() -> Vec<u8> {
    let sent = Recording::base().sent("client");
    [sent[0].bytes, sent[1].bytes].concat()
}

/// The bytes of the base's server up to and including WELCOME.
pub fn recorded_welcome() -> Vec<u8> {
    let sent = Recording::base().sent("server");
    [sent[0].bytes, sent[1].bytes].concat()
}

fn cookie(hello: &SalsaBox) -> Vec<u8> {
    let server = ScriptedPeer::fed(
        setup::named(setup::servers(), "curve-open"),
        &recorded_hello(),
    );
    let sent = server.sent();
    let welcome = &sent[64 + 2 + 8..];
    let (nonce, boxed) = welcome.split_first_chunk().expect("WELCOME has a nonce");
    open(hello, random(b"WELCOME-", nonce), boxed)[32..].to_vec()
}

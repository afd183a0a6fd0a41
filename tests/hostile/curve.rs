//! An attacker's CURVE in both roles, with any nonce, metadata and flags. It uses another
//! implementation of NaCl's boxes.

use super::raw::{Raw, Stream, command, frame, greeting, metadata};
use super::server::{Target, server_keys};
use crypto_box::aead::Aead as _;
use crypto_box::{PublicKey, SalsaBox, SecretKey};

fn fresh() -> SecretKey {
    SecretKey::from(
        *zmtp_auth::KeyPair::generate()
            .unwrap()
            .secret_key()
            .expose(),
    )
}

fn counted(prefix: &[u8; 16], counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn salted(prefix: &[u8; 8], salt: &[u8; 16]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(prefix);
    nonce[8..].copy_from_slice(salt);
    nonce
}

fn seal(keys: &SalsaBox, nonce: [u8; 24], text: &[u8]) -> Vec<u8> {
    keys.encrypt(&nonce.into(), text).unwrap()
}

fn open(keys: &SalsaBox, nonce: [u8; 24], sealed: &[u8]) -> Vec<u8> {
    keys.decrypt(&nonce.into(), sealed).unwrap()
}

const SALT: [u8; 16] = [7; 16];

/// Seals and opens the traffic of one side.
pub struct Traffic {
    keys: SalsaBox,
    ours: &'static [u8; 16],
    theirs: &'static [u8; 16],
}

impl Traffic {
    /// The body of a MESSAGE.
    pub fn message(&self, nonce: u64, flags: u8, payload: &[u8]) -> Vec<u8> {
        let text = [&[flags], payload].concat();
        let sealed = seal(&self.keys, counted(self.ours, nonce), &text);
        command("MESSAGE", &[&nonce.to_be_bytes(), &sealed[..]].concat())
    }

    /// Sealed flags and payload of a MESSAGE.
    pub fn open(&self, body: &[u8]) -> (u8, Vec<u8>) {
        let data = body.strip_prefix(b"\x07MESSAGE").unwrap();
        let (nonce, sealed) = data.split_first_chunk().unwrap();
        let nonce = counted(self.theirs, u64::from_be_bytes(*nonce));
        let mut text = open(&self.keys, nonce, sealed);
        let flags = text.remove(0);
        (flags, text)
    }
}

impl Welcomed {
    /// A client's traffic, which begins at nonce 3.
    pub fn traffic(self) -> Traffic {
        Traffic {
            keys: self.traffic,
            ours: b"CurveZMQMESSAGEC",
            theirs: b"CurveZMQMESSAGES",
        }
    }
}

/// A client in the middle of its handshake.
pub struct CurveClient {
    server: PublicKey,
    transient: SecretKey,
    permanent: SecretKey,
}

/// What a client has learnt from WELCOME.
pub struct Welcomed {
    server_transient: PublicKey,
    traffic: SalsaBox,
    cookie: Vec<u8>,
}

impl CurveClient {
    pub fn new(server: &zmtp_auth::PublicKey) -> Self {
        Self {
            server: PublicKey::from(*server.as_bytes()),
            transient: fresh(),
            permanent: fresh(),
        }
    }

    /// The body of HELLO, with nonce 1.
    pub fn hello(&self) -> Vec<u8> {
        let keys = SalsaBox::new(&self.server, &self.transient);
        let signature = seal(&keys, counted(b"CurveZMQHELLO---", 1), &[0; 64]);
        let transient = self.transient.public_key();
        let nonce = 1_u64.to_be_bytes();
        let parts = [
            &[1, 0][..],
            &[0; 72],
            transient.as_bytes(),
            &nonce,
            &signature,
        ];
        command("HELLO", &parts.concat())
    }

    pub fn on_welcome(&self, body: &[u8]) -> Welcomed {
        let data = body.strip_prefix(b"\x07WELCOME").unwrap();
        let (salt, sealed) = data.split_first_chunk().unwrap();
        let keys = SalsaBox::new(&self.server, &self.transient);
        let text = open(&keys, salted(b"WELCOME-", salt), sealed);
        let (server_transient, cookie) = text.split_first_chunk::<32>().unwrap();
        let server_transient = PublicKey::from(*server_transient);
        Welcomed {
            traffic: SalsaBox::new(&server_transient, &self.transient),
            server_transient,
            cookie: cookie.to_vec(),
        }
    }

    /// The body of INITIATE, with nonce 2.
    pub fn initiate(&self, welcomed: &Welcomed, metadata: &[u8]) -> Vec<u8> {
        let vouching = SalsaBox::new(&welcomed.server_transient, &self.permanent);
        let transient = self.transient.public_key();
        let vouched = [&transient.as_bytes()[..], self.server.as_bytes()];
        let vouch = seal(&vouching, salted(b"VOUCH---", &SALT), &vouched.concat());
        let permanent = self.permanent.public_key();
        let text = [permanent.as_bytes(), &SALT[..], &vouch, metadata].concat();
        let sealed = seal(&welcomed.traffic, counted(b"CurveZMQINITIATE", 2), &text);
        let parts = [&welcomed.cookie[..], &2_u64.to_be_bytes(), &sealed];
        command("INITIATE", &parts.concat())
    }

    /// Connects, and goes as far as having sent HELLO and understood WELCOME.
    pub async fn welcomed(target: &Target) -> (Raw, Self, Welcomed) {
        let mut raw = Raw::greeted(target).await;
        let client = Self::new(&target.key);
        let welcomed = client.be_welcomed(&mut raw).await;
        (raw, client, welcomed)
    }

    /// Sends HELLO and understands WELCOME.
    pub async fn be_welcomed<S: Stream>(&self, raw: &mut Raw<S>) -> Welcomed {
        raw.say(&frame(0x04, &self.hello())).await;
        let (flags, body) = raw.frame().await;
        assert_eq!(flags, 0x04);
        self.on_welcome(&body)
    }

    /// Connects, and shakes hands as a socket of type `kind`. Traffic begins at nonce 3.
    pub async fn established(target: &Target, kind: &str) -> (Raw, Traffic) {
        let (mut raw, client, welcomed) = Self::welcomed(target).await;
        let ours = metadata(&[("Socket-Type", kind.as_bytes())]);
        raw.say(&frame(0x04, &client.initiate(&welcomed, &ours)))
            .await;
        let (flags, body) = raw.frame().await;
        assert_eq!(flags, 0x04);
        let data = body.strip_prefix(b"\x05READY").unwrap();
        let (nonce, sealed) = data.split_first_chunk().unwrap();
        let nonce = u64::from_be_bytes(*nonce);
        open(
            &welcomed.traffic,
            counted(b"CurveZMQREADY---", nonce),
            sealed,
        );
        (raw, welcomed.traffic())
    }
}

/// A server that completes the handshake with each client under [`server_keys`]. It sends READY
/// with `metadata` and nonce 1, so its traffic begins at nonce 2.
pub async fn serve(raw: &mut Raw, metadata: &[u8]) -> Traffic {
    let ours = SecretKey::from(*server_keys().secret_key().expose());
    let transient = fresh();
    raw.say(&greeting("CURVE")).await;
    raw.hear(64).await;
    let (_, hello) = raw.frame().await;
    let client = hello.strip_prefix(b"\x05HELLO").unwrap()[74..].first_chunk::<32>();
    let client = PublicKey::from(*client.unwrap());
    let text = [&transient.public_key().as_bytes()[..], &[9; 96]].concat();
    let keys = SalsaBox::new(&client, &ours);
    let welcome = seal(&keys, salted(b"WELCOME-", &SALT), &text);
    let welcome = command("WELCOME", &[&SALT[..], &welcome].concat());
    raw.say(&frame(0x04, &welcome)).await;
    let traffic = SalsaBox::new(&client, &transient);
    let (_, initiate) = raw.frame().await;
    let data = &initiate.strip_prefix(b"\x08INITIATE").unwrap()[96..];
    let (nonce, sealed) = data.split_first_chunk().unwrap();
    let nonce = u64::from_be_bytes(*nonce);
    open(&traffic, counted(b"CurveZMQINITIATE", nonce), sealed);
    let ready = seal(&traffic, counted(b"CurveZMQREADY---", 1), metadata);
    let ready = command("READY", &[&1_u64.to_be_bytes(), &ready[..]].concat());
    raw.say(&frame(0x04, &ready)).await;
    Traffic {
        keys: traffic,
        ours: b"CurveZMQMESSAGES",
        theirs: b"CurveZMQMESSAGEC",
    }
}

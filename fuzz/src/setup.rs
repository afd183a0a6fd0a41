//! The sides that targets attack: every mechanism, role and policy, with real keys and recorded
//! randomness.
#![forbid(unsafe_code)]

use crate::recording::Recording;
use bytes::BytesMut;
use std::sync::{Arc, Mutex, OnceLock};
use zmtp_auth::PeerContext;
use zmtp_auth::config::{Ready, WantsMechanism};
use zmtp_auth::handshake::Handshake;
use zmtp_auth::{
    Authorizing, Builder, Config, DenialStatus, Domain, KeyPair, Limits, LocalError, MechanismKind,
    Metadata, NoPolicy, PeerAddress, PublicKey, RandomSource, SecretKey, SocketType,
};

/// Limits that are small enough for a fuzzer to reach.
pub const MAX_MESSAGE: usize = 2000;
pub const MAX_FRAMES: usize = 6;
pub const MAX_HANDSHAKE_COMMAND: usize = 3000;
pub const MAX_PROPERTIES: usize = 8;

pub fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_message = MAX_MESSAGE;
    limits.max_frames = MAX_FRAMES;
    limits.max_handshake_command = MAX_HANDSHAKE_COMMAND;
    limits.max_properties = MAX_PROPERTIES;
    limits
}

/// One side of a connection, ready to be attacked any number of times.
pub struct Setup {
    pub name: &'static str,
    pub mechanism: MechanismKind,
    /// Whether it asks a handler.
    pub asks: bool,
    /// The status with which its handler refuses every peer, if it does.
    pub denies: Option<DenialStatus>,
    /// The other side must prove one of these keys.
    pub proven: Vec<PublicKey>,
    config: AnyConfig,
    draws: Vec<u8>,
}

enum AnyConfig {
    Authorizing(Config<Authorizing>),
    NoPolicy(Config<NoPolicy>),
}

impl From<Config<Authorizing>> for AnyConfig {
    fn from(config: Config<Authorizing>) -> Self {
        Self::Authorizing(config)
    }
}

impl From<Config<NoPolicy>> for AnyConfig {
    fn from(config: Config<NoPolicy>) -> Self {
        Self::NoPolicy(config)
    }
}

impl Setup {
    /// A fresh handshake. The same input gives the same output, every time.
    pub fn start(&self, out: &mut BytesMut) -> Handshake {
        let random = Arc::new(Replay(Mutex::new(self.draws.clone().into_iter())));
        let conn = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
        match self.config.clone() {
            AnyConfig::Authorizing(config) => {
                Handshake::start(&config.dangerous().with_random(random), conn, out)
            }
            AnyConfig::NoPolicy(config) => {
                Handshake::start(&config.dangerous().with_random(random), conn, out)
            }
        }
    }
}

impl Clone for AnyConfig {
    fn clone(&self) -> Self {
        match self {
            Self::Authorizing(config) => Self::Authorizing(config.clone()),
            Self::NoPolicy(config) => Self::NoPolicy(config.clone()),
        }
    }
}

/// The recorded draws, then a constant.
struct Replay(Mutex<std::vec::IntoIter<u8>>);

impl RandomSource for Replay {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        let mut draws = self.0.lock().expect("no code panics under this lock");
        for byte in buffer {
            *byte = draws.next().unwrap_or(0x5A);
        }
        Ok(())
    }
}

fn keys(of: &str) -> KeyPair {
    let secret = Recording::base().key(&format!("{of}.secret-key"));
    KeyPair::from_secret(SecretKey::from_bytes(&secret).expect("not zero"))
}

/// A client other than the recorded one. Only a forger with its secret can speak for it.
pub fn second_client() -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[9; 32]).expect("not zero"))
}

fn dealer() -> Builder<WantsMechanism> {
    Config::builder(SocketType::Dealer)
        .identity("the client")
        .property("X-Colour", "green")
        .limits(limits())
}

fn router() -> Builder<WantsMechanism> {
    Config::builder(SocketType::Router).limits(limits())
}

fn relay() -> Builder<WantsMechanism> {
    Config::builder(SocketType::Relay).limits(limits())
}

/// The metadata that a relay returns when it is asked.
pub fn relayed_metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata
        .push("Socket-Type", "ROUTER")
        .expect("a good property");
    metadata
        .push("Identity", "relayed")
        .expect("a good property");
    metadata
}

fn finish<A>(builder: Builder<Ready<A>>) -> AnyConfig
where
    AnyConfig: From<Config<A>>,
{
    builder.finish().expect("a good configuration").into()
}

fn setup(name: &'static str, config: AnyConfig) -> Setup {
    let (mechanism, is_server, asks) = match &config {
        AnyConfig::Authorizing(config) => (config.mechanism(), config.is_server(), true),
        AnyConfig::NoPolicy(config) => (config.mechanism(), config.is_server(), false),
    };
    let (side, other) = if is_server {
        ("server", "client")
    } else {
        ("client", "server")
    };
    Setup {
        name,
        mechanism,
        asks,
        denies: None,
        proven: match (mechanism, is_server) {
            (MechanismKind::Curve, true) => {
                vec![keys(other).public_key(), second_client().public_key()]
            }
            (MechanismKind::Curve, false) => vec![keys(other).public_key()],
            _ => Vec::new(),
        },
        config,
        draws: Recording::base().draws(side),
    }
}

fn denying(status: DenialStatus, setup: Setup) -> Setup {
    Setup {
        denies: Some(status),
        ..setup
    }
}

/// The sides that a client attacks. NULL has no roles; its side that accepts is here.
pub fn servers() -> &'static [Setup] {
    static SETUPS: OnceLock<Vec<Setup>> = OnceLock::new();
    SETUPS.get_or_init(|| {
        let domain = || Domain::from("test");
        let null_asks = || finish(router().null().authorize(domain()));
        let curve_asks = || finish(router().curve_server(keys("server")).authorize(domain()));
        let misspelling = || router().plain_server().libzmq_error_spelling();
        let other_keys =
            || KeyPair::from_secret(SecretKey::from_bytes(&[7; 32]).expect("not zero"));
        let two_keys = || {
            router()
                .curve_server(other_keys())
                .also_accept(keys("server"))
        };
        vec![
            setup("null-open", finish(router().null().accept_any_peer())),
            setup("null-asks", null_asks()),
            setup("null-relay", finish(relay().null().accept_any_peer())),
            denying(DenialStatus::Temporary, setup("null-denies", null_asks())),
            setup("plain", finish(router().plain_server().authorize(domain()))),
            setup(
                "plain-relay",
                finish(relay().plain_server().authorize(domain())),
            ),
            denying(
                DenialStatus::Failure,
                setup("plain-denies", finish(misspelling().authorize(domain()))),
            ),
            setup(
                "curve-open",
                finish(router().curve_server(keys("server")).accept_any_peer()),
            ),
            setup("curve-asks", curve_asks()),
            setup("curve-two-keys", finish(two_keys().accept_any_peer())),
            setup(
                "curve-relay",
                finish(relay().curve_server(keys("server")).authorize(domain())),
            ),
            denying(DenialStatus::Internal, setup("curve-denies", curve_asks())),
        ]
    })
}

/// The sides that a server attacks.
pub fn clients() -> &'static [Setup] {
    static SETUPS: OnceLock<Vec<Setup>> = OnceLock::new();
    SETUPS.get_or_init(|| {
        let domain = || Domain::from("test");
        let server = || keys("server").public_key();
        vec![
            setup("null-dials", finish(dealer().null().accept_any_peer())),
            setup(
                "null-dials-and-asks",
                finish(dealer().null().authorize(domain())),
            ),
            setup("plain", finish(dealer().plain_client("admin", "secret"))),
            setup(
                "plain-relay",
                finish(relay().plain_client("admin", "secret")),
            ),
            setup(
                "curve",
                finish(dealer().curve_client(keys("client"), server())),
            ),
            setup(
                "curve-relay",
                finish(relay().curve_client(keys("client"), server())),
            ),
        ]
    })
}

/// A setup by name.
pub fn named(setups: &'static [Setup], name: &str) -> &'static Setup {
    let found = setups.iter().find(|setup| setup.name == name);
    found.expect("the setup exists")
}

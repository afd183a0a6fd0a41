//! One side of a conversation, played by this crate with the keys, policy, metadata and randomness
//! of the file.

use super::file::{Side, Vector, Who};
use super::forge::body;
use crate::pair::Endpoint;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use zmtp_auth::PeerContext;
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::zap::{RequestId, ZapReply};
use zmtp_auth::{
    Builder, Config, ConfigError, Domain, KeyPair, Limits, LocalError, Password, PeerAddress,
    PublicKey, RandomSource, SecretKey, SocketType,
};

/// A random source that returns the recorded bytes in their order.
pub struct Replay(Mutex<VecDeque<u8>>);

impl Replay {
    pub fn of(side: &Side) -> Arc<Self> {
        let draws = side.draws.iter().flat_map(|(_, draw)| draw.clone());
        Arc::new(Self(Mutex::new(draws.collect())))
    }

    /// True once all recorded bytes are used.
    pub fn is_used_up(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl RandomSource for Replay {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        let mut draws = self.0.lock().unwrap();
        assert!(buffer.len() <= draws.len(), "a draw that was not recorded");
        for byte in buffer {
            *byte = draws.pop_front().unwrap();
        }
        Ok(())
    }
}

/// Our side, configured as the file says.
pub fn endpoint(vector: &Vector, who: Who, random: Arc<Replay>) -> Endpoint {
    let side = vector.side(who);
    let socket_type = SocketType::from_name(side.socket_type.as_bytes()).unwrap();
    let mut builder = Config::builder(socket_type);
    if let Some(identity) = &side.identity {
        builder = builder.identity(identity.clone());
    }
    for (name, value) in &side.properties {
        builder = builder.property(name, value.clone());
    }
    match (&*vector.mechanism, who) {
        ("NULL", _) => match domain(side) {
            Some(domain) => start(side, builder.null().authorize(domain).finish(), random),
            None => start(side, builder.null().accept_any_peer().finish(), random),
        },
        ("PLAIN", Who::Client) => {
            let username = side.username.clone().unwrap();
            let password = Password::new(side.password.as_ref().unwrap());
            start(
                side,
                builder.plain_client(username, password).finish(),
                random,
            )
        }
        ("PLAIN", Who::Server) => {
            let mut builder = builder.plain_server();
            if misspells_error(vector) {
                builder = builder.libzmq_error_spelling();
            }
            start(
                side,
                builder.authorize(domain(side).unwrap()).finish(),
                random,
            )
        }
        ("CURVE", Who::Client) => {
            let server = PublicKey::from_bytes(array(side.server_key.as_ref())).unwrap();
            start(
                side,
                builder.curve_client(keys(side), server).finish(),
                random,
            )
        }
        ("CURVE", Who::Server) => curve_server(side, builder, random),
        (other, _) => panic!("no such mechanism: {other}"),
    }
}

fn curve_server(side: &Side, builder: Builder<WantsMechanism>, random: Arc<Replay>) -> Endpoint {
    let builder = builder.curve_server(keys(side));
    match domain(side) {
        Some(domain) => start(side, builder.authorize(domain).finish(), random),
        None => start(side, builder.accept_any_peer().finish(), random),
    }
}

fn start<A>(side: &Side, config: Result<Config<A>, ConfigError>, random: Arc<Replay>) -> Endpoint {
    let config = config.unwrap().dangerous().with_random(random);
    let address = side
        .zap_request
        .get(3)
        .map_or(&b"127.0.0.1"[..], |frame| frame);
    let conn = PeerContext::new(PeerAddress::from_zap(address));
    let side = side.clone();
    Endpoint::with_conn(&config, conn).answering(move |_| {
        let asked = RequestId::new(side.zap_request[1].clone());
        let reply: Vec<Bytes> = side.zap_reply.iter().cloned().map(Bytes::from).collect();
        ZapReply::from_frames(&reply, &asked, &Limits::default())
            .unwrap()
            .into()
    })
}

fn domain(side: &Side) -> Option<Domain> {
    side.zap_request
        .get(2)
        .map(|domain| Domain::new(domain.clone()))
}

fn keys(side: &Side) -> KeyPair {
    let secret = SecretKey::from_bytes(&array(side.secret_key.as_ref())).unwrap();
    let keys = KeyPair::from_secret(secret);
    assert_eq!(Some(keys.public_key().as_bytes().to_vec()), side.public_key);
    keys
}

fn array(bytes: Option<&Vec<u8>>) -> [u8; 32] {
    bytes.unwrap()[..].try_into().unwrap()
}

fn misspells_error(vector: &Vector) -> bool {
    let mut errors = vector.events.iter().filter(|event| event.label == "ERROR");
    errors.any(|event| !body(&event.bytes).starts_with(b"\x05ERROR"))
}

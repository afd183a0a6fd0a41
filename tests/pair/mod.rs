//! Two ends of one connection in memory, without sockets or clock, reproducible to the byte.
#![allow(dead_code)] // each test crate uses its part

use bytes::BytesMut;
use std::sync::{Arc, Mutex};
use zmtp_auth::PeerContext;
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};
use zmtp_auth::{
    AccessRequest, Config, DenialStatus, Domain, Error, KeyPair, LocalError, Metadata, PeerAddress,
    RandomSource, SecretKey, SocketType, Stage, Verdict,
};

/// A predictable stream (SplitMix64), so that two runs give the same bytes.
pub struct Seeded(Mutex<u64>);

impl Seeded {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(seed)))
    }
}

impl RandomSource for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        let mut state = self.0.lock().unwrap();
        for byte in buffer {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            *byte = (z >> 24) as u8;
        }
        Ok(())
    }
}

pub fn keys(seed: u8) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(&[seed; 32]).unwrap())
}

pub fn client_keys() -> KeyPair {
    keys(11)
}

pub fn server_keys() -> KeyPair {
    keys(22)
}

/// Every kind of connection by name.
pub const KINDS: [&str; 6] = [
    "null",
    "null-asks",
    "null-both-ask",
    "plain",
    "curve",
    "curve-asks",
];

/// Client and server of a kind, with seeded randomness.
pub fn endpoints(kind: &str, seed: u64) -> (Endpoint, Endpoint) {
    let push = || {
        Config::builder(SocketType::Dealer)
            .identity("the client")
            .property("X-Colour", "green")
    };
    let pull = || Config::builder(SocketType::Router).identity("the server");
    let domain = || Domain::from("test");
    let random = || (Seeded::new(seed), Seeded::new(seed + 1));
    let (ours, theirs) = random();
    match kind {
        "null" => (
            Endpoint::new(push().null().accept_any_peer().finish().unwrap()),
            Endpoint::new(pull().null().accept_any_peer().finish().unwrap()),
        ),
        "null-asks" => (
            Endpoint::new(push().null().accept_any_peer().finish().unwrap()),
            Endpoint::new(pull().null().authorize(domain()).finish().unwrap()),
        ),
        "null-both-ask" => (
            Endpoint::new(push().null().authorize(domain()).finish().unwrap()),
            Endpoint::new(pull().null().authorize(domain()).finish().unwrap()),
        ),
        "plain" => (
            Endpoint::new(push().plain_client("admin", "secret").finish().unwrap()),
            Endpoint::new(pull().plain_server().authorize(domain()).finish().unwrap()),
        ),
        "curve" => (
            Endpoint::new(
                push()
                    .curve_client(client_keys(), server_keys().public_key())
                    .finish()
                    .unwrap()
                    .dangerous()
                    .with_random(ours),
            ),
            Endpoint::new(
                pull()
                    .curve_server(server_keys())
                    .accept_any_peer()
                    .finish()
                    .unwrap()
                    .dangerous()
                    .with_random(theirs),
            ),
        ),
        "curve-asks" => (
            Endpoint::new(
                push()
                    .curve_client(client_keys(), server_keys().public_key())
                    .finish()
                    .unwrap()
                    .dangerous()
                    .with_random(ours),
            ),
            Endpoint::new(
                pull()
                    .curve_server(server_keys())
                    .authorize(domain())
                    .finish()
                    .unwrap()
                    .dangerous()
                    .with_random(theirs),
            ),
        ),
        other => panic!("no such kind: {other}"),
    }
}

/// A whole greeting of this kind, for a test that sends bytes itself.
pub fn greeting(kind: &str) -> [u8; 64] {
    let mechanism = kind.split('-').next().unwrap().to_uppercase();
    Greeting::encode(mechanism_name(&mechanism), false)
}

type Handler = Box<dyn FnMut(&AccessRequest) -> Verdict>;

/// One end. It resolves its own pauses: verdicts by a handler, metadata from a fixed value.
pub struct Endpoint {
    state: State,
    input: BytesMut,
    output: BytesMut,
    handler: Handler,
    metadata: Option<Metadata>,
    /// Every question that was asked.
    pub asked: Vec<AccessRequest>,
    /// How often it paused for metadata.
    pub pauses: usize,
}

enum State {
    Running(Box<Handshake>),
    Complete(Box<Established>),
    Failed(Error),
    Moving,
}

impl Endpoint {
    pub fn new<A>(config: Config<A>) -> Self {
        Self::with_conn(
            &config,
            PeerContext::new(PeerAddress::from_zap(b"127.0.0.1")),
        )
    }

    pub fn with_conn<A>(config: &Config<A>, conn: PeerContext) -> Self {
        let mut output = BytesMut::new();
        let mut endpoint = Self {
            state: State::Running(Box::new(Handshake::start(config, conn, &mut output))),
            input: BytesMut::new(),
            output,
            handler: Box::new(|_| Verdict::allow("somebody")),
            metadata: None,
            asked: Vec::new(),
            pauses: 0,
        };
        endpoint.advance();
        endpoint
    }

    pub fn answering(mut self, handler: impl FnMut(&AccessRequest) -> Verdict + 'static) -> Self {
        self.handler = Box::new(handler);
        self
    }

    pub fn denying(self, status: DenialStatus) -> Self {
        self.answering(move |_| Verdict::deny(status, "not you"))
    }

    pub fn supplying(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Takes bytes from the peer.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.advance();
    }

    fn advance(&mut self) {
        loop {
            let handshake = match std::mem::replace(&mut self.state, State::Moving) {
                State::Running(handshake) => *handshake,
                settled => {
                    self.state = settled;
                    return;
                }
            };
            let next = match handshake {
                Handshake::NeedsInput(waiting) => {
                    match waiting.process(&mut self.input, &mut self.output) {
                        Ok(waiting @ Handshake::NeedsInput(_)) => {
                            self.state = State::Running(Box::new(waiting));
                            return;
                        }
                        other => other,
                    }
                }
                Handshake::Authorize(question) => {
                    self.asked.push(question.request().clone());
                    let verdict = (self.handler)(question.request());
                    question.resume(verdict, &mut self.output)
                }
                Handshake::NeedsMetadata(pause) => {
                    self.pauses += 1;
                    let metadata = self.metadata.clone().expect("metadata was to be supplied");
                    pause.resume(&metadata, &mut self.output)
                }
                Handshake::Complete(established) => {
                    self.state = State::Complete(established);
                    return;
                }
            };
            self.state = match next {
                Ok(handshake) => State::Running(Box::new(handshake)),
                Err(error) => State::Failed(error),
            };
        }
    }

    /// The bytes to send now.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.split().to_vec()
    }

    pub fn leftover(&self) -> &[u8] {
        &self.input
    }

    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    pub fn error(&self) -> Option<&Error> {
        match &self.state {
            State::Failed(error) => Some(error),
            _ => None,
        }
    }

    pub fn established(&self) -> &Established {
        match &self.state {
            State::Complete(established) => established,
            State::Failed(error) => panic!("handshake failed: {error}"),
            _ => panic!("handshake is not complete"),
        }
    }

    pub fn into_established(self) -> Established {
        match self.state {
            State::Complete(established) => *established,
            State::Failed(error) => panic!("handshake failed: {error}"),
            _ => panic!("handshake is not complete"),
        }
    }

    /// What it is waiting for, or `None`.
    pub fn stage(&self) -> Option<Stage> {
        match &self.state {
            State::Running(handshake) => match &**handshake {
                Handshake::NeedsInput(waiting) => Some(waiting.stage()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// One delivery: everything that one end had to send at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub direction: Direction,
    pub bytes: Vec<u8>,
}

/// Carries bytes between the ends until both are silent. `wire` may change or cut each delivery.
/// Returns the deliveries as they were sent, before `wire`.
pub fn drive_through(
    client: &mut Endpoint,
    server: &mut Endpoint,
    mut wire: impl FnMut(usize, Direction, Vec<u8>) -> Vec<Vec<u8>>,
) -> Vec<Delivery> {
    let mut log = Vec::new();
    loop {
        let mut silent = true;
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (from, to) = match direction {
                Direction::ToServer => (&mut *client, &mut *server),
                Direction::ToClient => (&mut *server, &mut *client),
            };
            let bytes = from.take_output();
            if bytes.is_empty() {
                continue;
            }
            silent = false;
            let index = log.len();
            log.push(Delivery {
                direction,
                bytes: bytes.clone(),
            });
            for part in wire(index, direction, bytes) {
                to.feed(&part);
            }
        }
        if silent {
            return log;
        }
    }
}

/// Carries bytes unchanged.
pub fn drive(client: &mut Endpoint, server: &mut Endpoint) -> Vec<Delivery> {
    drive_through(client, server, |_, _, bytes| vec![bytes])
}

/// All bytes of one direction.
pub fn stream(log: &[Delivery], direction: Direction) -> Vec<u8> {
    log.iter()
        .filter(|delivery| delivery.direction == direction)
        .flat_map(|delivery| delivery.bytes.clone())
        .collect()
}

/// The command bodies of one direction, without the greeting.
pub fn commands(log: &[Delivery], direction: Direction) -> Vec<Vec<u8>> {
    let stream = stream(log, direction);
    let mut rest = &stream[64..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let (header_len, len) = match rest[0] {
            0x04 => (2, usize::from(rest[1])),
            0x06 => (
                9,
                u64::from_be_bytes(rest[1..9].try_into().unwrap()) as usize,
            ),
            other => panic!("not a command: {other:#x}"),
        };
        bodies.push(rest[header_len..header_len + len].to_vec());
        rest = &rest[header_len + len..];
    }
    bodies
}

/// A command frame around a body.
pub fn framed(body: &[u8]) -> Vec<u8> {
    if body.len() < 256 {
        [&[0x04, body.len() as u8], body].concat()
    } else {
        [&[0x06][..], &(body.len() as u64).to_be_bytes(), body].concat()
    }
}

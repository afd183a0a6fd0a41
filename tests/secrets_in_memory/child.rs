//! The process that is searched. It reads inverted secrets from its standard input, uses them,
//! drops everything, and searches its own memory.

use crate::search::Search;
use bytes::BytesMut;
use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use zeroize::{Zeroize, Zeroizing};
use zmtp_auth::PeerContext;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::cert::{Certificate, load_certificate, load_certificates};
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{RequestId, ZapReply, ZapRequest};
use zmtp_auth::{
    AccessRequest, Config, Credentials, DenialStatus, Domain, KeyPair, Limits, LocalError,
    Password, PeerAddress, RandomSource, SecretKey, SocketType, Verdict,
};

/// The values from the parent, inverted.
pub struct Inverted(HashMap<String, Vec<u8>>);

impl Inverted {
    /// The secret itself, which the caller drops as soon as possible.
    pub fn plain(&self, name: &str) -> Zeroizing<Vec<u8>> {
        let inverted = &self.0[name];
        let mut plain = Zeroizing::new(vec![0; inverted.len()]);
        for (plain, inverted) in plain.iter_mut().zip(inverted) {
            *plain = !inverted;
        }
        plain
    }

    fn key_pair(&self, name: &str) -> KeyPair {
        let plain = self.plain(name);
        KeyPair::from_secret(SecretKey::from_bytes(plain[..].try_into().unwrap()).unwrap())
    }

    pub fn password(&self, name: &str) -> Password {
        let plain = self.plain(name);
        // The spare capacity catches a conversion that shrinks the buffer, and so copies it.
        let mut bytes = Vec::with_capacity(2 * plain.len());
        bytes.extend_from_slice(&plain);
        Password::from(bytes)
    }

    /// A random source that returns the bytes under `name`, so that the parent knows them.
    fn tape(&self, name: &str) -> Arc<Tape> {
        Arc::new(Tape {
            inverted: self.0[name].clone(),
            at: Mutex::new(0),
        })
    }
}

struct Tape {
    inverted: Vec<u8>,
    at: Mutex<usize>,
}

impl RandomSource for Tape {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        let mut at = self.at.lock().unwrap();
        for byte in buffer {
            *byte = !*self.inverted.get(*at).ok_or(LocalError::Random)?;
            *at += 1;
        }
        Ok(())
    }
}

/// Reads lines of `secret NAME HEX` and `needle NAME HEX`, and runs the scenario.
pub fn run(scenario: &str) {
    let (mut secrets, mut needles) = (HashMap::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap();
        let (kind, name, hex) = (next(), next().to_owned(), next());
        let inverted: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        match kind {
            "secret" => drop(secrets.insert(name, inverted)),
            "needle" => needles.push((name, inverted)),
            other => panic!("{other}"),
        }
    }
    let secrets = Inverted(secrets);
    let mut search = Search::new(&needles);
    match scenario {
        "leak" => leak(&secrets, &mut search),
        "curve" => curve(&secrets, &mut search),
        "plain" => plain(&secrets, &mut search),
        "password file" => password_file(&secrets, &mut search),
        "broken off" => broken_off(&secrets),
        "hasty" => hasty(&secrets),
        "certificates" => certificates(&secrets, &mut search),
        #[cfg(feature = "tokio")]
        "net" => crate::child_net::run(&secrets, &mut search),
        "stack" => crate::child_stack::run(&secrets, &mut search),
        other => panic!("{other}"),
    }
    search.report("after");
}

/// A test of the search: it must find one secret that is alive on the heap, and one in freed
/// memory.
fn leak(secrets: &Inverted, search: &mut Search) {
    let alive = secrets.plain("alive").to_vec();
    // Several copies, since the search itself may reuse some of the freed memory.
    let freed: Vec<Vec<u8>> = (0..100).map(|_| secrets.plain("freed").to_vec()).collect();
    drop(freed);
    search.report("leaked");
    drop(Zeroizing::new(alive));
}

/// One end with a driver that follows the documentation: it never lets `input` grow, and wipes
/// `out` after sending.
pub struct Side {
    state: Option<Handshake>,
    input: BytesMut,
    out: BytesMut,
}

impl Side {
    pub fn new<A>(config: &Config<A>) -> Self {
        let mut out = BytesMut::new();
        let conn = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
        Self {
            state: Some(Handshake::start(config, conn, &mut out)),
            input: BytesMut::with_capacity(1 << 14),
            out,
        }
    }

    /// Advances as far as possible without the peer. Drops the end on an error.
    fn advance(&mut self, answer: &dyn Fn(&AccessRequest) -> Verdict) {
        loop {
            self.state = match self.state.take() {
                Some(Handshake::NeedsInput(waiting)) => {
                    match waiting.process(&mut self.input, &mut self.out) {
                        Ok(waiting @ Handshake::NeedsInput(_)) => {
                            self.state = Some(waiting);
                            return;
                        }
                        other => other.ok(),
                    }
                }
                Some(Handshake::Authorize(question)) => {
                    let verdict = answer(question.request());
                    question.resume(verdict, &mut self.out).ok()
                }
                settled => {
                    self.state = settled;
                    return;
                }
            };
        }
    }

    /// Sends all output to `peer`.
    fn flush(&mut self, peer: &mut Self) -> bool {
        peer.input.extend_from_slice(&self.out);
        self.out.zeroize();
        let sent = !self.out.is_empty();
        self.out.clear();
        sent
    }

    pub fn established(&mut self) -> Established {
        match self.state.take() {
            Some(Handshake::Complete(established)) => *established,
            other => panic!("not complete: {other:?}"),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.input.zeroize();
        self.out.zeroize();
    }
}

/// Carries at most `max` deliveries between the ends, and calls `watch` before each.
pub fn converse(
    client: &mut Side,
    server: &mut Side,
    max: usize,
    answer: &dyn Fn(&AccessRequest) -> Verdict,
    watch: &mut dyn FnMut(),
) {
    let mut silent = 0;
    for delivery in 0..max {
        watch();
        let (from, to) = if delivery % 2 == 0 {
            (&mut *client, &mut *server)
        } else {
            (&mut *server, &mut *client)
        };
        silent = if from.flush(to) { 0 } else { silent + 1 };
        if silent == 2 {
            return;
        }
        to.advance(answer);
    }
}

pub fn curve_configs(
    secrets: &Inverted,
) -> (Config<zmtp_auth::NoPolicy>, Config<zmtp_auth::Authorizing>) {
    let server = secrets.key_pair("server");
    let client = Config::builder(SocketType::Dealer)
        .curve_client(secrets.key_pair("client"), server.public_key())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Router)
        .curve_server(server)
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    (
        client.dangerous().with_random(secrets.tape("client tape")),
        server.dangerous().with_random(secrets.tape("server tape")),
    )
}

fn curve(secrets: &Inverted, search: &mut Search) {
    let configs = curve_configs(secrets);
    let mut client = Side::new(&configs.0);
    let mut server = Side::new(&configs.1);
    let allow = |_: &AccessRequest| Verdict::allow("alice");
    converse(&mut client, &mut server, 20, &allow, &mut || {
        search.report("alive");
    });
    let (mut client, mut server) = (client.established(), server.established());
    let mut body = BytesMut::with_capacity(1024);
    let outer = client.sealer.seal_body(Flags::Last, b"hello", &mut body);
    let opened = server.opener.open_body(outer.unwrap(), body).unwrap();
    assert_eq!(opened.1, "hello");
    let mut body = BytesMut::with_capacity(1024);
    let outer = server.sealer.seal_body(Flags::Last, b"hello", &mut body);
    client.opener.open_body(outer.unwrap(), body).unwrap();
    search.report("complete");
    drop((client, server));
    search.report("closed");
    drop(configs);
}

/// Asks an Authenticator with the frames of RFC 27.
fn by_table(auth: &Authenticator, request: &AccessRequest) -> Verdict {
    let id = RequestId::from(1);
    let frames = ZapRequest::new(id.clone(), request).to_frames();
    let asking = pin!(auth.handle_zap_message(frames));
    let Poll::Ready(Some(reply)) = asking.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a table answers at once")
    };
    ZapReply::from_frames(&reply, &id, &Limits::default())
        .unwrap()
        .into()
}

pub fn plain_configs(
    secrets: &Inverted,
) -> (Config<zmtp_auth::NoPolicy>, Config<zmtp_auth::Authorizing>) {
    (
        Config::builder(SocketType::Dealer)
            .plain_client("alice", secrets.password("password"))
            .finish()
            .unwrap(),
        Config::builder(SocketType::Router)
            .plain_server()
            .authorize(Domain::from("test"))
            .finish()
            .unwrap(),
    )
}

fn plain(secrets: &Inverted, search: &mut Search) {
    let auth = Authenticator::new();
    auth.configure_plain(
        "test",
        [
            ("alice", &secrets.plain("password")[..]),
            ("bob", &secrets.plain("other password")[..]),
        ],
    )
    .unwrap();
    search.report("table");
    let configs = plain_configs(secrets);
    let mut client = Side::new(&configs.0);
    let mut server = Side::new(&configs.1);
    let answer = |request: &AccessRequest| by_table(&auth, request);
    converse(&mut client, &mut server, 20, &answer, &mut || {
        search.report("alive");
    });
    let established = (client.established(), server.established());
    drop(configs);
    search.report("complete");
    drop(established);
}

/// A password file, and questions about its users on the program's own thread.
fn password_file(secrets: &Inverted, search: &mut Search) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passwords");
    let mut file = std::fs::File::create(&path).unwrap();
    for (name, password) in [("alice=", "password"), ("\nbob=", "other password")] {
        file.write_all(name.as_bytes()).unwrap();
        file.write_all(&secrets.plain(password)).unwrap();
    }
    let auth = Authenticator::new();
    auth.configure_plain_file("test", &path).unwrap();
    search.report("table");
    let request = |password| {
        AccessRequest::new(
            Domain::from("test"),
            PeerAddress::from_zap(b"127.0.0.1"),
            Credentials::Plain {
                username: "alice".into(),
                password: secrets.password(password),
            },
        )
    };
    let verdict = auth.authorize_blocking(&request("password"));
    assert!(matches!(verdict, Verdict::Allow(_)));
    let verdict = auth.authorize_blocking(&request("other password"));
    assert!(matches!(verdict, Verdict::Deny(_)));
    // Files that fail to load have been read before the failure.
    for bad in ["\ncarol\n", "\nalice=\n", "\ncarol=$2b$\n"] {
        file.write_all(bad.as_bytes()).unwrap();
        assert!(auth.configure_plain_file("test", &path).is_err());
    }
}

/// Handshakes that end after any number of deliveries, that are denied, and that are damaged.
fn broken_off(secrets: &Inverted) {
    let allow = |_: &AccessRequest| Verdict::allow("alice");
    let deny = |_: &AccessRequest| Verdict::deny(DenialStatus::Failure, "no");
    let answers: [&dyn Fn(&AccessRequest) -> Verdict; 2] = [&allow, &deny];
    for answer in answers {
        for deliveries in 0..8 {
            let configs = curve_configs(secrets);
            let mut client = Side::new(&configs.0);
            let mut server = Side::new(&configs.1);
            converse(&mut client, &mut server, deliveries, answer, &mut || {});
            drop((client, server, configs));

            let configs = plain_configs(secrets);
            let mut client = Side::new(&configs.0);
            let mut server = Side::new(&configs.1);
            converse(&mut client, &mut server, deliveries, answer, &mut || {});
            if let Some(last) = client.out.last_mut() {
                *last ^= 1;
            }
            client.flush(&mut server);
            server.advance(answer);
        }
    }
}

/// A server that sends WELCOME before HELLO, so the client has two commands to send at once.
fn hasty(secrets: &Inverted) {
    let configs = plain_configs(secrets);
    let mut client = Side::new(&configs.0);
    let mut server = Side::new(&configs.1);
    client.flush(&mut server);
    server.advance(&|_| panic!("nothing to ask about"));
    server.out.extend_from_slice(b"\x04\x08\x07WELCOME");
    server.flush(&mut client);
    client.advance(&|_| panic!("a client does not ask"));
    assert!(client.out.windows(8).any(|name| name == b"INITIATE"));
}

/// Keys in files and as text.
fn certificates(secrets: &Inverted, search: &mut Search) {
    let directory = tempfile::tempdir().unwrap();
    let keys = secrets.key_pair("client");
    let (_, secret_file) = Certificate::from(keys.clone())
        .with_metadata("name", "alice")
        .unwrap()
        .save(directory.path(), "alice")
        .unwrap();
    let loaded = load_certificate(&secret_file).unwrap();
    search.report("alive");
    let text = loaded.key_pair().unwrap().secret_key().to_z85();
    let again = SecretKey::from_z85(&text).unwrap();
    assert_eq!(again.public_key(), keys.public_key());
    // A directory of public certificates that contains a secret one by mistake.
    let others = tempfile::tempdir().unwrap();
    std::fs::copy(secret_file, others.path().join("alice.key")).unwrap();
    let report = load_certificates(others.path()).unwrap();
    assert_eq!(report.certificates[0].public_key(), keys.public_key());
    drop((keys, loaded, text, again));
    search.report("public");
}

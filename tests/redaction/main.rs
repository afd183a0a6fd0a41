//! No `Debug`, `Display` or log event shows a secret, whether as text, hex, Z85 or a list of
//! numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod events;
mod holders;
mod hosts;
#[path = "../pair/mod.rs"]
mod pair;
#[cfg(feature = "tokio")]
mod sockets;
#[path = "../structure/source.rs"]
#[allow(dead_code)]
mod source;
mod traces;

use bytes::{Bytes, BytesMut};
use events::Listener;
use holders::{holders, sources};
use pair::{Endpoint, drive, framed, stream};
use std::any::type_name_of_val;
use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;
use traces::{CLIENT, CLIENT_RANDOM, PASSWORD, SERVER, SERVER_RANDOM, Traces};
use zmtp_auth::PeerContext;
use zmtp_auth::auth::{AdmissionTerms, Authenticator, PlainQuestion, ThreadAuthenticator};
use zmtp_auth::cert::{Certificate, load_certificate, load_certificates};
use zmtp_auth::handshake::{Established, Handshake};
use zmtp_auth::mechanism::{Mechanism, Next, Refused, Step};
use zmtp_auth::relay::{IdentityRule, PeerHandoff, Relay, RelayEnd};
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::command::Command;
use zmtp_auth::wire::greeting::Greeting;
use zmtp_auth::zap::{RequestId, ZapRequest, ZapRouter};
use zmtp_auth::{
    AccessRequest, Authorizing, Config, Credentials, Domain, Error, KeyPair, Limits, LocalError,
    NoPolicy, Password, PeerAddress, RandomSource, SecretKey, Security, SocketType, Verdict,
};

/// Types that are `pub` inside private modules, which no user can name. Their output shows in the
/// types that contain them.
const OUT_OF_REACH: [&str; 4] = ["SharedKey", "CookieKey", "Role", "Approved"];

/// Draws the same secret for every key. Nonces are no secret.
struct Constant(&'static [u8; 32]);

impl RandomSource for Constant {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LocalError> {
        match <&mut [u8; 32]>::try_from(&mut *buffer) {
            Ok(key) => *key = *self.0,
            Err(_) => buffer.fill(0xEE),
        }
        Ok(())
    }
}

/// Formats values and records their types.
struct Shown {
    traces: Traces,
    types: BTreeSet<String>,
}

impl Shown {
    #[track_caller]
    fn debug<T: Debug>(&mut self, value: &T) {
        let what = type_name_of_val(value);
        let names = what.split(|c: char| !c.is_alphanumeric());
        self.types.extend(names.map(str::to_owned));
        for text in [
            format!("{value:?}"),
            format!("{value:#?}"),
            format!("{value:x?}"),
            format!("{value:#x?}"),
            format!("{value:X?}"),
        ] {
            self.traces.assert_absent(what, &text);
        }
    }

    #[track_caller]
    fn error<T: Debug + Display>(&mut self, value: &T) {
        self.debug(value);
        self.traces
            .assert_absent(type_name_of_val(value), &value.to_string());
    }
}

fn keys(secret: &[u8; 32]) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_bytes(secret).unwrap())
}

fn curve() -> (Config<NoPolicy>, Config<Authorizing>) {
    let client = Config::builder(SocketType::Dealer)
        .curve_client(keys(CLIENT), keys(SERVER).public_key())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Router)
        .curve_server(keys(SERVER))
        .also_accept(keys(CLIENT))
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    (
        client
            .dangerous()
            .with_random(Arc::new(Constant(CLIENT_RANDOM))),
        server
            .dangerous()
            .with_random(Arc::new(Constant(SERVER_RANDOM))),
    )
}

fn plain() -> (Config<NoPolicy>, Config<Authorizing>) {
    (
        Config::builder(SocketType::Dealer)
            .plain_client("alice", PASSWORD)
            .finish()
            .unwrap(),
        Config::builder(SocketType::Router)
            .plain_server()
            .authorize(Domain::from("test"))
            .finish()
            .unwrap(),
    )
}

fn relay_curve() -> (Config<NoPolicy>, Config<Authorizing>) {
    let client = Config::builder(SocketType::Relay)
        .curve_client(keys(CLIENT), keys(SERVER).public_key())
        .finish()
        .unwrap();
    let server = Config::builder(SocketType::Relay)
        .curve_server(keys(SERVER))
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    (client, server)
}

fn here() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"))
}

/// Every public type that can hold a secret, holding one.
fn show_everything(shown: &mut Shown) {
    show_keys_and_builders(shown);
    show_handshakes(shown);
    show_relay(shown);
    show_commands(shown);
    show_policy(shown);
    show_certificates(shown);
    #[cfg(feature = "policy-file")]
    show_policy_files(shown);
    hosts::show(shown);
    #[cfg(feature = "tokio")]
    sockets::show(shown);
}

fn show_keys_and_builders(shown: &mut Shown) {
    shown.debug(&SecretKey::from_bytes(CLIENT).unwrap());
    shown.debug(&keys(CLIENT));
    shown.debug(&Password::new(PASSWORD));
    let random: Arc<dyn RandomSource> = Arc::new(Constant(CLIENT));
    shown.debug(&random);
    let builder = || Config::builder(SocketType::Router);
    shown.debug(
        &builder()
            .curve_server(keys(SERVER))
            .also_accept(keys(CLIENT)),
    );
    shown.debug(&builder().curve_server(keys(SERVER)).accept_any_peer());
    shown.debug(
        &builder()
            .curve_server(keys(SERVER))
            .authorize(Domain::EMPTY),
    );
    shown.debug(&builder().curve_client(keys(CLIENT), keys(SERVER).public_key()));
    shown.debug(&builder().plain_client("alice", PASSWORD));
    shown.debug(&builder().plain_server());
    shown.debug(&builder().null());
    let long = [PASSWORD; 20].concat();
    let error = builder().plain_client("alice", &long[..]).finish();
    shown.error(&error.unwrap_err());
    let mut five = builder().curve_server(keys(SERVER));
    for _ in 0..4 {
        five = five.also_accept(keys(CLIENT));
    }
    shown.error(&five.accept_any_peer().finish().unwrap_err());
    for (client, server) in [curve(), plain(), relay_curve()] {
        shown.debug(&client);
        shown.debug(&server);
        shown.debug(&Security::from(client.clone()));
        shown.debug(&client.dangerous());
        shown.debug(&Security::from((server.clone(), ZapRouter::new())));
        shown.debug(&server.dangerous());
    }
}

/// Both ends in all their states, and then each half of the resulting connections.
fn show_handshakes(shown: &mut Shown) {
    for configs in [curve(), plain(), relay_curve()] {
        for established in shake_hands(shown, &configs) {
            shown.debug(&established);
            shown.debug(&established.peer);
            shown.debug(&established.sealer);
            shown.debug(&established.opener);
            shown.debug(&FrameWriter::new(established.sealer));
            shown.debug(&FrameReader::new(established.opener, &Limits::default()));
        }
    }
}

/// The two connections of a tunnel, joined by a relay.
fn show_relay(shown: &mut Shown) {
    let ends = shake_hands(shown, &relay_curve())
        .map(|established| RelayEnd::new(*established, &Limits::default(), None, Instant::now()));
    shown.debug(&ends[0]);
    let [front, back] = ends;
    shown.debug(&Relay::new(front, back));
}

fn shake_hands<A>(
    shown: &mut Shown,
    (client, server): &(Config<NoPolicy>, Config<A>),
) -> [Box<Established>; 2] {
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut client = Some(Handshake::start(client, here(), &mut to_server));
    let mut server = Some(Handshake::start(server, here(), &mut to_client));
    for _ in 0..6 {
        client = advance(shown, client, &mut to_client, &mut to_server);
        server = advance(shown, server, &mut to_server, &mut to_client);
    }
    [client, server].map(|end| match end {
        Some(Handshake::Complete(established)) => established,
        other => panic!("not complete: {other:?}"),
    })
}

fn advance(
    shown: &mut Shown,
    mut state: Option<Handshake>,
    input: &mut BytesMut,
    out: &mut BytesMut,
) -> Option<Handshake> {
    loop {
        shown.debug(&state);
        state = match state {
            Some(Handshake::NeedsInput(waiting)) => {
                shown.debug(&waiting);
                match waiting.process(input, out).unwrap() {
                    waiting @ Handshake::NeedsInput(_) => return Some(waiting),
                    next => Some(next),
                }
            }
            Some(Handshake::Authorize(question)) => {
                shown.debug(&question);
                shown.debug(question.request());
                shown.debug(&question.request().credentials);
                Some(question.resume(Verdict::allow("alice"), out).unwrap())
            }
            Some(Handshake::NeedsMetadata(pause)) => {
                shown.debug(&pause);
                let Some(claims) = pause.claims().cloned() else {
                    state = Some(pause.resume(&supplied(), out).unwrap());
                    continue;
                };
                let introduction = PeerHandoff::new(pause, IdentityRule::Pass).unwrap();
                shown.debug(&introduction);
                let established = introduction.complete(&claims, out).unwrap();
                Some(Handshake::Complete(established))
            }
            settled => return settled,
        };
    }
}

/// The layer of commands, where a host holds single commands, and all its errors.
fn show_commands(shown: &mut Shown) {
    for (client, server) in [curve(), plain(), relay_curve()] {
        let offers = [
            Mechanism::start(&client, here()),
            Mechanism::start(&server, here()),
        ];
        shown.debug(&offers[0]);
        let greetings = [offers[1].greeting(), offers[0].greeting()];
        let mut inboxes = [Vec::new(), Vec::new()];
        let mut ends = Vec::new();
        for ((end, offer), greeting) in offers.into_iter().enumerate().zip(greetings) {
            let greeting = Greeting::parse(&greeting).unwrap().unwrap();
            let step = offer.on_peer_greeting(&greeting).unwrap();
            ends.push(settle(shown, step, &mut inboxes[1 - end]));
        }
        for end in [1, 0].repeat(2) {
            let body = inboxes[end].remove(0);
            let Next::Wait(mechanism) = ends.remove(end) else {
                panic!("no end waits for {body:?}")
            };
            shown.debug(&mechanism);
            let step = mechanism.on_command(&body).unwrap();
            ends.insert(end, settle(shown, step, &mut inboxes[1 - end]));
        }
        for end in ends {
            let Next::Done(done) = end else {
                panic!("not done: {end:?}")
            };
            shown.debug(&done);
            shown.debug(&*done);
        }
    }
    for error in failures() {
        shown.error(&error);
        shown.error(&Refused { send: None, error });
    }
}

/// Passes on a step's output and answers its questions.
fn settle(shown: &mut Shown, step: Step, to_peer: &mut Vec<Bytes>) -> Next {
    shown.debug(&step);
    shown.debug(&step.next);
    if let Some(body) = step.send {
        let command = Command::parse(&body).unwrap();
        shown.debug(&command);
        to_peer.push(body);
    }
    match step.next {
        Next::Authorize(question) => {
            shown.debug(&question);
            let next = question.resume(Verdict::allow("alice")).unwrap();
            settle(shown, next, to_peer)
        }
        Next::NeedsMetadata(pause) => {
            shown.debug(&pause);
            let next = pause.resume(&supplied()).unwrap();
            settle(shown, next, to_peer)
        }
        next => next,
    }
}

fn supplied() -> zmtp_auth::Metadata {
    let mut metadata = zmtp_auth::Metadata::new();
    metadata.push("Socket-Type", "DEALER").unwrap();
    metadata
}

/// Handshakes that fail on the commands that carry secrets.
fn failures() -> Vec<Error> {
    let mut errors = Vec::new();
    for config in [plain, curve] {
        let (mut client, mut server) = {
            let (client, server) = config();
            (Endpoint::new(client), Endpoint::new(server))
        };
        let log = drive(&mut client, &mut server);
        let sent = stream(&log, pair::Direction::ToServer);
        let hello = &pair::commands(&log, pair::Direction::ToServer)[0];
        for damage in [
            framed(&hello[..hello.len() - 1]),
            framed(&[&hello[..], b"x"].concat()),
            framed(&[hello, PASSWORD].concat()),
            framed(&[&hello[..], &[b'x'; 600]].concat()),
            [&[0x00][..], &framed(hello)[1..]].concat(),
        ] {
            let mut server = Endpoint::new(config().1);
            server.feed(&sent[..64]);
            server.feed(&damage);
            errors.push(server.error().unwrap().clone());
        }
        let mut server = Endpoint::new(config().1).denying(zmtp_auth::DenialStatus::Internal);
        server.feed(&sent);
        errors.push(server.error().unwrap().clone());
        let mut client = Endpoint::new(config().0);
        client.feed(&sent);
        errors.push(client.error().unwrap().clone());
    }
    errors
}

fn show_policy(shown: &mut Shown) {
    let request = AccessRequest::new(
        Domain::from("test"),
        PeerAddress::from_zap(b"127.0.0.1"),
        Credentials::Plain {
            username: "alice".into(),
            password: Password::new(PASSWORD),
        },
    );
    shown.debug(&request);
    shown.debug(&request.credentials);
    let asked = ZapRequest::new(RequestId::from(1), &request);
    shown.debug(&asked);
    shown.debug(&asked.credentials());
    shown.debug(&ZapRequest::from_frames(asked.to_frames()));
    let mut frames = asked.to_frames();
    frames[0] = Bytes::from_static(b"2.0");
    shown.error(&ZapRequest::from_frames(frames).unwrap_err());
    let mut frames = asked.to_frames();
    frames.push(Bytes::from_static(PASSWORD));
    let crowded = ZapRequest::from_frames(frames).unwrap();
    shown.debug(&crowded);
    shown.error(&crowded.credentials().unwrap_err());

    let auth = Authenticator::new();
    auth.configure_plain("test", [("alice", PASSWORD)]).unwrap();
    shown.debug(&auth);
    for user in ["alice", "bob"] {
        let mut frames = asked.to_frames();
        frames[6] = Bytes::copy_from_slice(user.as_bytes());
        let mut asking = pin!(auth.handle_zap_message(frames));
        shown.debug(
            &asking
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop())),
        );
    }
    show_what_policy_keeps(shown, &auth, &request);
    let router = ZapRouter::new();
    router.bind("test", auth).unwrap();
    shown.debug(&router);
}

/// Everything that an [`Authenticator`] returns.
fn show_what_policy_keeps(shown: &mut Shown, auth: &Authenticator, request: &AccessRequest) {
    shown.debug(&auth.addresses());
    shown.debug(&auth.changes());
    let mut told = auth.events();
    shown.debug(&told);
    let verdict = auth.authorize_blocking(request);
    shown.debug(&verdict);
    let Verdict::Allow(approval) = verdict else {
        panic!("alice is refused: {verdict:?}")
    };
    let grant = approval.grant.unwrap();
    shown.debug(grant.terms::<AdmissionTerms>().unwrap());
    shown.debug(&grant.revoked_owned());
    shown.debug(&grant.on_revoked(|| ()));
    shown.debug(&grant.topics().changes());
    #[cfg(feature = "tokio")]
    {
        let options = zmtp_auth::net::Options::default();
        let mut queue = zmtp_auth::net::SendQueue::new(SocketType::Push, &options);
        queue.try_send(PASSWORD).unwrap();
        shown.debug(&queue);
    }
    while let Some(event) = told.try_next() {
        shown.debug(&event);
    }

    let asking = Authenticator::new();
    let asked = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&asked);
    asking.configure_plain_callback_blocking("test", move |question: PlainQuestion| {
        *kept.lock().unwrap() = Some(question);
        true
    });
    shown.debug(&asking.authorize_blocking(request));
    shown.debug(asked.lock().unwrap().as_ref().unwrap());
    shown.debug(&ThreadAuthenticator::new(auth.clone()));
    #[cfg(feature = "reload")]
    {
        use zmtp_auth::auth::{Reload, ReloadSettings};
        shown.debug(&Reload::start(auth, ReloadSettings::default(), |_| {}).unwrap());
    }
}

#[cfg(feature = "policy-file")]
fn show_policy_files(shown: &mut Shown) {
    use zmtp_auth::auth::{DomainSettings, PlainSettings, PolicyFile, PolicySettings};
    let users = [("admin".to_owned(), Password::new(PASSWORD))];
    let plain = PlainSettings::Users(users.into());
    shown.debug(&plain);
    let mut domain = DomainSettings::default();
    domain.plain = Some(plain);
    shown.debug(&domain);
    let mut settings = PolicySettings::default();
    settings.domain.insert("*".into(), domain);
    shown.debug(&settings);
    let policy = PolicyFile::from_settings(settings, "");
    shown.debug(&policy);
    shown.debug(&policy.lint().unwrap());
}

fn show_certificates(shown: &mut Shown) {
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::from(keys(CLIENT));
    shown.debug(&certificate);
    let (_, secret_file) = certificate.save(directory.path(), "alice").unwrap();
    shown.debug(&load_certificate(&secret_file).unwrap());
    let text = fs::read_to_string(&secret_file).unwrap();
    let secret = SecretKey::from_bytes(CLIENT).unwrap().to_z85();
    // The error for a bad secret file does not quote the file.
    for (number, bad) in [
        text.replace(&*secret, &secret[1..]),
        text.replace(&*secret, &format!("{}~", &secret[..39])),
        text.replace(&*secret, &format!("{} x", *secret)),
        text.replace(&*secret, &format!("{}\" x", *secret)),
        text.replace("secret-key", "secret-keys"),
        text.replace("secret-key", "secret key"),
        text.replace("curve\n", "curve\n    other = 1\n"),
        text.replace("secret-key = ", "secret-key "),
        text.replace("curve\n", "    curve\n"),
        format!("{text}    secret-key = \"{}\"\n", *secret),
        text.replace(
            &Certificate::from(keys(CLIENT)).public_key().to_z85(),
            &keys(SERVER).public_key().to_z85(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(bad, text, "{number}");
        let file = directory.path().join(format!("bad{number}.key"));
        fs::write(&file, bad).unwrap();
        // Some load nevertheless, without the bad line.
        match load_certificate(&file) {
            Ok(certificate) => shown.debug(&certificate),
            Err(error) => shown.error(&error),
        }
    }
    let report = load_certificates(directory.path()).unwrap();
    assert!(!report.problems.is_empty());
    shown.debug(&report);
    for damaged in [
        &secret[1..],
        &format!("{}~", &secret[..39]),
        &"#".repeat(40),
    ] {
        shown.error(&SecretKey::from_z85(damaged).unwrap_err());
    }
}

#[test]
fn no_public_type_and_no_event_shows_a_secret() {
    let mut shown = Shown {
        traces: Traces::of_all_secrets(),
        types: BTreeSet::new(),
    };
    // Set for all threads before the first event: `tracing` caches for each call site whether there
    // is a listener.
    let events = Arc::new(Mutex::new(String::new()));
    tracing::subscriber::set_global_default(Listener(events.clone())).unwrap();
    show_everything(&mut shown);

    let forgotten: Vec<_> = holders(&sources())
        .into_iter()
        .filter(|(name, public)| *public && !OUT_OF_REACH.contains(&name.as_str()))
        .map(|(name, _)| name)
        .filter(|name| !shown.types.contains(name))
        .collect();
    assert!(
        forgotten.is_empty(),
        "not shown in this test: {forgotten:?}"
    );
    let events = events.lock().unwrap();
    assert!(events.contains("peer refused"), "not heard: {events}");
    shown.traces.assert_absent("an event", &events);
}

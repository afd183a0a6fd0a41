//! A host that knows NULL alone, secured by `Security::conduct` and by `AuthStream`, with live libzmq.

use crate::peer;
use crate::tiny::types::{Event, Message, Options as HostOptions};
use crate::tiny::{conducted, plain, wrapped};

use bytes::Bytes;
use peer::{CLIENT_PUBLIC, CLIENT_SECRET, Context, Options, Payload, ZapAnswer};
use peer::{SERVER_PUBLIC, SERVER_SECRET, Security as Libzmq};
use std::io;
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::config::WantsMechanism;
use zmtp_auth::host::{Failed, FailureKind, StreamError, TrafficError};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Authorizing, Builder, Config, DenialStatus, Domain, KeyPair, Limits, PublicKey, SecretKey,
    Security,
};

const TCP: &str = "tcp://127.0.0.1:*";
const MECHANISMS: [&str; 3] = ["NULL", "PLAIN", "CURVE"];
const VERSIONS: [u8; 2] = [0, 1];

/// What the three hosts have in common.
trait Host: Sized {
    fn open(options: HostOptions, security: Security) -> Self;
    /// The endpoint for libzmq.
    async fn listen(&mut self) -> String;
    async fn dial(&mut self, endpoint: &str);
    async fn subscribe(&self, topic: &str);
    async fn unsubscribe(&self, topic: &str);
    async fn send(&self, message: Message);
    async fn receive(&mut self) -> Message;
    async fn event(&mut self) -> Event;

    /// The properties of a peer, when its handshake is complete.
    async fn joined(&mut self) -> Vec<(String, Bytes)> {
        match self.event().await {
            Event::Joined(properties) => properties,
            other => panic!("not joined: {other:?}"),
        }
    }

    /// Why a connection or its handshake has failed.
    async fn failed(&mut self) -> io::Error {
        loop {
            match self.event().await {
                Event::Left(ended) => return ended.expect_err("a failure"),
                Event::Joined(_) | Event::Subscribed(_) => {}
            }
        }
    }
}

macro_rules! hosts {
    ($($host:ident($($security:ident)?)),*) => {$(
        impl Host for $host::Socket {
            fn open(options: HostOptions, _security: Security) -> Self {
                Self::new(options $(, { let $security = _security; $security })?)
            }

            async fn listen(&mut self) -> String {
                format!("tcp://{}", self.bind("127.0.0.1:0").await.unwrap())
            }

            async fn dial(&mut self, endpoint: &str) {
                self.connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
            }

            async fn subscribe(&self, topic: &str) {
                Self::subscribe(self, topic.to_owned().into()).await;
            }

            async fn unsubscribe(&self, topic: &str) {
                Self::unsubscribe(self, topic.to_owned().into()).await;
            }

            async fn send(&self, message: Message) {
                Self::send(self, message).await.unwrap();
            }

            async fn receive(&mut self) -> Message {
                soon(self.recv()).await.expect("a message")
            }

            async fn event(&mut self) -> Event {
                soon(Self::event(self)).await.expect("an event")
            }
        }
    )*};
}
hosts!(plain(), conducted(security), wrapped(security));

/// Runs a scenario with both secured hosts.
macro_rules! with_both {
    ($scenario:ident($($argument:expr),*)) => {
        $scenario::<conducted::Socket>($($argument),*).await;
        $scenario::<wrapped::Socket>($($argument),*).await;
    };
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let wait = tokio::time::timeout(Duration::from_secs(10), future);
    wait.await.expect("nothing happened")
}

fn options(socket_type: &'static str, minor: u8) -> HostOptions {
    HostOptions {
        minor,
        ..HostOptions::new(socket_type)
    }
}

fn builder(options: &HostOptions) -> Builder<WantsMechanism> {
    let limits = Limits::default().with_handshake_timeout(Duration::from_secs(5));
    let builder = Config::untyped_builder().limits(limits);
    if options.minor == 0 {
        return builder.zmtp_3_0();
    }
    builder
}

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(secret).unwrap())
}

/// A host that is a server.
fn server<H: Host>(options: HostOptions, mechanism: &str, router: &ZapRouter) -> H {
    let builder = builder(&options);
    let domain = Domain::from("embedding");
    let config: Config<Authorizing> = match mechanism {
        "NULL" => builder.null().authorize(domain),
        "PLAIN" => {
            let builder = builder.plain_server().libzmq_error_spelling();
            builder.authorize(domain)
        }
        _ => builder.curve_server(keys(SERVER_SECRET)).authorize(domain),
    }
    .finish()
    .unwrap();
    H::open(options, (config, router.clone()).into())
}

/// A host that is a client.
fn client<H: Host>(options: HostOptions, mechanism: &str) -> H {
    let builder = builder(&options);
    let config = match mechanism {
        "NULL" => builder.null().accept_any_peer().finish(),
        "PLAIN" => builder.plain_client("admin", "secret").finish(),
        _ => {
            let server = PublicKey::from_z85(SERVER_PUBLIC).unwrap();
            builder.curve_client(keys(CLIENT_SECRET), server).finish()
        }
    };
    H::open(options, config.unwrap().into())
}

/// A policy that admits the client of these tests.
fn authenticator() -> (Authenticator, ZapRouter) {
    let authenticator = Authenticator::new();
    let users = [("admin", "secret")];
    authenticator.configure_plain("embedding", users).unwrap();
    authenticator.configure_curve_keys("embedding", [PublicKey::from_z85(CLIENT_PUBLIC).unwrap()]);
    let router = ZapRouter::new();
    router.bind(Domain::ALL, authenticator.clone()).unwrap();
    (authenticator, router)
}

fn libzmq_client(mechanism: &str) -> Options {
    Options::new(match mechanism {
        "NULL" => Libzmq::Null,
        "PLAIN" => Libzmq::PlainClient {
            username: "admin",
            password: "secret",
        },
        _ => Libzmq::CURVE_CLIENT,
    })
}

fn libzmq_server(mechanism: &str) -> Options {
    Options::new(match mechanism {
        "NULL" => Libzmq::Null,
        "PLAIN" => Libzmq::PlainServer,
        _ => Libzmq::CURVE_SERVER,
    })
    .domain("embedding")
}

/// Messages of one frame and several, empty, short and long.
fn messages() -> Vec<Vec<Payload>> {
    let long = |length| Payload::Fill { seed: 3, length };
    vec![
        vec!["one".into()],
        vec!["".into(), "two".into(), "".into()],
        vec![long(300), long(100_000)],
    ]
}

fn bytes(message: &[Payload]) -> Message {
    let frames = message.iter().map(|frame| frame.bytes().unwrap().into());
    frames.collect()
}

/// Messages cross in both directions.
async fn exchange<H: Host>(host: &mut H, libzmq: &peer::Socket<'_>) {
    for message in messages() {
        libzmq.send(&message).await;
        assert_eq!(host.receive().await, bytes(&message));
        host.send(bytes(&message)).await;
        assert_eq!(libzmq.receive().await.frames, message);
    }
}

async fn serves<H: Host>(mechanism: &str, minor: u8) {
    let context = Context::new().await;
    let (_, router) = authenticator();
    let mut host: H = server(options("DEALER", minor), mechanism, &router);
    let endpoint = host.listen().await;
    let options = libzmq_client(mechanism).set("IDENTITY", "someone");
    let dealer = context.connected("DEALER", options, &endpoint).await;
    exchange(&mut host, &dealer).await;
    let properties = host.joined().await;
    let property = |name: &str| {
        let mut found = properties.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| &**value)
    };
    assert_eq!(property("Socket-Type"), Some(&b"DEALER"[..]));
    assert_eq!(property("Identity"), Some(&b"someone"[..]));
    match mechanism {
        "PLAIN" => assert_eq!(property("User-Id"), Some(&b"admin"[..])),
        "CURVE" => assert_eq!(property("User-Id"), Some(CLIENT_PUBLIC.as_bytes())),
        _ => {}
    }
}

async fn dials<H: Host>(mechanism: &str, minor: u8) {
    let context = Context::new().await;
    context
        .script_zap(ZapAnswer {
            user_id: "host",
            ..ZapAnswer::status("200")
        })
        .await;
    let (dealer, endpoint) = context.bound("DEALER", libzmq_server(mechanism), TCP).await;
    let mut host: H = client(options("DEALER", minor), mechanism);
    host.dial(&endpoint).await;
    host.joined().await;
    host.send(vec!["hello".into()]).await;
    let received = dealer.receive_with(&["User-Id"]).await;
    assert_eq!(received.property("User-Id"), Some("host"));
    exchange(&mut host, &dealer).await;
}

#[tokio::test]
async fn the_unsecured_host_talks_with_libzmq() {
    for minor in VERSIONS {
        serves::<plain::Socket>("NULL", minor).await;
        dials::<plain::Socket>("NULL", minor).await;
        publishes::<plain::Socket>("NULL", minor).await;
        subscribes::<plain::Socket>("NULL", minor).await;
    }
    sends_pings::<plain::Socket>("NULL").await;
    answers_pings::<plain::Socket>("NULL").await;
}

#[tokio::test]
async fn messages_cross_in_every_mechanism_role_and_version() {
    for mechanism in MECHANISMS {
        for minor in VERSIONS {
            with_both!(serves(mechanism, minor));
            with_both!(dials(mechanism, minor));
        }
    }
}

/// How the host's handshake failed: the one match of `docs/EMBEDDING.md`.
fn kind(error: &io::Error) -> FailureKind {
    let failed = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<Failed>());
    failed.unwrap_or_else(|| panic!("{error:?}")).kind()
}

async fn refuses_400<H: Host>(mechanism: &str) {
    let context = Context::new().await;
    let router = ZapRouter::new();
    let refuse = async |request: ZapRequest| request.deny(DenialStatus::Failure, "no");
    router.bind(Domain::ALL, refuse).unwrap();
    let mut host: H = server(options("PULL", 1), mechanism, &router);
    let endpoint = host.listen().await;
    let push = context.socket("PUSH", libzmq_client(mechanism)).await;
    let mut events = push.monitor().await;
    push.connect(&endpoint).await;
    let event = events.handshake().await;
    assert_eq!(event.name, "HANDSHAKE_FAILED_AUTH", "{mechanism}");
    assert_eq!(event.value, 400);
    assert_eq!(kind(&host.failed().await), FailureKind::Denied);
}

/// libzmq comes back after 300, and gets in when it may.
async fn refuses_300<H: Host>(mechanism: &str) {
    let context = Context::new().await;
    let router = ZapRouter::new();
    let asked = std::sync::atomic::AtomicBool::new(false);
    let once = move |request: ZapRequest| {
        let again = asked.swap(true, std::sync::atomic::Ordering::SeqCst);
        async move {
            match again {
                true => request.allow("later"),
                false => request.deny(DenialStatus::Temporary, "not yet"),
            }
        }
    };
    router.bind(Domain::ALL, once).unwrap();
    let mut host: H = server(options("PULL", 1), mechanism, &router);
    let endpoint = host.listen().await;
    let options = libzmq_client(mechanism).set("RECONNECT_IVL", 20);
    let push = context.connected("PUSH", options, &endpoint).await;
    push.send(&["patient".into()]).await;
    assert_eq!(kind(&host.failed().await), FailureKind::Denied);
    host.joined().await;
    assert_eq!(host.receive().await, ["patient"]);
}

#[tokio::test]
async fn a_libzmq_client_that_is_refused_learns_it() {
    for mechanism in MECHANISMS {
        with_both!(refuses_400(mechanism));
        with_both!(refuses_300(mechanism));
    }
}

async fn is_refused<H: Host>(mechanism: &str) {
    for (status, kinds) in [
        ("400", &[FailureKind::Refused][..]),
        // libzmq says nothing after 300. Either it closes, or our own time-out passes.
        ("300", &[FailureKind::RefusedForNow, FailureKind::TimedOut]),
    ] {
        let context = Context::new().await;
        context.script_zap(ZapAnswer::status(status)).await;
        let options_of_server = libzmq_server(mechanism);
        let (_pull, endpoint) = context.bound("PULL", options_of_server, TCP).await;
        let mut host: H = client(options("PUSH", 1), mechanism);
        host.dial(&endpoint).await;
        let error = host.failed().await;
        assert!(
            kinds.contains(&kind(&error)),
            "{mechanism} {status}: {error:?}"
        );
    }
}

async fn finds_another_server<H: Host>() {
    let context = Context::new().await;
    let other = KeyPair::generate().unwrap().secret_key().to_z85();
    let wrong_key = Libzmq::CurveServer { secret: &other };
    for (mechanism, at_server, expected) in [
        ("CURVE", wrong_key, FailureKind::WrongServerKey),
        ("CURVE", Libzmq::Null, FailureKind::OtherMechanism),
        ("PLAIN", Libzmq::CURVE_SERVER, FailureKind::OtherMechanism),
        ("NULL", Libzmq::PlainServer, FailureKind::OtherMechanism),
    ] {
        let (_pull, endpoint) = context.bound("PULL", Options::new(at_server), TCP).await;
        let mut host: H = client(options("PUSH", 1), mechanism);
        host.dial(&endpoint).await;
        assert_eq!(kind(&host.failed().await), expected, "{mechanism}");
    }
}

#[tokio::test]
async fn a_host_that_libzmq_refuses_learns_why() {
    for mechanism in MECHANISMS {
        with_both!(is_refused(mechanism));
    }
    with_both!(finds_another_server());
}

async fn revokes<H: Host>(mechanism: &str) {
    let context = Context::new().await;
    let (auth, router) = authenticator();
    let mut host: H = server(options("PULL", 1), mechanism, &router);
    let endpoint = host.listen().await;
    // With IMMEDIATE libzmq takes messages only while it has a connection.
    let options = libzmq_client(mechanism).set("IMMEDIATE", 1);
    let push = context.connected("PUSH", options, &endpoint).await;
    push.send(&["before".into()]).await;
    assert_eq!(host.receive().await, ["before"]);
    host.joined().await;
    assert_eq!(auth.live_grants(), 1);

    match mechanism {
        "NULL" => auth.deny(["127.0.0.1"]).unwrap(),
        "PLAIN" => drop(auth.configure_plain("embedding", [("other", "secret")])),
        _ => drop(auth.configure_curve_keys("embedding", [])),
    }
    let error = host.failed().await;
    let cause = error.get_ref().unwrap();
    let by_reader = cause.downcast_ref() == Some(&TrafficError::Revoked);
    let by_stream = cause.downcast_ref() == Some(&StreamError::Revoked);
    assert!(by_reader || by_stream, "{mechanism}: {error:?}");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    // libzmq comes back, and is refused.
    assert_eq!(kind(&host.failed().await), FailureKind::Denied);
    assert_eq!(auth.live_grants(), 0);
    let wait = Duration::from_millis(100);
    assert!(!push.try_send(&["after".into()], wait).await);
}

#[tokio::test]
async fn a_revoked_libzmq_peer_is_closed_while_it_is_idle() {
    for mechanism in MECHANISMS {
        with_both!(revokes(mechanism));
    }
}

async fn publishes<H: Host>(mechanism: &str, minor: u8) {
    let context = Context::new().await;
    let (_, router) = authenticator();
    let mut host: H = server(options("PUB", minor), mechanism, &router);
    let endpoint = host.listen().await;
    let options = libzmq_client(mechanism).bytes("SUBSCRIBE", b"a");
    let sub = context.connected("SUB", options, &endpoint).await;
    host.joined().await;
    subscribed(&mut host, b"a").await;
    for frame in ["b1", "a1", "c1", "a2"] {
        host.send(vec![frame.into()]).await;
    }
    assert_eq!(sub.receive().await.frames, ["a1".into()]);
    assert_eq!(sub.receive().await.frames, ["a2".into()]);

    sub.set_bytes("UNSUBSCRIBE", b"a").await;
    sub.set_bytes("SUBSCRIBE", b"c").await;
    subscribed(&mut host, b"c").await;
    for frame in ["a3", "b2", "c2"] {
        host.send(vec![frame.into()]).await;
    }
    assert_eq!(sub.receive().await.frames, ["c2".into()]);
}

async fn subscribed<H: Host>(host: &mut H, expected: &[u8]) {
    match host.event().await {
        Event::Subscribed(topic) => assert_eq!(topic, expected),
        other => panic!("not subscribed: {other:?}"),
    }
}

async fn subscribes<H: Host>(mechanism: &str, minor: u8) {
    let context = Context::new().await;
    context.script_zap(ZapAnswer::status("200")).await;
    let (publisher, endpoint) = context.bound("XPUB", libzmq_server(mechanism), TCP).await;
    let mut host: H = client(options("SUB", minor), mechanism);
    host.subscribe("a").await;
    host.dial(&endpoint).await;
    let change = async |expected: &[u8]| {
        // An XPUB receives subscriptions as messages.
        assert_eq!(publisher.receive().await.frames, [expected.into()]);
    };
    change(b"\x01a").await;
    for frame in ["b1", "a1"] {
        publisher.send(&[frame.into(), "body".into()]).await;
    }
    assert_eq!(host.receive().await, ["a1", "body"]);
    host.subscribe("c").await;
    change(b"\x01c").await;
    host.unsubscribe("a").await;
    change(b"\x00a").await;
    for frame in ["a2", "b2", "c2"] {
        publisher.send(&[frame.into(), "body".into()]).await;
    }
    assert_eq!(host.receive().await, ["c2", "body"]);
}

#[tokio::test]
async fn subscriptions_cross_in_every_mechanism_role_and_version() {
    for mechanism in MECHANISMS {
        for minor in VERSIONS {
            with_both!(publishes(mechanism, minor));
            with_both!(subscribes(mechanism, minor));
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(250);

/// The connection outlives more than its host's and libzmq's patience, and carries messages.
async fn lives<H: Host>(host: &mut H, dealer: &peer::Socket<'_>) {
    host.joined().await;
    tokio::time::sleep(INTERVAL * 8).await;
    exchange(host, dealer).await;
    let more = tokio::time::timeout(Duration::from_millis(10), host.event()).await;
    assert!(more.is_err(), "{more:?}");
}

/// libzmq has no heartbeat. The host would close the connection without the answers to its PINGs.
async fn sends_pings<H: Host>(mechanism: &str) {
    let context = Context::new().await;
    let (_, router) = authenticator();
    let options = HostOptions {
        ping_every: Some(INTERVAL),
        ..options("DEALER", 1)
    };
    let mut host: H = server(options, mechanism, &router);
    let endpoint = host.listen().await;
    let dealer = context
        .connected("DEALER", libzmq_client(mechanism), &endpoint)
        .await;
    lives(&mut host, &dealer).await;
}

/// The host has no heartbeat. libzmq would close the connection without the answers to its PINGs.
async fn answers_pings<H: Host>(mechanism: &str) {
    let context = Context::new().await;
    context.script_zap(ZapAnswer::status("200")).await;
    let options_of_server = libzmq_server(mechanism)
        .set("HEARTBEAT_IVL", 250)
        .set("HEARTBEAT_TIMEOUT", 1000);
    let (dealer, endpoint) = context.bound("DEALER", options_of_server, TCP).await;
    let mut host: H = client(options("DEALER", 1), mechanism);
    host.dial(&endpoint).await;
    lives(&mut host, &dealer).await;
}

#[tokio::test]
async fn pings_are_answered_in_both_directions() {
    for mechanism in MECHANISMS {
        with_both!(sends_pings(mechanism));
        with_both!(answers_pings(mechanism));
    }
}

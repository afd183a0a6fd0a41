//! Refused peers: what each side learns, and that they hold up no other peer.

use crate::log_lines;
use crate::net_peers;

use net_peers::*;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Event, Listener, NetError, Options, Refusal};
use zmtp_auth::wire::greeting::{Greeting, mechanism_name};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    AccessRequest, Authorizing, Config, Credential, Credentials, DenialStatus, Error, Fault,
    Incompatible, KeyPair, LimitExceeded, Limits, NoPolicy, Password, PeerAddress, Security,
    SocketType, Stage, WithCauses,
};

/// The server's event and the client's error of a refusal.
async fn refused(server: impl Into<Security>, client: Config<NoPolicy>) -> (Refusal, Error) {
    let listener = Listener::bind(ANY_PORT, server).await.unwrap();
    let dialled = Connection::connect(listener.local_endpoint(), client);
    let error = soon(dialled).await.unwrap_err();
    (refusal(&listener).await, handshake_error(&error).clone())
}

/// Denies every peer with this status.
fn denying(status: DenialStatus) -> ZapRouter {
    let router = ZapRouter::new();
    let deny = move |request: ZapRequest| async move { request.deny(status, "not today") };
    router.bind("test", deny).unwrap();
    router
}

fn curve_pair() -> (Config<Authorizing>, Config<NoPolicy>) {
    let (ours, theirs) = (keys(), keys());
    (
        curve_server(SocketType::Pull, &ours),
        curve_client(SocketType::Push, &theirs, &ours),
    )
}

#[tokio::test]
async fn an_unknown_key_is_told_400_and_the_log_is_told_why() {
    let (server, client) = curve_pair();
    let (refusal, told) = refused((server, denying(DenialStatus::Failure)), client).await;
    assert_eq!(
        WithCauses(&refusal.error).to_string(),
        "handshake failed: peer denied: 400 not today"
    );
    assert_eq!(refusal.stage, Stage::Verdict);
    assert_eq!(refusal.address.to_string(), "127.0.0.1");
    assert_eq!(
        WithCauses(&told).to_string(),
        "refused by the peer: ERROR 400"
    );
    assert_eq!(told.fault(), Fault::OurCredentials);
}

#[tokio::test]
async fn an_internal_failure_is_told_500() {
    let (server, client) = curve_pair();
    let (_, told) = refused((server, denying(DenialStatus::Internal)), client).await;
    assert_eq!(
        WithCauses(&told).to_string(),
        "refused by the peer: ERROR 500"
    );
    let (server, client) = curve_pair();
    let (refusal, told) = refused((server, ZapRouter::new()), client).await;
    assert!(matches!(handshake_error(&refusal.error), Error::Denied(_)));
    assert_eq!(
        WithCauses(&told).to_string(),
        "refused by the peer: ERROR 500"
    );
}

#[tokio::test]
async fn a_temporary_refusal_is_a_close_without_an_error_command() {
    let (server, client) = curve_pair();
    let (_, told) = refused((server, denying(DenialStatus::Temporary)), client).await;
    assert_eq!(told, Error::ClosedByPeer(Stage::CurveReady));
    assert_eq!(told.fault(), Fault::Temporary);
    let server = plain_server(SocketType::Pull);
    let client = plain_client(SocketType::Push, "x");
    let (_, told) = refused((server, denying(DenialStatus::Temporary)), client).await;
    assert_eq!(told, Error::ClosedByPeer(Stage::PlainWelcome));
}

#[tokio::test]
async fn a_wrong_server_key_is_named_as_such_on_both_sides() {
    let server = curve_server(SocketType::Pull, &keys());
    let client = curve_client(SocketType::Push, &keys(), &keys());
    let (refusal, told) = refused((server, welcoming()), client).await;
    assert_eq!(
        WithCauses(&refusal.error).to_string(),
        "handshake failed: cryptographic check failed: HELLO opens with none of our keys: \
         the client holds another server key"
    );
    assert_eq!(told, Error::ClosedByPeer(Stage::CurveWelcome));
    assert!(
        WithCauses(&told).to_string().contains("server key"),
        "{told}"
    );
    assert_eq!(told.fault(), Fault::OurCredentials);
}

#[tokio::test]
async fn a_wrong_password_is_told_400() {
    let router = ZapRouter::new();
    let check = async |request: ZapRequest| request.deny(DenialStatus::Failure, "Invalid password");
    router.bind("test", check).unwrap();
    let server = plain_server(SocketType::Pull);
    let client = plain_client(SocketType::Push, "wrong");
    let (refusal, told) = refused((server, router), client).await;
    assert!(
        WithCauses(&refusal.error)
            .to_string()
            .ends_with("400 Invalid password")
    );
    assert_eq!(
        WithCauses(&told).to_string(),
        "refused by the peer: ERROR 400"
    );
}

#[tokio::test]
async fn peers_of_another_mechanism_are_told_apart() {
    let server = curve_server(SocketType::Pull, &keys());
    let (refusal, told) = refused((server, welcoming()), null(SocketType::Push)).await;
    assert_eq!(
        WithCauses(&refusal.error).to_string(),
        "handshake failed: incompatible peer: the peer speaks NULL, we speak CURVE"
    );
    assert_eq!(
        WithCauses(&told).to_string(),
        "incompatible peer: the peer speaks CURVE, we speak NULL"
    );
}

#[tokio::test]
async fn a_socket_that_does_not_fit_is_refused() {
    let (refusal, told) = refused(null(SocketType::Pull), null(SocketType::Pull)).await;
    for error in [handshake_error(&refusal.error), &told] {
        assert!(
            matches!(
                error,
                Error::Incompatible(Incompatible::SocketType { .. }) | Error::ClosedByPeer(_)
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_of_zmtp_2_is_named_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = local(listener.local_addr().unwrap().port());
    let old = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let greeting = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 1, 8];
        stream.write_all(&greeting).await.unwrap();
        stream
    });
    let error = soon(Connection::connect(endpoint, null(SocketType::Push)))
        .await
        .unwrap_err();
    assert_eq!(
        handshake_error(&error),
        &Error::Incompatible(Incompatible::OldVersion { major: 2 })
    );
    drop(old.await.unwrap());
}

#[tokio::test]
async fn an_address_without_a_listener_is_no_handshake_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = local(listener.local_addr().unwrap().port());
    drop(listener);
    let error = soon(Connection::connect(endpoint, null(SocketType::Push)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            NetError::Io {
                doing: "connect",
                ..
            }
        ),
        "{error}"
    );
    let unknown = Connection::connect("tcp://host.invalid:1", null(SocketType::Push));
    let error = soon(unknown).await.unwrap_err();
    assert!(matches!(error, NetError::Resolve { .. }), "{error}");
}

/// A server that greets, and resets the connection before it has read HELLO.
#[tokio::test]
async fn a_server_without_room_is_not_taken_for_one_with_another_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let greeting = Greeting::encode(mechanism_name("CURVE"), true);
        stream.write_all(&greeting).await.unwrap();
        let mut greeting_and_a_part_of_hello = [0; 65];
        let reading = stream.read_exact(&mut greeting_and_a_part_of_hello);
        soon(reading).await.unwrap();
    });
    let client = curve_client(SocketType::Push, &keys(), &keys());
    let error = soon(Connection::connect(endpoint.as_str(), client)).await;
    let told = handshake_error(&error.unwrap_err()).clone();
    assert_eq!(told, Error::ResetByServer(Stage::CurveWelcome));
    assert_eq!(told.fault(), Fault::Temporary);
    soon(serving).await.unwrap();
}

fn small(slots: usize) -> Limits {
    let mut limits = Limits::default();
    limits.max_pending_handshakes = slots;
    limits
}

#[tokio::test]
async fn silent_peers_in_all_places_do_not_keep_an_honest_one_out() {
    let config = null_with(SocketType::Pull, small(4));
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    let mut silent_peers = Vec::new();
    for _ in 0..20 {
        silent_peers.push(silent(&listener).await);
    }
    let dialling = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let mut push = soon(dialling).await.unwrap();
    push.send("hello").await.unwrap();
    let mut evicted = 0;
    let mut pull = loop {
        match soon(listener.next_event()).await.unwrap() {
            Event::Accepted(connection) => break connection,
            Event::Refused(refusal) => {
                let error = handshake_error(&refusal.error);
                assert_eq!(error, &LimitExceeded::Evicted.into());
                assert_eq!(refusal.stage, Stage::Greeting);
                evicted += 1;
            }
            other => panic!("{other:?}"),
        }
    };
    assert!((16..=17).contains(&evicted), "{evicted}");
    // The evicted ones are told by a reset that they were not read to the end.
    let mut greeting = Vec::new();
    let told = soon(silent_peers[0].read_to_end(&mut greeting)).await;
    assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "hello".into());
}

#[tokio::test]
async fn unread_refusals_are_counted_and_dropped() {
    let options = Options::default().with_refusals_kept(3);
    let config = null(SocketType::Pull);
    let listener = Listener::bind_with(ANY_PORT, config, options)
        .await
        .unwrap();
    for _ in 0..10 {
        let mut stream = silent(&listener).await;
        soon(stream.write_all(b"GET / HTTP/1.1\r\n")).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
    }
    eventually(|| listener.refusals_dropped() == 7).await;
    for _ in 0..3 {
        let error = refusal(&listener).await.error;
        let expected = Error::Incompatible(Incompatible::NotZmtp3);
        assert_eq!(handshake_error(&error), &expected);
    }
}

#[tokio::test]
async fn slow_greetings_and_slow_handshakes_run_out_of_time() {
    let mut limits = Limits::default();
    limits.greeting_timeout = Duration::from_millis(50);
    let config = null_with(SocketType::Pull, limits.clone());
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    let mut stream = silent(&listener).await;
    let greeting = Greeting::encode(mechanism_name("NULL"), false);
    soon(stream.write_all(&greeting[..63])).await.unwrap();
    let late = refusal(&listener).await;
    assert_eq!(
        handshake_error(&late.error),
        &Error::Timeout(Stage::Greeting)
    );

    limits.handshake_timeout = Duration::from_secs(2);
    let config = null_with(SocketType::Pull, limits);
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    let mut stream = silent(&listener).await;
    soon(stream.write_all(&greeting)).await.unwrap();
    let late = refusal(&listener).await;
    assert_eq!(
        handshake_error(&late.error),
        &Error::Timeout(Stage::NullReady)
    );
}

/// A handler that never answers, and reports when it was asked and when the question was dropped.
struct Pondering {
    router: ZapRouter,
    asked: Arc<Notify>,
    dropped: Arc<AtomicBool>,
}

fn pondering() -> Pondering {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let pondering = Pondering {
        router: ZapRouter::new(),
        asked: Arc::default(),
        dropped: Arc::default(),
    };
    let (asked, dropped) = (pondering.asked.clone(), pondering.dropped.clone());
    let never = move |request: ZapRequest| {
        let (asked, dropped) = (asked.clone(), dropped.clone());
        async move {
            let _dropped = Dropped(dropped);
            asked.notify_one();
            std::future::pending::<()>().await;
            request.allow("unknown")
        }
    };
    pondering.router.bind("test", never).unwrap();
    pondering
}

/// Sends a PLAIN client's greeting and HELLO, upon which the server asks.
async fn say_hello(listener: &Listener) -> TcpStream {
    let mut stream = silent(listener).await;
    let greeting = Greeting::encode(mechanism_name("PLAIN"), false);
    soon(stream.write_all(&greeting)).await.unwrap();
    let hello = b"\x04\x0a\x05HELLO\x01a\x01b";
    soon(stream.write_all(hello)).await.unwrap();
    stream
}

#[tokio::test]
async fn a_peer_that_leaves_during_the_verdict_cancels_its_question() {
    let pondering = pondering();
    let config = plain_server(SocketType::Pull);
    let listener = Listener::bind(ANY_PORT, (config, pondering.router.clone()))
        .await
        .unwrap();
    let stream = say_hello(&listener).await;
    soon(pondering.asked.notified()).await;
    assert!(!pondering.dropped.load(Ordering::SeqCst));
    drop(stream);
    let gone = refusal(&listener).await;
    assert_eq!(
        handshake_error(&gone.error),
        &Error::ClosedByPeer(Stage::Verdict)
    );
    assert!(pondering.dropped.load(Ordering::SeqCst));
    assert_eq!(pondering.router.in_progress(), 0);
}

#[tokio::test]
async fn a_peer_that_floods_during_the_verdict_is_cut_off() {
    let pondering = pondering();
    let config = plain_server(SocketType::Pull);
    let listener = Listener::bind(ANY_PORT, (config, pondering.router.clone()))
        .await
        .unwrap();
    let mut stream = say_hello(&listener).await;
    soon(pondering.asked.notified()).await;
    let flood = tokio::spawn(async move { while stream.write_all(&[0; 4096]).await.is_ok() {} });
    let cut = refusal(&listener).await;
    assert!(
        matches!(
            handshake_error(&cut.error),
            Error::Limit(LimitExceeded::HandshakeCommand { .. })
        ),
        "{}",
        cut.error
    );
    assert!(pondering.dropped.load(Ordering::SeqCst));
    soon(flood).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_waits_for_a_verdict_is_not_evicted_and_leaves_a_slot_for_newcomers() {
    let pondering = pondering();
    let mut limits = small(4);
    limits.max_pending_verdicts = 3;
    let config = plain_server_with(SocketType::Pull, limits);
    let listener = Listener::bind(ANY_PORT, (config, pondering.router.clone()))
        .await
        .unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(say_hello(&listener).await);
        soon(pondering.asked.notified()).await;
    }
    // The router would accept the question. The peer is closed without an ERROR, and tries again.
    let mut fourth = say_hello(&listener).await;
    let refused = refusal(&listener).await;
    let denied = refused.denied().unwrap();
    assert_eq!(denied.status, DenialStatus::Temporary);
    assert_eq!(denied.rule(), Some("max_pending_handshakes"));
    let mut heard = Vec::new();
    soon(fourth.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard.len(), 64, "more than a greeting: {heard:?}");
    // Newcomers share the last slot, one after the other.
    let _newcomers = [silent(&listener).await, silent(&listener).await];
    let error = refusal(&listener).await.error;
    assert_eq!(handshake_error(&error), &LimitExceeded::Evicted.into());
    assert_eq!(pondering.router.in_progress(), 3);
}

/// A listener with a bound on connections, and a client that it would admit.
async fn bounded(
    asks: bool,
    change: impl FnOnce(&mut Limits),
) -> (Listener, impl AsyncFn() -> Result<Connection, NetError>) {
    let mut limits = Limits::default();
    change(&mut limits);
    let (ours, theirs) = (keys(), keys());
    let builder = Config::builder(SocketType::Pull).limits(limits);
    let builder = builder.curve_server(ours.clone());
    let listener = if asks {
        let config = builder.authorize("test").finish().unwrap();
        Listener::bind(ANY_PORT, (config, welcoming())).await
    } else {
        let config = builder.accept_any_peer().finish().unwrap();
        Listener::bind(ANY_PORT, config).await
    };
    let listener = listener.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let dial = async move || {
        let config = curve_client(SocketType::Push, &theirs, &ours);
        soon(Connection::connect(endpoint.clone(), config)).await
    };
    (listener, dial)
}

#[tokio::test]
async fn one_connection_too_many_is_refused_for_now_and_room_comes_back() {
    for asks in [true, false] {
        let (listener, dial) = bounded(asks, |limits| limits.max_connections = Some(2)).await;
        // Connections count before they are accepted.
        let mut connections = vec![dial().await.unwrap(), dial().await.unwrap()];
        let error = dial().await.unwrap_err();
        assert_eq!(
            handshake_error(&error),
            &Error::ClosedByPeer(Stage::CurveReady)
        );
        let _first = soon(listener.accept()).await.unwrap();
        let second = soon(listener.accept()).await.unwrap();
        let refused = refusal(&listener).await;
        let denied = refused.denied().unwrap();
        assert_eq!(denied.status, DenialStatus::Temporary);
        assert_eq!(denied.rule(), Some("max_connections"));
        assert!(matches!(refused.credential, Some(Credential::Key(_))));
        // Both ends are closed, so the socket is gone and its count with it.
        drop((second, connections.pop()));
        for _ in 0..20 {
            let mut dialled = dial().await;
            while dialled.is_err() {
                dialled = dial().await;
            }
            // A connection that ends before it is accepted gives its count back too.
            dialled.unwrap().close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn under_null_one_connection_too_many_reads_no_ready() {
    let mut limits = Limits::default();
    limits.max_connections = Some(1);
    let config = null_with(SocketType::Pull, limits);
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let dialling = Connection::connect(endpoint, null(SocketType::Push));
    let _connection = soon(dialling).await.unwrap();
    let _accepted = soon(listener.accept()).await.unwrap();
    let mut over = silent(&listener).await;
    let greeting = Greeting::encode(mechanism_name("NULL"), false);
    soon(over.write_all(&greeting)).await.unwrap();
    let mut heard = Vec::new();
    soon(over.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.len() <= 64, "more than a greeting: {heard:?}");
    let refused = refusal(&listener).await;
    let denied = refused.denied().unwrap();
    assert_eq!(denied.rule(), Some("max_connections"));
}

/// On loopback one address or user may stand for many peers: a proxy, or a tunnel.
#[tokio::test]
async fn connections_of_a_user_and_from_an_address_are_not_bounded_on_loopback() {
    let (_listener, dial) = bounded(true, |limits| {
        limits.max_connections_per_user = Some(1);
        limits.max_connections_per_address = Some(1);
    })
    .await;
    let _both = [dial().await.unwrap(), dial().await.unwrap()];
}

/// An Authenticator that knows a key and a user, and a router that asks it.
fn policy(known: &KeyPair) -> ZapRouter {
    let auth = Authenticator::new();
    auth.configure_curve_keys("test", [known.public_key()]);
    auth.configure_plain("test", [("admin", "secret")]).unwrap();
    let router = ZapRouter::new();
    router.bind("test", auth).unwrap();
    router
}

#[tokio::test]
async fn a_refusal_says_who_it_was_from_where_when_and_by_which_rule() {
    let before = SystemTime::now();
    let (ours, stranger) = (keys(), keys());
    let server = curve_server(SocketType::Pull, &ours);
    let client = curve_client(SocketType::Push, &stranger, &ours);
    let (refusal, _) = refused((server, policy(&keys())), client).await;
    assert_eq!(
        refusal.credential,
        Some(Credential::Key(stranger.public_key()))
    );
    assert_eq!(refusal.domain, Some("test".into()));
    assert_eq!(refusal.rule(), Some("the keys of domain \"test\""));
    let by = refusal.denied().unwrap().by.as_ref().unwrap();
    assert!(by.policy_version.is_some());
    assert!((before..=SystemTime::now()).contains(&refusal.at));

    // A key that policy knows is proven even if the handshake fails afterwards.
    let server = curve_server(SocketType::Pull, &ours);
    let client = curve_client(SocketType::Pull, &stranger, &ours);
    let (refusal, _) = refused((server, policy(&stranger)), client).await;
    assert_eq!(
        refusal.credential,
        Some(Credential::Key(stranger.public_key()))
    );
    assert_eq!(refusal.rule(), None);

    let plain = |user: &'static str| {
        let password = Password::from("wrong");
        let client = Config::builder(SocketType::Push).plain_client(user, password);
        (plain_server(SocketType::Pull), client.finish().unwrap())
    };
    let (server, client) = plain("admin");
    let (refusal, _) = refused((server, policy(&keys())), client).await;
    assert_eq!(
        refusal.credential,
        Some(Credential::UserName("admin".into()))
    );
    assert_eq!(refusal.rule(), Some("the passwords of domain \"test\""));
    // A name that may be a misplaced password is not shown.
    let (server, client) = plain("hunter2");
    let (refusal, _) = refused((server, policy(&keys())), client).await;
    assert_eq!(refusal.credential, None);
    assert!(!format!("{refusal:?}").contains("hunter2"));

    // Nothing is proven. The port identifies the peer.
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull));
    let listener = listener.await.unwrap();
    let mut stream = silent(&listener).await;
    soon(stream.write_all(b"GET / HTTP/1.1\r\n")).await.unwrap();
    let refusal = net_peers::refusal(&listener).await;
    assert_eq!(refusal.port, Some(stream.local_addr().unwrap().port()));
    assert_eq!((refusal.credential, refusal.domain), (None, None));
}

#[tokio::test]
async fn one_refusal_is_one_line_in_the_log() {
    log_lines::listen();
    let logged = || log_lines::take(tracing::Level::INFO);
    let (ours, stranger) = (keys(), keys());
    let curve = || {
        let client = curve_client(SocketType::Push, &stranger, &ours);
        (curve_server(SocketType::Pull, &ours), client)
    };
    for (router, level, rule) in [
        (policy(&keys()), "INFO", "rule=\"the keys of domain"),
        // Without a handler there is no rule, and the line says what to do.
        (
            ZapRouter::new(),
            "WARN",
            "500 no ZAP handler was ever bound",
        ),
    ] {
        logged();
        let (server, client) = curve();
        let (refusal, _) = refused((server, router), client).await;
        let lines = logged();
        let [line] = &lines[..] else {
            panic!("{lines:#?}");
        };
        let address = format!("address=127.0.0.1:{}", refusal.port.unwrap());
        let key = format!("who=key {}", stranger.public_key().to_z85());
        for part in [level, "peer refused", &address, &key, rule, "domain=test"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    // Without a listener the router writes the log line.
    logged();
    let credentials = Credentials::Plain {
        username: "hunter2".into(),
        password: Password::from("wrong"),
    };
    let address = PeerAddress::from_zap(b"192.0.2.1");
    let request = AccessRequest::new("test", address, credentials).with_port(Some(5555));
    let _denied = policy(&keys()).authorize(&request).await;
    let lines = logged();
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(refused.len(), 1, "{lines:#?}");
    assert!(refused[0].contains("address=192.0.2.1:5555"), "{refused:?}");
    assert!(!refused[0].contains("hunter2"), "{refused:?}");
}

#[tokio::test]
async fn the_whole_handshake_is_bounded_though_the_handler_is_not() {
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_secs(2);
    let pondering = pondering();
    let config = plain_server_with(SocketType::Pull, limits);
    let listener = Listener::bind(ANY_PORT, (config, pondering.router.clone()))
        .await
        .unwrap();
    let _stream = say_hello(&listener).await;
    let error = refusal(&listener).await.error;
    assert_eq!(handshake_error(&error), &Error::Timeout(Stage::Verdict));
    assert!(pondering.dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_error_reaches_a_peer_that_is_still_sending() {
    let config = plain_server(SocketType::Pull);
    let listener = Listener::bind(ANY_PORT, (config, denying(DenialStatus::Failure)))
        .await
        .unwrap();
    let mut stream = say_hello(&listener).await;
    // More than the handshake, less than the listener discards before it closes.
    soon(stream.write_all(&[0; 4000])).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"\x04\x0a\x05ERROR\x03400"), "{answer:?}");
}

#[tokio::test]
async fn several_tasks_may_accept_and_a_cancelled_accept_loses_no_peer() {
    let listener = Arc::new(
        Listener::bind(ANY_PORT, null(SocketType::Pull))
            .await
            .unwrap(),
    );
    let accepting: Vec<_> = (0..3)
        .map(|_| {
            let listener = listener.clone();
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                while accepted.len() < 10 {
                    tokio::select! {
                        biased;
                        connection = listener.accept() => accepted.push(connection.unwrap()),
                        () = tokio::task::yield_now() => {}
                    }
                }
                accepted
            })
        })
        .collect();
    let mut clients = Vec::new();
    for _ in 0..30 {
        let endpoint = listener.local_endpoint();
        let dialling = Connection::connect(endpoint, null(SocketType::Push));
        clients.push(soon(dialling).await.unwrap());
    }
    for task in accepting {
        assert_eq!(soon(task).await.unwrap().len(), 10);
    }
}

/// Shared by two handlers, each of which blocks its thread until it is released.
#[derive(Default)]
struct Blocking {
    state: Mutex<(Vec<ThreadId>, bool)>,
    changed: Condvar,
}

impl Blocking {
    /// Blocks the threads of the first two until they are released. False on a time-out.
    fn pass(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.0.len() == 2 {
            return true;
        }
        state.0.push(std::thread::current().id());
        let (_state, waited) = self
            .changed
            .wait_timeout_while(state, LONG, |(_, released)| !*released)
            .unwrap();
        !waited.timed_out()
    }

    /// The blocked threads.
    fn threads(&self) -> Vec<ThreadId> {
        self.state.lock().unwrap().0.clone()
    }

    fn release(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// Time-out for results that arrive at once or never.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn handshakes_run_on_several_threads_and_two_blocked_ones_hold_up_no_other() {
    let mut limits = Limits::default();
    limits.handshake_timeout = 4 * LONG;
    limits.verdict_timeout = 4 * LONG;
    // All tasks wait at the gate, so that all are ready when it opens.
    let gate = watch::Sender::new(false);
    let blocking = Arc::new(Blocking::default());
    let router = ZapRouter::with_limits(&limits);
    let handler = {
        let (gate, blocking) = (gate.clone(), Arc::clone(&blocking));
        move |request: ZapRequest| {
            let (mut gate, blocking) = (gate.subscribe(), Arc::clone(&blocking));
            async move {
                gate.wait_for(|is_open| *is_open).await.unwrap();
                if blocking.pass() {
                    request.allow("somebody")
                } else {
                    request.deny(DenialStatus::Failure, "not released in time")
                }
            }
        }
    };
    router.bind("test", handler).unwrap();
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let config = plain_server_with(SocketType::Pull, limits.clone());
    let binding = Listener::bind(ANY_PORT, (config, router.clone()));
    let listener = servers.block_on(binding).unwrap();

    // The clients have a thread of their own.
    let clients = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    clients.block_on(async {
        let connect = || {
            let client = Config::builder(SocketType::Push)
                .limits(limits.clone())
                .plain_client("admin", "secret")
                .finish()
                .unwrap();
            tokio::spawn(Connection::connect(
                listener.local_endpoint().clone(),
                client,
            ))
        };
        let mut connecting: Vec<_> = (0..6).map(|_| connect()).collect();
        eventually(|| router.in_progress() == 6).await;
        gate.send_replace(true);
        let mut accepted = Vec::new();
        while accepted.len() < 4 {
            accepted.push(soon(listener.accept()).await.unwrap());
        }
        // Two handlers still block their threads, and another peer arrives.
        eventually(|| blocking.threads().len() == 2).await;
        assert_eq!(router.in_progress(), 2);
        connecting.push(connect());
        accepted.push(soon(listener.accept()).await.unwrap());
        let threads = blocking.threads();
        assert_ne!(threads[0], threads[1]);
        blocking.release();
        while accepted.len() < connecting.len() {
            accepted.push(soon(listener.accept()).await.unwrap());
        }
        for client in connecting {
            soon(client).await.unwrap().unwrap();
        }
    });
}

#[tokio::test]
async fn a_dropped_listener_ends_its_handshakes_and_keeps_its_connections() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = silent(&listener).await;
        // The server's greeting has arrived, so its handshake has begun.
        soon(stranger.read_exact(&mut [0; 11])).await.unwrap();
        strangers.push(stranger);
    }
    let dialling = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let mut client = soon(dialling).await.unwrap();
    let mut server = soon(listener.accept()).await.unwrap();
    listener.close().await;
    for mut stranger in strangers {
        // The server has no unread bytes, so it closes without a reset.
        assert_eq!(soon(stranger.read(&mut [0; 1])).await.unwrap(), 0);
    }
    client.send("still here").await.unwrap();
    let received = soon(server.recv_message()).await.unwrap();
    assert_eq!(received.single().unwrap(), "still here");
}

/// A misspelt domain refuses every peer, and the first line of the log already says why.
#[tokio::test]
async fn a_listener_whose_policy_configures_nothing_for_its_domain_says_so() {
    log_lines::listen();
    let logged = || log_lines::take(tracing::Level::WARN);
    let auth = Authenticator::new();
    auth.configure_curve_keys("billing", [keys().public_key()]);
    let bound = |domain: &'static str| {
        let config = Config::builder(SocketType::Pull)
            .curve_server(keys())
            .authorize(domain)
            .finish()
            .unwrap();
        Listener::bind(ANY_PORT, (config, auth.clone()))
    };
    // A rule without a key is there, and may get one.
    auth.configure_curve_keys("empty", []);
    for domain in ["billing", "empty"] {
        let _listener = bound(domain).await.unwrap();
        assert!(logged().is_empty());
    }
    let _listener = bound("biling").await.unwrap();
    let lines = logged();
    let [line] = &lines[..] else {
        panic!("{lines:#?}");
    };
    let why = "no peer can be admitted now: CURVE is not configured for domain \"biling\", but admits peers in \"billing\"";
    assert!(line.contains("WARN") && line.contains(why), "{line}");
    // NULL without a policy file is ruled by the address lists alone.
    let config = Config::builder(SocketType::Pull)
        .null()
        .authorize("biling")
        .finish()
        .unwrap();
    let _listener = Listener::bind(ANY_PORT, (config, auth.clone()))
        .await
        .unwrap();
    assert!(logged().is_empty());
}

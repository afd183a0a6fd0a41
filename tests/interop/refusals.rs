//! Refusals between libzmq and this crate, and what each side sees: libzmq clients at our servers,
//! our clients at libzmq servers.

use crate::peer;

use peer::{CLIENT_PUBLIC, CLIENT_SECRET, Context, Options, Policy, Security, ZapAnswer};
use peer::{SERVER_PUBLIC, SERVER_SECRET};
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Event, Listener, NetError};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{
    Authorizing, Config, DenialStatus, Domain, Error, Incompatible, KeyPair, Limits, PublicKey,
    SecretKey, SocketType, Stage, Status, WithCauses,
};

const TCP: &str = "tcp://127.0.0.1:*";
const PLAIN: Security<'_> = Security::PlainClient {
    username: "admin",
    password: "secret",
};
const STATUSES: [DenialStatus; 3] = [
    DenialStatus::Temporary,
    DenialStatus::Failure,
    DenialStatus::Internal,
];

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(secret).unwrap())
}

fn server(mechanism: &str, libzmq_spelling: bool) -> Config<Authorizing> {
    let builder = Config::builder(SocketType::Pull);
    let domain = Domain::from("refusals");
    match mechanism {
        "NULL" => builder.null().authorize(domain),
        "PLAIN" if libzmq_spelling => builder
            .plain_server()
            .libzmq_error_spelling()
            .authorize(domain),
        "PLAIN" => builder.plain_server().authorize(domain),
        _ => builder.curve_server(keys(SERVER_SECRET)).authorize(domain),
    }
    .finish()
    .unwrap()
}

fn client_security(mechanism: &str) -> Security<'static> {
    match mechanism {
        "NULL" => Security::Null,
        "PLAIN" => PLAIN,
        _ => Security::CURVE_CLIENT,
    }
}

/// A router that gives every question the same answer.
fn always(status: DenialStatus) -> ZapRouter {
    let router = ZapRouter::new();
    let handler = move |request: ZapRequest| async move { request.deny(status, "by this test") };
    router.bind(Domain::ALL, handler).unwrap();
    router
}

fn policy() -> ZapRouter {
    let authenticator = Authenticator::new();
    authenticator
        .configure_plain("refusals", [("admin", "secret")])
        .unwrap();
    authenticator.configure_curve_keys("refusals", [PublicKey::from_z85(CLIENT_PUBLIC).unwrap()]);
    let router = ZapRouter::new();
    router.bind(Domain::ALL, authenticator).unwrap();
    router
}

async fn refusal(listener: &Listener) -> NetError {
    match listener.next_event().await.unwrap() {
        Event::Refused(refusal) => refusal.error,
        other => panic!("let in: {other:?}"),
    }
}

#[tokio::test]
async fn a_libzmq_client_learns_400_and_500_and_goes_away() {
    let context = Context::new().await;
    for mechanism in ["NULL", "CURVE"] {
        for status in [DenialStatus::Failure, DenialStatus::Internal] {
            let listener = Listener::bind(TCP, (server(mechanism, false), always(status)))
                .await
                .unwrap();
            let push = context
                .socket("PUSH", Options::new(client_security(mechanism)))
                .await;
            let mut events = push.monitor().await;
            push.connect(&listener.local_endpoint().to_string()).await;
            let event = events.handshake().await;
            assert_eq!(event.name, "HANDSHAKE_FAILED_AUTH", "{mechanism} {status}");
            assert_eq!(event.value.to_string(), status.as_str());
            let error = refusal(&listener).await;
            assert!(
                matches!(error.protocol(), Some(Error::Denied(denied)) if denied.status == status)
            );
            push.close().await;
        }
    }
}

#[tokio::test]
async fn a_libzmq_plain_client_reads_the_status_in_its_own_spelling_only() {
    let context = Context::new().await;
    for status in [DenialStatus::Failure, DenialStatus::Internal] {
        for (libzmq_spelling, expected) in [
            (true, "HANDSHAKE_FAILED_AUTH"),
            (false, "HANDSHAKE_FAILED_PROTOCOL"),
        ] {
            let config = server("PLAIN", libzmq_spelling);
            let listener = Listener::bind(TCP, (config, always(status))).await.unwrap();
            let push = context.socket("PUSH", Options::new(PLAIN)).await;
            let mut events = push.monitor().await;
            push.connect(&listener.local_endpoint().to_string()).await;
            let event = events.handshake().await;
            assert_eq!(event.name, expected, "{libzmq_spelling} {status}");
            if libzmq_spelling {
                assert_eq!(event.value.to_string(), status.as_str());
            }
            push.close().await;
        }
    }
}

#[tokio::test]
async fn a_libzmq_client_comes_back_after_300_and_gets_in_when_it_may() {
    let context = Context::new().await;
    for mechanism in ["NULL", "PLAIN", "CURVE"] {
        let router = ZapRouter::new();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let handler = move |request: ZapRequest| {
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            async move {
                if first {
                    request.deny(DenialStatus::Temporary, "not yet")
                } else {
                    request.allow("later")
                }
            }
        };
        router.bind(Domain::ALL, handler).unwrap();
        let listener = Listener::bind(TCP, (server(mechanism, false), router))
            .await
            .unwrap();
        let options = Options::new(client_security(mechanism)).set("RECONNECT_IVL", 20);
        let push = context
            .connected("PUSH", options, &listener.local_endpoint().to_string())
            .await;
        push.send(&["patient".into()]).await;
        let error = refusal(&listener).await;
        assert!(
            matches!(
                error.protocol(),
                Some(Error::Denied(denied)) if denied.status == DenialStatus::Temporary
            ),
            "{mechanism}"
        );
        let mut pull = listener.accept().await.unwrap();
        assert_eq!(pull.peer().user_id().unwrap(), "later");
        assert_eq!(pull.recv_message().await.unwrap().frames(), ["patient"]);
        push.close().await;
    }
}

#[tokio::test]
async fn a_libzmq_client_with_wrong_credentials_is_refused_for_the_right_reason() {
    let context = Context::new().await;
    let stranger = KeyPair::generate().unwrap();
    let (public, secret) = (
        stranger.public_key().to_z85(),
        stranger.secret_key().to_z85(),
    );
    let wrong_server = KeyPair::generate().unwrap().public_key().to_z85();
    let cases: [(&str, Security<'_>, &str); 8] = [
        (
            "PLAIN",
            Security::PlainClient {
                username: "admin",
                password: "bogus",
            },
            "400 Invalid password",
        ),
        (
            "PLAIN",
            Security::PlainClient {
                username: "bogus",
                password: "secret",
            },
            "400 Invalid username",
        ),
        (
            "CURVE",
            Security::CurveClient {
                public: &public,
                secret: &secret,
                server: SERVER_PUBLIC,
            },
            "400 Unknown key",
        ),
        (
            "CURVE",
            Security::CurveClient {
                public: CLIENT_PUBLIC,
                secret: CLIENT_SECRET,
                server: &wrong_server,
            },
            "none of our keys",
        ),
        (
            "CURVE",
            Security::Null,
            "the peer speaks NULL, we speak CURVE",
        ),
        ("CURVE", PLAIN, "the peer speaks PLAIN, we speak CURVE"),
        (
            "PLAIN",
            Security::Null,
            "the peer speaks NULL, we speak PLAIN",
        ),
        (
            "NULL",
            Security::CURVE_CLIENT,
            "the peer speaks CURVE, we speak NULL",
        ),
    ];
    for (mechanism, security, reason) in cases {
        let listener = Listener::bind(TCP, (server(mechanism, false), policy()))
            .await
            .unwrap();
        // Without IMMEDIATE libzmq would accept a message before there is a connection.
        let options = Options::new(security).set("IMMEDIATE", 1).set("LINGER", 0);
        let push = context
            .connected("PUSH", options, &listener.local_endpoint().to_string())
            .await;
        let error = WithCauses(&refusal(&listener).await).to_string();
        assert!(error.contains(reason), "{mechanism} {security:?}: {error}");
        assert!(
            !push
                .try_send(&["x".into()], Duration::from_millis(50))
                .await
        );
        push.close().await;
    }
}

#[tokio::test]
async fn our_client_learns_how_a_libzmq_server_refuses_it() {
    for mechanism in ["NULL", "PLAIN", "CURVE"] {
        for status in STATUSES {
            let context = Context::new().await;
            context.script_zap(ZapAnswer::status(status.as_str())).await;
            let security = match mechanism {
                "NULL" => Security::Null,
                "PLAIN" => Security::PlainServer,
                _ => Security::CURVE_SERVER,
            };
            let options = Options::new(security).domain("refusals");
            let (_pull, endpoint) = context.bound("PULL", options, TCP).await;
            let error = connect(&endpoint, mechanism).await;
            match (status, error.protocol().unwrap()) {
                // There is no ERROR: either libzmq closes, or our own time-out passes.
                (DenialStatus::Temporary, Error::ClosedByPeer(stage) | Error::Timeout(stage)) => {
                    let expected = match mechanism {
                        "NULL" => Stage::NullReady,
                        "PLAIN" => Stage::PlainWelcome,
                        _ => Stage::CurveReady,
                    };
                    assert_eq!(*stage, expected);
                }
                (_, Error::RefusedByPeer(refusal)) => {
                    assert_eq!(refusal.status, Some(Status::from(status)), "{mechanism}");
                }
                (_, other) => panic!("{mechanism} {status}: {other}"),
            }
        }
    }
}

async fn connect(endpoint: &str, mechanism: &str) -> NetError {
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_secs(3);
    let builder = Config::builder(SocketType::Push).limits(limits);
    let config = match mechanism {
        "NULL" => builder.null().accept_any_peer().finish(),
        "PLAIN" => builder.plain_client("admin", "secret").finish(),
        _ => {
            let server = PublicKey::from_z85(SERVER_PUBLIC).unwrap();
            builder.curve_client(keys(CLIENT_SECRET), server).finish()
        }
    };
    Connection::connect(endpoint, config.unwrap())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn our_client_at_the_wrong_libzmq_server_says_what_is_wrong() {
    let context = Context::new().await;
    let other = KeyPair::generate().unwrap().secret_key().to_z85();
    let security = Security::CurveServer { secret: &other };
    let (_wrong_key, endpoint) = context.bound("PULL", Options::new(security), TCP).await;
    let error = connect(&endpoint, "CURVE").await;
    assert!(
        matches!(
            error.protocol(),
            Some(Error::ClosedByPeer(Stage::CurveWelcome))
        ),
        "{error}"
    );

    let (_null, endpoint) = context
        .bound("PULL", Options::new(Security::Null), TCP)
        .await;
    let error = connect(&endpoint, "CURVE").await;
    assert!(
        matches!(
            error.protocol(),
            Some(Error::Incompatible(Incompatible::Mechanism { peer, .. })) if peer == "NULL"
        ),
        "{error}"
    );

    let (_sub, endpoint) = context
        .bound("SUB", Options::new(Security::Null), TCP)
        .await;
    let error = connect(&endpoint, "NULL").await;
    // libzmq may close before its READY has arrived, which holds its socket type.
    assert!(
        matches!(
            error.protocol(),
            Some(Error::Incompatible(Incompatible::SocketType { .. }) | Error::ClosedByPeer(_))
        ),
        "{error}"
    );
}

#[tokio::test]
async fn pyzmqs_own_authenticator_judges_our_client() {
    let context = Context::new().await;
    let directory = tempfile::tempdir().unwrap();
    let (known, _) = zmtp_auth::cert::create_certificates(directory.path(), "known", &[]).unwrap();
    let secret = known.with_extension("key_secret");
    let policy = Policy::default()
        .plain("refusals", &[("admin", "secret")])
        .curve("refusals", directory.path().to_str().unwrap());
    context.authenticate(policy).await;

    let options = Options::new(Security::CURVE_SERVER).domain("refusals");
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let certificate = zmtp_auth::cert::load_certificate(secret).unwrap();
    let ours = certificate.key_pair().unwrap().clone();
    let key = ours.public_key().to_z85();
    let server = PublicKey::from_z85(SERVER_PUBLIC).unwrap();
    let config = Config::builder(SocketType::Push)
        .curve_client(ours, server)
        .finish()
        .unwrap();
    let mut push = Connection::connect(&endpoint, config).await.unwrap();
    push.send("known").await.unwrap();
    assert_eq!(
        pull.receive_with(&["User-Id"]).await.property("User-Id"),
        Some(&*key)
    );

    let error = connect(&endpoint, "CURVE").await;
    let Some(Error::RefusedByPeer(refusal)) = error.protocol() else {
        panic!("{error}")
    };
    assert_eq!(
        refusal.status,
        Some(Status::AuthenticationFailure),
        "an unknown key"
    );

    let options = Options::new(Security::PlainServer).domain("refusals");
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let right = Config::builder(SocketType::Push)
        .plain_client("admin", "secret")
        .finish()
        .unwrap();
    let mut push = Connection::connect(&endpoint, right).await.unwrap();
    push.send("known").await.unwrap();
    assert_eq!(
        pull.receive_with(&["User-Id"]).await.property("User-Id"),
        Some("admin")
    );
    let wrong = Config::builder(SocketType::Push)
        .plain_client("admin", "bogus")
        .finish()
        .unwrap();
    let error = Connection::connect(&endpoint, wrong).await.unwrap_err();
    let Some(Error::RefusedByPeer(refusal)) = error.protocol() else {
        panic!("{error}")
    };
    assert_eq!(
        refusal.status,
        Some(Status::AuthenticationFailure),
        "a wrong password"
    );
}

#[tokio::test]
async fn a_libzmq_client_that_holds_one_of_several_server_keys_gets_in() {
    let context = Context::new().await;
    let config = Config::builder(SocketType::Pull)
        .curve_server(KeyPair::generate().unwrap())
        .also_accept(keys(SERVER_SECRET))
        .authorize(Domain::from("refusals"))
        .finish()
        .unwrap();
    let listener = Listener::bind(TCP, (config, policy())).await.unwrap();
    let options = Options::new(Security::CURVE_CLIENT);
    let push = context
        .connected("PUSH", options, &listener.local_endpoint().to_string())
        .await;
    push.send(&["rotated".into()]).await;
    let mut pull = listener.accept().await.unwrap();
    assert_eq!(pull.recv_message().await.unwrap().frames(), ["rotated"]);
    assert_eq!(pull.peer().user_id().unwrap(), CLIENT_PUBLIC);
}

#[tokio::test]
async fn a_denied_libzmq_peer_is_never_admitted_by_a_router_without_handlers() {
    let context = Context::new().await;
    for mechanism in ["NULL", "PLAIN", "CURVE"] {
        let config = server(mechanism, false);
        let listener = Listener::bind(TCP, (config, ZapRouter::new()))
            .await
            .unwrap();
        let options = Options::new(client_security(mechanism)).set("IMMEDIATE", 1);
        let push = context
            .connected("PUSH", options, &listener.local_endpoint().to_string())
            .await;
        let error = refusal(&listener).await;
        assert!(
            matches!(
                error.protocol(),
                Some(Error::Denied(denied)) if denied.status == DenialStatus::Internal
            ),
            "{mechanism}: {error}"
        );
        push.close().await;
    }
}

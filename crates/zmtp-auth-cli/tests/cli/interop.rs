//! Live libzmq behind listen and connect, and on both sides of a ZAP link.

use super::peer::{Context, Options, Payload, SERVER_PUBLIC, SERVER_SECRET, Security};
use super::program::{House, Running, texts};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use zmtp_auth::cert::Certificate;
use zmtp_auth::net::{Connection, RemoteZapHandler};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    AccessRequest, Config, Credentials, Domain, PeerAddress, SocketType, Verdict, WithCauses,
};

fn keys(house: &House, name: &str) -> (String, String) {
    let certificate = Certificate::load(house.path(name)).unwrap();
    let pair = certificate.key_pair().unwrap();
    (
        pair.public_key().to_z85(),
        pair.secret_key().to_z85().to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_clients_talk_to_listen_in_every_mechanism() {
    let house = House::new();
    let context = Context::new().await;
    let (server, _) = keys(&house, "server.key_secret");
    let (public, secret) = keys(&house, "alice.key_secret");
    let curve = Security::CurveClient {
        public: &public,
        secret: &secret,
        server: &server,
    };
    let plain = Security::PlainClient {
        username: "admin",
        password: "secret",
    };
    for (arguments, security, user) in [
        (
            "--curve --key @server.key_secret --policy @policy.toml --domain billing",
            curve,
            json!(public),
        ),
        ("--plain --policy @policy.toml", plain, json!("admin")),
        ("--null --accept-any-peer", Security::Null, json!(null)),
    ] {
        let listen = format!("listen tcp://127.0.0.1:* --type rep --echo {arguments}");
        let (mut listening, endpoint) = house.listening(&listen);
        let req = context
            .connected("REQ", Options::new(security), &endpoint)
            .await;
        req.send(&["hello".into()]).await;
        assert_eq!(req.receive().await.frames, [Payload::from("hello")]);
        let message = listening.event("message");
        assert_eq!(message["frames"], json!([{"text": "hello"}]));
        assert_eq!(message["user_id"]["text"], user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_talks_to_libzmq_servers_in_every_mechanism() {
    let house = House::new();
    std::fs::write(
        house.path("libzmq.key"),
        format!("public-key = \"{SERVER_PUBLIC}\"\n"),
    )
    .unwrap();
    let context = Context::new().await;
    let policy = super::peer::Policy::default()
        .plain("*", &[("admin", "secret")])
        .curve("*", "*");
    context.authenticate(policy).await;
    for (arguments, security) in [
        ("--null", Security::Null),
        (
            "--plain admin --password-file @right",
            Security::PlainServer,
        ),
        (
            "--curve --server-key @libzmq.key --key @alice.key_secret",
            Security::CurveServer {
                secret: SERVER_SECRET,
            },
        ),
    ] {
        let (pull, endpoint) = context
            .bound("PULL", Options::new(security), "tcp://127.0.0.1:*")
            .await;
        let connect = format!("connect {endpoint} --type push --multipart / {arguments}");
        house.events(0, &connect, "a/b\n");
        let frames = pull.receive().await.frames;
        assert_eq!(frames, [Payload::from("a"), Payload::from("b")]);
        let probe = format!("probe {endpoint} --json {arguments}");
        let told = house.events(0, &probe, "");
        assert_eq!(told[0]["outcome"], "accepted", "{told:?}");
        assert_eq!(told[0]["socket_type"], "PULL");
    }
}

/// A libzmq server whose ZAP requests go to our service, by a proxy between its inproc endpoint
/// and a DEALER.
#[tokio::test(flavor = "multi_thread")]
async fn a_libzmq_server_asks_our_service_through_a_proxy() {
    let house = House::new();
    let ipc = format!("ipc://{}", house.text("zap.sock"));
    let (_service, endpoint) =
        house.listening(&format!("zap --policy @policy.toml --listen {ipc}"));
    let mut server = Command::new(std::env::var_os("ZMTP_AUTH_PYTHON").unwrap())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/cli/zap_proxy.py"
        ))
        .args([endpoint.as_str(), "billing", SERVER_SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let endpoint = next();
    let connect = async |name: &str| {
        let pair = Certificate::load(house.path(name)).unwrap();
        let pair = pair.key_pair().unwrap().clone();
        let server = SERVER_PUBLIC.parse().unwrap();
        let config = Config::builder(SocketType::Push).curve_client(pair, server);
        Connection::connect(endpoint.as_str(), config.finish().unwrap()).await
    };
    let refused = connect("mallory.key_secret").await.unwrap_err();
    assert!(
        WithCauses(&refused).to_string().contains("400"),
        "{refused:?}"
    );
    let mut alice = connect("alice.key_secret").await.unwrap();
    alice.send("hello").await.unwrap();
    let (public, _) = keys(&house, "alice.key_secret");
    assert_eq!(next(), format!("{public} hello"));
    drop(server.stdin.take());
    server.wait().unwrap();
}

/// Our server asks a handler that is a libzmq REP.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_handler_may_be_written_in_any_language() {
    let house = House::new();
    let context = Context::new().await;
    let ipc = format!("ipc://{}", house.text("handler.sock"));
    let (rep, endpoint) = context
        .bound("REP", Options::new(Security::Null), &ipc)
        .await;
    let handler = RemoteZapHandler::ipc(endpoint.as_str()).unwrap();
    handler.connected().await.unwrap();
    let router = ZapRouter::new();
    router.bind("*", handler).unwrap();
    let mut ids = Vec::new();
    for (status, allowed) in [("200", true), ("400", false), ("nonsense", false)] {
        let credentials = Credentials::Plain {
            username: "admin".into(),
            password: "secret".into(),
        };
        let address = PeerAddress::from_zap(b"127.0.0.1");
        let request = AccessRequest::new(Domain::from("shop"), address, credentials);
        let answering = async {
            let frames = rep.receive().await.frames;
            let asked = ["shop", "127.0.0.1", "", "PLAIN", "admin", "secret"].map(Payload::from);
            assert_eq!(frames[2..], asked);
            let id = frames[1].clone();
            let answer = [Payload::from("1.0"), id.clone()];
            let rest = [status, "text", "alice", ""].map(Payload::from);
            rep.send(&[&answer[..], &rest[..]].concat()).await;
            id
        };
        let (verdict, id) = tokio::join!(router.authorize(&request), answering);
        assert!(!ids.contains(&id), "ids are never used again");
        ids.push(id);
        match verdict {
            Verdict::Allow(approval) => assert!(allowed && approval.user_id == "alice"),
            Verdict::Deny(_) => assert!(!allowed),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_sees_the_status_of_a_refusal_by_listen() {
    let house = House::new();
    let context = Context::new().await;
    let arguments =
        house.arguments("listen tcp://127.0.0.1:* --type pull --plain --policy @policy.toml");
    let (mut listening, endpoint) = Running::listening(&texts(&arguments));
    let wrong = Security::PlainClient {
        username: "admin",
        password: "guess",
    };
    let push = context.socket("PUSH", Options::new(wrong)).await;
    let mut events = push.monitor().await;
    push.connect(&endpoint).await;
    let failed = events.handshake().await;
    assert_eq!(
        (failed.name.as_str(), failed.value),
        ("HANDSHAKE_FAILED_AUTH", 400)
    );
    assert_eq!(listening.event("refused")["status"], "400");
}

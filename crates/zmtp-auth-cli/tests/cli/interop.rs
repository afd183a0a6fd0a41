//! Live libzmq behind listen and connect, and on both sides of a ZAP link.

use super::peer::{Context, Options, Payload, SERVER_PUBLIC, SERVER_SECRET, Security};
use super::program::{House, Running, texts};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
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

/// How long one call of a libzmq socket that has nothing to receive takes.
const CALL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn publishers_and_subscribers_of_libzmq_talk_to_listen_and_connect() {
    let house = House::new();
    let context = Context::new().await;
    std::fs::write(
        house.path("libzmq.key"),
        format!("public-key = \"{SERVER_PUBLIC}\"\n"),
    )
    .unwrap();
    context
        .authenticate(super::peer::Policy::default().curve("*", "*"))
        .await;
    let (server, _) = keys(&house, "server.key_secret");
    let (public, secret) = keys(&house, "alice.key_secret");
    let client = Security::CurveClient {
        public: &public,
        secret: &secret,
        server: &server,
    };
    let curve = "--curve --key @server.key_secret --policy @policy.toml --domain billing";
    let alice = "--curve --server-key @libzmq.key --key @alice.key_secret";
    let theirs = || {
        Options::new(Security::CurveServer {
            secret: SERVER_SECRET,
        })
    };

    // SUBs of libzmq and a PUB or XPUB that listens.
    for kind in ["pub", "xpub"] {
        let line = format!("listen tcp://127.0.0.1:* --type {kind} --send {curve}");
        let (mut publisher, endpoint) = house.listening(&line);
        let mut subs = Vec::new();
        for topics in [&["rome", "end"][..], &[""]] {
            let sub = context.socket("SUB", Options::new(client)).await;
            for topic in topics {
                sub.set_bytes("SUBSCRIBE", topic.as_bytes()).await;
            }
            sub.connect(&endpoint).await;
            assert_eq!(publisher.event("accepted")["user_id"]["text"], public);
            // Each has subscribed once it has got something.
            loop {
                publisher.say(topics[0]);
                if let Some(got) = sub.try_receive(&[], CALL).await {
                    assert_eq!(got.frames, [Payload::from(topics[0])]);
                    break;
                }
            }
            subs.push(sub);
        }
        publisher.say("oslo");
        publisher.say("end");
        for (sub, oslo) in subs.iter().zip([false, true]) {
            let mut got = Vec::new();
            while got.last() != Some(&Payload::from("end")) {
                got.extend(sub.receive().await.frames);
            }
            assert_eq!(got.contains(&Payload::from("oslo")), oslo, "{kind} {got:?}");
        }
        if kind == "xpub" {
            publisher.has_told("subscribed");
        }
    }

    // PUBs of libzmq and a SUB that listens. A PUB takes subscriptions when it sends.
    let line = format!("listen tcp://127.0.0.1:* --type sub --subscribe news {curve}");
    let (mut sub, endpoint) = house.listening(&line);
    for number in ["1", "2"] {
        let publisher = context
            .connected("PUB", Options::new(client), &endpoint)
            .await;
        sub.event("accepted");
        let news = [Payload::from("news"), Payload::from(number)];
        loop {
            publisher.send(&["other".into()]).await;
            publisher.send(&news).await;
            if let Some(told) = sub.next_within(CALL) {
                let frames = json!([{"text": "news"}, {"text": number}]);
                assert_eq!(told["frames"], frames, "{told}");
                break;
            }
        }
        publisher.close().await;
        sub.event("closed");
    }

    // A SUB that connects.
    let (publisher, endpoint) = context.bound("PUB", theirs(), "tcp://127.0.0.1:*").await;
    let line =
        format!("connect {endpoint} --type sub --subscribe a --subscribe b --count 1 {alice}");
    let mut sub = Running::start(&texts(&house.arguments(&line)));
    sub.event("connected");
    let told = loop {
        publisher.send(&["c".into()]).await;
        publisher.send(&["b".into()]).await;
        if let Some(told) = sub.next_within(CALL) {
            break told;
        }
    };
    assert_eq!(told["frames"], json!([{"text": "b"}]));
    assert_eq!(sub.end(), Some(0));

    // A PUB and an XPUB that connect.
    for kind in ["pub", "xpub"] {
        let sub = context.socket("SUB", theirs()).await;
        sub.set_bytes("SUBSCRIBE", b"news").await;
        let endpoint = sub.bind("tcp://127.0.0.1:*").await;
        let line = format!("connect {endpoint} --type {kind} {alice}");
        let mut publisher = Running::start(&texts(&house.arguments(&line)));
        for line in ["other", "news of today", "news of tomorrow"] {
            publisher.say(line);
        }
        for news in ["news of today", "news of tomorrow"] {
            assert_eq!(sub.receive().await.frames, [Payload::from(news)]);
        }
        if kind == "xpub" {
            assert_eq!(publisher.event("subscribed")["topic"]["text"], "news");
            publisher.signal("TERM");
        }
        assert_eq!(publisher.end(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_replies_cross_between_libzmq_and_both_commands() {
    let house = House::new();
    let context = Context::new().await;
    let null = || Options::new(Security::Null);
    let open = "--null --accept-any-peer";

    // A REQ that listens asks REPs of libzmq in turn.
    let (mut req, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type req --send {open}"
    ));
    let mut reps = Vec::new();
    for _ in 0..2 {
        reps.push(context.connected("REP", null(), &endpoint).await);
        req.event("accepted");
    }
    for (rep, number) in reps.iter().zip(["1", "2"]) {
        req.say(number);
        assert_eq!(rep.receive().await.frames, [Payload::from(number)]);
        rep.send(&["answer".into(), number.into()]).await;
        let frames = json!([{"text": "answer"}, {"text": number}]);
        assert_eq!(req.event("message")["frames"], frames);
    }

    // A REP that listens answers REQs of libzmq.
    let (mut rep, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type rep --send {open}"
    ));
    for number in ["1", "2"] {
        let req = context.connected("REQ", null(), &endpoint).await;
        req.send(&[number.into()]).await;
        assert_eq!(rep.event("message")["frames"], json!([{"text": number}]));
        rep.say(&format!("answer {number}"));
        let answer = Payload::from(&*format!("answer {number}"));
        assert_eq!(req.receive().await.frames, [answer]);
    }

    // A REQ that connects.
    let (rep, endpoint) = context.bound("REP", null(), "tcp://127.0.0.1:*").await;
    let mut req = Running::start(&["connect", &endpoint, "--type", "req", "--null"]);
    for number in ["1", "2"] {
        req.say(number);
        assert_eq!(rep.receive().await.frames, [Payload::from(number)]);
        rep.send(&["answer".into(), number.into()]).await;
        let frames = json!([{"text": "answer"}, {"text": number}]);
        assert_eq!(req.event("message")["frames"], frames);
    }
    assert_eq!(req.end(), Some(0));

    // A REP that connects.
    let (req, endpoint) = context.bound("REQ", null(), "tcp://127.0.0.1:*").await;
    let mut rep = Running::start(&["connect", &endpoint, "--type", "rep", "--null"]);
    for number in ["1", "2"] {
        req.send(&[number.into()]).await;
        assert_eq!(rep.event("message")["frames"], json!([{"text": number}]));
        rep.say("answer");
        assert_eq!(req.receive().await.frames, [Payload::from("answer")]);
    }
    drop(rep.stdin.take());
    req.close().await;
    rep.event("closed");
    assert_eq!(rep.end(), Some(0));
}

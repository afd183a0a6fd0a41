//! The interop peer works: libzmq to libzmq over loopback, in every mechanism and with every
//! refusal. If these tests fail, a failing interop test says nothing about this crate.

use crate::peer;

use peer::{CLIENT_PUBLIC, Context, Options, Payload, Policy, Security, Socket, ZapAnswer};
use std::time::Duration;

const TCP: &str = "tcp://127.0.0.1:*";
const PLAIN_CLIENT: Security<'_> = Security::PlainClient {
    username: "admin",
    password: "secret",
};

async fn exchange(from: &Socket<'_>, to: &Socket<'_>, frames: &[Payload]) {
    from.send(frames).await;
    assert_eq!(to.receive().await.frames, frames);
}

#[tokio::test]
async fn the_pinned_versions_are_running() {
    let (pyzmq, libzmq) = Context::new().await.versions().await;
    assert_eq!(pyzmq, "27.3.0");
    assert!(libzmq.starts_with("4.3."), "{libzmq}");
}

#[tokio::test]
async fn null_carries_messages_of_every_size() {
    let context = Context::new().await;
    for endpoint in [TCP, "tcp://[::1]:*", "ipc://*"] {
        let options = || Options::new(Security::Null).set("IPV6", 1);
        let (pull, endpoint) = context.bound("PULL", options(), endpoint).await;
        let push = context.connected("PUSH", options(), &endpoint).await;
        exchange(&push, &pull, &[Payload::from("")]).await;
        exchange(&push, &pull, &[Payload::from("a"), Payload::from("b")]).await;
        for length in [0, 1, 250, 251, 4096, 4097, 16 << 20] {
            exchange(&push, &pull, &[Payload::Fill { seed: 7, length }]).await;
        }
    }
}

#[tokio::test]
async fn long_frames_are_told_apart() {
    let context = Context::new().await;
    let (pull, endpoint) = context
        .bound("PULL", Options::new(Security::Null), TCP)
        .await;
    let push = context
        .connected("PUSH", Options::new(Security::Null), &endpoint)
        .await;
    let mut bytes = Payload::Fill {
        seed: 0,
        length: 5000,
    }
    .bytes()
    .unwrap();
    bytes.swap(4000, 4001);
    push.send(&[Payload::Bytes(bytes)]).await;
    let received = push_other(&pull).await;
    assert_eq!(received, 5000);
}

async fn push_other(pull: &Socket<'_>) -> u64 {
    match &pull.receive().await.frames[..] {
        [Payload::Other { length, sha256 }] if sha256.len() == 64 => *length,
        frames => panic!("{frames:?}"),
    }
}

#[tokio::test]
async fn null_with_a_domain_asks_the_scripted_handler() {
    let context = Context::new().await;
    let answer = ZapAnswer {
        user_id: "somebody",
        metadata: b"\x05X-Law\x00\x00\x00\x03yes",
        ..ZapAnswer::status("200")
    };
    context.script_zap(answer).await;
    let options = Options::new(Security::Null).domain("global");
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let options = Options::new(Security::Null).set("METADATA", "X-Claim:me");
    let push = context.connected("PUSH", options, &endpoint).await;
    push.send(&["hello".into()]).await;

    let names = [
        "User-Id",
        "X-Law",
        "X-Claim",
        "Socket-Type",
        "Peer-Address",
        "X-None",
    ];
    let message = pull.receive_with(&names).await;
    assert_eq!(
        names.map(|name| message.property(name)),
        [
            Some("somebody"),
            Some("yes"),
            Some("me"),
            Some("PUSH"),
            Some("127.0.0.1"),
            None
        ]
    );
    let requests = context.zap_requests().await;
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    let expected = ["1.0", "1", "global", "127.0.0.1", "", "NULL"].map(Payload::from);
    assert_eq!(request[..], expected);
    assert!(context.zap_requests().await.is_empty());
}

#[tokio::test]
async fn plain_asks_pyzmqs_own_authenticator() {
    let context = Context::new().await;
    let policy = Policy::default().plain("global", &[("admin", "secret")]);
    context.authenticate(policy).await;
    let options = Options::new(Security::PlainServer).domain("global");
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let push = context
        .connected("PUSH", Options::new(PLAIN_CLIENT), &endpoint)
        .await;
    push.send(&["hello".into()]).await;
    let message = pull.receive_with(&["User-Id"]).await;
    assert_eq!(message.property("User-Id"), Some("admin"));

    let wrong = Security::PlainClient {
        username: "admin",
        password: "guess",
    };
    // Without IMMEDIATE libzmq would accept a message for a connection that is never made.
    let options = Options::new(wrong).set("IMMEDIATE", 1);
    let refused = context.socket("PUSH", options).await;
    let mut events = refused.monitor().await;
    refused.connect(&endpoint).await;
    assert_ne!(events.handshake().await.name, "HANDSHAKE_SUCCEEDED");
    assert!(
        !refused
            .try_send(&["x".into()], Duration::from_millis(100))
            .await
    );
}

#[tokio::test]
async fn curve_asks_pyzmqs_own_authenticator() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let context = Context::new().await;
    let (public_file, secret_file) = context.create_certificates(path, "client").await;
    let (public, none) = context.load_certificate(&public_file).await;
    let (same, secret) = context.load_certificate(&secret_file).await;
    assert_eq!((&public, none), (&same, None));

    let policy = Policy::default().allow(&["127.0.0.1"]).curve("*", path);
    context.authenticate(policy).await;
    let options = Options::new(Security::CURVE_SERVER);
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let known = Security::CurveClient {
        public: &public,
        secret: &secret.unwrap(),
        server: peer::SERVER_PUBLIC,
    };
    let push = context
        .connected("PUSH", Options::new(known), &endpoint)
        .await;
    push.send(&["hello".into()]).await;
    let message = pull.receive_with(&["User-Id"]).await;
    assert_eq!(message.property("User-Id"), Some(public.as_str()));

    let unknown = context
        .socket("PUSH", Options::new(Security::CURVE_CLIENT))
        .await;
    let mut events = unknown.monitor().await;
    unknown.connect(&endpoint).await;
    let event = events.handshake().await;
    assert_eq!(
        (event.name.as_str(), event.value),
        ("HANDSHAKE_FAILED_AUTH", 400)
    );
}

#[tokio::test]
async fn a_scripted_refusal_is_seen_by_a_monitor() {
    for status in ["400", "500"] {
        let context = Context::new().await;
        context.script_zap(ZapAnswer::status(status)).await;
        let options = Options::new(Security::CURVE_SERVER);
        let (_server, endpoint) = context.bound("PULL", options, TCP).await;
        let client = context
            .socket("PUSH", Options::new(Security::CURVE_CLIENT))
            .await;
        let mut events = client.monitor().await;
        client.connect(&endpoint).await;
        let event = events.handshake().await;
        assert_eq!(event.name, "HANDSHAKE_FAILED_AUTH");
        assert_eq!(event.value.to_string(), status);
        let requests = context.zap_requests().await;
        let key = requests[0].last().unwrap().bytes().unwrap();
        assert_eq!(key.len(), 32);
    }
}

#[tokio::test]
async fn after_a_temporary_refusal_the_client_comes_back() {
    let context = Context::new().await;
    context.script_zap(ZapAnswer::status("300")).await;
    let options = Options::new(Security::CURVE_SERVER);
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let options = Options::new(Security::CURVE_CLIENT)
        .set("RECONNECT_IVL", 20)
        .set("HANDSHAKE_IVL", 500);
    let push = context.socket("PUSH", options).await;
    let mut events = push.monitor().await;
    push.connect(&endpoint).await;
    events.first_of(&["CONNECTED"]).await;
    events.first_of(&["CONNECT_RETRIED"]).await;
    context.script_zap(ZapAnswer::status("200")).await;
    events.first_of(&["HANDSHAKE_SUCCEEDED"]).await;
    exchange(&push, &pull, &["hello".into()]).await;
}

#[tokio::test]
async fn one_handler_may_follow_another() {
    let context = Context::new().await;
    context.script_zap(ZapAnswer::status("200")).await;
    context.stop_zap().await;
    context.authenticate(Policy::default()).await;
    context.stop_zap().await;
    context.script_zap(ZapAnswer::status("200")).await;
}

#[tokio::test]
async fn a_handler_may_take_its_time() {
    let context = Context::new().await;
    let delay = Duration::from_millis(300);
    let answer = ZapAnswer {
        delay,
        ..ZapAnswer::status("200")
    };
    context.script_zap(answer).await;
    let options = Options::new(Security::CURVE_SERVER);
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let before = std::time::Instant::now();
    let push = context
        .connected("PUSH", Options::new(Security::CURVE_CLIENT), &endpoint)
        .await;
    exchange(&push, &pull, &["hello".into()]).await;
    assert!(before.elapsed() >= delay);
}

#[tokio::test]
async fn a_wrong_server_key_and_another_mechanism_never_get_in() {
    let context = Context::new().await;
    let options = Options::new(Security::CURVE_SERVER);
    let (pull, endpoint) = context.bound("PULL", options, TCP).await;
    let wrong_key = Security::CurveClient {
        public: CLIENT_PUBLIC,
        secret: peer::CLIENT_SECRET,
        server: CLIENT_PUBLIC,
    };
    for security in [wrong_key, Security::Null, PLAIN_CLIENT] {
        let options = Options::new(security).set("IMMEDIATE", 1);
        let push = context.connected("PUSH", options, &endpoint).await;
        assert!(
            !push
                .try_send(&["x".into()], Duration::from_millis(200))
                .await
        );
    }
    let silence = Duration::from_millis(100);
    assert!(pull.try_receive(&[], silence).await.is_none());
}

#[tokio::test]
async fn identities_and_topics_are_bytes() {
    let context = Context::new().await;
    let null = || Options::new(Security::Null);
    let (router, endpoint) = context.bound("ROUTER", null(), TCP).await;
    let identity = [0xFF; 255];
    let options = null().bytes("ROUTING_ID", &identity);
    let dealer = context.connected("DEALER", options, &endpoint).await;
    dealer.send(&["hello".into()]).await;
    let frames = router.receive().await.frames;
    assert_eq!(frames, [identity.as_slice().into(), "hello".into()]);

    let (xpub, endpoint) = context.bound("XPUB", null(), TCP).await;
    let sub = context.connected("SUB", null(), &endpoint).await;
    sub.set_bytes("SUBSCRIBE", b"\x00topic").await;
    assert_eq!(xpub.receive().await.frames, ["\x01\x00topic".into()]);
    exchange(&xpub, &sub, &["\x00topic and more".into()]).await;
}

#[tokio::test]
async fn a_peer_that_closes_is_noticed() {
    let context = Context::new().await;
    let null = || Options::new(Security::Null);
    let (first, endpoint) = context.bound("PAIR", null(), TCP).await;
    let second = context.socket("PAIR", null()).await;
    let mut events = second.monitor().await;
    second.connect(&endpoint).await;
    events.first_of(&["HANDSHAKE_SUCCEEDED"]).await;
    exchange(&first, &second, &["hello".into()]).await;
    first.close().await;
    let event = events.first_of(&["DISCONNECTED"]).await;
    assert_eq!(event.endpoint, endpoint);
}

#[tokio::test]
#[should_panic(expected = "the peer refused")]
async fn a_command_that_cannot_be_carried_out_fails_the_test() {
    let context = Context::new().await;
    context
        .bound("PULL", Options::new(Security::Null), "tcp://nonsense")
        .await;
}

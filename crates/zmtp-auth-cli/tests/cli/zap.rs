//! zap: requests from standard input, and the service that `RemoteZapHandler` asks.

use super::program::{House, Running, command, mode, texts as words};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use zmtp_auth::cert::Certificate;
use zmtp_auth::net::{RemoteZapHandler, RemoteZapHandlerError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{AccessRequest, Credentials, DenialStatus, Domain, PeerAddress, Verdict};

fn line(frames: &[&str]) -> String {
    let frames = frames.iter();
    let frames: Vec<_> = frames
        .map(|frame| Base64::encode_string(frame.as_bytes()))
        .collect();
    json!({ "frames": frames }).to_string()
}

fn texts(answer: &Value) -> Vec<String> {
    let frames = answer["frames"].as_array().expect("an answer with frames");
    let decode = |frame: &Value| Base64::decode_vec(frame.as_str().unwrap()).unwrap();
    frames
        .iter()
        .map(|frame| String::from_utf8(decode(frame)).unwrap())
        .collect()
}

#[test]
fn each_line_is_answered_dropped_or_an_error() {
    let house = House::new();
    let plain = |password| {
        [
            "1.0",
            "7",
            "shop",
            "127.0.0.1",
            "",
            "PLAIN",
            "admin",
            password,
        ]
    };
    let input = [
        line(&plain("secret")),
        line(&plain("guess")),
        line(&["1.0"]),
        line(&["2.0", "8", "", "", "", "NULL"]),
        "nonsense with a secret".into(),
        "x".repeat(2 << 20),
        line(&plain("secret")),
    ]
    .join("\n");
    let told = house.events(0, "zap --policy @policy.toml --explain", &input);
    assert_eq!(texts(&told[0]), ["1.0", "7", "200", "OK", "admin", ""]);
    assert_eq!(told[0]["rule"], "the passwords of domain \"*\"");
    assert_eq!(
        texts(&told[1]),
        ["1.0", "7", "400", "Invalid password", "", ""]
    );
    assert!(told[2]["dropped"].is_string(), "{}", told[2]);
    assert_eq!(texts(&told[3])[1..4], ["8", "400", "Invalid version"]);
    let error = told[4]["error"].as_str().unwrap();
    assert!(!error.contains("secret"), "{error}");
    // A line is bounded, and the next one is answered.
    assert!(told[5]["error"].as_str().unwrap().contains("longer"));
    assert_eq!(texts(&told[6])[2], "200");
    let told = house.events(0, "zap --policy @policy.toml", &line(&plain("secret")));
    assert_eq!(told[0].get("rule"), None);
}

#[test]
fn a_line_that_is_not_text_is_an_error_and_not_the_end() {
    let house = House::new();
    let arguments = house.arguments("zap --policy @policy.toml");
    let mut child = command(&words(&arguments))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"frames\":[\"\xff\"]}\n").unwrap();
    stdin
        .write_all(line(&["1.0", "7", "open", "", "", "NULL"]).as_bytes())
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(told[0]["error"].is_string(), "{told:?}");
    assert_eq!(texts(&told[1])[2], "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_prints_each_decision_with_its_peer() {
    let house = House::new();
    let (mut service, endpoint) = service(&house);
    let handler = RemoteZapHandler::ipc(endpoint.as_str()).unwrap();
    handler.connected().await.unwrap();
    let router = ZapRouter::new();
    router.bind("*", handler).unwrap();
    assert_eq!(status(&ask(&router, "secret").await), None);
    let told = service.event("decision");
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("200"), &json!(null))
    );
    assert_eq!(told["user_id"], json!({"text": "admin"}));
    assert_eq!(told["rule"], "the passwords of domain \"*\"");
    assert!(told["time"].as_str().unwrap().ends_with('Z'), "{told}");
    let _denied = ask(&router, "guess").await;
    let told = service.event("decision");
    assert_eq!(
        (&told["status"], &told["user"]),
        (&json!("400"), &json!({"text": "admin"}))
    );
    assert!(!told.to_string().contains("guess"), "{told}");
    let mallory = Certificate::load(house.path("mallory.key")).unwrap();
    let key = mallory.public_key();
    let address = PeerAddress::from_zap(b"10.1.2.3");
    let curve = Credentials::Curve { key };
    let _denied = router
        .authorize(&AccessRequest::new(Domain::from("billing"), address, curve))
        .await;
    let told = service.event("decision");
    assert_eq!(told["public_key"], key.to_z85());
    assert_eq!(
        (&told["address"], &told["domain"]["text"]),
        (&json!("10.1.2.3"), &json!("billing"))
    );
    service.signal("TERM");
    assert_eq!(service.end_in_time(), Some(0));
}

#[test]
fn a_service_in_clear_is_ipc_or_has_an_honest_name() {
    let house = House::new();
    house.ends(2, "zap --policy @policy.toml --listen tcp://127.0.0.1:*");
    house.ends(2, "zap --policy @policy.toml --listen ipc://@abstract");
    house.ends(
        2,
        "zap --policy @policy.toml --listen tcp://127.0.0.1:* --key @server.key_secret",
    );
    let (_clear, _) = house
        .listening("zap --policy @policy.toml --listen tcp://127.0.0.1:* --insecure-clear-zap");
    let (_ipc, _) = service(&house);
    assert_eq!(mode(&house.path("zap.sock")), 0o600);
}

fn service(house: &House) -> (Running, String) {
    let ipc = format!("ipc://{}", house.text("zap.sock"));
    house.listening(&format!("zap --policy @policy.toml --listen {ipc}"))
}

async fn ask(router: &ZapRouter, password: &str) -> Verdict {
    let credentials = Credentials::Plain {
        username: "admin".into(),
        password: password.into(),
    };
    let address = PeerAddress::from_zap(b"127.0.0.1");
    let request = AccessRequest::new(Domain::from("shop"), address, credentials);
    router.authorize(&request).await
}

fn status(verdict: &Verdict) -> Option<DenialStatus> {
    match verdict {
        Verdict::Allow(_) => None,
        Verdict::Deny(denied) => Some(denied.status),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_asks_a_handler_in_another_process() {
    let house = House::new();
    let (ipc, endpoint) = service(&house);
    let handler = RemoteZapHandler::ipc(endpoint.as_str()).unwrap();
    handler.connected().await.unwrap();
    let router = ZapRouter::new();
    router.bind("*", handler).unwrap();
    let Verdict::Allow(approval) = ask(&router, "secret").await else {
        panic!("refused");
    };
    assert_eq!(approval.user_id, "admin");
    assert_eq!(
        status(&ask(&router, "guess").await),
        Some(DenialStatus::Failure)
    );
    let many = (0..100).map(|n| ask(&router, if n % 2 == 0 { "secret" } else { "guess" }));
    for (n, verdict) in many.enumerate() {
        assert_eq!(status(&verdict.await).is_none(), n % 2 == 0);
    }
    // The link is lost for good: no peer is admitted, and none waits.
    ipc.signal("KILL");
    ipc.end();
    assert_eq!(
        status(&ask(&router, "secret").await),
        Some(DenialStatus::Temporary)
    );
    // Another process takes its place, and is found.
    let (_again, again) = service(&house);
    assert_eq!(again, endpoint);
    while status(&ask(&router, "secret").await).is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_both_sides_know_each_other_by_key() {
    let house = House::new();
    let (mut service, endpoint) = house.listening(
        "zap --policy @policy.toml --listen tcp://127.0.0.1:* --key @server.key_secret \
         --client-key @known/alice.key",
    );
    let keys = |name| Certificate::load(house.path(name)).unwrap();
    let server = keys("server.key").public_key();
    let alice = keys("alice.key_secret").key_pair().unwrap().clone();
    let handler = RemoteZapHandler::curve(endpoint.as_str(), alice, server).unwrap();
    handler.connected().await.unwrap();
    let router = ZapRouter::new();
    router.bind("*", handler).unwrap();
    assert_eq!(status(&ask(&router, "secret").await), None);

    let mallory = keys("mallory.key_secret").key_pair().unwrap().clone();
    let stranger = RemoteZapHandler::curve(endpoint.as_str(), mallory, server).unwrap();
    let router = ZapRouter::new();
    router.bind("*", stranger).unwrap();
    let accepted = service.event("accepted");
    let z85 = |name| json!(keys(name).public_key().to_z85());
    assert_eq!(accepted["key"], z85("alice.key_secret"), "{accepted}");
    assert!(accepted["port"].is_u64(), "{accepted}");
    let refused = service.event("refused");
    assert_eq!(refused["key"], z85("mallory.key"), "{refused}");
    assert_eq!(refused["status"], "400", "{refused}");
    assert_eq!(refused["reason"], "Unknown key", "{refused}");
    assert!(refused["port"].is_u64() && refused["at"].is_string());
    assert_eq!(
        status(&ask(&router, "secret").await),
        Some(DenialStatus::Temporary)
    );
    let tcp = RemoteZapHandler::ipc(endpoint.as_str());
    assert!(matches!(tcp, Err(RemoteZapHandlerError::NotIpc)));
}

//! listen and connect, with each other.

use super::program::{House, Running, ends, texts, unused_endpoint};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};
use zmtp_auth::net::{Connection, Listener};
use zmtp_auth::{Config, Limits, NoPolicy, SocketType};

const CURVE: &str = "listen tcp://127.0.0.1:* --curve --key @server.key_secret \
                     --policy @policy.toml --domain billing";
const ALICE: &str = "--curve --server-key @server.key --key @alice.key_secret";

#[test]
fn each_mechanism_carries_a_message_and_tells_who_sent_it() {
    let house = House::new();
    let alice = house.events(0, "cert show @known/alice.key --json", "")[0]["public_key"].clone();
    for (server, client, user, mechanism) in [
        (format!("{CURVE} --type pull"), ALICE, alice, "CURVE"),
        (
            "listen tcp://127.0.0.1:* --type pull --plain --policy @policy.toml".into(),
            "--plain admin --password-file @right",
            json!("admin"),
            "PLAIN",
        ),
        (
            "listen tcp://127.0.0.1:* --type pull --null --policy @policy.toml --domain open"
                .into(),
            "--null",
            json!("anonymous"),
            "NULL",
        ),
        (
            "listen ipc://@/sock --type pull --null --accept-any-peer".into(),
            "--null",
            json!(null),
            "NULL",
        ),
    ] {
        let server = server.replace("ipc://@/", &format!("ipc://{}/", house.text("")));
        let (mut listening, endpoint) = house.listening(&server);
        let connect = format!("connect {endpoint} --type push --multipart , {client}");
        let told = house.events(0, &connect, "one,two\nthree\n");
        assert_eq!(told[0]["socket_type"], "PULL");
        let accepted = listening.event("accepted");
        assert_eq!(accepted["user_id"]["text"], user, "{accepted}");
        assert_eq!(accepted["mechanism"], mechanism);
        assert_eq!(accepted["claims"]["Socket-Type"]["text"], "PUSH");
        let message = listening.event("message");
        assert_eq!(message["frames"], json!([{"text": "one"}, {"text": "two"}]));
        assert_eq!(message["user_id"]["text"], user);
        assert_eq!(
            listening.event("message")["frames"],
            json!([{"text": "three"}])
        );
        listening.event("closed");
        listening.signal("TERM");
        assert_eq!(listening.end(), Some(0));
    }
}

#[test]
fn echo_answers_a_req_and_a_dealer() {
    let house = House::new();
    let (_rep, endpoint) = house.listening(&format!("{CURVE} --type rep --echo"));
    let connect = format!("connect {endpoint} --type req {ALICE}");
    let told = house.events(0, &connect, "hello\nagain\n");
    let replies: Vec<_> = told
        .iter()
        .filter(|told| told["event"] == "message")
        .collect();
    assert_eq!(replies[0]["frames"], json!([{"text": "hello"}]));
    assert_eq!(replies[1]["frames"], json!([{"text": "again"}]));

    let (_router, endpoint) = house.listening(&format!("{CURVE} --type router --echo"));
    let connect = format!("connect {endpoint} --type dealer --count 1 {ALICE}");
    let told = house.events(0, &connect, "hello\n");
    assert_eq!(told[1]["frames"], json!([{"text": "hello"}]));
    house.ends(2, &format!("{CURVE} --type pull --echo"));
}

#[test]
fn a_refusal_is_told_on_both_sides_with_status_and_rule() {
    let house = House::new();
    let (mut curve, endpoint) = house.listening(&format!("{CURVE} --type pull"));
    let mallory = "--curve --server-key @server.key --key @mallory.key_secret";
    let complaint = house.ends(3, &format!("connect {endpoint} --type push {mallory}"));
    assert!(
        complaint.contains("400") && complaint.lines().count() == 1,
        "{complaint}"
    );
    let refused = curve.event("refused");
    assert_eq!(refused["status"], "400");
    assert_eq!(refused["reason"], "Unknown key");
    assert_eq!(refused["rule"], "the keys of domain \"billing\"");
    assert_eq!(refused["key"].as_str().map(str::len), Some(40));
    assert_eq!(refused["domain"]["text"], "billing");
    assert!(refused["port"].is_u64() && refused["at"].is_string());

    // The server's key is not the one that the client was given.
    let wrong = "--curve --server-key @mallory.key --key @alice.key_secret";
    house.ends(5, &format!("connect {endpoint} --type push {wrong}"));
    // The server speaks another mechanism.
    house.ends(5, &format!("connect {endpoint} --type push --null"));

    let (mut plain, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type pull --plain --policy @policy.toml");
    let wrong = "--plain admin --password-file @wrong";
    house.ends(3, &format!("connect {endpoint} --type push {wrong}"));
    let refused = plain.event("refused");
    assert_eq!(refused["reason"], "Invalid password");
    assert_eq!(refused["user"]["text"], "admin");

    // A policy rules NULL too, in the empty domain if none is given.
    house.policy("[domain.\"\"]\nnull.any = true\ndeny = [\"127.0.0.1\"]");
    let (mut null, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type pull --null --policy @policy.toml");
    house.ends(3, &format!("connect {endpoint} --type push --null"));
    assert_eq!(null.event("refused")["reason"], "Address denied");
}

#[test]
fn no_peer_is_admitted_by_leaving_something_out() {
    let house = House::new();
    for line in [
        "listen tcp://127.0.0.1:* --type pull --null",
        "listen tcp://127.0.0.1:* --type pull --curve --key @server.key_secret",
        "listen tcp://127.0.0.1:* --type pull --plain",
        "listen tcp://127.0.0.1:* --type pull --plain --accept-any-peer",
        "listen tcp://127.0.0.1:* --type pull --accept-any-peer",
        "listen tcp://127.0.0.1:* --type pull --null --accept-any-peer --policy @policy.toml",
        "listen tcp://127.0.0.1:* --type pull --null --policy @nowhere.toml",
        "listen nowhere --type pull --null --accept-any-peer",
        "connect tcp://127.0.0.1:1 --type push",
        "connect tcp://127.0.0.1:1 --type push --curve",
    ] {
        house.ends(2, line);
    }
}

#[test]
fn a_server_whose_policy_admits_no_peer_does_not_start_and_says_why() {
    let house = House::new();
    let listen = "listen tcp://127.0.0.1:* --type pull --policy @policy.toml";
    let curve = "--curve --key @server.key_secret";
    let tunnel = "tunnel server --bind tcp://127.0.0.1:* --forward tcp://127.0.0.1:1 \
                  --policy @policy.toml";
    for (line, mechanism, domain) in [
        (
            format!("{listen} {curve} --domain biling"),
            "CURVE",
            "biling",
        ),
        (format!("{listen} {curve}"), "CURVE", ""),
        (format!("{listen} {curve} --domain open"), "CURVE", "open"),
        (format!("{listen} --null"), "NULL", ""),
        (
            format!("{listen} --null --domain billing"),
            "NULL",
            "billing",
        ),
        (
            format!("{listen} --plain --domain billing"),
            "PLAIN",
            "billing",
        ),
        (
            format!("{tunnel} --key @server.key_secret --domain biling"),
            "CURVE",
            "biling",
        ),
        (format!("{tunnel} --plain --domain open"), "PLAIN", "open"),
    ] {
        let complaint = house.ends(2, &line);
        let told = format!("admits no peer by {mechanism} in domain {domain:?}");
        assert!(complaint.contains(&told), "{line}\n{complaint}");
        assert!(
            complaint.contains("\"billing\""),
            "it names what there is: {complaint}"
        );
    }
    // `*` rules a domain without a section, and one that inherits.
    house.policy("[domain.\"*\"]\nnull.any = true\n[domain.heir]\ninherit = true");
    for domain in ["typo", "heir", ""] {
        let line = format!("{listen} --null --domain {domain}");
        let line = line.trim_end_matches("--domain ");
        let (running, endpoint) = house.listening(line);
        house.ends(0, &format!("connect {endpoint} --type push --null"));
        drop(running);
    }
}

#[test]
fn a_server_says_at_its_start_what_its_policy_does_not_do_and_in_which_domain() {
    let house = House::new();
    house.policy(
        "[domain.billing]\ncurve.certificates = \"known\"\n\
         validity = { not-after = 2001-01-01T00:00:00Z }",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let key = "--key @server.key_secret --policy @policy.toml --domain billing";
    for line in [
        format!("listen {endpoint} --type pull --curve {key}"),
        format!("tunnel server --bind {endpoint} --forward tcp://127.0.0.1:1 {key}"),
        format!("zap --policy @policy.toml --listen {endpoint} --insecure-clear-zap"),
    ] {
        let told = house.ends(1, &line);
        let counts = "domain \"billing\" has no key that is valid now";
        assert!(told.contains(counts), "{told}");
    }
}

#[test]
fn a_policy_from_a_pipe_is_read_once() {
    let house = House::new();
    let line = "listen tcp://127.0.0.1:* --type pull --null --policy - --domain open";
    let mut listening = Running::start(&texts(&house.arguments(line)));
    listening.say("[domain.open]\nnull.any = true");
    drop(listening.stdin.take());
    listening.event("listening");
    listening.signal("HUP");
    let failed = listening.event("reload_failed");
    let told = failed["error"].as_str().unwrap();
    assert!(told.contains("cannot be read again"), "{failed}");
}

#[test]
fn sighup_reloads_the_policy_and_closes_peers_that_it_no_longer_admits() {
    let house = House::new();
    let (mut listening, endpoint) = house.listening(&format!("{CURVE} --type pull"));
    let arguments = house.arguments(&format!("connect {endpoint} --type push {ALICE}"));
    let mut connected = Running::start(&texts(&arguments));
    connected.event("connected");
    listening.event("accepted");

    house.policy("[domain.billing]\ncurve.certificates = \"nowhere\"");
    listening.signal("HUP");
    let failed = listening.event("reload_failed");
    let told = failed["error"].as_str().unwrap();
    assert!(
        told.contains("nowhere") && told.ends_with("; the policy before stays in force"),
        "{failed}"
    );
    connected.say("still here");
    let message = listening.event("message");
    assert_eq!(message["frames"], json!([{"text": "still here"}]));

    house.policy("");
    listening.signal("HUP");
    // The closed peer and the reload are reported by two tasks, in either order.
    let closed = listening.event("closed");
    listening.has_told("reloaded");
    assert!(
        closed["reason"].as_str().unwrap().contains("revoked"),
        "{closed}"
    );
    connected.event("closed");
    house.ends(3, &format!("connect {endpoint} --type push {ALICE}"));
}

#[test]
fn a_policy_that_is_half_written_at_hangup_lets_no_stranger_in() {
    let house = House::new();
    let (first, second) = (
        "[domain.\"*\"]\nnull.any = true\n",
        "[domain.closed]\nallow = [\"192.0.2.1\"]\nnull.any = true\n",
    );
    house.policy(&format!("{first}{second}"));
    let (mut listening, endpoint) = house.listening(
        "listen tcp://127.0.0.1:* --type pull --null --policy @policy.toml --domain closed",
    );
    let stranger = format!("connect {endpoint} --type push --null");
    house.ends(3, &stranger);

    // It is written in place, a bit at a time. What is there by now is a policy, which knows
    // nothing of the closed domain.
    house.policy(first);
    listening.signal("HUP");
    let mut file = OpenOptions::new()
        .append(true)
        .open(house.path("policy.toml"))
        .unwrap();
    let writing = std::thread::spawn(move || {
        for _ in 0..100 {
            file.write_all(b"# more to come\n").unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
        file.write_all(second.as_bytes()).unwrap();
    });
    while !writing.is_finished() {
        house.ends(3, &stranger);
    }
    writing.join().unwrap();
    listening.event("reloaded");
    house.ends(3, &stranger);
}

#[test]
fn unreachable_and_incompatible_peers_have_exit_codes_of_their_own() {
    let (_bound, unused) = unused_endpoint();
    ends(7, &["connect", &unused, "--type", "push", "--null"], "");
    ends(
        7,
        &[
            "connect",
            "ipc:///nowhere/at/all",
            "--type",
            "push",
            "--null",
        ],
        "",
    );

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", other.local_addr().unwrap());
    let speaking = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Until the other side closes.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    ends(5, &["connect", &endpoint, "--type", "push", "--null"], "");
    speaking.join().unwrap();
}

#[test]
fn a_subscriber_gets_what_it_has_subscribed_to() {
    let house = House::new();
    let (mut listening, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type sub --null --accept-any-peer");
    let told = house.events(
        0,
        &format!("connect {endpoint} --type pub --null"),
        "news\n",
    );
    assert_eq!(told[0]["socket_type"], "SUB");
    assert_eq!(
        listening.event("message")["frames"],
        json!([{"text": "news"}])
    );
}

/// A PULL with a limit of 1000 bytes for a message. The channel tells when one has arrived.
fn strict_pull() -> (String, Receiver<()>) {
    let (tell, told) = channel();
    let (tell_endpoint, endpoint) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let mut limits = Limits::default();
            limits.max_message = 1000;
            let config = Config::builder(SocketType::Pull).limits(limits).null();
            let config = config.accept_any_peer().finish().unwrap();
            let listener = Listener::bind("tcp://127.0.0.1:*", config).await.unwrap();
            tell_endpoint
                .send(listener.local_endpoint().to_string())
                .unwrap();
            let mut pull = listener.accept().await.unwrap();
            while pull.recv_message().await.is_ok() {
                let _ = tell.send(());
            }
        });
    });
    (endpoint.recv().unwrap(), told)
}

#[test]
fn lines_that_a_peer_did_not_wait_for_have_a_code_of_their_own() {
    let (endpoint, arrived) = strict_pull();
    let mut sending = Running::start(&["connect", &endpoint, "--type", "push", "--null"]);
    sending.say("small");
    arrived.recv().unwrap();
    sending.say(&"x".repeat(5000));
    sending.event("closed");
    assert_eq!(sending.end(), Some(8));
    assert_eq!(arrived.recv().ok(), None);

    // Standard input stays open. The program waits for its end, but the peer has closed before that.
    let house = House::new();
    let (listening, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type pull --null --accept-any-peer");
    let connect = ["connect", &endpoint, "--type", "push", "--null"];
    let mut command = super::program::command(&connect);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sending = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(sending.stdout.take().unwrap()).lines();
    told.next().unwrap().unwrap();
    listening.signal("TERM");
    let closed: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    let now = SystemTime::now();
    let at = humantime::parse_rfc3339(closed["time"].as_str().unwrap()).unwrap();
    assert!(
        now.duration_since(at).unwrap() >= Duration::from_millis(990),
        "{closed}"
    );
    let output = sending.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("before the end of standard input"),
        "{complaint}"
    );
    assert_eq!(listening.end(), Some(0));

    // If nothing is sent, the end of the peer is no loss.
    let house = House::new();
    let (listening, endpoint) =
        house.listening("listen tcp://127.0.0.1:* --type pub --null --accept-any-peer");
    let mut receiving = Running::start(&["connect", &endpoint, "--type", "sub", "--null"]);
    receiving.event("connected");
    listening.signal("TERM");
    assert_eq!(listening.end(), Some(0));
    receiving.event("closed");
    assert_eq!(receiving.end(), Some(0));
    assert!(ends(0, &["connect", "--help"], "").contains("exit code 8"));
    assert!(ends(0, &["--help"], "").contains("8  the connection ended"));
}

fn open(kind: SocketType) -> Config<NoPolicy> {
    let config = Config::builder(kind).null().accept_any_peer();
    config.finish().unwrap()
}

const HASTY: usize = 3000;

/// Sends its messages and closes without reading.
async fn in_haste(dealer: Connection) {
    let (mut sender, receiver) = dealer.split();
    drop(receiver);
    for number in 0..HASTY {
        sender.send(number.to_string()).await.unwrap();
    }
    sender.finish().await.unwrap();
}

#[track_caller]
fn all_are_told(told: &[Value]) {
    let messages: Vec<_> = told
        .iter()
        .filter(|told| told["event"] == "message")
        .collect();
    assert_eq!(messages.len(), HASTY);
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message["frames"], json!([{"text": number.to_string()}]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_from_a_peer_that_closed_are_printed_although_sending_fails() {
    let house = House::new();
    for sends in ["--echo", "--send"] {
        let line = "listen tcp://127.0.0.1:* --type dealer --null --accept-any-peer";
        let (mut listening, endpoint) = house.listening(&format!("{line} {sends}"));
        let lines = b"line\n".repeat(5000);
        listening.stdin.as_mut().unwrap().write_all(&lines).unwrap();
        let dealer = Connection::connect(endpoint, open(SocketType::Dealer));
        in_haste(dealer.await.unwrap()).await;
        all_are_told(listening.told_until("closed"));
    }

    let listener = Listener::bind("tcp://127.0.0.1:*", open(SocketType::Dealer));
    let listener = listener.await.unwrap();
    let endpoint = listener.local_endpoint().to_string();
    let mut connecting = Running::start(&["connect", &endpoint, "--type", "dealer", "--null"]);
    let mut stdin = connecting.stdin.take().unwrap();
    // The peer takes every line.
    let typing = std::thread::spawn(move || while stdin.write_all(b"line\n").is_ok() {});
    in_haste(listener.accept().await.unwrap()).await;
    all_are_told(connecting.told_until("closed"));
    assert_eq!(connecting.end(), Some(8));
    typing.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_closes_after_it_has_taken_every_line_is_no_loss() {
    let listener = Listener::bind("tcp://127.0.0.1:*", open(SocketType::Pull));
    let listener = listener.await.unwrap();
    let endpoint = listener.local_endpoint().to_string();
    for _ in 0..20 {
        let connect = ["connect", &endpoint, "--type", "push", "--null"].map(str::to_owned);
        let connecting = tokio::task::spawn_blocking(move || {
            ends(0, &texts(&connect), "one\ntwo\nthree\n");
        });
        let mut pull = listener.accept().await.unwrap();
        for _ in 0..3 {
            pull.recv_message().await.unwrap();
        }
        pull.close().await.unwrap();
        connecting.await.unwrap();
    }
}

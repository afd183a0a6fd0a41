//! Topic permissions: which messages `listen` and `connect` take, and what they say of the others.

use super::program::{House, Running, texts};
use serde_json::Value;
use std::fmt::Write as _;

/// A house whose policy lets alice publish what begins with `ok.`.
fn house() -> House {
    let house = House::new();
    house.policy(
        r#"
        [domain.""]
        plain.users = { alice = "secret" }
        [domain."".topics]
        alice = { subscribe = ["weather."], publish = ["ok."] }
        "#,
    );
    house
}

const SERVER: &str = "--plain --policy @policy.toml";
const ALICE: &str = "--plain alice --password-file @right --multipart ,";

/// The first frames that are not empty of all messages as far as the end of the peer, and what is said
/// of the messages that were dropped.
fn told(running: &mut Running, end: &str) -> (Vec<String>, Vec<(String, u64)>) {
    let told = running.told_until(end);
    let named = |name: &'static str| told.iter().filter(move |told| told["event"] == name);
    let frame = |told: &Value| {
        let frames = told["frames"].as_array().unwrap();
        let mut frames = frames.iter().filter_map(|frame| frame["text"].as_str());
        frames.find(|text| !text.is_empty()).unwrap().to_owned()
    };
    let dropped = |told: &Value| {
        assert_eq!(
            told["reason"], "the policy does not permit the topic",
            "{told}"
        );
        let topic = told["topic"]["text"].as_str().unwrap().to_owned();
        (topic, told["count"].as_u64().unwrap())
    };
    (
        named("message").map(frame).collect(),
        // An answer may find no peer either.
        named("undelivered")
            .filter(|told| told.get("topic").is_some())
            .map(dropped)
            .collect(),
    )
}

/// What each type receives from, with what stands before the topic.
const RECEIVERS: [(&str, &str, &str); 9] = [
    ("pull", "push", ""),
    ("sub --subscribe=", "pub", ""),
    ("xsub --subscribe=", "pub", ""),
    ("xpub", "xsub --subscribe=weather.", ""),
    ("pair", "pair", ""),
    ("dealer", "dealer", ","),
    ("router", "dealer", ""),
    ("router", "dealer", ","),
    ("rep", "dealer", ","),
];

#[test]
fn every_type_drops_what_its_sender_may_not_publish_and_says_so_once() {
    let house = house();
    for (receives, sends, before) in RECEIVERS {
        let listen = format!("listen tcp://127.0.0.1:* --type {receives} {SERVER}");
        let (mut listening, endpoint) = house.listening(&listen);
        let mut lines = String::new();
        for topic in ["ok.1", "bad.1", "ok.2", "bad.2", "ok", "ok.3"] {
            writeln!(lines, "{before}{topic},body").unwrap();
        }
        let connect = format!("connect {endpoint} --type {sends} {ALICE}");
        let arguments = house.arguments(&connect);
        let mut connected = Running::start(&texts(&arguments));
        connected.say(lines.trim_end());
        for _ in 0..3 {
            listening.event("message");
        }
        drop(connected);
        let (taken, dropped) = told(&mut listening, "closed");
        assert_eq!(taken, ["ok.1", "ok.2", "ok.3"], "{receives}");
        assert_eq!(dropped, [("bad.1".to_owned(), 1)], "{receives}");
    }
}

#[test]
fn a_server_that_connects_drops_what_its_peer_may_not_publish() {
    let house = house();
    for (receives, sends, before) in RECEIVERS {
        let listen = format!(
            "listen tcp://127.0.0.1:* --type {sends} --plain --user alice --password-file @right \
             --send --multipart ,"
        );
        let (mut listening, endpoint) = house.listening(&listen);
        let multipart = if receives == "router" {
            "--multipart ,"
        } else {
            ""
        };
        let connect = format!(
            "connect {endpoint} --type {receives} --plain-server --policy @policy.toml {multipart}"
        );
        let arguments = house.arguments(&connect);
        let mut connected = Running::start(&texts(&arguments));
        connected.event("connected");
        for topic in ["bad.1", "ok.1", "bad.2", "ok.2"] {
            listening.say(&format!("{before}{topic},body"));
        }
        for _ in 0..2 {
            connected.event("message");
            if receives == "rep" {
                // It reads on once it has replied.
                connected.say("answer");
            }
        }
        // What it could send still would delay its end.
        drop(connected.stdin.take());
        drop(listening);
        let (taken, dropped) = told(&mut connected, "closed");
        assert_eq!(taken, ["ok.1", "ok.2"], "{receives}");
        assert_eq!(dropped, [("bad.1".to_owned(), 1)], "{receives}");
    }
}

#[test]
fn a_flood_of_what_may_not_be_published_is_told_in_a_few_lines() {
    let house = house();
    for (receives, sends, before) in [
        ("pull", "push", ""),
        ("router", "dealer", ""),
        ("rep", "dealer", ","),
    ] {
        let listen = format!("listen tcp://127.0.0.1:* --type {receives} {SERVER}");
        let (mut listening, endpoint) = house.listening(&listen);
        let mut lines = format!("{before}bad\n").repeat(250);
        writeln!(lines, "{before}ok.last").unwrap();
        let connect = format!("connect {endpoint} --type {sends} {ALICE}");
        let arguments = house.arguments(&connect);
        let mut connected = Running::start(&texts(&arguments));
        connected.say(lines.trim_end());
        listening.event("message");
        drop(connected);
        let (taken, dropped) = told(&mut listening, "closed");
        assert_eq!(taken, ["ok.last"]);
        let expected = [1, 10, 100].map(|count| ("bad".to_owned(), count));
        assert_eq!(dropped, expected, "{receives}");
    }
}

#[test]
fn a_rep_that_drops_a_request_answers_the_next_one() {
    let house = house();
    for answers in ["--echo", "--send"] {
        let listen = format!("listen tcp://127.0.0.1:* --type rep {answers} {SERVER}");
        let (mut listening, endpoint) = house.listening(&listen);
        if answers == "--send" {
            listening.say("ok.1");
        }
        let connect = format!("connect {endpoint} --type dealer --count 1 {ALICE}");
        let told = house.events(0, &connect, ",bad.1\n,ok.1\n");
        let answer = told.iter().find(|told| told["event"] == "message").unwrap();
        assert_eq!(answer["frames"][1]["text"], "ok.1", "{answer}");
    }
}

#[test]
fn a_tunnel_says_at_its_start_that_it_applies_no_topics() {
    let house = house();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
    let tunnel = format!(
        "tunnel server --bind {endpoint} --forward tcp://127.0.0.1:1 --plain --policy @policy.toml"
    );
    let why = "topics for domain \"\", which a tunnel does not apply";
    let told = house.ends(1, &tunnel);
    assert!(told.contains(why), "{told}");
    let told = house.ends(1, &format!("listen {endpoint} --type pull {SERVER}"));
    assert!(!told.contains("does not apply"), "{told}");
    // The topics of `*` apply where the domain has none of its own.
    house.policy("[domain.a]\nplain.users = { a = \"x\" }\n[domain.\"*\".topics]\n");
    let told = house.ends(1, &format!("{tunnel} --domain a"));
    assert!(told.contains("topics for domain \"a\""), "{told}");
    house.policy("[domain.a]\nplain.users = { a = \"x\" }");
    let told = house.ends(1, &format!("{tunnel} --domain a"));
    assert!(!told.contains("does not apply"), "{told}");
}

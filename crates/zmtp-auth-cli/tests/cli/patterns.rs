//! `listen` as a socket with several peers, and `connect` as one with one peer.

use super::program::{House, Running, texts};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use zmtp_auth::net::{Connection, Listener, Message};
use zmtp_auth::{Config, NoPolicy, SocketType};

const OPEN: &str = "--null --accept-any-peer";

fn connected(house: &House, line: &str) -> Running {
    let arguments = house.arguments(line);
    Running::start(&texts(&arguments))
}

#[test]
fn a_second_peer_of_a_pair_is_turned_away_and_that_is_told() {
    let house = House::new();
    let (mut pair, endpoint) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type pair {OPEN}"));
    let connect = format!("connect {endpoint} --type pair --null");
    let mut first = connected(&house, &connect);
    first.event("connected");
    pair.event("accepted");
    let mut second = connected(&house, &connect);
    let turned_away = pair.event("turned_away");
    let reason = turned_away["reason"].as_str().unwrap();
    assert!(reason.contains("pair has one peer"), "{turned_away}");
    second.event("closed");
    assert_eq!(second.end(), Some(8));
    first.say("still here");
    assert_eq!(
        pair.event("message")["frames"],
        json!([{"text": "still here"}])
    );
}

#[test]
fn a_router_sends_by_routing_id_and_says_what_reaches_nobody() {
    let house = House::new();
    let (mut router, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type router {OPEN} --send --multipart /"
    ));
    let dealers = ["one", "two"].map(|name| {
        let connect = format!("connect {endpoint} --type dealer --null --identity {name}");
        let mut dealer = connected(&house, &connect);
        dealer.event("connected");
        assert_eq!(router.event("accepted")["routing_id"]["text"], name);
        dealer
    });
    let [mut one, mut two] = dealers;
    for line in ["two/hello two", "one/hello one", "three/hello", "three"] {
        router.say(line);
    }
    assert_eq!(
        one.event("message")["frames"],
        json!([{"text": "hello one"}])
    );
    assert_eq!(
        two.event("message")["frames"],
        json!([{"text": "hello two"}])
    );
    let undelivered = router.event("undelivered");
    assert!(
        undelivered["reason"].as_str().unwrap().contains("three"),
        "{undelivered}"
    );
    assert_eq!(router.event("undelivered")["routing_id"]["text"], "three");
    two.say("from two");
    let message = router.event("message");
    assert_eq!(message["routing_id"]["text"], "two");
    assert_eq!(
        (&message["peer"], &message["frames"]),
        (&json!(2), &json!([{"text": "from two"}]))
    );
    // Without a separator there is no routing id.
    house.ends(
        2,
        &format!("listen tcp://127.0.0.1:* --type router {OPEN} --send"),
    );
}

#[test]
fn a_router_that_routes_by_user_id_does_not_look_at_claimed_identities() {
    let house = House::new();
    let policy = "--plain --policy @users.toml";
    let users = "[domain.\"*\"]\nplain.users = { alice = \"secret\", bob = \"secret\" }\n";
    std::fs::write(house.path("users.toml"), users).unwrap();
    let (mut router, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type router {policy} --route-by-user-id --send --multipart /"
    ));
    // Bob claims to be alice.
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
        let connect = format!(
            "connect {endpoint} --type dealer --plain {user} --password-file @right --identity alice"
        );
        let mut dealer = connected(&house, &connect);
        dealer.event("connected");
        assert_eq!(router.event("accepted")["routing_id"]["text"], user);
        dealer
    });
    for line in ["alice/hello alice", "bob/hello bob"] {
        router.say(line);
    }
    for (dealer, text) in [(&mut alice, "hello alice"), (&mut bob, "hello bob")] {
        assert_eq!(dealer.event("message")["frames"], json!([{ "text": text }]));
    }
    bob.say("from bob");
    assert_eq!(router.event("message")["routing_id"]["text"], "bob");
    // Peers without a user id of their own, and types that do not route.
    for other in [
        format!("--type router {OPEN}"),
        format!("--type dealer {policy}"),
    ] {
        let listen = format!("listen tcp://127.0.0.1:* {other} --route-by-user-id");
        let complaint = house.ends(2, &listen);
        assert!(complaint.contains("user"), "{complaint}");
    }
}

#[test]
fn a_req_and_a_rep_that_listen_take_the_body_alone() {
    let house = House::new();
    let (mut rep, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type rep {OPEN} --send"
    ));
    let mut req = connected(&house, &format!("connect {endpoint} --type req --null"));
    req.say("question");
    assert_eq!(
        rep.event("message")["frames"],
        json!([{"text": "question"}])
    );
    rep.say("answer");
    assert_eq!(req.event("message")["frames"], json!([{"text": "answer"}]));

    let (mut req, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type req {OPEN} --send"
    ));
    req.say("first");
    req.say("second");
    let connect = format!("connect {endpoint} --type rep --null");
    let mut lost = connected(&house, &connect);
    assert_eq!(lost.event("message")["frames"], json!([{"text": "first"}]));
    drop(lost);
    // The request to the peer that is gone is told, and the next one goes to the next peer.
    req.event("undelivered");
    req.has_told("closed");
    let mut rep = connected(&house, &connect);
    assert_eq!(rep.event("message")["frames"], json!([{"text": "second"}]));
    rep.say("answer");
    assert_eq!(req.event("message")["frames"], json!([{"text": "answer"}]));
}

#[test]
fn a_dealer_sends_lines_to_its_peers_in_turn() {
    let house = House::new();
    let (mut dealer, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type dealer {OPEN} --send"
    ));
    let connect = format!("connect {endpoint} --type dealer --null");
    let mut peers = [(); 2].map(|()| {
        let mut peer = connected(&house, &connect);
        peer.event("connected");
        dealer.event("accepted");
        peer
    });
    for line in ["1", "2", "3", "4"] {
        dealer.say(line);
    }
    for peer in &mut peers {
        let mut lines = [(); 2].map(|()| {
            let frames = peer.event("message")["frames"].clone();
            frames[0]["text"].as_str().unwrap().parse::<u32>().unwrap()
        });
        lines.sort_unstable();
        assert_eq!(lines[1] - lines[0], 2, "every second line is for this peer");
    }
}

/// The texts of the frames of the next message.
#[track_caller]
fn frames(running: &mut Running) -> Vec<String> {
    let message = running.event("message");
    let frames = message["frames"].as_array().unwrap().iter();
    frames
        .map(|frame| frame["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_publisher_that_listens_sends_each_subscriber_its_topics_and_an_xpub_shows_them() {
    let house = House::new();
    for kind in ["pub", "xpub"] {
        let (mut publisher, endpoint) = house.listening(&format!(
            "listen tcp://127.0.0.1:* --type {kind} {OPEN} --send"
        ));
        // It waits for a subscription that matches or not.
        publisher.say("early");
        let connect = |topics: &str| {
            let line = format!("connect {endpoint} --type sub --null {topics}");
            let mut sub = connected(&house, &line);
            sub.event("connected");
            sub
        };
        let mut rome = connect("--subscribe rome --subscribe end");
        publisher.event("accepted");
        let mut all = connect("");
        if kind == "xpub" {
            let mut shown = Vec::new();
            while shown.len() < 3 {
                let told = publisher.event("subscribed");
                shown.push((told["peer"].clone(), told["topic"]["text"].clone()));
            }
            for expected in [(1, "rome"), (1, "end"), (2, "")] {
                assert!(
                    shown.contains(&(json!(expected.0), json!(expected.1))),
                    "{shown:?}"
                );
            }
        } else {
            publisher.event("accepted");
        }
        // Both have subscribed once the second has something.
        while all.next_within(Duration::from_millis(50)).is_none() {
            publisher.say("paris");
        }
        for line in ["rome", "oslo", "end"] {
            publisher.say(line);
        }
        for topic in ["rome", "end"] {
            assert_eq!(frames(&mut rome), [topic]);
        }
        while frames(&mut all) != ["end"] {}
        drop(rome);
        let closed = publisher.event("closed");
        assert_eq!(closed["peer"], 1);
        publisher.say("after");
        assert_eq!(frames(&mut all), ["after"]);
        publisher.signal("TERM");
        assert_eq!(publisher.end_in_time(), Some(0));
        all.event("closed");
        assert_eq!(all.end(), Some(0));
    }
}

#[test]
fn subscriptions_that_end_with_their_peer_are_shown_before_its_end() {
    let house = House::new();
    let (mut xpub, endpoint) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type xpub {OPEN}"));
    let sub = connected(&house, &format!("connect {endpoint} --type xsub --null"));
    xpub.event("subscribed");
    sub.signal("TERM");
    assert_eq!(sub.end_in_time(), Some(0));
    let told = xpub.told_until("closed");
    let told: Vec<_> = told
        .iter()
        .map(|it| it["event"].as_str().unwrap())
        .collect();
    let expected = [
        "listening",
        "accepted",
        "subscribed",
        "unsubscribed",
        "closed",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_subscriber_that_listens_has_several_publishers_and_topics() {
    let house = House::new();
    for (subscriber, publisher) in [("sub", "pub"), ("xsub", "xpub")] {
        let (mut sub, endpoint) = house.listening(&format!(
            "listen tcp://127.0.0.1:* --type {subscriber} {OPEN} --subscribe a --subscribe b"
        ));
        let publishers = ["c1\na1\n", "c2\nb2\n"].map(|lines| {
            let connect = format!("connect {endpoint} --type {publisher} --null");
            let mut publisher = connected(&house, &connect);
            let stdin = publisher.stdin.as_mut().unwrap();
            stdin.write_all(lines.as_bytes()).unwrap();
            assert_eq!(frames(&mut sub), [&lines[3..5]]);
            publisher
        });
        for (publisher, peer) in publishers.into_iter().zip([1, 2]) {
            drop(publisher);
            assert_eq!(sub.event("closed")["peer"], peer);
        }
    }
}

#[test]
fn an_xsub_sends_lines_to_all_its_peers_and_an_xpub_that_connects_shows_subscriptions() {
    let house = House::new();
    let (mut xsub, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type xsub {OPEN} --send --subscribe news"
    ));
    xsub.say("to the first");
    let connect = format!("connect {endpoint} --type xpub --null");
    let mut first = connected(&house, &connect);
    let told = first.event("subscribed");
    assert_eq!(
        (&told["topic"]["text"], told.get("peer")),
        (&json!("news"), None)
    );
    assert_eq!(frames(&mut first), ["to the first"]);
    let mut second = connected(&house, &connect);
    second.event("subscribed");
    xsub.say("to both");
    for peer in [&mut first, &mut second] {
        assert_eq!(frames(peer), ["to both"]);
        peer.say("news for it");
        let message = xsub.event("message");
        assert_eq!(message["frames"], json!([{"text": "news for it"}]));
    }
    xsub.signal("TERM");
    assert_eq!(xsub.end_in_time(), Some(0));
    first.event("closed");
}

#[test]
fn a_publisher_loses_no_line_for_a_subscriber_that_is_slow() {
    const LINES: usize = 5000;
    let house = House::new();
    let lines: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    let (mut publisher, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type pub {OPEN} --send"
    ));
    let connect = format!("connect {endpoint} --type sub --null --count {LINES}");
    let sub = std::thread::spawn(move || House::new().events(0, &connect, ""));
    let stdin = publisher.stdin.as_mut().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    let told = sub.join().unwrap();
    let messages: Vec<_> = told.iter().filter(|it| it["event"] == "message").collect();
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message["frames"], json!([{"text": number.to_string()}]));
    }
    assert_eq!(messages.len(), LINES);

    // The other way round.
    let (mut sub, endpoint) =
        house.listening(&format!("listen tcp://127.0.0.1:* --type sub {OPEN}"));
    let connect = format!("connect {endpoint} --type pub --null");
    house.events(0, &connect, &lines);
    for number in 0..LINES {
        assert_eq!(frames(&mut sub), [number.to_string()]);
    }
}

#[test]
fn a_router_that_connects_sends_by_routing_id() {
    let house = House::new();
    let (mut dealer, endpoint) = house.listening(&format!(
        "listen tcp://127.0.0.1:* --type dealer {OPEN} --identity there --echo"
    ));
    let connect = format!("connect {endpoint} --type router --null --multipart / --count 1");
    let mut router = connected(&house, &connect);
    assert_eq!(router.event("connected")["routing_id"]["text"], "there");
    router.say("elsewhere/lost");
    router.say("there/hello");
    assert_eq!(router.event("undelivered").get("peer"), None);
    let message = router.event("message");
    assert_eq!(message["routing_id"]["text"], "there");
    assert_eq!(message["frames"], json!([{"text": "hello"}]));
    assert_eq!(router.end(), Some(0));
    assert_eq!(frames(&mut dealer), ["hello"]);
    house.ends(2, &format!("connect {endpoint} --type router --null"));
}

fn open(kind: SocketType) -> Config<NoPolicy> {
    let config = Config::builder(kind).null().accept_any_peer();
    config.finish().unwrap()
}

async fn opened(kind: SocketType) -> (Listener, String) {
    let listener = Listener::bind("tcp://127.0.0.1:*", open(kind))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint().to_string();
    (listener, endpoint)
}

async fn accepted(listener: &Listener) -> Connection {
    listener.accept().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_does_not_connect_again_once_its_peer_is_gone() {
    for kind in ["push", "dealer", "req", "pub"] {
        let theirs = match kind {
            "push" => SocketType::Pull,
            "dealer" => SocketType::Dealer,
            "req" => SocketType::Rep,
            _ => SocketType::Sub,
        };
        let (listener, endpoint) = opened(theirs).await;
        let mut ours = Running::start(&["connect", &endpoint, "--type", kind, "--null"]);
        drop(accepted(&listener).await);
        // Standard input stays open, and the program waits a second for its end before it tells.
        ours.event("closed");
        let again = tokio::time::timeout(Duration::from_millis(100), listener.accept());
        assert!(again.await.is_err(), "{kind}");
        assert_eq!(ours.end_in_time(), Some(8), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_answered_and_an_answer_that_is_not_given_end_with_the_peer() {
    let (listener, endpoint) = opened(SocketType::Rep).await;
    let mut req = Running::start(&["connect", &endpoint, "--type", "req", "--null"]);
    req.say("question");
    drop(req.stdin.take());
    let mut rep = accepted(&listener).await;
    let request = rep.recv_message().await.unwrap();
    assert_eq!(request.frames(), ["", "question"]);
    drop(rep);
    let told: Vec<Value> = req.told_until("closed").to_vec();
    let told: Vec<_> = told
        .iter()
        .map(|it| it["event"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["connected", "undelivered", "closed"]);
    assert_eq!(req.end(), Some(8));

    // A reply that arrives with the end of the peer is printed, and nothing is lost.
    let (listener, endpoint) = opened(SocketType::Rep).await;
    let mut req = Running::start(&["connect", &endpoint, "--type", "req", "--null"]);
    req.say("question");
    drop(req.stdin.take());
    let mut rep = accepted(&listener).await;
    rep.recv_message().await.unwrap();
    rep.send(Message::from(["", "answer"])).await.unwrap();
    rep.close().await.unwrap();
    assert_eq!(frames(&mut req), ["answer"]);
    assert_eq!(req.end(), Some(0));

    let (listener, endpoint) = opened(SocketType::Req).await;
    let mut rep = Running::start(&["connect", &endpoint, "--type", "rep", "--null"]);
    let mut req = accepted(&listener).await;
    req.send(Message::from(["", "question"])).await.unwrap();
    assert_eq!(frames(&mut rep), ["question"]);
    drop(req);
    rep.event("closed");
    assert_eq!(rep.end_in_time(), Some(8));
}

//! `listen` as a socket with several peers.

use super::program::{House, Running, texts};
use serde_json::json;

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

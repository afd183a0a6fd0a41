//! Options with live libzmq's options of the same names on the other side, and how the two behave alike.

use crate::both_sides::{our_client, our_server, their_client, their_server};
use crate::peer::{Context, Payload};
use crate::securities::{ANY_PORT, fast, soon};
use std::time::Duration;
use zmtp_sockets::{
    Dealer, FromSubscriber, Pull, Push, Req, Router, SocketEvent, SocketOptions, Sub, Xpub, Xsub,
};

/// Long enough for a message that would arrive.
const SILENCE: Duration = Duration::from_millis(200);

fn text(frame: &str) -> [Payload; 1] {
    [Payload::from(frame)]
}

/// The port of a socket that was there a moment ago.
async fn free_endpoint() -> String {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, our_server("NULL")).await.unwrap();
    soon(pull.close()).await;
    endpoint.to_string()
}

/// A conflated PUSH of either side keeps the last message for a peer that it waits for.
#[tokio::test]
async fn a_conflated_push_sends_the_last_message() {
    let context = Context::new().await;
    let endpoint = free_endpoint().await;
    let options = their_client("CURVE")
        .set("CONFLATE", 1)
        .set("RECONNECT_IVL", 5);
    let theirs = context.connected("PUSH", options, &endpoint).await;
    for number in 0..10 {
        theirs.send(&text(&number.to_string())).await;
    }
    let mut pull = Pull::new();
    pull.bind(endpoint.as_str(), our_server("CURVE"))
        .await
        .unwrap();
    assert_eq!(soon(pull.recv()).await.frames(), ["9"]);
    soon(pull.close()).await;

    let endpoint = free_endpoint().await;
    let mut push = Push::with_options(fast().with_conflate(true));
    push.connect(endpoint.as_str(), our_client("CURVE"))
        .unwrap();
    for number in 0..10 {
        push.try_send(number.to_string()).unwrap();
    }
    let (theirs, _) = context
        .bound("PULL", their_server("CURVE"), &endpoint)
        .await;
    assert_eq!(theirs.receive().await.frames, text("9"));
    assert!(theirs.try_receive(&[], SILENCE).await.is_none());
}

/// A conflated SUB or PULL of either side receives the last message.
#[tokio::test]
async fn a_conflated_receiver_gets_the_last_message() {
    let context = Context::new().await;
    let options = SocketOptions::default().with_conflate(true);
    let mut pull = Pull::with_options(options.clone());
    let endpoint = pull.bind(ANY_PORT, our_server("CURVE")).await.unwrap();
    let theirs = context
        .connected("PUSH", their_client("CURVE"), &endpoint.to_string())
        .await;
    for number in 0..10 {
        theirs.send(&text(&number.to_string())).await;
    }
    let mut received = Vec::new();
    while received.last().is_none_or(|last| last != "9") {
        received.push(soon(pull.recv()).await.frames()[0].clone());
        tokio::time::sleep(SILENCE).await;
    }
    assert!(received.len() < 10, "{received:?}");

    let mut sub = Sub::with_options(options);
    sub.subscribe("");
    let (publisher, endpoint) = context.bound("PUB", their_server("CURVE"), ANY_PORT).await;
    sub.connect(endpoint.as_str(), our_client("CURVE")).unwrap();
    // What a PUB sends before the subscription has arrived is lost.
    let arrived = async {
        loop {
            publisher.send(&text("first")).await;
            if let Ok(received) = tokio::time::timeout(SILENCE, sub.recv()).await {
                break received;
            }
        }
    };
    assert_eq!(soon(arrived).await.frames(), ["first"]);
    for number in 0..10 {
        publisher.send(&text(&number.to_string())).await;
    }
    let mut received = Vec::new();
    while received.last().is_none_or(|last| last != "9") {
        tokio::time::sleep(SILENCE).await;
        received.push(soon(sub.recv()).await.frames()[0].clone());
    }
    assert!(received.len() < 10, "{received:?}");
}

/// libzmq's DEALER, REQ and ROUTER tell our ROUTER that they are there, and ours tell libzmq's.
#[tokio::test]
async fn probes_reach_a_router() {
    let context = Context::new().await;
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, our_server("CURVE")).await.unwrap();
    let (theirs, other) = context
        .bound("ROUTER", their_server("CURVE"), ANY_PORT)
        .await;
    let mut sockets = Vec::new();
    for kind in ["DEALER", "REQ", "ROUTER"] {
        let options = their_client("CURVE")
            .bytes("ROUTING_ID", kind.as_bytes())
            .set("PROBE_ROUTER", 1);
        sockets.push(
            context
                .connected(kind, options, &endpoint.to_string())
                .await,
        );
        let request = soon(router.recv()).await;
        assert_eq!(request.routing_id(), kind);
        assert_eq!(request.frames(), [""]);
    }
    let options = |name| fast().with_probe_router(true).with_routing_id(name);
    let (mut dealer, mut req, mut router) = (
        Dealer::with_options(options("DEALER")),
        Req::with_options(options("REQ")),
        Router::with_options(options("ROUTER")),
    );
    let security = || our_client("CURVE");
    dealer.connect(other.as_str(), security()).unwrap();
    assert_eq!(theirs.receive().await.frames, probe("DEALER"));
    req.connect(other.as_str(), security()).unwrap();
    assert_eq!(theirs.receive().await.frames, probe("REQ"));
    router.connect(other.as_str(), security()).unwrap();
    assert_eq!(theirs.receive().await.frames, probe("ROUTER"));
}

fn probe(name: &str) -> [Payload; 2] {
    [Payload::from(name), Payload::from("")]
}

/// A ROUTER that comes back gets the probe of our DEALER again, and that of libzmq's not.
#[tokio::test]
async fn a_router_that_comes_back_is_probed_again_by_ours() {
    let context = Context::new().await;
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, our_server("NULL")).await.unwrap();
    let options = their_client("NULL")
        .set("PROBE_ROUTER", 1)
        .set("RECONNECT_IVL", 5);
    let theirs = context
        .connected("DEALER", options, &endpoint.to_string())
        .await;
    let mut dealer = Dealer::with_options(fast().with_probe_router(true).with_routing_id("ours"));
    dealer.connect(&endpoint, our_client("NULL")).unwrap();
    for _ in 0..2 {
        assert_eq!(soon(router.recv()).await.frames(), [""]);
    }
    soon(router.close()).await.unwrap();
    let mut router = Router::new();
    router.bind(&endpoint, our_server("NULL")).await.unwrap();
    let request = soon(router.recv()).await;
    assert_eq!(
        (request.routing_id(), request.frames()),
        (&"ours".into(), &["".into()][..])
    );
    // A socket of libzmq goes on with what it has begun when it is called.
    let received = soon(async {
        loop {
            theirs.send(&text("hello")).await;
            if let Ok(request) = tokio::time::timeout(SILENCE, router.recv()).await {
                break request;
            }
        }
    });
    assert_eq!(received.await.frames(), ["hello"]);
}

/// A socket of either side that is immediate has no queue for a peer that is not there.
#[tokio::test]
async fn an_immediate_push_waits_for_its_peer() {
    let context = Context::new().await;
    let endpoint = free_endpoint().await;
    let options = their_client("NULL")
        .set("IMMEDIATE", 1)
        .set("RECONNECT_IVL", 5);
    let theirs = context.connected("PUSH", options, &endpoint).await;
    assert!(!theirs.try_send(&text("early"), SILENCE).await);
    let mut push = Push::with_options(fast().with_immediate(true));
    push.connect(endpoint.as_str(), our_client("NULL")).unwrap();
    assert!(push.try_send("early").is_err());
    let (pull, _) = context.bound("PULL", their_server("NULL"), &endpoint).await;
    soon(push.send("connected")).await;
    assert_eq!(pull.receive().await.frames, text("connected"));
    theirs.send(&text("connected")).await;
    assert_eq!(pull.receive().await.frames, text("connected"));
}

/// RFC 29 says only that an XSUB sends to all its peers. In libzmq, and here, a message waits for a
/// dialled peer, also between two connections.
#[tokio::test]
async fn messages_of_an_xsub_wait_for_a_dialled_peer() {
    let context = Context::new().await;
    let endpoint = free_endpoint().await;
    let options = their_client("CURVE").set("RECONNECT_IVL", 5);
    let theirs = context.connected("XSUB", options, &endpoint).await;
    theirs.send(&text("early")).await;
    let mut xpub = Xpub::new();
    xpub.bind(endpoint.as_str(), our_server("CURVE"))
        .await
        .unwrap();
    match soon(xpub.recv()).await {
        FromSubscriber::Message(it) => assert_eq!(it.frames(), ["early"]),
        other => panic!("{other:?}"),
    }
    theirs.close().await;
    drop(xpub);

    let endpoint = free_endpoint().await;
    let mut xsub = Xsub::with_options(fast());
    xsub.connect(endpoint.as_str(), our_client("CURVE"))
        .unwrap();
    xsub.subscribe("topic");
    for message in ["early", "between"] {
        xsub.send(message);
        let options = their_server("CURVE").set("LINGER", 0);
        let (xpub, _) = context.bound("XPUB", options, &endpoint).await;
        assert_eq!(xpub.receive().await.frames, text("\u{1}topic"));
        assert_eq!(xpub.receive().await.frames, text(message));
        let mut events = xsub.events();
        xpub.close().await;
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    }
}

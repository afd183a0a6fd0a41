//! Where the RFCs are silent: what libzmq does, and what we do.

use crate::both_sides::{our_client, our_server, their_client, their_server};
use crate::peer::{Context, Payload};
use crate::securities::{ANY_PORT, eventually, fast, soon};
use std::time::Duration;
use zmtp_sockets::{Dealer, Pull, Push, Router, SocketEvent, TurnedAway};

/// A second peer with the routing id of a connected one: libzmq's ROUTER ignores it (without
/// `ZMQ_ROUTER_HANDOVER`). Ours turns it away, unless it is the same authenticated user.
#[tokio::test]
async fn a_second_peer_with_a_routing_id_that_is_taken_is_not_heard() {
    let context = Context::new().await;
    let (router, endpoint) = context
        .bound("ROUTER", their_server("NULL"), ANY_PORT)
        .await;
    let mut dealers = Vec::new();
    for name in ["first", "second"] {
        let mut dealer = Dealer::with_options(fast().with_routing_id("same"));
        dealer
            .connect(endpoint.as_str(), our_client("NULL"))
            .unwrap();
        soon(dealer.send(name)).await;
        if name == "first" {
            assert_eq!(router.receive().await.frames[1], Payload::from("first"));
        }
        dealers.push(dealer);
    }
    assert!(
        router
            .try_receive(&[], Duration::from_millis(300))
            .await
            .is_none()
    );

    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, our_server("NULL")).await.unwrap();
    let mut events = router.events();
    let options = || their_client("NULL").bytes("ROUTING_ID", b"same");
    let first = context
        .connected("DEALER", options(), &endpoint.to_string())
        .await;
    first.send(&[Payload::from("first")]).await;
    assert_eq!(soon(router.recv()).await.frames(), ["first"]);
    let second = context
        .connected("DEALER", options(), &endpoint.to_string())
        .await;
    second.send(&[Payload::from("second")]).await;
    loop {
        match soon(events.next()).await {
            Some(SocketEvent::TurnedAway { reason, .. }) => {
                assert_eq!(reason, TurnedAway::RoutingIdInUse("same".into()));
                break;
            }
            Some(_) => {}
            None => panic!("the socket is there"),
        }
    }
    assert!(router.try_recv().is_none());
}

/// RFC 30 says nothing about what waits for a peer that is gone: in libzmq, and here, what is queued
/// for a peer that was accepted dies with it, and what is queued for one that was dialled waits.
#[tokio::test]
async fn what_is_queued_for_a_dialled_peer_waits_and_for_an_accepted_one_dies() {
    let context = Context::new().await;
    let mut push = Push::with_options(fast());
    let (pull, endpoint) = context.bound("PULL", their_server("CURVE"), ANY_PORT).await;
    push.connect(endpoint.as_str(), our_client("CURVE"))
        .unwrap();
    soon(push.send("1")).await;
    pull.receive().await;
    let mut events = push.events();
    pull.close().await;
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    push.try_send("2").unwrap();
    let (pull, _) = context
        .bound("PULL", their_server("CURVE"), &endpoint)
        .await;
    assert_eq!(pull.receive().await.frames, [Payload::from("2")]);

    let mut push = Push::new();
    let endpoint = push.bind(ANY_PORT, our_server("NULL")).await.unwrap();
    let pull = context
        .connected("PULL", their_client("NULL"), &endpoint.to_string())
        .await;
    soon(push.send("1")).await;
    pull.receive().await;
    pull.close().await;
    eventually(|| push.try_send("2").is_err()).await;
}

/// libzmq closes the connections of an endpoint that is unbound.
#[tokio::test]
async fn an_unbound_endpoint_closes_its_connections() {
    let context = Context::new().await;
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, our_server("NULL")).await.unwrap();
    let push = context.socket("PUSH", their_client("NULL")).await;
    let mut events = push.monitor().await;
    push.connect(&endpoint.to_string()).await;
    push.send(&[Payload::from("1")]).await;
    soon(pull.recv()).await;
    soon(pull.unbind(&endpoint)).await.unwrap();
    events.first_of(&["DISCONNECTED"]).await;

    let (theirs, endpoint) = context.bound("PULL", their_server("NULL"), ANY_PORT).await;
    let mut push = Push::with_options(fast());
    push.connect(endpoint.as_str(), our_client("NULL")).unwrap();
    soon(push.send("1")).await;
    theirs.receive().await;
    let mut events = push.events();
    theirs.unbind(&endpoint).await;
    // A socket of libzmq goes on with what it has begun when it is called.
    soon(async {
        loop {
            tokio::select! {
                event = events.next() => {
                    if matches!(event, Some(SocketEvent::Lost { .. })) {
                        break;
                    }
                }
                _ = theirs.try_receive(&[], Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
}

//! DEALER and ROUTER (RFC 28), and who may have a routing id.

use crate::securities::{ANY_PORT, eventually, fast, null, plain_client, plain_server, soon};
use zmtp_sockets::{Addressed, Dealer, Router, SendReason, SocketEvent, SocketOptions, TurnedAway};

fn claiming(routing_id: &'static str) -> SocketOptions {
    fast().with_routing_id(routing_id)
}

#[tokio::test]
async fn a_router_answers_each_peer_by_its_routing_id() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut dealers = Vec::new();
    for name in ["alice", "bob"] {
        let mut dealer = Dealer::new();
        dealer.connect(&endpoint, plain_client(name)).unwrap();
        soon(dealer.send(name)).await;
        dealers.push((name, dealer));
    }
    for _ in 0..2 {
        let request = soon(router.recv()).await;
        assert_eq!(request.frames()[0], request.peer().user_id().unwrap());
        assert_eq!(
            (request.routing_id().len(), request.routing_id()[0]),
            (5, 0)
        );
        router
            .send(request.reply(request.frames()[0].clone()))
            .unwrap();
    }
    for (name, dealer) in &mut dealers {
        assert_eq!(soon(dealer.recv()).await.frames(), [*name]);
    }
}

#[tokio::test]
async fn a_message_without_a_route_is_given_back() {
    let mut router = Router::new();
    let refused = router.send(Addressed::new("nobody", "hello")).unwrap_err();
    assert_eq!(refused.reason, SendReason::NoRoute("nobody".into()));
    assert_eq!(refused.message.frames(), ["hello"]);
}

#[tokio::test]
async fn a_routing_id_is_taken_over_by_its_user_and_by_no_other() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut events = router.events();
    let mut first = Dealer::with_options(claiming("worker"));
    first.connect(&endpoint, plain_client("alice")).unwrap();
    soon(first.send("first")).await;
    assert_eq!(soon(router.recv()).await.routing_id(), "worker");
    assert!(matches!(
        soon(events.next()).await,
        Some(SocketEvent::Accepted { .. })
    ));

    let mut stranger = Dealer::with_options(claiming("worker"));
    stranger
        .connect(&endpoint, plain_client("mallory"))
        .unwrap();
    soon(stranger.send("forged")).await;
    match soon(events.next()).await {
        Some(SocketEvent::TurnedAway { peer, reason }) => {
            assert_eq!(peer.user_id().unwrap(), "mallory");
            assert_eq!(reason, TurnedAway::RoutingIdInUse("worker".into()));
        }
        other => panic!("{other:?}"),
    }
    drop(stranger);

    let mut second = Dealer::with_options(claiming("worker"));
    second.connect(&endpoint, plain_client("alice")).unwrap();
    soon(second.send("second")).await;
    let request = soon(router.recv()).await;
    assert_eq!(request.frames(), ["second"]);
    router.send(request.reply("to the second")).unwrap();
    assert_eq!(soon(second.recv()).await.frames(), ["to the second"]);
    // The first one dials again and takes its id back.
    soon(first.send("again")).await;
    assert_eq!(soon(router.recv()).await.frames(), ["again"]);
}

#[tokio::test]
async fn a_routing_id_is_free_when_its_peer_is_gone() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    for _ in 0..3 {
        let mut dealer = Dealer::with_options(claiming("worker"));
        dealer.connect(&endpoint, null()).unwrap();
        soon(dealer.send("hello")).await;
        let request = soon(router.recv()).await;
        assert_eq!(request.routing_id(), "worker");
        soon(dealer.close()).await.unwrap();
        eventually(|| router.send(request.reply("late")).is_err()).await;
    }
}

#[tokio::test]
async fn halves_work_in_two_tasks() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let mut dealer = Dealer::new();
    dealer.connect(&endpoint, null()).unwrap();
    let (mut sender, mut receiver) = router.split();
    let serving = tokio::spawn(async move {
        for _ in 0..1000 {
            let request = receiver.recv().await;
            let reply = request.reply(request.message().clone());
            sender.send(reply).unwrap();
        }
        (sender, receiver)
    });
    let (mut to_router, mut from_router) = dealer.split();
    let sending = tokio::spawn(async move {
        for number in 0..1000_u32 {
            to_router.send(number.to_string()).await;
        }
        to_router
    });
    for number in 0..1000_u32 {
        let received = soon(from_router.recv()).await;
        assert_eq!(received.frames(), [number.to_string()]);
    }
    soon(serving).await.unwrap();
    soon(sending).await.unwrap();
}

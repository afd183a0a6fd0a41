//! A ROUTER that routes by user id.

use crate::securities::{
    ANY_PORT, anonymous, fast, null, plain_client, plain_server, plain_server_of, soon,
};
use zmtp_auth::{Config, KeyPair, Security};
use zmtp_sockets::{
    Addressed, AttachError, Dealer, Events, RouteBy, Router, SocketEvent, SocketOptions, TurnedAway,
};

fn router_by_user_id() -> Router {
    Router::with_options(SocketOptions::default().with_route_by(RouteBy::UserId))
}

async fn turned_away(events: &mut Events) -> TurnedAway {
    loop {
        match soon(events.next()).await {
            Some(SocketEvent::TurnedAway { reason, .. }) => return reason,
            Some(_) => {}
            None => panic!("the socket is gone"),
        }
    }
}

#[tokio::test]
async fn peers_are_addressed_by_their_user_ids_whatever_they_claim() {
    let mut router = router_by_user_id();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut alice = Dealer::with_options(fast().with_routing_id("bob"));
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    soon(alice.send("hello")).await;
    let request = soon(router.recv()).await;
    assert_eq!(request.routing_id(), "alice");
    assert!(router.send(Addressed::new("bob", "hello")).is_err());
    router.send(Addressed::new("alice", "hello alice")).unwrap();
    assert_eq!(soon(alice.recv()).await.frames(), ["hello alice"]);
}

#[tokio::test]
async fn a_user_takes_over_and_another_one_of_the_same_name_does_not() {
    let mut router = router_by_user_id();
    let mut events = router.events();
    let first = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let other = plain_server_of("other");
    let second = router.bind(ANY_PORT, other).await.unwrap();
    let mut alice = Dealer::with_options(fast());
    alice.connect(&first, plain_client("alice")).unwrap();
    soon(alice.send("1")).await;
    assert_eq!(soon(router.recv()).await.frames(), ["1"]);
    let mut mallory = Dealer::with_options(fast());
    mallory.connect(&second, plain_client("alice")).unwrap();
    soon(mallory.send("forged")).await;
    let reason = turned_away(&mut events).await;
    assert_eq!(reason, TurnedAway::RoutingIdInUse("alice".into()));
    let mut again = Dealer::with_options(fast());
    again.connect(&first, plain_client("alice")).unwrap();
    soon(again.send("2")).await;
    assert_eq!(soon(router.recv()).await.frames(), ["2"]);
    router
        .send(Addressed::new("alice", "to the second"))
        .unwrap();
    assert_eq!(soon(again.recv()).await.frames(), ["to the second"]);
}

#[tokio::test]
async fn user_ids_that_cannot_be_routing_ids_are_turned_away() {
    let mut router = router_by_user_id();
    let mut events = router.events();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    for name in ["", "\0name"] {
        let mut dealer = Dealer::with_options(fast());
        dealer.connect(&endpoint, plain_client(name)).unwrap();
        soon(dealer.send("hello")).await;
        let reason = turned_away(&mut events).await;
        assert_eq!(reason, TurnedAway::UserIdUnroutable(name.into()));
    }
    assert!(router.try_recv().is_none());
}

#[tokio::test]
async fn no_endpoint_admits_peers_without_a_user_id_of_their_own() {
    let server = || KeyPair::generate().unwrap();
    let any_curve = Config::untyped_builder().curve_server(server());
    let any_curve = any_curve.accept_any_peer().finish().unwrap();
    let key = server().public_key();
    let curve_client = Config::untyped_builder().curve_client(server(), key);
    let securities: [Security; 5] = [
        null(),
        anonymous(),
        plain_client("alice"),
        any_curve.into(),
        curve_client.finish().unwrap().into(),
    ];
    for security in securities {
        let mut router = router_by_user_id();
        let bound = router.bind(ANY_PORT, security.clone()).await;
        assert!(matches!(bound, Err(AttachError::NoUserId)), "{security:?}");
        let connected = router.connect("tcp://127.0.0.1:9", security.clone());
        assert!(matches!(connected, Err(AttachError::NoUserId)));
        assert_eq!(router.endpoints().count(), 0);
        // The option concerns no other type of socket.
        let options = SocketOptions::default().with_route_by(RouteBy::UserId);
        let bound = Dealer::with_options(options).bind(ANY_PORT, security).await;
        bound.unwrap();
    }
    let dialling = router_by_user_id().connect("tcp://127.0.0.1:9", plain_server());
    dialling.unwrap();
}

#[tokio::test]
async fn a_name_that_proves_nothing_takes_no_routing_id_over() {
    let mut router = Router::new();
    let mut events = router.events();
    let endpoint = router.bind(ANY_PORT, anonymous()).await.unwrap();
    let plain = router.bind(ANY_PORT, plain_server()).await.unwrap();
    for (endpoint, security) in [(endpoint, null()), (plain, plain_client(""))] {
        let claiming = || fast().with_routing_id(security.mechanism().to_string());
        let mut holder = Dealer::with_options(claiming());
        holder.connect(&endpoint, security.clone()).unwrap();
        soon(holder.send("holder")).await;
        assert_eq!(soon(router.recv()).await.frames(), ["holder"]);
        let mut stranger = Dealer::with_options(claiming());
        stranger.connect(&endpoint, security.clone()).unwrap();
        let reason = turned_away(&mut events).await;
        assert!(matches!(reason, TurnedAway::RoutingIdInUse(_)));
    }
}

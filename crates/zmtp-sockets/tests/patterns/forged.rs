//! Strangers who claim the routing id of a user while the user connects again and again.

use crate::securities::{ANY_PORT, fast, plain_client, plain_server, soon};
use std::time::Duration;
use tokio::task::JoinHandle;
use zmtp_auth::Peer;
use zmtp_auth::net::Endpoint;
use zmtp_sockets::{Addressed, Dealer, Request, Router, SocketEvent, SocketOptions, TurnedAway};

const ROUNDS: u32 = 30;

fn worker() -> SocketOptions {
    fast().with_routing_id("worker")
}

/// Whether a peer is alice of the first endpoint.
fn is_alice(peer: &Peer) -> bool {
    let authenticated = peer.authenticated.as_ref().unwrap();
    authenticated.user_id == "alice" && authenticated.domain.as_bytes() == b"test"
}

/// Claims the routing id of the worker without end. Fails if it ever receives something.
fn stranger(endpoint: &Endpoint, name: &'static str) -> JoinHandle<()> {
    let endpoint = endpoint.clone();
    tokio::spawn(async move {
        loop {
            let mut dealer = Dealer::with_options(worker());
            dealer.connect(&endpoint, plain_client(name)).unwrap();
            dealer.try_send("forged").unwrap();
            let received = tokio::time::timeout(Duration::from_millis(5), dealer.recv()).await;
            assert!(received.is_err(), "{name} received {received:?}");
        }
    })
}

/// A user hands its routing id over from one connection to the next. Strangers who claim it all the
/// while, one of them with the name of the user in another domain, get nothing and are not heard.
#[tokio::test]
async fn a_routing_id_that_its_user_hands_over_is_never_a_strangers() {
    let mut router = Router::new();
    let mut events = router.events();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let other = crate::securities::plain_server_of("other");
    let elsewhere = router.bind(ANY_PORT, other).await.unwrap();
    let alice = async |router: &mut Router, round: u32| {
        let mut alice = Dealer::with_options(worker());
        alice.connect(&endpoint, plain_client("alice")).unwrap();
        soon(alice.send(round.to_string())).await;
        let request = soon(router.recv()).await;
        assert_eq!(request.frames(), [round.to_string()]);
        assert_eq!(request.routing_id(), "worker");
        assert!(is_alice(request.peer()));
        (alice, request)
    };
    let (mut before, _) = alice(&mut router, 0).await;
    let strangers = [
        stranger(&endpoint, "mallory"),
        stranger(&endpoint, "eve"),
        stranger(&elsewhere, "alice"),
    ];
    let mut turned_away = 0;
    for round in 1..ROUNDS {
        // The new connection is there before the old one is gone.
        let (mut now, request) = alice(&mut router, round).await;
        drop(before);
        let secret = format!("secret {round}");
        router
            .send(Addressed::new("worker", secret.clone()))
            .unwrap();
        assert_eq!(soon(now.recv()).await.frames(), [secret]);
        router.send(request.reply("answer")).unwrap();
        assert_eq!(soon(now.recv()).await.frames(), ["answer"]);
        before = now;
        // On with it only when strangers have tried meanwhile.
        let tried = turned_away + 3;
        while turned_away < tried {
            match soon(events.next()).await.unwrap() {
                SocketEvent::TurnedAway { peer, reason } => {
                    assert_eq!(reason, TurnedAway::RoutingIdInUse("worker".into()));
                    assert!(!is_alice(&peer), "the user itself was turned away");
                    turned_away += 1;
                }
                SocketEvent::Accepted { peer, .. } => {
                    assert!(is_alice(&peer));
                }
                _ => {}
            }
        }
        assert!(router.try_recv().is_none(), "a stranger was heard");
    }
    for stranger in strangers {
        assert!(!stranger.is_finished(), "a stranger has received something");
        stranger.abort();
    }
}

/// The user leaves and comes back, and meanwhile a stranger may have its routing id, because it is free.
/// What answers the user goes to no stranger.
#[tokio::test]
async fn an_answer_waits_for_no_stranger_who_has_the_routing_id_by_now() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, plain_server()).await.unwrap();
    let strangers = [stranger(&endpoint, "mallory"), stranger(&endpoint, "eve")];
    let mut requests: Vec<Request> = Vec::new();
    soon(async {
        while requests.len() < 20 {
            let mut alice = Dealer::with_options(worker().with_linger(Duration::ZERO));
            alice.connect(&endpoint, plain_client("alice")).unwrap();
            alice.try_send("question").unwrap();
            // What she has sent is lost if a stranger has the routing id.
            let heard = tokio::time::timeout(Duration::from_millis(20), async {
                loop {
                    let request = router.recv().await;
                    if request.peer().user_id().unwrap() == "alice" {
                        return request;
                    }
                }
            });
            let Ok(request) = heard.await else {
                continue;
            };
            assert_eq!(request.frames(), ["question"]);
            requests.push(request);
            drop(alice);
            // The routing id is free, and a stranger gets it.
            let stranger = loop {
                let request = router.recv().await;
                if request.peer().user_id().unwrap() != "alice" {
                    break request;
                }
            };
            assert_eq!(stranger.frames(), ["forged"]);
            assert_eq!(stranger.routing_id(), "worker");
            for request in &requests {
                let _ = router.send(request.reply("secret"));
            }
        }
    })
    .await;
    for stranger in strangers {
        assert!(!stranger.is_finished(), "a stranger has received something");
        stranger.abort();
    }
}

//! Peers that go and come back, under CURVE.

use crate::both_sides::{our_client, our_server, their_client, their_server};
use crate::peer::{Context, Payload};
use crate::securities::{ANY_PORT, fast, soon};
use std::time::Duration;
use zmtp_auth::net::Endpoint;
use zmtp_sockets::{Dealer, Req, Router};

/// How often the server comes back: three times, or twenty times with `--full`.
fn restarts() -> u8 {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => 20,
        None => 3,
    }
}

#[tokio::test]
async fn a_req_that_asks_again_gets_every_reply_from_a_server_that_restarts() {
    let context = Context::new().await;
    let mut req = Req::with_options(fast());
    let mut endpoint = ANY_PORT.to_owned();
    for number in 0..=restarts() {
        let options = their_server("CURVE").set("LINGER", 0);
        let (rep, bound) = context.bound("REP", options, &endpoint).await;
        if number == 0 {
            req.connect(bound.as_str(), our_client("CURVE")).unwrap();
        }
        endpoint = bound;
        let asked = [Payload::from([number].as_slice())];
        let answering = async {
            assert_eq!(rep.receive().await.frames, asked);
            rep.send(&asked).await;
        };
        let asking = soon(async {
            loop {
                let asked = req.request(vec![number]);
                if let Ok(Ok(reply)) = tokio::time::timeout(Duration::from_secs(5), asked).await {
                    break reply;
                }
            }
        });
        let (reply, ()) = tokio::join!(asking, answering);
        assert_eq!(reply.frames(), [vec![number]]);
        rep.close().await;
    }
}

#[tokio::test]
async fn a_dealer_of_libzmq_finds_a_router_that_restarts() {
    let context = Context::new().await;
    let options = their_client("CURVE")
        .bytes("ROUTING_ID", b"theirs")
        .set("RECONNECT_IVL", 5);
    let dealer = context.socket("DEALER", options).await;
    let mut endpoint: Endpoint = "tcp://127.0.0.1:*".parse().unwrap();
    for number in 0..=restarts() {
        let mut router = Router::new();
        let bound = router.bind(&endpoint, our_server("CURVE")).await.unwrap();
        if number == 0 {
            dealer.connect(&bound.to_string()).await;
        }
        endpoint = bound;
        // What libzmq sends while it does not know of the loss is lost with the connection.
        let request = loop {
            dealer.send(&[Payload::from([number].as_slice())]).await;
            let received = tokio::time::timeout(Duration::from_millis(200), router.recv()).await;
            if let Ok(request) = received
                && request.frames() == [vec![number]]
            {
                break request;
            }
        };
        router.send(request.reply(vec![number])).unwrap();
        let answer = [Payload::from([number].as_slice())];
        while dealer.receive().await.frames != answer {}
        soon(router.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_dealer_finds_a_router_of_libzmq_that_restarts() {
    let context = Context::new().await;
    let mut dealer = Dealer::with_options(fast().with_routing_id("ours"));
    let mut endpoint = ANY_PORT.to_owned();
    for number in 0..=restarts() {
        let options = their_server("CURVE").set("LINGER", 0);
        let (router, bound) = context.bound("ROUTER", options, &endpoint).await;
        if number == 0 {
            dealer.connect(bound.as_str(), our_client("CURVE")).unwrap();
        }
        endpoint = bound;
        let request = loop {
            soon(dealer.send(vec![number])).await;
            let received = router.try_receive(&[], Duration::from_millis(500)).await;
            if let Some(received) = received {
                break received.frames;
            }
        };
        router.send(&request).await;
        while soon(dealer.recv()).await.frames() != [vec![number]] {}
        router.close().await;
    }
}

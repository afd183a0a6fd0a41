//! Events of sockets.

use crate::securities::{ANY_PORT, fast, null, soon};
use zmtp_sockets::{Dealer, Events, Pull, Push, Router, SocketEvent};

async fn next(events: &mut Events) -> SocketEvent {
    soon(events.next()).await.expect("the socket lives")
}

#[tokio::test]
async fn a_lost_peer_is_told_once_more_when_everything_of_it_was_received() {
    const MESSAGES: usize = 100;
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let mut push = Push::new();
    push.connect(&endpoint, null()).unwrap();
    for number in 0..MESSAGES {
        soon(push.send(number.to_string())).await;
    }
    soon(push.close()).await.unwrap();
    let SocketEvent::Accepted { peer, .. } = next(&mut events).await else {
        panic!("it connects first");
    };
    assert!(matches!(next(&mut events).await, SocketEvent::Lost { .. }));
    for _ in 0..MESSAGES {
        let received = soon(pull.recv()).await;
        assert!(std::sync::Arc::ptr_eq(received.peer(), &peer));
    }
    // Nothing more comes, and the socket finds out when it is asked.
    assert!(pull.try_recv().is_none());
    let SocketEvent::AllReceived { peer: ended } = next(&mut events).await else {
        panic!("everything was received");
    };
    assert!(std::sync::Arc::ptr_eq(&ended, &peer));
}

#[tokio::test]
async fn a_router_tells_the_routing_id_of_a_peer_that_has_sent_nothing() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let mut events = router.events();
    for (claim, expected) in [("worker", &b"worker"[..]), ("", &[0; 5])] {
        let mut dealer = Dealer::with_options(fast().with_routing_id(claim));
        dealer.connect(&endpoint, null()).unwrap();
        let SocketEvent::Accepted { routing_id, .. } = next(&mut events).await else {
            panic!("it connects");
        };
        let routing_id = routing_id.expect("a router has routing ids");
        assert_eq!(routing_id, expected);
        let addressed = zmtp_sockets::Addressed::new(routing_id, "hello");
        router.send(addressed).unwrap();
        assert_eq!(soon(dealer.recv()).await.frames(), ["hello"]);
        soon(dealer.close()).await.unwrap();
        assert!(matches!(next(&mut events).await, SocketEvent::Lost { .. }));
        // The socket was never asked for a message, and keeps nothing of the peer.
        assert!(matches!(
            next(&mut events).await,
            SocketEvent::AllReceived { .. }
        ));
    }
}

#[tokio::test]
async fn a_close_waits_until_the_peer_has_closed_too() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let mut push = Push::new();
    push.connect(&endpoint, null()).unwrap();
    soon(push.send("last")).await;
    soon(push.close()).await.unwrap();
    // The other side has noticed by then: its two events wait already.
    for _ in 0..2 {
        let told = tokio::time::timeout(std::time::Duration::ZERO, events.next()).await;
        assert!(told.unwrap().is_some());
    }
}

//! Events of sockets.

use crate::securities::{ANY_PORT, fast, null, soon};
use std::time::Duration;
use zmtp_auth::net::{Listener, NetError};
use zmtp_auth::{Config, SocketType};
use zmtp_sockets::{Dealer, Events, Pull, Push, Router, SocketEvent, SocketOptions};

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

#[tokio::test]
async fn a_socket_that_dials_once_says_whether_everything_was_sent_and_connects_no_more() {
    let once = || {
        let mut options = fast().with_immediate(true);
        options.connection.reconnect.once = true;
        Push::with_options(options)
    };
    // Nothing listens there: one attempt, and none after it.
    let mut push = once();
    let mut events = push.events();
    push.connect("tcp://127.0.0.1:9", null()).unwrap();
    let told = next(&mut events).await;
    let SocketEvent::Retrying { retry_after, .. } = told else {
        panic!("{told:?}");
    };
    assert_eq!(retry_after, None);

    for sends_all in [true, false] {
        let config = Config::builder(SocketType::Pull).null().accept_any_peer();
        let listener = Listener::bind(ANY_PORT, config.finish().unwrap()).await;
        let listener = listener.unwrap();
        let mut push = once();
        let mut events = push.events();
        push.connect(listener.local_endpoint(), null()).unwrap();
        let mut pull = soon(listener.accept()).await.unwrap();
        let told = next(&mut events).await;
        assert!(matches!(told, SocketEvent::Connected { .. }), "{told:?}");
        if sends_all {
            soon(push.send("one")).await;
            soon(pull.recv_message()).await.unwrap();
        } else {
            // More than the system takes: the peer does not read.
            let filling = async {
                loop {
                    push.send(vec![b'x'; 100_000]).await;
                }
            };
            let filled = tokio::time::timeout(Duration::from_millis(500), filling);
            assert!(filled.await.is_err());
        }
        drop(pull);
        let told = next(&mut events).await;
        let SocketEvent::Lost { all_sent, .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!(all_sent, sends_all);
        assert!(push.try_send("late").is_err(), "there is no peer");
        let again = tokio::time::timeout(Duration::from_millis(100), listener.accept());
        assert!(again.await.is_err(), "it connects again");
        soon(push.close()).await.unwrap();
        assert!(events.next().await.is_none());
    }
}

#[tokio::test]
async fn a_connection_that_the_socket_has_closed_has_sent_everything() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut push = Push::with_options(SocketOptions::default().with_immediate(true));
    let mut events = push.events();
    push.connect(&endpoint, null()).unwrap();
    soon(push.send("last")).await;
    soon(push.close()).await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        SocketEvent::Connected { .. }
    ));
    let told = next(&mut events).await;
    let SocketEvent::Lost {
        error, all_sent, ..
    } = told
    else {
        panic!("{told:?}");
    };
    assert!(
        all_sent && matches!(error, NetError::SendClosed),
        "{error:?}"
    );
}

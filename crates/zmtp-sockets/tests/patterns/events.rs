//! Events of sockets.

use crate::securities::{ANY_PORT, fast, null, plain_client, soon};
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, TopicTable};
use zmtp_auth::net::{Listener, NetError, ReconnectPolicy};
use zmtp_auth::{Config, SocketType};
use zmtp_sockets::{Dealer, Events, Pub, Pull, Push, Router, SocketEvent, SocketOptions, Sub};

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

/// The next event of a router that is asked for messages meanwhile, as text.
async fn router_tells(router: &mut Router, events: &mut Events) -> String {
    tokio::select! {
        event = next(events) => event.to_string(),
        request = router.recv() => panic!("nothing was sent: {request:?}"),
    }
}

/// What a person reads of each event.
#[tokio::test]
async fn every_event_is_one_line_for_a_person() {
    let policy = Authenticator::new();
    policy
        .configure_plain("test", [("alice", "secret")])
        .unwrap();
    let config = Config::untyped_builder().plain_server().authorize("test");
    let config = config.finish().unwrap();

    let mut router = Router::new();
    let at = router
        .bind(ANY_PORT, (config.clone(), policy.clone()))
        .await
        .unwrap();
    let mut events = router.events();
    let mut once = fast().with_routing_id("a\nb");
    once.connection.reconnect = ReconnectPolicy::default().with_once(true);
    let dial = |name: &'static str| {
        let mut dealer = Dealer::with_options(once.clone());
        let told = dealer.events();
        dealer.connect(&at, plain_client(name)).unwrap();
        (dealer, told)
    };

    let (alice, mut told) = dial("alice");
    assert_eq!(
        next(&mut told).await.to_string(),
        format!("connected to {at}")
    );
    assert_eq!(
        next(&mut events).await.to_string(),
        format!("accepted \"alice\" from 127.0.0.1 at {at}, routing id \"a\\nb\"")
    );

    let (_mallory, mut told) = dial("mallory");
    assert_eq!(
        next(&mut told).await.to_string(),
        format!(
            "not connected to {at}: handshake failed: refused by the peer: ERROR 400; no further attempt"
        )
    );
    let refused = next(&mut events).await.to_string();
    let (who, why) = refused.split_once(": handshake failed: ").unwrap();
    assert!(who.starts_with(&format!("refused at {at}: 127.0.0.1:")));
    assert!(why.starts_with("peer denied: 400 "), "{why}");
    assert!(why.contains(", by "), "{why}");

    // Another user claims the routing id of alice.
    policy
        .configure_plain("test", [("alice", "secret"), ("bob", "secret")])
        .unwrap();
    let (_bob, _) = dial("bob");
    assert_eq!(
        router_tells(&mut router, &mut events).await,
        "turned away \"bob\" from 127.0.0.1: another peer has the routing id \"a\\nb\""
    );

    policy.configure_plain("test", [("bob", "secret")]).unwrap();
    // In either order.
    let mut ended = [
        router_tells(&mut router, &mut events).await,
        router_tells(&mut router, &mut events).await,
    ];
    ended.sort();
    let lost = format!(
        "lost \"alice\" from 127.0.0.1 at {at}: the peer's admission was revoked, after everything was sent"
    );
    let received = "received everything of \"alice\" from 127.0.0.1, which was lost";
    assert_eq!(ended, [&lost[..], received]);
    drop(alice);

    policy.configure_topics("test", TopicTable::new());
    let mut publisher = Pub::new();
    let at = publisher.bind(ANY_PORT, (config, policy)).await.unwrap();
    let mut events = publisher.events();
    let mut subscriber = Sub::new();
    subscriber.subscribe("a\n");
    subscriber.connect(&at, plain_client("bob")).unwrap();
    let refused = soon(async {
        loop {
            publisher.send("any");
            let told = tokio::time::timeout(Duration::from_millis(5), events.next()).await;
            if let Ok(Some(event @ SocketEvent::SubscriptionRefused { .. })) = told {
                break event;
            }
        }
    })
    .await;
    assert_eq!(
        refused.to_string(),
        "refused the subscription of \"bob\" from 127.0.0.1 to \"a\\n\": the policy does not permit \
         the topic"
    );

    let nowhere = "tcp://127.0.0.1:1";
    let mut pull = Pull::with_options(fast());
    let mut events = pull.events();
    pull.connect(nowhere, null()).unwrap();
    let retrying = next(&mut events).await.to_string();
    let start = format!("not connected to {nowhere}: cannot connect: ");
    assert!(retrying.starts_with(&start), "{retrying}");
    assert!(retrying.contains("; next attempt in "), "{retrying}");
    pull.disconnect(&nowhere.parse().unwrap()).unwrap();
    let at = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut push = Push::new();
    push.connect(&at, null()).unwrap();
    loop {
        let told = next(&mut events).await;
        if !matches!(told, SocketEvent::Retrying { .. }) {
            assert_eq!(
                told.to_string(),
                format!("accepted the peer 127.0.0.1 at {at}")
            );
            break;
        }
    }
}

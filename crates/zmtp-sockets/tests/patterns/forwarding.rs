//! XPUB and XSUB (RFC 29).

use crate::securities::{ANY_PORT, eventually, fast, null, plain_client, plain_server, soon};
use bytes::Bytes;
use std::time::Duration;
use zmtp_auth::net::{Endpoint, Listener, NetError};
use zmtp_auth::{Config, SocketType};
use zmtp_sockets::{
    FromSubscriber, Message, Pub, SocketEvent, SocketOptions, Sub, Xpub, Xsub, proxy,
};

async fn bound(options: SocketOptions) -> (Xpub, Endpoint) {
    let mut xpub = Xpub::with_options(options);
    let endpoint = xpub.bind(ANY_PORT, plain_server()).await.unwrap();
    (xpub, endpoint)
}

fn subscriber(endpoint: &Endpoint, name: &'static str) -> Sub {
    let mut sub = Sub::with_options(fast());
    sub.connect(endpoint, plain_client(name)).unwrap();
    sub
}

/// The next subscription as `+topic name`, the next end of one as `-topic name`, the next message as
/// `=first frame name`.
async fn next(xpub: &mut Xpub) -> String {
    let (kind, topic, peer) = match soon(xpub.recv()).await {
        FromSubscriber::Subscribe(it) => ("+", it.topic().clone(), it.peer().clone()),
        FromSubscriber::Unsubscribe(it) => ("-", it.topic().clone(), it.peer().clone()),
        FromSubscriber::Message(it) => ("=", it.frames()[0].clone(), it.peer().clone()),
        other => panic!("{other:?}"),
    };
    let topic = String::from_utf8_lossy(&topic);
    format!("{kind}{topic} {}", peer.user_id_str().unwrap())
}

#[tokio::test]
async fn the_first_subscription_to_a_topic_and_the_end_of_the_last_are_received() {
    let (mut xpub, endpoint) = bound(fast()).await;
    let mut alice = subscriber(&endpoint, "alice");
    alice.subscribe("a");
    assert_eq!(next(&mut xpub).await, "+a alice");
    let mut bob = subscriber(&endpoint, "bob");
    bob.subscribe("a");
    eventually(|| xpub.subscribers().map(|it| it.subscriptions).sum::<usize>() == 2).await;
    alice.unsubscribe("a");
    alice.subscribe("b");
    assert_eq!(next(&mut xpub).await, "+b alice");
    bob.unsubscribe("a");
    assert_eq!(next(&mut xpub).await, "-a bob");
    xpub.send("b1");
    assert_eq!(soon(alice.recv()).await.frames(), ["b1"]);
    // A peer that is gone ends its subscriptions.
    soon(alice.close()).await;
    assert_eq!(next(&mut xpub).await, "-b alice");
    assert!(xpub.try_recv().is_none());
    soon(xpub.close()).await.unwrap();
}

#[tokio::test]
async fn a_verbose_xpub_receives_each_subscription_and_a_verboser_one_each_end() {
    for is_verboser in [false, true] {
        let options = fast()
            .with_xpub_verbose(!is_verboser)
            .with_xpub_verboser(is_verboser);
        let (mut xpub, endpoint) = bound(options).await;
        let mut alice = subscriber(&endpoint, "alice");
        alice.subscribe("a");
        assert_eq!(next(&mut xpub).await, "+a alice");
        let mut bob = subscriber(&endpoint, "bob");
        bob.subscribe("a");
        assert_eq!(next(&mut xpub).await, "+a bob");
        bob.unsubscribe("a");
        if is_verboser {
            assert_eq!(next(&mut xpub).await, "-a bob");
        }
        alice.unsubscribe("a");
        assert_eq!(next(&mut xpub).await, "-a alice");
    }
}

#[tokio::test]
async fn a_manual_xpub_sends_what_the_program_decides() {
    let (mut xpub, endpoint) = bound(fast().with_xpub_manual(true)).await;
    let mut alice = subscriber(&endpoint, "alice");
    alice.subscribe("secret");
    alice.subscribe("public");
    let mut subscriptions = Vec::new();
    while subscriptions.len() < 2 {
        if let FromSubscriber::Subscribe(subscription) = soon(xpub.recv()).await {
            // Nothing is sent before the program says so.
            xpub.send(subscription.topic().clone());
            if subscription.topic() == "public" {
                assert!(xpub.subscribe(&subscription, "public"));
            }
            subscriptions.push(subscription);
        }
    }
    for message in ["secret", "public"] {
        xpub.send(message);
    }
    assert_eq!(soon(alice.recv()).await.frames(), ["public"]);
    assert!(xpub.unsubscribe(&subscriptions[0], "public"));
    xpub.send("public");
    assert!(xpub.subscribe(&subscriptions[1], "secret"));
    xpub.send("secret");
    assert_eq!(soon(alice.recv()).await.frames(), ["secret"]);
    soon(alice.close()).await;
    let mut ends = [next(&mut xpub).await, next(&mut xpub).await];
    ends.sort();
    assert_eq!(ends, ["-public alice", "-secret alice"]);
    assert!(!xpub.subscribe(&subscriptions[0], "public"));
}

#[tokio::test]
async fn an_xpub_welcomes_each_peer_that_subscribes_to_the_welcome() {
    let (mut xpub, endpoint) = bound(fast().with_xpub_welcome(["W", "hello"])).await;
    for name in ["alice", "bob"] {
        let mut sub = Sub::new();
        sub.subscribe("W");
        sub.connect(&endpoint, plain_client(name)).unwrap();
        assert_eq!(soon(sub.recv()).await.frames(), ["W", "hello"]);
        assert_eq!(next(&mut xpub).await, format!("+W {name}"));
        soon(sub.close()).await;
        assert_eq!(next(&mut xpub).await, format!("-W {name}"));
    }
}

#[tokio::test]
async fn an_xsub_sends_messages_and_subscriptions_to_all_and_does_not_filter() {
    let mut xsub = Xsub::with_options(fast());
    let mut xpubs = Vec::new();
    for name in ["one", "two"] {
        let (xpub, endpoint) = bound(fast().with_xpub_verbose(true)).await;
        xsub.connect(&endpoint, plain_client(name)).unwrap();
        xpubs.push((name, xpub));
    }
    for _ in 0..2 {
        xsub.send(&b"\x01a"[..]);
        for (name, xpub) in &mut xpubs {
            assert_eq!(next(xpub).await, format!("+a {name}"));
        }
    }
    xsub.send(["hello", "publishers"]);
    xsub.send("hello");
    xsub.send(&b"\x00a"[..]);
    xsub.send(&b"\x00a"[..]);
    xsub.send(&b"\x00never"[..]);
    xsub.subscribe("b");
    for (name, xpub) in &mut xpubs {
        for told in ["=hello", "=hello", "-a", "+b"] {
            assert_eq!(next(xpub).await, format!("{told} {name}"));
        }
        xpub.send("a");
        xpub.send("b");
        assert_eq!(soon(xsub.recv()).await.frames(), ["b"]);
    }
    // What it has got is received although its topic was taken back.
    let (_, xpub) = &mut xpubs[0];
    xpub.send("b1");
    eventually(|| xsub.try_recv().is_some_and(|it| it.frames() == ["b1"])).await;
    xpub.send("b2");
    xsub.unsubscribe("b");
    assert_eq!(soon(xsub.recv()).await.frames(), ["b2"]);
    assert_eq!(xsub.dropped(), 0);
    soon(xsub.close()).await.unwrap();
}

#[tokio::test]
async fn a_proxy_of_both_passes_subscriptions_up_and_messages_down() {
    let mut publisher = Pub::new();
    let upstream = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut xsub = Xsub::new();
    xsub.connect(&upstream, null()).unwrap();
    let (xpub, downstream) = bound(fast()).await;
    let passing = tokio::spawn(async move {
        proxy(xsub, xpub, |_| {}).await;
    });
    let mut sub = subscriber(&downstream, "alice");
    let topics = |publisher: &mut Pub| -> usize {
        let subscribers = publisher.subscribers();
        subscribers.map(|subscriber| subscriber.subscriptions).sum()
    };
    for topic in ["a", "b"] {
        sub.subscribe(topic);
        eventually(|| topics(&mut publisher) == 1).await;
        publisher.send("neither");
        publisher.send([topic, "body"]);
        assert_eq!(soon(sub.recv()).await.frames(), [topic, "body"]);
        sub.unsubscribe(topic);
        eventually(|| topics(&mut publisher) == 0).await;
    }
    passing.abort();
}

#[tokio::test]
async fn subscriptions_pass_on_as_messages_of_zmtp_3_0() {
    let (mut xpub, endpoint) = bound(fast()).await;
    let mut sub = subscriber(&endpoint, "alice");
    sub.subscribe("topic");
    let message = Message::from(soon(xpub.recv()).await);
    assert_eq!(message.frames(), [Bytes::from_static(b"\x01topic")]);
    sub.unsubscribe("topic");
    let message = Message::from(soon(xpub.recv()).await);
    assert_eq!(message.frames(), [Bytes::from_static(b"\x00topic")]);
}

#[tokio::test]
async fn an_xsub_that_waits_for_room_drops_nothing_and_sends_the_rest_when_it_closes() {
    const MESSAGES: usize = 5000;
    let (mut xpub, endpoint) = bound(fast()).await;
    let mut events = xpub.events();
    let mut xsub = Xsub::with_options(fast());
    xsub.connect(&endpoint, plain_client("alice")).unwrap();
    xsub.subscribe("connected");
    assert_eq!(next(&mut xpub).await, "+connected alice");
    let reading = tokio::spawn(async move {
        for number in 0..MESSAGES {
            assert_eq!(next(&mut xpub).await, format!("={number} alice"));
        }
        assert_eq!(next(&mut xpub).await, "-connected alice");
        assert!(xpub.try_recv().is_none());
        xpub
    });
    for number in 0..MESSAGES {
        soon(xsub.ready()).await;
        xsub.send(number.to_string());
    }
    assert_eq!(xsub.dropped(), 0);
    soon(xsub.close()).await.unwrap();
    let _xpub = soon(reading).await.unwrap();
    // The end of the peer is told once everything of it was received.
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(soon(events.next()).await.unwrap());
    }
    assert!(
        told.iter()
            .any(|it| matches!(it, SocketEvent::AllReceived { .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn an_xsub_says_what_a_lost_publisher_has_not_taken() {
    let config = Config::builder(SocketType::Xpub).null().accept_any_peer();
    let listener = Listener::bind(ANY_PORT, config.finish().unwrap()).await;
    let listener = listener.unwrap();
    let mut xsub = Xsub::with_options(fast());
    let mut events = xsub.events();
    xsub.connect(listener.local_endpoint(), null()).unwrap();
    let xpub = soon(listener.accept()).await.unwrap();
    let connected = soon(events.next()).await.unwrap();
    assert!(matches!(connected, SocketEvent::Connected { .. }));
    // It reads nothing, so the last of it waits on this side.
    let filling = async {
        loop {
            xsub.ready().await;
            xsub.send(vec![b'x'; 100_000]);
        }
    };
    let filled = tokio::time::timeout(Duration::from_millis(500), filling);
    assert!(filled.await.is_err());
    drop(xpub);
    soon(xsub.ready()).await;
    let told = soon(events.next()).await.unwrap();
    let SocketEvent::Lost { all_sent, .. } = told else {
        panic!("{told:?}");
    };
    assert!(!all_sent);
    // A peer that reads nothing does not keep a connection of a socket that is gone.
    let mut xpub = soon(listener.accept()).await.unwrap();
    eventually(|| {
        xsub.send(vec![b'x'; 100_000]);
        xsub.dropped() > 100
    })
    .await;
    let linger = Duration::from_millis(200);
    let unsent = tokio::time::timeout(linger, xsub.close()).await;
    assert!(unsent.is_err());
    while soon(xpub.recv()).await.is_ok() {}
}

/// The next message, behind the subscriptions to `topics`.
async fn told(xpub: &mut Xpub, topics: &[&str]) -> Message {
    let mut left = topics.to_vec();
    loop {
        match soon(xpub.recv()).await {
            FromSubscriber::Subscribe(it) => left.retain(|topic| it.topic() != topic),
            FromSubscriber::Message(it) => {
                assert!(left.is_empty(), "{left:?} come first");
                return it.into_message();
            }
            FromSubscriber::Unsubscribe(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn messages_of_an_xsub_wait_for_a_dialled_publisher_behind_the_subscriptions() {
    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    soon(xpub.unbind(&endpoint)).await.unwrap();
    let mut xsub = Xsub::with_options(fast().with_send_high_water_mark(3));
    xsub.connect(&endpoint, null()).unwrap();
    for round in 0..3 {
        for message in ["1", "2", "3", "beyond the mark"] {
            xsub.send(message);
        }
        assert_eq!(xsub.dropped(), round + 1);
        xsub.subscribe(format!("topic{round}"));
        let mut events = xsub.events();
        xpub.bind(&endpoint, null()).await.unwrap();
        let topics = ["topic0", "topic1", "topic2"];
        let mut topics = &topics[..=usize::try_from(round).unwrap()];
        for expected in ["1", "2", "3"] {
            assert_eq!(told(&mut xpub, topics).await.frames(), [expected]);
            topics = &[];
        }
        soon(xpub.close()).await.unwrap();
        xpub = Xpub::new();
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    }

    let mut immediate = Xsub::with_options(fast().with_immediate(true));
    immediate.connect(&endpoint, null()).unwrap();
    immediate.send("early");
    let mut events = immediate.events();
    drop(xsub);
    xpub.bind(&endpoint, null()).await.unwrap();
    while !matches!(
        soon(events.next()).await,
        Some(SocketEvent::Connected { .. })
    ) {}
    immediate.send("connected");
    assert_eq!(told(&mut xpub, &[]).await.frames(), ["connected"]);
}

#[tokio::test]
async fn an_xsub_sends_what_waits_before_it_closes_and_says_if_it_could_not() {
    let linger = Duration::from_millis(20);
    let mut xsub = Xsub::with_options(fast().with_linger(linger));
    xsub.connect("tcp://127.0.0.1:9", null()).unwrap();
    xsub.send("unsent");
    let error = soon(xsub.close()).await.unwrap_err();
    assert!(matches!(error, NetError::Unsent), "{error}");

    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    for is_closed in [true, false] {
        let mut xsub = Xsub::new();
        xsub.connect(&endpoint, null()).unwrap();
        xsub.send("first");
        if !is_closed {
            assert_eq!(told(&mut xpub, &[]).await.frames(), ["first"]);
        }
        for _ in 0..100 {
            xsub.send("message");
        }
        xsub.send("last");
        if is_closed {
            soon(xsub.close()).await.unwrap();
        } else {
            // What connected peers are to get leaves in the background.
            drop(xsub);
        }
        while told(&mut xpub, &[]).await.frames() != ["last"] {}
    }
}

#[tokio::test]
async fn an_endpoint_of_an_xsub_that_is_given_up_takes_its_messages_along() {
    let mut xsub = Xsub::with_options(fast());
    let endpoint = "tcp://127.0.0.1:9".parse().unwrap();
    xsub.connect(&endpoint, null()).unwrap();
    xsub.send("unsent");
    xsub.disconnect(&endpoint).unwrap();
    soon(xsub.ready()).await;
    soon(xsub.close()).await.unwrap();
}

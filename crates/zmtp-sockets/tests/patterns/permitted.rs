//! Topic permissions: what a peer may subscribe to, and what it may publish.

use crate::securities::{ANY_PORT, eventually, fast, plain_client, plain_server, soon, subscribed};
use bytes::Bytes;
use std::pin::pin;
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, TopicTable};
use zmtp_auth::net::{Endpoint, Message};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, MechanismKind, Security, TopicPermissions};
use zmtp_sockets::{
    Dealer, Events, FromSubscriber, Pub, Pull, Push, Rep, Req, RequestError, Router, SocketEvent,
    SocketOptions, Sub, SubscriptionRefused, Xpub, Xsub,
};

/// A policy that knows alice and bob, and a server that asks it.
fn policy() -> (Authenticator, Security) {
    let policy = Authenticator::new();
    let passwords = [("alice", "secret"), ("bob", "secret")];
    policy.configure_plain("test", passwords).unwrap();
    let router = ZapRouter::new();
    router.bind("test", policy.clone()).unwrap();
    let config = Config::untyped_builder()
        .plain_server()
        .authorize(Domain::from("test"))
        .finish();
    (policy, (config.unwrap(), router).into())
}

/// Alice may subscribe to what begins with one of `prefixes`, and all others to everything.
fn table(prefixes: &[&str]) -> TopicTable {
    let alice = TopicPermissions::none().with_subscribe(prefixes).unwrap();
    TopicTable::new()
        .with_user(MechanismKind::Plain, "alice", alice)
        .with_others(TopicPermissions::all())
}

fn subscriber(endpoint: &Endpoint, name: &'static str, topics: &[&'static str]) -> Sub {
    let mut sub = Sub::with_options(fast());
    for topic in topics {
        sub.subscribe(*topic);
    }
    sub.connect(endpoint, plain_client(name)).unwrap();
    sub
}

async fn refused(events: &mut Events) -> bytes::Bytes {
    loop {
        if let Some(SocketEvent::SubscriptionRefused {
            peer,
            topic,
            reason,
        }) = soon(events.next()).await
        {
            assert_eq!(peer.user_id().unwrap(), "alice");
            assert_eq!(reason, SubscriptionRefused::NotPermitted);
            return topic;
        }
    }
}

#[tokio::test]
async fn a_subscription_is_allowed_if_it_begins_with_an_allowed_prefix() {
    let (policy, security) = policy();
    policy.configure_topics("test", table(&["weather."]));
    let mut publisher = Pub::new();
    let endpoint = publisher.bind(ANY_PORT, security).await.unwrap();
    let mut events = publisher.events();
    // One is shorter than the prefix, and would get more than it allows.
    let mut alice = subscriber(&endpoint, "alice", &["weather", "weather.north"]);
    let mut bob = subscriber(&endpoint, "bob", &[""]);
    subscribed(&mut publisher, 2).await;
    assert_eq!(refused(&mut events).await, "weather");
    for topic in ["weather", "weather.south", "weather.north"] {
        publisher.send(topic);
    }
    assert_eq!(soon(alice.recv()).await.frames(), ["weather.north"]);
    for topic in ["weather", "weather.south", "weather.north"] {
        assert_eq!(soon(bob.recv()).await.frames(), [topic]);
    }
    // What was refused is judged again.
    policy.configure_topics("test", table(&["weather"]));
    subscribed(&mut publisher, 3).await;
    publisher.send("weather.south");
    assert_eq!(soon(alice.recv()).await.frames(), ["weather.south"]);
}

#[tokio::test]
async fn no_message_that_is_sent_after_a_change_goes_to_a_peer_that_may_not_have_it() {
    let (policy, security) = policy();
    policy.configure_topics("test", table(&["a", "end"]));
    let mut publisher = Pub::new();
    let endpoint = publisher.bind(ANY_PORT, security).await.unwrap();
    let mut events = publisher.events();
    let mut alice = subscriber(&endpoint, "alice", &["a", "end"]);
    subscribed(&mut publisher, 2).await;
    publisher.send("a1");
    // No task runs between the change and the next message.
    policy.configure_topics("test", table(&["end"]));
    publisher.send("a2");
    publisher.send("end");
    for topic in ["a1", "end"] {
        assert_eq!(soon(alice.recv()).await.frames(), [topic]);
    }
    publisher.send("end");
    assert_eq!(refused(&mut events).await, "a");
    policy.clear_topics("test");
    subscribed(&mut publisher, 2).await;
    // A peer whose admission is withdrawn has no subscriptions.
    policy.configure_plain("test", [("bob", "secret")]).unwrap();
    publisher.send("end");
    eventually(|| publisher.subscribers().count() == 0).await;
}

#[tokio::test]
async fn an_xpub_receives_the_end_of_what_is_no_longer_permitted() {
    let (policy, security) = policy();
    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, security).await.unwrap();
    let _alice = subscriber(&endpoint, "alice", &["a"]);
    assert!(matches!(
        soon(xpub.recv()).await,
        FromSubscriber::Subscribe(_)
    ));
    policy.configure_topics("test", table(&["b"]));
    match soon(xpub.recv()).await {
        FromSubscriber::Unsubscribe(subscription) => assert_eq!(subscription.topic(), "a"),
        other => panic!("{other:?}"),
    }
    policy.configure_topics("test", table(&[""]));
    match soon(xpub.recv()).await {
        FromSubscriber::Subscribe(subscription) => assert_eq!(subscription.topic(), "a"),
        other => panic!("{other:?}"),
    }
}

/// Alice may publish what begins with one of `prefixes`, and all others nothing.
fn publishes(prefixes: &[&str]) -> TopicTable {
    let alice = TopicPermissions::none().with_publish(prefixes).unwrap();
    TopicTable::new().with_user(MechanismKind::Plain, "alice", alice)
}

#[tokio::test]
async fn a_message_is_received_if_its_sender_may_publish_its_topic() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["weather."]));
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, security).await.unwrap();
    for name in ["bob", "alice"] {
        let mut push = Push::new();
        push.connect(&endpoint, plain_client(name)).unwrap();
        for topic in ["weather", "weather.rome", "sport"] {
            soon(push.send([topic, name])).await;
        }
        // Only a DEALER has a delimiter before the topic.
        soon(push.send(["", "weather.rome"])).await;
        soon(push.close()).await.unwrap();
    }
    let received = soon(pull.recv()).await;
    assert_eq!(received.frames(), ["weather.rome", "alice"]);
    while pull.not_permitted() < 7 {
        assert!(pull.try_recv().is_none());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_change_of_what_a_sender_may_publish_reaches_what_waits_to_be_received() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["a", "b"]));
    let mut ours = Dealer::new();
    let endpoint = ours.bind(ANY_PORT, security).await.unwrap();
    let mut theirs = Dealer::new();
    theirs.connect(&endpoint, plain_client("alice")).unwrap();
    for topic in ["a", "b", "a"] {
        // The topic stands behind the delimiter.
        soon(theirs.send(["", topic])).await;
    }
    assert_eq!(soon(ours.recv()).await.frames(), ["", "a"]);
    policy.configure_topics("test", publishes(&["b"]));
    assert_eq!(soon(ours.recv()).await.frames(), ["", "b"]);
    while ours.not_permitted() == 0 {
        assert!(ours.try_recv().is_none());
        tokio::task::yield_now().await;
    }
}

/// A REP or a ROUTER replies once, so a REQ that waited for another reply would wait for ever.
#[tokio::test]
async fn a_request_ends_if_the_peer_may_not_publish_the_topic_of_its_reply() {
    for correlate in [false, true] {
        let (policy, security) = policy();
        policy.configure_topics("test", publishes(&["weather."]));
        let options = SocketOptions::default().with_correlate(correlate);
        let mut req = Req::with_options(options);
        let endpoint = req.bind(ANY_PORT, security).await.unwrap();
        let mut rep = Rep::new();
        rep.connect(&endpoint, plain_client("alice")).unwrap();
        // The policy of the moment of the receipt decides.
        let changed = policy.clone();
        let replying = tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                if request.frames()[0] == "change" {
                    changed.configure_topics("test", publishes(&["change"]));
                }
                let reply = request.frames().to_vec();
                rep.send(request.reply(reply));
            }
        });
        for (topic, dropped) in [
            ("weather.rome", 0),
            ("weather", 1),
            ("", 2),
            ("change", 2),
            ("weather.rome", 3),
            ("change", 3),
        ] {
            let before = req.not_permitted();
            let reply = soon(req.request([topic, "body"])).await;
            match reply {
                Ok(reply) => assert_eq!(reply.frames(), [topic, "body"]),
                Err(RequestError::NotPermitted) => assert_eq!(req.not_permitted(), before + 1),
                Err(other) => panic!("{other}"),
            }
            assert_eq!(req.not_permitted(), dropped, "{topic}");
        }
        replying.abort();
    }
}

/// Alice may publish what begins with `a` alone, so what she sends is taken and brings nothing. One call
/// does not take all of it: her connection could bring more as fast.
#[tokio::test]
async fn a_call_that_does_not_wait_returns_while_a_peer_floods_with_what_it_may_not_publish() {
    let (policy, security) = policy();
    let none = TopicPermissions::none();
    let alice = none.with_publish(["a"]).unwrap();
    let table = TopicTable::new().with_user(MechanismKind::Plain, "alice", alice);
    policy.configure_topics("test", table);
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, security).await.unwrap();

    for _ in 0..3 {
        let mut push = Push::new();
        push.connect(&endpoint, plain_client("alice")).unwrap();
        for _ in 0..700 {
            push.send("x").await;
        }
        push.close().await.unwrap();
    }
    let mut calls = 0;
    while pull.not_permitted() < 2100 {
        let before = pull.not_permitted();
        assert!(pull.try_recv().is_none());
        assert!(pull.not_permitted() - before <= 1024);
        calls += 1;
        if pull.not_permitted() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(calls < 1000);
    }
}

/// An XSUB receives whatever arrives, so it would show a welcome that its user may not have.
#[tokio::test]
async fn a_welcome_goes_to_those_who_may_subscribe_to_it() {
    let (policy, security) = policy();
    policy.configure_topics("test", table(&["weather."]));
    let mut xpub = Xpub::with_options(SocketOptions::default().with_xpub_welcome(["W"]));
    let endpoint = xpub.bind(ANY_PORT, security).await.unwrap();
    for (name, welcomes) in [("alice", false), ("bob", true)] {
        let mut xsub = Xsub::with_options(fast());
        xsub.subscribe("weather.");
        xsub.connect(&endpoint, plain_client(name)).unwrap();
        assert!(matches!(
            soon(xpub.recv()).await,
            FromSubscriber::Subscribe(_)
        ));
        xpub.send("weather.north");
        if welcomes {
            assert_eq!(soon(xsub.recv()).await.frames(), ["W"]);
        }
        assert_eq!(soon(xsub.recv()).await.frames(), ["weather.north"]);
        drop(xsub);
        assert!(matches!(
            soon(xpub.recv()).await,
            FromSubscriber::Unsubscribe(_)
        ));
    }
}

/// The events that wait for a reader must not hold topics of any length.
#[tokio::test]
async fn an_event_shows_the_beginning_of_a_long_topic_that_was_refused() {
    let (policy, security) = policy();
    policy.configure_topics("test", table(&["weather."]));
    let options = SocketOptions::default().with_max_subscription_bytes(100_000);
    let mut publisher = Pub::with_options(options);
    let endpoint = publisher.bind(ANY_PORT, security).await.unwrap();
    let mut events = publisher.events();
    let mut alice = Sub::with_options(fast());
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    for (len, expected) in [
        (90_000, SubscriptionRefused::NotPermitted),
        (200_000, SubscriptionRefused::TooMany),
    ] {
        alice.subscribe(vec![b'x'; len]);
        let (topic, reason) = loop {
            publisher.send("any");
            let next = tokio::time::timeout(Duration::from_millis(5), events.next()).await;
            if let Ok(Some(SocketEvent::SubscriptionRefused { topic, reason, .. })) = next {
                break (topic, reason);
            }
        };
        assert_eq!(reason, expected);
        assert!(topic == [b'x'; 1024][..]);
    }
}

/// A subscriber without room holds up a publisher that waits for it, but not once it may not have the
/// message.
#[tokio::test]
async fn a_publisher_does_not_wait_for_a_subscriber_whose_permission_is_withdrawn() {
    let (policy, security) = policy();
    let mut publisher = Pub::with_options(fast());
    let endpoint = publisher.bind(ANY_PORT, security).await.unwrap();
    let _alice = subscriber(&endpoint, "alice", &["news"]);
    soon(publisher.subscribed()).await;
    let message = Message::from([Bytes::from("news"), vec![0; 100_000].into()]);
    let filling = async {
        loop {
            publisher.ready_for(&message).await;
            publisher.send(message.clone());
        }
    };
    let filled = tokio::time::timeout(Duration::from_millis(300), filling).await;
    assert!(filled.is_err());
    let mut waiting = pin!(publisher.ready_for(&message));
    let early = tokio::time::timeout(Duration::from_millis(20), waiting.as_mut()).await;
    assert!(early.is_err());
    policy.configure_topics("test", table(&["weather."]));
    // Less than a socket may take to find that nothing moves.
    let room = tokio::time::timeout(Duration::from_secs(20), waiting);
    room.await.unwrap();
}

/// A message that is not permitted must not vanish without a trace, and a flood must not fill what waits
/// for the reader of events.
#[tokio::test]
async fn messages_that_are_not_permitted_are_told_by_the_first_the_tenth_and_so_on() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["a"]));
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, security).await.unwrap();
    let mut events = pull.events();
    for (name, sent, told) in [("bob", 1, vec![1]), ("alice", 120, vec![1, 10, 100])] {
        let mut push = Push::new();
        push.connect(&endpoint, plain_client(name)).unwrap();
        for _ in 0..sent {
            soon(push.send(vec![b'x'; 2_000])).await;
        }
        soon(push.close()).await.unwrap();
        let mut counts = Vec::new();
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    event = events.next() => event.unwrap(),
                    received = pull.recv() => panic!("{received:?}"),
                }
            };
            match soon(next).await {
                SocketEvent::MessageNotPermitted { peer, topic, count } => {
                    assert_eq!(peer.user_id().unwrap(), name);
                    assert_eq!(topic, [b'x'; 1024][..]);
                    counts.push(count);
                }
                SocketEvent::AllReceived { .. } => break,
                _ => {}
            }
        }
        assert_eq!(counts, told);
    }
    assert_eq!(pull.not_permitted(), 121);
}

/// An XPUB takes messages in when it sends, and judges them again when they are received.
#[tokio::test]
async fn a_message_that_is_withdrawn_while_it_waits_is_told() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["a"]));
    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, security).await.unwrap();
    let mut events = xpub.events();
    let mut xsub = Xsub::new();
    xsub.connect(&endpoint, plain_client("alice")).unwrap();
    soon(async {
        while xpub.subscribers().count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for frame in ["a", "b", "a"] {
        xsub.send(frame);
    }
    // Sending takes in what has arrived.
    soon(async {
        while xpub.not_permitted() == 0 {
            xpub.send("any");
            tokio::task::yield_now().await;
        }
    })
    .await;
    policy.configure_topics("test", publishes(&["c"]));
    soon(async {
        while xpub.not_permitted() < 3 {
            assert!(xpub.try_recv().is_none());
            tokio::task::yield_now().await;
        }
    })
    .await;
    loop {
        if let SocketEvent::MessageNotPermitted { peer, topic, count } =
            soon(events.next()).await.unwrap()
        {
            assert_eq!(peer.user_id().unwrap(), "alice");
            assert_eq!((&topic[..], count), (&b"b"[..], 1));
            break;
        }
    }
}

/// A ROUTER and a REP return every request, and the program asks.
#[tokio::test]
async fn a_router_and_a_rep_are_told_whether_a_request_is_permitted() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["a"]));
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, security.clone()).await.unwrap();
    let mut dealer = Dealer::new();
    dealer.connect(&endpoint, plain_client("alice")).unwrap();
    let ours: [(&[&'static str], Option<&str>); 11] = [
        (&["a", "x"], None),
        (&["x", "a"], Some("x")),
        (&["", "a", "x"], None),
        (&["", "x", "a"], Some("x")),
        (&["", "", "a"], Some("")),
        (&[""], Some("")),
        // A REP that gets the request would take what is behind the delimiter for its topic.
        (&["a", "", "x"], Some("x")),
        (&["a", "x", "", "x"], Some("x")),
        (&["x", "", "a"], Some("x")),
        (&["a", "", "a", "", "x"], None),
        (&["a", ""], None),
    ];
    for (frames, refused) in ours {
        let frames: Vec<_> = frames.iter().copied().map(Bytes::from).collect();
        soon(dealer.send(frames.clone())).await;
        let request = soon(router.recv()).await;
        let topic = refused.map(Bytes::from);
        assert_eq!(request.refused_topic(), topic.as_ref(), "{frames:?}");
        assert_eq!(request.is_permitted(), refused.is_none());
    }
    let mut rep = Rep::new();
    let endpoint = rep.bind(ANY_PORT, security).await.unwrap();
    let mut dealer = Dealer::new();
    dealer.connect(&endpoint, plain_client("alice")).unwrap();
    let ours: [(&[&'static str], Option<&str>); 5] = [
        (&["", "a", "x"], None),
        (&["", "x", "a"], Some("x")),
        // What stands in the envelope is not judged, and what is received is.
        (&["a", "", "x"], Some("x")),
        (&["x", "", "a"], None),
        (&["", "", "a"], Some("")),
    ];
    for (frames, refused) in ours {
        let frames: Vec<_> = frames.iter().copied().map(Bytes::from).collect();
        soon(dealer.send(frames.clone())).await;
        let request = soon(rep.recv()).await;
        let topic = refused.map(Bytes::from);
        assert_eq!(request.refused_topic(), topic.as_ref(), "{frames:?}");
    }
    policy.clear_topics("test");
    soon(dealer.send(["", "x"])).await;
    assert!(soon(rep.recv()).await.is_permitted());
}

/// No program stands between the two sockets of a proxy that could ask.
#[tokio::test]
async fn a_proxy_passes_on_what_may_be_published_alone() {
    let (policy, security) = policy();
    policy.configure_topics("test", publishes(&["a"]));
    let mut router = Router::new();
    let frontend = router.bind(ANY_PORT, security).await.unwrap();
    let mut events = router.events();
    let mut clients = Dealer::new();
    clients.connect(&frontend, plain_client("alice")).unwrap();
    // It is there before the proxy begins.
    soon(async { while !matches!(events.next().await, Some(SocketEvent::Accepted { .. })) {} })
        .await;
    assert!(router.try_recv().is_none());
    let mut workers = Dealer::new();
    let backend = workers.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut worker = Rep::new();
    worker.connect(&backend, plain_client("bob")).unwrap();
    let forwarding = tokio::spawn(zmtp_sockets::proxy(router, workers, |_| {}));
    for frames in [
        &["", "x"][..],
        &["", "a1"],
        // A REP takes what is behind the first empty frame.
        &["a", "", "x"],
        &["", "a2"],
    ] {
        let frames: Vec<_> = frames.iter().copied().map(Bytes::from).collect();
        soon(clients.send(frames)).await;
    }
    for topic in ["a1", "a2"] {
        let request = soon(worker.recv()).await;
        assert_eq!(request.frames(), [topic]);
        worker.send(request.reply("done"));
        assert_eq!(soon(clients.recv()).await.frames(), ["", "done"]);
    }
    loop {
        let event = soon(events.next()).await.unwrap();
        if let SocketEvent::MessageNotPermitted { topic, count, .. } = &event {
            assert_eq!((&topic[..], *count), (&b"x"[..], 1));
            assert_eq!(
                event.to_string(),
                "dropped a message of \"alice\" from 127.0.0.1 with the topic \"x\": the policy does not \
                 permit it; 1 dropped on this connection by now"
            );
            break;
        }
    }
    forwarding.abort();
}

//! Admissions and permissions that are withdrawn in mid-traffic, on sockets that bind and on sockets that
//! dial: nothing follows from the peer, nothing more goes to it, and others go on.

use crate::securities::{ANY_PORT, eventually, fast, plain_client, soon};
use std::time::Duration;
use zmtp_auth::auth::{Authenticator, TopicTable};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Domain, MechanismKind, Security, TopicPermissions};
use zmtp_sockets::{
    Dealer, FromSubscriber, Pair, Pub, Pull, Push, Received, SocketEvent, SocketOptions, Sub, Xpub,
    Xsub,
};

const MESSAGES: u32 = 100;
const OTHERS: usize = 5;

/// A server of PLAIN, and the policy that knows alice and bob.
fn policy() -> (Authenticator, Security) {
    let policy = Authenticator::new();
    admit(&policy, &["alice", "bob"]);
    let zap = ZapRouter::new();
    zap.bind("test", policy.clone()).unwrap();
    let config = Config::untyped_builder()
        .plain_server()
        .authorize(Domain::from("test"));
    (policy, (config.finish().unwrap(), zap).into())
}

fn admit(policy: &Authenticator, users: &[&'static str]) {
    let users = users.iter().map(|user| (*user, "secret"));
    policy.configure_plain("test", users).unwrap();
}

fn from(received: &Received) -> &[u8] {
    received.peer().user_id().unwrap()
}

/// The client that is called `$name` and the server meet: the server binds, or it dials.
macro_rules! meet {
    ($server:ident, $security:ident, $client:ident, $name:expr, $binds:ident) => {
        if $binds {
            let endpoint = $server.bind(ANY_PORT, $security.clone()).await.unwrap();
            $client.connect(&endpoint, plain_client($name)).unwrap();
        } else {
            let endpoint = $client.bind(ANY_PORT, plain_client($name)).await.unwrap();
            $server.connect(&endpoint, $security.clone()).unwrap();
        }
    };
}

/// Lets everything arrive that is on its way.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn a_subscriber_that_is_revoked_gets_nothing_that_is_sent_from_then_on() {
    for binds in [true, false] {
        let (policy, security) = policy();
        let mut publisher = Pub::with_options(fast());
        let subscribing = || {
            let mut sub = Sub::with_options(fast());
            sub.subscribe("");
            sub
        };
        let (mut alice, mut bob) = (subscribing(), subscribing());
        meet!(publisher, security, alice, "alice", binds);
        meet!(publisher, security, bob, "bob", binds);
        // With these there are enough subscribers for what waits for them to be shared.
        let mut others = [(); OTHERS].map(|()| subscribing());
        for other in &mut others {
            meet!(publisher, security, other, "bob", binds);
        }
        eventually(|| {
            let subscribers = publisher.subscribers();
            subscribers.filter(|it| it.subscriptions == 1).count() == 2 + OTHERS
        })
        .await;
        let mut events = alice.events();
        for number in 0..MESSAGES {
            publisher.send(number.to_string());
        }
        // From here on nothing is awaited, so that no task of the socket can help.
        admit(&policy, &["bob"]);
        for number in MESSAGES..2 * MESSAGES {
            publisher.send(number.to_string());
        }
        let left: Vec<_> = publisher.subscribers().collect();
        assert_eq!(left.len(), 1 + OTHERS);
        for subscriber in left {
            assert_eq!(subscriber.peer.user_id().unwrap(), "bob");
        }
        for bob in others.iter_mut().chain([&mut bob]) {
            for number in 0..2 * MESSAGES {
                assert_eq!(soon(bob.recv()).await.frames(), [number.to_string()]);
            }
        }
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
        while let Some(received) = alice.try_recv() {
            let number = std::str::from_utf8(&received.frames()[0]).unwrap();
            assert!(number.parse::<u32>().unwrap() < MESSAGES, "{number}");
        }
    }
}

/// The connection that a dialled peer still has takes nothing from the queue once the peer is revoked.
#[tokio::test]
async fn a_dialled_peer_that_is_revoked_gets_nothing_that_is_sent_from_then_on() {
    for _ in 0..16 {
        let (policy, security) = policy();
        let mut push = Push::with_options(fast());
        let mut alice = Pull::with_options(fast());
        let endpoint = alice.bind(ANY_PORT, plain_client("alice")).await.unwrap();
        push.connect(&endpoint, security).unwrap();
        push.send("before").await;
        assert_eq!(soon(alice.recv()).await.frames(), ["before"]);
        let mut events = alice.events();
        admit(&policy, &["bob"]);
        assert!(push.try_send("after").is_ok());
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
        assert!(alice.try_recv().is_none());
    }
}
/// Two peers flood, one is revoked, and from then on only the other one is heard.
macro_rules! only_bob_is_heard {
    ($server:expr, $client:expr, $send:expr) => {
        for binds in [true, false] {
            let (policy, security) = policy();
            let mut server = $server;
            let (mut alice, mut bob) = ($client, $client);
            meet!(server, security, alice, "alice", binds);
            meet!(server, security, bob, "bob", binds);
            let send = $send;
            for number in 0..MESSAGES {
                send(&mut alice, number).await;
                send(&mut bob, number).await;
            }
            let mut heard = [false, false];
            while heard != [true, true] {
                let received = soon(server.recv()).await;
                heard[usize::from(from(&received) == b"bob")] = true;
            }
            settle().await;
            admit(&policy, &["bob"]);
            while let Some(received) = server.try_recv() {
                assert_eq!(from(&received), b"bob");
            }
            send(&mut alice, MESSAGES).await;
            send(&mut bob, MESSAGES).await;
            loop {
                let received = soon(server.recv()).await;
                assert_eq!(from(&received), b"bob");
                if received.frames() == [MESSAGES.to_string()] {
                    break;
                }
            }
        }
    };
}

#[tokio::test]
async fn a_peer_that_is_revoked_is_not_heard_from_then_on() {
    let publish = async |publisher: &mut Pub, number: u32| {
        if number == 0 {
            eventually(|| publisher.subscribers().any(|it| it.subscriptions == 1)).await;
        }
        publisher.send(number.to_string());
    };
    let publisher = || Pub::with_options(fast());
    let sub = || {
        let mut sub = Sub::with_options(fast());
        sub.subscribe("");
        sub
    };
    only_bob_is_heard!(sub(), publisher(), publish);
    let xsub = || {
        let mut xsub = Xsub::with_options(fast());
        xsub.subscribe("");
        xsub
    };
    only_bob_is_heard!(xsub(), publisher(), publish);
    // These have room for all of it also while they are not connected.
    let push = async |push: &mut Push, number: u32| {
        let _ = push.try_send(number.to_string());
        if number == 0 {
            settle().await;
            let _ = push.try_send("connected");
        }
    };
    only_bob_is_heard!(Pull::with_options(fast()), Push::with_options(fast()), push);
    let dealer = async |dealer: &mut Dealer, number: u32| {
        let _ = dealer.try_send(number.to_string());
        if number == 0 {
            settle().await;
            let _ = dealer.try_send("connected");
        }
    };
    only_bob_is_heard!(
        Dealer::with_options(fast()),
        Dealer::with_options(fast()),
        dealer
    );
}

/// What an XPUB has taken in while it was sending waits to be received, and is withdrawn like everything
/// else that waits.
#[tokio::test]
async fn an_xpub_withdraws_what_it_has_taken_in_and_was_not_received() {
    for binds in [true, false] {
        let (policy, security) = policy();
        let mut xpub = Xpub::with_options(fast());
        let (mut alice, mut bob) = (Xsub::with_options(fast()), Xsub::with_options(fast()));
        alice.subscribe("alice");
        bob.subscribe("bob");
        meet!(xpub, security, alice, "alice", binds);
        meet!(xpub, security, bob, "bob", binds);
        for _ in 0..2 {
            assert!(matches!(
                soon(xpub.recv()).await,
                FromSubscriber::Subscribe(_)
            ));
        }
        for number in 0..MESSAGES {
            alice.send(format!("a{number}"));
            bob.send(format!("b{number}"));
        }
        settle().await;
        // It takes in what has arrived.
        xpub.send("bob");
        assert_eq!(soon(bob.recv()).await.frames(), ["bob"]);
        policy.configure_topics("test", publishers(&["b1"]));
        admit(&policy, &["bob"]);
        let mut ended = 0;
        while let Some(received) = xpub.try_recv() {
            match received {
                FromSubscriber::Message(received) => {
                    assert_eq!(from(&received), b"bob");
                    assert!(received.frames()[0].starts_with(b"b1"), "{received:?}");
                }
                FromSubscriber::Unsubscribe(subscription) => {
                    assert_eq!(subscription.topic(), "alice");
                    ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ended, 1);
    }
}

/// Bob may publish what begins with one of `prefixes`, and all may subscribe to everything.
fn publishers(prefixes: &[&str]) -> TopicTable {
    let all = TopicPermissions::none().with_subscribe([""]).unwrap();
    let bob = all.clone().with_publish(prefixes).unwrap();
    TopicTable::new()
        .with_user(MechanismKind::Plain, "bob", bob)
        .with_others(all)
}

#[tokio::test]
async fn a_publisher_whose_permission_is_withdrawn_is_not_heard_on_the_topic_from_then_on() {
    for binds in [true, false] {
        let (policy, security) = policy();
        policy.configure_topics("test", publishers(&["a", "b"]));
        let mut sub = Sub::with_options(fast());
        sub.subscribe("");
        let mut bob = Pub::with_options(fast());
        meet!(sub, security, bob, "bob", binds);
        eventually(|| bob.subscribers().any(|it| it.subscriptions == 1)).await;
        for _ in 0..MESSAGES {
            bob.send("a");
            bob.send("b");
        }
        assert_eq!(soon(sub.recv()).await.frames(), ["a"]);
        settle().await;
        policy.configure_topics("test", publishers(&["b"]));
        bob.send("a");
        for _ in 0..MESSAGES {
            assert_eq!(soon(sub.recv()).await.frames(), ["b"]);
        }
        settle().await;
        assert!(sub.try_recv().is_none());
        assert_eq!(sub.not_permitted(), u64::from(MESSAGES));
    }
}

/// What an application has given a peer of a manual XPUB is taken from it too.
#[tokio::test]
async fn a_manual_subscription_ends_with_its_permission() {
    let (policy, security) = policy();
    let mut xpub = Xpub::with_options(SocketOptions::default().with_xpub_manual(true));
    let endpoint = xpub.bind(ANY_PORT, security).await.unwrap();
    let mut alice = Sub::with_options(fast());
    alice.subscribe("wanted");
    alice.connect(&endpoint, plain_client("alice")).unwrap();
    let FromSubscriber::Subscribe(subscription) = soon(xpub.recv()).await else {
        panic!("it subscribes first");
    };
    assert!(xpub.subscribe(&subscription, "wanted a"));
    assert!(xpub.subscribe(&subscription, "wanted b"));
    xpub.send("wanted a1");
    assert_eq!(soon(alice.recv()).await.frames(), ["wanted a1"]);
    let only_b = TopicPermissions::none()
        .with_subscribe(["wanted b"])
        .unwrap();
    let table = TopicTable::new().with_user(MechanismKind::Plain, "alice", only_b);
    policy.configure_topics("test", table);
    xpub.send("wanted a2");
    xpub.send("wanted b2");
    assert_eq!(soon(alice.recv()).await.frames(), ["wanted b2"]);
    assert!(!xpub.subscribe(&subscription, "wanted a"));
    assert!(!xpub.subscribe(&subscription, "wanted"));
}

/// As with every dialled peer, the queue is the endpoint's: who is revoked gets nothing more of it.
#[tokio::test]
async fn messages_of_an_xsub_for_a_dialled_peer_that_is_revoked_wait_for_the_next_admitted_one() {
    let (policy, security) = policy();
    let mut options = fast().with_send_high_water_mark(2);
    // After the refusal of alice.
    options.connection.reconnect.slow_delay = Duration::from_millis(10);
    let mut xsub = Xsub::with_options(options);
    xsub.subscribe("topic");
    let mut alice = Xpub::with_options(fast());
    let endpoint = alice.bind(ANY_PORT, plain_client("alice")).await.unwrap();
    xsub.connect(&endpoint, security).unwrap();
    assert!(matches!(
        soon(alice.recv()).await,
        FromSubscriber::Subscribe(_)
    ));
    admit(&policy, &["bob"]);
    for message in ["1", "2", "beyond the mark"] {
        xsub.send(message);
    }
    assert_eq!(xsub.dropped(), 1);
    let full = tokio::time::timeout(Duration::from_millis(50), xsub.ready());
    assert!(full.await.is_err());
    while let Some(received) = alice.try_recv() {
        assert!(matches!(received, FromSubscriber::Unsubscribe(_)));
    }
    soon(alice.close()).await.unwrap();
    let mut bob = Xpub::with_options(fast());
    bob.bind(&endpoint, plain_client("bob")).await.unwrap();
    assert!(matches!(
        soon(bob.recv()).await,
        FromSubscriber::Subscribe(_)
    ));
    for expected in ["1", "2"] {
        let FromSubscriber::Message(received) = soon(bob.recv()).await else {
            panic!("the messages follow the subscription");
        };
        assert_eq!(received.frames(), [expected]);
    }
    soon(xsub.ready()).await;
    assert_eq!(xsub.dropped(), 1);
}

trait Says {
    async fn say(&mut self, text: &'static str);
}

impl Says for Dealer {
    async fn say(&mut self, text: &'static str) {
        self.send(text).await;
    }
}

impl Says for Pair {
    async fn say(&mut self, text: &'static str) {
        self.send(text).await;
    }
}

impl Says for Xpub {
    async fn say(&mut self, text: &'static str) {
        self.send(text);
    }
}

impl Says for Xsub {
    async fn say(&mut self, text: &'static str) {
        self.send(text);
    }
}

/// All connections to a dialled endpoint are one peer to the socket. What waits from an earlier one is
/// withdrawn with its admission, and the later one goes on.
macro_rules! only_the_earlier_connection_is_withdrawn {
    ($ours:expr, $theirs:expr, $meet:expr, $receive:expr) => {
        let (policy, security) = policy();
        let (mut ours, mut alice, mut bob) = ($ours, $theirs, $theirs);
        let (meet, receive) = ($meet, $receive);
        let mut events = ours.events();
        let endpoint = alice.bind(ANY_PORT, plain_client("alice")).await.unwrap();
        ours.connect(&endpoint, security).unwrap();
        meet(&mut alice).await;
        for text in ["from alice", "from alice too"] {
            alice.say(text).await;
        }
        assert_eq!(soon(ours.recv()).await.frames(), ["from alice"]);
        soon(alice.close()).await.unwrap();
        bob.bind(&endpoint, plain_client("bob")).await.unwrap();
        meet(&mut bob).await;
        bob.say("from bob").await;
        settle().await;
        admit(&policy, &["bob"]);
        assert_eq!(soon(ours.recv()).await.frames(), ["from bob"]);
        settle().await;
        bob.say("from bob too").await;
        assert_eq!(soon(ours.recv()).await.frames(), ["from bob too"]);
        ours.say("to bob").await;
        assert_eq!(receive(&mut bob).await, ["to bob"]);
        let mut lost = 0;
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_millis(1), events.next()).await
        {
            lost += usize::from(matches!(event, SocketEvent::Lost { .. }));
        }
        assert_eq!(lost, 1);
    };
}

#[tokio::test]
async fn a_dealer_keeps_the_later_connection_when_the_earlier_peer_is_revoked() {
    let dealer = || Dealer::with_options(fast());
    only_the_earlier_connection_is_withdrawn!(
        dealer(),
        dealer(),
        async |_: &mut Dealer| {},
        async |bob: &mut Dealer| soon(bob.recv()).await.into_message().into_frames()
    );
}

#[tokio::test]
async fn a_pair_keeps_the_later_connection_when_the_earlier_peer_is_revoked() {
    let pair = || Pair::with_options(fast());
    only_the_earlier_connection_is_withdrawn!(
        pair(),
        pair(),
        async |_: &mut Pair| {},
        async |bob: &mut Pair| soon(bob.recv()).await.into_message().into_frames()
    );
}

#[tokio::test]
async fn an_xsub_keeps_the_later_connection_when_the_earlier_peer_is_revoked() {
    let mut xsub = Xsub::with_options(fast());
    xsub.subscribe("from");
    only_the_earlier_connection_is_withdrawn!(
        xsub,
        Xpub::with_options(fast()),
        async |xpub: &mut Xpub| {
            let subscribed = soon(xpub.recv()).await;
            assert!(matches!(subscribed, FromSubscriber::Subscribe(_)));
        },
        async |bob: &mut Xpub| match soon(bob.recv()).await {
            FromSubscriber::Message(received) => received.into_message().into_frames(),
            other => panic!("{other:?}"),
        }
    );
}

/// A publisher that is away, and may come back, is no admitted peer meanwhile.
#[tokio::test]
async fn a_dialled_publisher_that_is_lost_holds_no_grant() {
    let (policy, security) = policy();
    let mut xsub = Xsub::with_options(fast());
    xsub.subscribe("");
    let mut alice = Pub::with_options(fast());
    let endpoint = alice.bind(ANY_PORT, plain_client("alice")).await.unwrap();
    xsub.connect(&endpoint, security).unwrap();
    eventually(|| alice.subscribers().any(|it| it.subscriptions == 1)).await;
    assert_eq!(policy.live_grants(), 1);
    drop(alice);
    eventually(|| xsub.try_recv().is_none() && policy.live_grants() == 0).await;
}

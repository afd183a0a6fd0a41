//! Peers that send all they can: others have their turns, and memory has bounds.

use crate::net_peers::{RawPeer, port};
use crate::securities::{
    ANY_PORT, eventually, fast, null, plain_client, plain_server, soon, subscriptions,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use zmtp_auth::net::Endpoint;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Config, Password, SocketType};
use zmtp_sockets::{
    Addressed, Dealer, Events, Inproc, Pub, Pull, Push, Rep, Req, Router, SendReason, SocketEvent,
    Sub, SubscriptionRefused, Xpub, Xsub,
};

/// Messages of each peer that floods.
const FLOOD: usize = 300;
const FLOODING: [&str; 3] = ["a", "b", "c"];

async fn lost(events: &mut Events) {
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
}

/// Three peers flood, and all of them were heard. Then a fourth one says one word, which has arrived
/// for sure when its connection is lost: it is heard in the next round.
macro_rules! quiet_one_is_heard {
    ($socket:expr, $peer:expr) => {{
        let mut socket = $socket;
        let endpoint = socket.bind(ANY_PORT, null()).await.unwrap();
        let mut events = socket.events();
        let peer = $peer;
        let mut flooding = Vec::new();
        for name in FLOODING {
            flooding.push(peer(&endpoint, name, FLOOD).await);
        }
        let mut silent = FLOODING.to_vec();
        let mut rounds = 0;
        while !silent.is_empty() {
            let received = soon(socket.recv()).await;
            silent.retain(|name| received.frames() != [*name]);
            rounds += 1;
            assert!(rounds < FLOOD, "{silent:?} had no turn");
        }
        let quiet = peer(&endpoint, "quiet", 1).await;
        let _ = quiet.close().await;
        lost(&mut events).await;
        let mut turns = 0;
        while soon(socket.recv()).await.frames() != ["quiet"] {
            turns += 1;
            assert!(
                turns <= 2 * FLOODING.len(),
                "three flooding peers come first"
            );
        }
        drop(flooding);
    }};
}

#[tokio::test]
async fn three_peers_that_flood_leave_a_quiet_one_its_turns() {
    let push = async |endpoint: &Endpoint, name: &'static str, count: usize| {
        let mut push = Push::new();
        push.connect(endpoint, null()).unwrap();
        for _ in 0..count {
            push.try_send(name).unwrap();
        }
        push
    };
    quiet_one_is_heard!(Pull::new(), push);
    let dealer = async |endpoint: &Endpoint, name: &'static str, count: usize| {
        let mut dealer = Dealer::new();
        dealer.connect(endpoint, null()).unwrap();
        for _ in 0..count {
            dealer.try_send(name).unwrap();
        }
        dealer
    };
    quiet_one_is_heard!(Router::new(), dealer);
    quiet_one_is_heard!(Dealer::new(), dealer);
    let asking = async |endpoint: &Endpoint, name: &'static str, count: usize| {
        let mut dealer = Dealer::new();
        dealer.connect(endpoint, null()).unwrap();
        for _ in 0..count {
            dealer.try_send(["", name]).unwrap();
        }
        dealer
    };
    quiet_one_is_heard!(Rep::new(), asking);
    let publisher = async |endpoint: &Endpoint, name: &'static str, count: usize| {
        let mut publisher = Pub::new();
        publisher.connect(endpoint, null()).unwrap();
        eventually(|| publisher.subscribers().any(|it| it.subscriptions == 1)).await;
        for _ in 0..count {
            publisher.send(name);
        }
        publisher
    };
    let (mut sub, mut xsub) = (Sub::new(), Xsub::new());
    sub.subscribe("");
    xsub.subscribe("");
    quiet_one_is_heard!(sub, publisher);
    quiet_one_is_heard!(xsub, publisher);
}

/// A peer that takes nothing fills its own queue alone, and gets what was queued when it reads again.
#[tokio::test]
async fn a_router_goes_on_with_others_while_one_peer_is_full() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let dealer = |name: &'static str| {
        let mut dealer = Dealer::with_options(fast().with_routing_id(name));
        dealer.connect(&endpoint, null()).unwrap();
        dealer.try_send("hello").unwrap();
        dealer
    };
    let (mut slow, mut one, mut two) = (dealer("slow"), dealer("one"), dealer("two"));
    for _ in 0..3 {
        soon(router.recv()).await;
    }
    let mut queued = 0_u32;
    // Whether there was room. The system may take some more at any time.
    let mut queue_large = |router: &mut Router| {
        let mut large = vec![0; 64 * 1024];
        large[..4].copy_from_slice(&queued.to_be_bytes());
        let refused = router.send(Addressed::new("slow", large.clone())).err();
        if let Some(refused) = &refused {
            assert_eq!(refused.reason, SendReason::Full);
            assert_eq!(refused.message.frames()[0], large);
        } else {
            queued += 1;
        }
        assert!(queued < 2_000, "a queue without a bound");
        refused.is_none()
    };
    // Until it is full though it had time to send.
    let mut refusals = 0;
    while refusals < 3 {
        if queue_large(&mut router) {
            refusals = 0;
            tokio::task::yield_now().await;
        } else {
            refusals += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for number in 0..100_u32 {
        for (name, dealer) in [("one", &mut one), ("two", &mut two)] {
            router
                .send(Addressed::new(name, number.to_string()))
                .unwrap();
            let received = soon(dealer.recv()).await;
            assert_eq!(received.frames(), [number.to_string()]);
            soon(dealer.send("answer")).await;
            assert_eq!(soon(router.recv()).await.routing_id(), name);
        }
        queue_large(&mut router);
    }
    for number in 0..queued {
        let received = soon(slow.recv()).await;
        assert_eq!(received.frames()[0][..4], number.to_be_bytes());
    }
    router.send(Addressed::new("slow", "room again")).unwrap();
    assert_eq!(soon(slow.recv()).await.frames(), ["room again"]);
}

/// A client of PLAIN that is driven frame by frame.
async fn raw(endpoint: &Endpoint, kind: SocketType, name: &'static str) -> RawPeer {
    let stream = TcpStream::connect(("127.0.0.1", port(endpoint)));
    let config = Config::builder(kind)
        .plain_client(name, Password::from("secret"))
        .finish();
    soon(RawPeer::speak(stream.await.unwrap(), &config.unwrap(), 1)).await
}

/// More than the buffers of a connection on loopback hold.
const BEYOND_ALL_BUFFERS: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn replies_that_nobody_asked_for_have_bounds_and_hide_no_reply() {
    for correlate in [false, true] {
        let mut req = Req::with_options(fast().with_correlate(correlate));
        let endpoint = req.bind(ANY_PORT, plain_server()).await.unwrap();
        let mut events = req.events();
        let mallory = raw(&endpoint, SocketType::Rep, "mallory").await;
        soon(events.next()).await;
        let (mut reading, mut writing) = mallory.stream.into_split();
        // An empty frame and a body; before it a number that no request has.
        let junk = b"\x01\x04\xff\xff\xff\xff\x01\x00\x00\x04junk";
        let flood = if correlate { &junk[..] } else { &junk[6..] }.repeat(1000);
        // While the REQ is not called, the peer has to wait.
        let mut taken = 0;
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(200), writing.write(&flood)).await
        {
            taken += written.unwrap();
            assert!(
                taken < BEYOND_ALL_BUFFERS,
                "it takes unasked replies without end"
            );
        }
        let flooding = tokio::spawn(async move {
            // From where it was cut.
            let mut rest = flood[taken % flood.len()..].to_vec();
            while writing.write_all(&rest).await.is_ok() {
                rest.clone_from(&flood);
            }
        });
        let ignoring =
            tokio::spawn(
                async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await },
            );
        let mut rep = Rep::new();
        rep.connect(&endpoint, plain_client("alice")).unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                rep.send(request.reply(request.message().clone()));
            }
        });
        while !matches!(
            soon(events.next()).await,
            Some(SocketEvent::Accepted { .. })
        ) {}
        let mut right = 0;
        while right < 5 {
            let question = format!("question {right}");
            let asking =
                tokio::time::timeout(Duration::from_secs(5), req.request(question.clone()));
            // Mallory is asked too, and never replies to a number.
            let reply = if correlate {
                let asking = tokio::time::timeout(Duration::from_millis(100), asking);
                asking.await.ok().map(Result::unwrap)
            } else {
                Some(asking.await.unwrap())
            };
            let Some(Ok(reply)) = reply else {
                continue;
            };
            if reply.peer().user_id().unwrap() == "alice" {
                assert_eq!(reply.frames(), [question]);
                right += 1;
            } else {
                assert!(!correlate, "junk is no reply to a numbered request");
            }
        }
        for task in [serving, flooding] {
            task.abort();
        }
        ignoring.abort();
    }
}

/// A peer may subscribe to a bounded number of topics; what it wants beyond that costs nothing, and the
/// publisher serves others meanwhile.
#[tokio::test]
async fn subscriptions_beyond_the_bound_cost_nothing() {
    const BOUND: usize = 1_000;
    const WANTED: u32 = 20_000;
    let mut xpub = Xpub::with_options(fast().with_max_subscriptions(BOUND));
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    let mut events = xpub.events();
    let stream = TcpStream::connect(("127.0.0.1", port(&endpoint)));
    let mut flooding = soon(RawPeer::shake_hands(
        stream.await.unwrap(),
        SocketType::Sub,
        1,
    ))
    .await;
    let flood = tokio::spawn(async move {
        let topics = (0..WANTED).map(|number| {
            let topic = [&b"\x09SUBSCRIBE"[..], &number.to_be_bytes()].concat();
            (Flags::Command, Bytes::from(topic))
        });
        flooding.send_together(&topics.collect::<Vec<_>>()).await;
        flooding
    });
    let mut sub = Sub::new();
    sub.subscribe("quiet");
    sub.connect(&endpoint, null()).unwrap();
    let mut told = 0;
    soon(async {
        loop {
            let refused = xpub.subscribers().map(|it| it.refused).sum::<u64>();
            if refused == u64::from(WANTED) - BOUND as u64 && told == BOUND + 1 {
                break;
            }
            told += std::iter::from_fn(|| xpub.try_recv()).count();
            xpub.send("quiet");
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(soon(sub.recv()).await.frames(), ["quiet"]);
    let refused = loop {
        if let Some(SocketEvent::SubscriptionRefused { reason, .. }) = soon(events.next()).await {
            break reason;
        }
    };
    assert_eq!(refused, SubscriptionRefused::TooMany);
    // What it takes back makes room, and it gets what it has.
    let mut flooding = flood.await.unwrap();
    let count = |xpub: &mut Xpub| xpub.subscribers().map(|it| it.subscriptions).max().unwrap();
    assert_eq!(count(&mut xpub), BOUND);
    let first = 0_u32.to_be_bytes();
    flooding
        .send(Flags::Command, &[b"\x06CANCEL", &first[..]].concat())
        .await;
    eventually(|| count(&mut xpub) == BOUND - 1).await;
    let beyond = WANTED.to_be_bytes();
    flooding
        .send(Flags::Command, &[b"\x09SUBSCRIBE", &beyond[..]].concat())
        .await;
    eventually(|| count(&mut xpub) == BOUND).await;
    xpub.send(first.to_vec());
    xpub.send(beyond.to_vec());
    assert_eq!(flooding.message_body().await[..], beyond);
    drop(flooding);
    eventually(|| xpub.subscribers().count() == 1).await;
}

/// What an XPUB takes in while it sends has a bound in bytes. A peer that sends more waits.
#[tokio::test]
async fn an_xpub_that_sends_and_does_not_receive_takes_in_a_bounded_number_of_bytes() {
    const SIZE: usize = 64 * 1024;
    let mut xpub = Xpub::with_options(fast());
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    let mut xsub = Xsub::with_options(fast());
    xsub.connect(&endpoint, null()).unwrap();
    soon(async {
        while xpub.subscribers().count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..200 {
        xpub.send("x");
        let ready = tokio::time::timeout(Duration::from_millis(100), xsub.ready());
        if ready.await.is_err() {
            break;
        }
        xsub.send(vec![b'x'; SIZE]);
        tokio::task::yield_now().await;
    }
    // From here on nothing is awaited, so nothing more arrives.
    xpub.send("x");
    let mut bytes = 0;
    while xpub.try_recv().is_some() {
        bytes += SIZE;
    }
    assert!((SIZE..2 * 1024 * 1024).contains(&bytes), "{bytes}");
}

/// Long topics cost more than short ones, so a call takes in fewer of them.
#[tokio::test]
async fn a_flood_of_long_subscriptions_is_taken_in_by_and_by() {
    const SUBSCRIBERS: usize = 20;
    const TOPICS: usize = 4;
    const LEN: usize = 32 * 1024;
    let registry = Inproc::new();
    let mut publisher = Pub::new();
    publisher.bind_inproc(&registry, "flood").unwrap();
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut sub = Sub::new();
        for topic in 0..TOPICS {
            sub.subscribe(vec![topic as u8; LEN]);
        }
        sub.connect_inproc(&registry, "flood").unwrap();
        subscribers.push(sub);
    }
    // All runs on one thread, so all topics wait for the publisher then.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let (mut all, mut most) = (0, 0);
    while all < SUBSCRIBERS * TOPICS {
        let now = subscriptions(&mut publisher);
        most = most.max(now - all);
        all = now;
        tokio::task::yield_now().await;
    }
    let room = 256 * 1024 / LEN;
    assert!((room..=room + 1).contains(&most), "{most} at once");
}

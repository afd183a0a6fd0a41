//! PUB, SUB, XPUB and XSUB with live libzmq (RFC 29).

use crate::both_sides::{our_client, our_server, their_client, their_server};
use crate::peer::{Context, Options, Payload, Socket};
use crate::securities::{ANY_PORT, eventually, fast, soon, subscribed, subscriptions};
use std::time::Duration;
use zmtp_auth::net::Endpoint;
use zmtp_sockets::{FromSubscriber, Pub, Sub, Xpub, Xsub, proxy};

/// Long enough for a message that would arrive.
const SILENCE: Duration = Duration::from_millis(200);

fn text(frame: &str) -> [Payload; 1] {
    [Payload::from(frame)]
}

/// A SUB or XSUB of libzmq, connected.
async fn theirs<'a>(context: &'a Context, topics: &[&str], to: &Endpoint) -> Socket<'a> {
    let options = their_client("CURVE").set("RECONNECT_IVL", 5);
    let sub = context.socket("SUB", options).await;
    for topic in topics {
        sub.set_bytes("SUBSCRIBE", topic.as_bytes()).await;
    }
    sub.connect(&to.to_string()).await;
    sub
}

/// How long one call of a socket that has nothing to receive takes.
const CALL: Duration = Duration::from_millis(10);

async fn bound() -> (Pub, Endpoint) {
    let mut publisher = Pub::new();
    let endpoint = publisher.bind(ANY_PORT, our_server("CURVE")).await.unwrap();
    (publisher, endpoint)
}

#[tokio::test]
async fn a_sub_of_libzmq_gets_what_it_subscribes_to() {
    let context = Context::new().await;
    let (mut publisher, endpoint) = bound().await;
    let sub = theirs(&context, &["weather", "weather.north", "end"], &endpoint).await;
    subscribed(&mut publisher, 3).await;
    for topic in ["weather.north", "sports", "weathe", "weather", "end"] {
        publisher.send(topic);
    }
    for topic in ["weather.north", "weather", "end"] {
        assert_eq!(sub.receive().await.frames, text(topic));
    }
    sub.set_bytes("UNSUBSCRIBE", b"weather").await;
    subscribed(&mut publisher, 2).await;
    publisher.send("weather");
    publisher.send("end");
    assert_eq!(sub.receive().await.frames, text("end"));
}

/// libzmq's SUB announces each subscription and takes back only the last one, so a publisher that
/// counted them for each peer would keep one for ever. Both publishers hold a topic once for a peer.
#[tokio::test]
async fn a_topic_counts_once_for_a_peer_as_in_libzmq() {
    let context = Context::new().await;
    let (mut publisher, endpoint) = bound().await;
    let sub = theirs(&context, &["a", "a", "end"], &endpoint).await;
    subscribed(&mut publisher, 2).await;
    sub.set_bytes("UNSUBSCRIBE", b"a").await;
    publisher.send("a");
    assert_eq!(sub.receive().await.frames, text("a"));
    sub.set_bytes("UNSUBSCRIBE", b"a").await;
    subscribed(&mut publisher, 1).await;

    let (xpub, endpoint) = context.bound("XPUB", their_server("NULL"), ANY_PORT).await;
    let mut xsub = Xsub::new();
    xsub.connect(endpoint.as_str(), our_client("NULL")).unwrap();
    xsub.subscribe("end");
    assert_eq!(xpub.receive().await.frames, text("\u{1}end"));
    // It is told twice, and taken back once.
    for _ in 0..2 {
        xsub.subscribe("a");
    }
    assert_eq!(xpub.receive().await.frames, text("\u{1}a"));
    xsub.send("told");
    assert_eq!(xpub.receive().await.frames, text("told"));
    for _ in 0..2 {
        xsub.unsubscribe("a");
    }
    assert_eq!(xpub.receive().await.frames, text("\0a"));
    xpub.send(&text("a")).await;
    xpub.send(&text("end")).await;
    assert_eq!(soon(xsub.recv()).await.frames(), ["end"]);
}

#[tokio::test]
async fn subscriptions_are_told_again_to_a_publisher_that_comes_back() {
    let context = Context::new().await;
    let mut sub = Sub::with_options(fast());
    sub.subscribe("a");
    let mut endpoint = ANY_PORT.to_owned();
    for round in 0..3 {
        let options = their_server("CURVE").set("LINGER", 0);
        let (xpub, bound) = context.bound("XPUB", options, &endpoint).await;
        if round == 0 {
            sub.connect(bound.as_str(), our_client("CURVE")).unwrap();
        }
        endpoint = bound;
        assert_eq!(xpub.receive().await.frames, text("\u{1}a"));
        xpub.send(&text("a")).await;
        assert_eq!(soon(sub.recv()).await.frames(), ["a"]);
        xpub.close().await;
    }

    let (mut publisher, endpoint) = bound().await;
    let theirs = theirs(&context, &["a"], &endpoint).await;
    for _ in 0..3 {
        // A socket of libzmq tells its subscriptions again when it is called.
        let told = async {
            while subscriptions(&mut publisher) == 0 {
                assert!(theirs.try_receive(&[], CALL).await.is_none());
            }
        };
        soon(told).await;
        publisher.send("a");
        assert_eq!(theirs.receive().await.frames, text("a"));
        soon(publisher.close()).await.unwrap();
        publisher = Pub::new();
        publisher
            .bind(&endpoint, our_server("CURVE"))
            .await
            .unwrap();
    }
}

/// libzmq's PUB and SUB on both sides of our proxy, and ours on both sides of an XPUB and an XSUB of
/// libzmq.
#[tokio::test]
async fn subscriptions_pass_through_xpub_and_xsub() {
    let context = Context::new().await;
    let (publisher, upstream) = context.bound("PUB", their_server("CURVE"), ANY_PORT).await;
    let mut xsub = Xsub::new();
    xsub.connect(upstream.as_str(), our_client("CURVE"))
        .unwrap();
    let mut xpub = Xpub::new();
    let downstream = xpub.bind(ANY_PORT, our_server("CURVE")).await.unwrap();
    let sub = theirs(&context, &["a"], &downstream).await;
    let passing = tokio::spawn(async move {
        proxy(xsub, xpub, |_| {}).await;
    });
    // What a PUB sends before the subscription has arrived is lost.
    let received = loop {
        publisher.send(&text("b")).await;
        publisher.send(&text("a")).await;
        if let Some(received) = sub.try_receive(&[], Duration::from_millis(20)).await {
            break received;
        }
    };
    assert_eq!(received.frames, text("a"));
    passing.abort();

    let (mut publisher, upstream) = bound().await;
    let options = their_client("CURVE");
    let xsub = context
        .connected("XSUB", options, &upstream.to_string())
        .await;
    let mut xpub = Xpub::new();
    let middle = xpub.bind(ANY_PORT, our_server("CURVE")).await.unwrap();
    let theirs = context
        .connected("XSUB", their_client("CURVE"), &middle.to_string())
        .await;
    theirs.send(&text("\u{1}a")).await;
    match soon(xpub.recv()).await {
        FromSubscriber::Subscribe(subscription) => assert_eq!(subscription.topic(), "a"),
        other => panic!("{other:?}"),
    }
    theirs.send(&text("a message")).await;
    match soon(xpub.recv()).await {
        FromSubscriber::Message(received) => assert_eq!(received.frames(), ["a message"]),
        other => panic!("{other:?}"),
    }
    xsub.send(&text("\u{1}a")).await;
    subscribed(&mut publisher, 1).await;
    publisher.send("a1");
    assert_eq!(xsub.receive().await.frames, text("a1"));
    xsub.send(&text("\0a")).await;
    subscribed(&mut publisher, 0).await;
    publisher.send("a2");
    assert!(xsub.try_receive(&[], SILENCE).await.is_none());
    theirs.close().await;
    match soon(xpub.recv()).await {
        FromSubscriber::Unsubscribe(subscription) => assert_eq!(subscription.topic(), "a"),
        other => panic!("{other:?}"),
    }
}

/// A verbose XPUB sees each subscription through libzmq's XSUB, and a welcome reaches libzmq's SUB.
#[tokio::test]
async fn options_of_xpub_mean_what_they_mean_in_libzmq() {
    let context = Context::new().await;
    for is_verbose in [false, true] {
        let options = fast().with_xpub_verbose(is_verbose).with_xpub_welcome("W");
        let mut ours = Xpub::with_options(options);
        let endpoint = ours.bind(ANY_PORT, our_server("NULL")).await.unwrap();
        let options = their_server("NULL")
            .set("XPUB_VERBOSE", i32::from(is_verbose))
            .bytes("XPUB_WELCOME_MSG", b"W");
        let (theirs, other) = context.bound("XPUB", options, ANY_PORT).await;
        let (mut subs, mut told) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut sub = Sub::new();
            sub.subscribe("W");
            sub.connect(other.as_str(), our_client("NULL")).unwrap();
            // libzmq's socket looks at new peers when it is called.
            let (welcome, subscribed) =
                tokio::join!(soon(sub.recv()), theirs.try_receive(&[], SILENCE));
            assert_eq!(welcome.frames(), ["W"]);
            told.extend(subscribed.map(|received| received.frames));
            let options = Options::default().bytes("SUBSCRIBE", b"W");
            let their_sub = context
                .connected("SUB", options, &endpoint.to_string())
                .await;
            assert_eq!(their_sub.receive().await.frames, text("W"));
            subs.push((sub, their_sub));
        }
        let expected = if is_verbose { 2 } else { 1 };
        assert_eq!(told, vec![text("\u{1}W").to_vec(); expected]);
        for _ in 0..expected {
            let received = soon(ours.recv()).await;
            assert!(matches!(received, FromSubscriber::Subscribe(_)));
        }
        eventually(|| ours.subscribers().map(|it| it.subscriptions).sum::<usize>() == 2).await;
        assert!(ours.try_recv().is_none());
    }
}

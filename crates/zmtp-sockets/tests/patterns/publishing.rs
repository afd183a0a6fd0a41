//! PUB and SUB (RFC 29).

use crate::net_peers::{RawPeer, port};
use crate::securities::{
    ANY_PORT, eventually, fast, null, plain_client, plain_server, soon, subscribed,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use zmtp_auth::SocketType;
use zmtp_auth::net::{Endpoint, Message};
use zmtp_auth::wire::frame::Flags;
use zmtp_sockets::{Pub, SocketEvent, Sub, SubscriptionRefused, Xsub};

async fn bound() -> (Pub, Endpoint) {
    let mut publisher = Pub::with_options(fast());
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    (publisher, endpoint)
}

fn subscriber(endpoint: &Endpoint, topics: &[&'static str]) -> Sub {
    let mut sub = Sub::with_options(fast());
    for topic in topics {
        sub.subscribe(*topic);
    }
    sub.connect(endpoint, null()).unwrap();
    sub
}

async fn frames(sub: &mut Sub) -> Vec<Bytes> {
    soon(sub.recv()).await.into_message().into_frames()
}

#[tokio::test]
async fn each_subscriber_gets_what_begins_with_one_of_its_topics_once() {
    let (mut publisher, endpoint) = bound().await;
    let mut north = subscriber(&endpoint, &["weather.north", "weather", "end"]);
    let mut all = subscriber(&endpoint, &[""]);
    subscribed(&mut publisher, 4).await;
    for topic in ["weather.north", "sports", "weather", "weathe", "end"] {
        publisher.send([topic, "body"]);
    }
    for topic in ["weather.north", "weather", "end"] {
        assert_eq!(frames(&mut north).await, [topic, "body"]);
    }
    for topic in ["weather.north", "sports", "weather", "weathe", "end"] {
        assert_eq!(frames(&mut all).await, [topic, "body"]);
    }
    soon(publisher.close()).await.unwrap();
    soon(all.close()).await;
}

#[tokio::test]
async fn a_topic_is_subscribed_to_until_it_is_taken_back_as_often() {
    let (mut publisher, endpoint) = bound().await;
    let mut sub = subscriber(&endpoint, &["a", "a", "end"]);
    subscribed(&mut publisher, 2).await;
    sub.unsubscribe("a");
    sub.unsubscribe("never");
    sub.subscribe("b");
    subscribed(&mut publisher, 3).await;
    publisher.send("a1");
    assert_eq!(frames(&mut sub).await, ["a1"]);
    sub.unsubscribe("a");
    subscribed(&mut publisher, 2).await;
    publisher.send("a2");
    publisher.send("end");
    assert_eq!(frames(&mut sub).await, ["end"]);
}

#[tokio::test]
async fn a_message_that_was_on_its_way_is_dropped_when_its_topic_is_taken_back() {
    let (mut publisher, endpoint) = bound().await;
    let mut sub = subscriber(&endpoint, &["a", "end"]);
    subscribed(&mut publisher, 2).await;
    publisher.send("a");
    publisher.send("end");
    sub.unsubscribe("a");
    assert_eq!(frames(&mut sub).await, ["end"]);
    // The same for the topic that stands for all.
    subscribed(&mut publisher, 1).await;
    sub.subscribe("");
    sub.subscribe("");
    subscribed(&mut publisher, 2).await;
    for message in ["a", "b", "end"] {
        publisher.send(message);
    }
    sub.unsubscribe("");
    assert_eq!(frames(&mut sub).await, ["a"]);
    sub.unsubscribe("");
    assert_eq!(frames(&mut sub).await, ["end"]);
}

#[tokio::test]
async fn a_publisher_that_comes_back_is_told_the_subscriptions_again() {
    let (publisher, endpoint) = bound().await;
    let mut sub = subscriber(&endpoint, &["a", "gone"]);
    soon(publisher.close()).await.unwrap();
    for round in ["a1", "a2", "a3"] {
        let mut publisher = Pub::new();
        publisher.bind(&endpoint, null()).await.unwrap();
        subscribed(&mut publisher, if round == "a1" { 2 } else { 1 }).await;
        sub.unsubscribe("gone");
        subscribed(&mut publisher, 1).await;
        publisher.send(round);
        assert_eq!(frames(&mut sub).await, [round]);
        soon(publisher.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_publisher_may_dial_and_a_subscriber_may_bind() {
    let mut sub = Sub::new();
    sub.subscribe("a");
    let endpoint = sub.bind(ANY_PORT, plain_server()).await.unwrap();
    let mut publishers = Vec::new();
    for name in ["alice", "bob"] {
        let mut publisher = Pub::new();
        publisher.connect(&endpoint, plain_client(name)).unwrap();
        subscribed(&mut publisher, 1).await;
        publisher.send("a");
        let received = soon(sub.recv()).await;
        assert_eq!(received.peer().user_id().unwrap(), name);
        publishers.push(publisher);
    }
    sub.subscribe("b");
    for publisher in &mut publishers {
        subscribed(publisher, 2).await;
    }
    // Peers that are given up are told nothing, and say nothing.
    publishers[0].disconnect(&endpoint).unwrap();
    assert_eq!(publishers[0].subscribers().count(), 0);
    soon(sub.unbind(&endpoint)).await.unwrap();
    let publisher = &mut publishers[1];
    eventually(|| publisher.subscribers().count() == 0).await;
}

/// More than the buffers of a connection on loopback hold.
const TOO_MANY: usize = 400;

#[tokio::test]
async fn a_slow_subscriber_misses_messages_and_a_fast_one_none() {
    let (mut publisher, endpoint) = bound().await;
    let slow = subscriber(&endpoint, &[""]);
    let mut fast = subscriber(&endpoint, &[""]);
    subscribed(&mut publisher, 2).await;
    let large = Bytes::from(vec![1; 64 * 1024]);
    for _ in 0..TOO_MANY {
        publisher.send(large.clone());
        assert_eq!(frames(&mut fast).await[0], large);
    }
    let mut dropped: Vec<_> = publisher.subscribers().map(|it| it.dropped).collect();
    dropped.sort_unstable();
    assert_eq!(dropped[0], 0);
    assert!(dropped[1] > 0);
    drop(slow);
}

/// Enough subscribers for what waits for them to be shared.
const SHARING: usize = 8;

/// Subscribers to `topics` that have taken in what they were sent, up to a message that is `end`.
fn collecting(endpoint: &Endpoint, topics: &[&'static str]) -> JoinHandle<Vec<Message>> {
    let mut sub = subscriber(endpoint, topics);
    tokio::spawn(async move {
        let mut messages = Vec::new();
        loop {
            let message = soon(sub.recv()).await.into_message();
            if message.frames()[0] == "end" {
                return messages;
            }
            messages.push(message);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_gets_all_in_order_while_messages_go_to_some_and_to_all() {
    let mut options = fast().with_send_high_water_mark(usize::MAX);
    options.connection.send_ahead = usize::MAX;
    let mut publisher = Pub::with_options(options);
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    let all: Vec<_> = (0..SHARING).map(|_| collecting(&endpoint, &[""])).collect();
    let some = (0..SHARING).map(|_| collecting(&endpoint, &["a", "end"]));
    let some: Vec<_> = some.collect();
    subscribed(&mut publisher, 3 * SHARING).await;
    let mut sent = Vec::new();
    for run in 0..150_usize {
        let topic = if run % 3 == 0 { "b" } else { "a" };
        for number in 0..(run * 37) % 150 {
            let body = Bytes::from(number.to_string());
            let message = match number % 7 {
                0 => Message::from([topic.into(), body]),
                _ => Message::from(format!("{topic}{run}.{number}")),
            };
            sent.push(message.clone());
            publisher.send(message);
        }
        if run % 4 == 0 {
            tokio::task::yield_now().await;
        }
    }
    publisher.send("end");
    for task in all {
        assert!(task.await.unwrap() == sent);
    }
    sent.retain(|message| message.frames()[0].starts_with(b"a"));
    for task in some {
        assert!(task.await.unwrap() == sent);
    }
    assert!(publisher.subscribers().all(|it| it.dropped == 0));
}

#[tokio::test]
async fn one_of_many_that_takes_its_topic_back_gets_nothing_more_and_a_newcomer_nothing_earlier() {
    let (mut publisher, endpoint) = bound().await;
    let others: Vec<_> = (0..SHARING).map(|_| collecting(&endpoint, &[""])).collect();
    // It does not drop on receipt what it no longer wants.
    let mut leaving = Xsub::with_options(fast());
    leaving.subscribe("a");
    leaving.subscribe("end");
    leaving.connect(&endpoint, null()).unwrap();
    subscribed(&mut publisher, SHARING + 2).await;
    let message = |number: usize| Message::from(format!("a{number}"));
    for number in 0..30 {
        publisher.send(message(number));
    }
    leaving.unsubscribe("a");
    subscribed(&mut publisher, SHARING + 1).await;
    for number in 30..60 {
        publisher.send(message(number));
    }
    let newcomer = collecting(&endpoint, &[""]);
    subscribed(&mut publisher, SHARING + 2).await;
    for number in 60..90 {
        publisher.send(message(number));
    }
    publisher.send("end");
    for number in 0..30 {
        let received = soon(leaving.recv()).await;
        assert_eq!(*received.message(), message(number));
    }
    assert_eq!(soon(leaving.recv()).await.frames(), ["end"]);
    let all: Vec<_> = (0..90).map(message).collect();
    for other in others {
        assert_eq!(other.await.unwrap(), all);
    }
    assert_eq!(newcomer.await.unwrap(), all[60..]);
}

#[tokio::test]
async fn one_of_many_that_is_slow_misses_exactly_what_is_counted_and_the_others_nothing() {
    const ROUNDS: usize = 40;
    const AT_ONCE: usize = 50;
    let mut options = fast().with_send_high_water_mark(100);
    options.connection.send_ahead = usize::MAX;
    let mut publisher = Pub::with_options(options);
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut slow = subscriber(&endpoint, &[""]);
    let mut others: Vec<_> = (0..4).map(|_| subscriber(&endpoint, &[""])).collect();
    subscribed(&mut publisher, 5).await;
    // Together they are more than what lies between the two.
    let body = Bytes::from(vec![7; 8 * 1024]);
    let message = |number: usize| Message::from([number.to_string().into(), body.clone()]);
    for round in 0..ROUNDS {
        let numbers = round * AT_ONCE..(round + 1) * AT_ONCE;
        numbers.clone().for_each(|it| publisher.send(message(it)));
        for other in &mut others {
            for number in numbers.clone() {
                assert_eq!(*soon(other.recv()).await.message(), message(number));
            }
        }
    }
    let mut dropped: Vec<_> = publisher.subscribers().map(|it| it.dropped).collect();
    dropped.sort_unstable();
    let missed = dropped.pop().unwrap() as usize;
    assert!(missed > 0 && dropped.iter().all(|it| *it == 0));
    let mut last = None;
    for _ in missed..ROUNDS * AT_ONCE {
        let received = soon(slow.recv()).await;
        let number = std::str::from_utf8(&received.frames()[0]).unwrap();
        let number = number.parse::<usize>().unwrap();
        assert!(last.is_none_or(|last| last < number));
        last = Some(number);
    }
    assert!(slow.try_recv().is_none());
}

struct Long {
    bytes: Vec<u8>,
    _held: Arc<()>,
}

impl AsRef<[u8]> for Long {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[tokio::test]
async fn a_publisher_that_has_nothing_to_send_holds_no_long_message() {
    let (mut publisher, endpoint) = bound().await;
    let mut subs: Vec<Sub> = (0..4).map(|_| subscriber(&endpoint, &[""])).collect();
    subscribed(&mut publisher, subs.len()).await;
    let held = Arc::new(());
    for _ in 0..3 {
        let long = Long {
            bytes: vec![7; 100_000],
            _held: Arc::clone(&held),
        };
        publisher.send(Bytes::from_owner(long));
    }
    for sub in &mut subs {
        for _ in 0..3 {
            assert_eq!(frames(sub).await[0].len(), 100_000);
        }
    }
    eventually(|| Arc::strong_count(&held) == 1).await;
    assert_eq!(publisher.subscribers().count(), subs.len());
}

#[tokio::test]
async fn subscriptions_beyond_the_bounds_are_refused_and_the_peer_stays() {
    let options = fast()
        .with_max_subscriptions(3)
        .with_max_subscription_bytes(10);
    let mut publisher = Pub::with_options(options);
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut events = publisher.events();
    let mut sub = subscriber(&endpoint, &[]);
    let mut ours = sub.events();
    while !matches!(soon(ours.next()).await, Some(SocketEvent::Connected { .. })) {}
    // The third has too many bytes, and the fifth is one too many.
    for topic in ["1234", "56", "78901", "7", "8"] {
        sub.subscribe(topic);
    }
    let refused = |publisher: &mut Pub| publisher.subscribers().map(|it| it.refused).sum::<u64>();
    eventually(|| refused(&mut publisher) == 2).await;
    let mut topics = Vec::new();
    while topics.len() < 2 {
        if let Some(SocketEvent::SubscriptionRefused { topic, reason, .. }) =
            soon(events.next()).await
        {
            assert_eq!(reason, SubscriptionRefused::TooMany);
            topics.push(topic);
        }
    }
    assert_eq!(topics, ["78901", "8"]);
    for topic in ["8", "1234"] {
        publisher.send(topic);
    }
    assert_eq!(frames(&mut sub).await, ["1234"]);
    sub.unsubscribe("56");
    sub.subscribe("9");
    eventually(|| {
        publisher.send("9");
        sub.try_recv().is_some()
    })
    .await;
}

/// How many topics the test of many has: 100,000 with `--full`.
fn many() -> usize {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => 100_000,
        None => 5_000,
    }
}

#[tokio::test]
async fn many_subscriptions_arrive_and_are_told_again() {
    let (mut publisher, endpoint) = bound().await;
    let mut sub = Sub::with_options(fast());
    sub.connect(&endpoint, null()).unwrap();
    for number in 0..many() {
        sub.subscribe(format!("topic {number:06}"));
    }
    for _ in 0..2 {
        subscribed(&mut publisher, many()).await;
        for number in [0, many() / 2, many() - 1] {
            let topic = format!("topic {number:06} and more");
            publisher.send(topic.clone());
            assert_eq!(frames(&mut sub).await, [topic]);
        }
        soon(publisher.close()).await.unwrap();
        publisher = Pub::with_options(fast());
        publisher.bind(&endpoint, null()).await.unwrap();
    }
}

#[tokio::test]
async fn both_forms_of_subscriptions_count_once_for_a_peer() {
    let (mut publisher, endpoint) = bound().await;
    for minor in [0, 1] {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port(&endpoint)));
        let stream = stream.await.unwrap();
        let mut raw = soon(RawPeer::shake_hands(stream, SocketType::Sub, minor)).await;
        raw.send(Flags::Last, b"\x01a").await;
        raw.send(Flags::Command, b"\x09SUBSCRIBEa").await;
        raw.send(Flags::Last, b"\x01b").await;
        subscribed(&mut publisher, 2).await;
        // As in libzmq, one cancellation is enough.
        raw.send(Flags::Command, b"\x06CANCELa").await;
        raw.send(Flags::Last, b"\x00c").await;
        subscribed(&mut publisher, 1).await;
        publisher.send("a");
        publisher.send("b");
        assert_eq!(raw.message_body().await, "b");
        drop(raw);
        eventually(|| publisher.subscribers().count() == 0).await;
    }
}

#[tokio::test]
async fn what_subscribers_leave_behind_is_taken_while_nothing_is_sent() {
    let (mut publisher, endpoint) = bound().await;
    let mut events = publisher.events();
    for _ in 0..20 {
        let sub = subscriber(&endpoint, &["a"]);
        while !matches!(
            soon(events.next()).await,
            Some(SocketEvent::Accepted { .. })
        ) {}
        soon(sub.close()).await;
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    }
    assert_eq!(publisher.subscribers().count(), 0);
}

#[tokio::test]
async fn a_flood_of_one_subscriber_holds_up_no_other() {
    let (mut publisher, endpoint) = bound().await;
    let mut flooding = Sub::new();
    flooding.connect(&endpoint, null()).unwrap();
    for number in 0..5_000 {
        flooding.subscribe(number.to_string());
    }
    let mut sub = subscriber(&endpoint, &["weather"]);
    let first = soon(async {
        loop {
            publisher.send("weather");
            if let Some(received) = sub.try_recv() {
                break received;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(first.await.frames(), ["weather"]);
    subscribed(&mut publisher, 5_001).await;
}

/// More messages than all queues between a publisher and a subscriber hold.
const FLOOD: usize = 5000;

#[tokio::test]
async fn a_publisher_that_waits_for_room_drops_nothing() {
    let (mut publisher, endpoint) = bound().await;
    let sub = subscriber(&endpoint, &["news"]);
    soon(publisher.subscribed()).await;
    let reading = tokio::spawn(async move {
        let mut sub = sub;
        for number in 0..FLOOD {
            assert_eq!(frames(&mut sub).await[1], number.to_string());
        }
        sub
    });
    for number in 0..FLOOD {
        let message = Message::from([Bytes::from("news"), number.to_string().into()]);
        soon(publisher.ready_for(&message)).await;
        publisher.send(message);
    }
    let _sub = soon(reading).await.unwrap();
    assert!(publisher.subscribers().all(|it| it.dropped == 0));

    // A subscriber that reads nothing holds up its own topic alone, and nothing once it is gone.
    let stuck = subscriber(&endpoint, &["stuck"]);
    subscribed(&mut publisher, 2).await;
    let message = Message::from(vec![b's'; 10_000]);
    let stuck_message = Message::from([Bytes::from("stuck"), vec![0; 100_000].into()]);
    let filling = async {
        loop {
            publisher.ready_for(&stuck_message).await;
            publisher.send(stuck_message.clone());
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), filling)
            .await
            .is_err()
    );
    soon(publisher.ready_for(&message)).await;
    drop(stuck);
    soon(publisher.ready_for(&stuck_message)).await;
}

#[tokio::test]
async fn a_publisher_waits_for_the_first_subscription_that_is_not_taken_back() {
    let (mut publisher, endpoint) = bound().await;
    let mut sub = subscriber(&endpoint, &[]);
    let early = tokio::time::timeout(Duration::from_millis(100), publisher.subscribed());
    assert!(early.await.is_err());
    sub.subscribe("news");
    soon(publisher.subscribed()).await;
    publisher.send("news");
    assert_eq!(frames(&mut sub).await, ["news"]);
    drop(sub);
    subscribed(&mut publisher, 0).await;
    let late = tokio::time::timeout(Duration::from_millis(100), publisher.subscribed());
    assert!(late.await.is_err());
}

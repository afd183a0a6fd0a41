//! Options that mean what libzmq's options of their names mean.

use crate::net_peers::{RawPeer, port};
use crate::securities::{ANY_PORT, fast, null, soon, subscribed};
use bytes::Bytes;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use zmtp_auth::net::{Message, NetError};
use zmtp_auth::traffic::heartbeat::{HeartbeatExpired, HeartbeatSettings};
use zmtp_auth::{Config, Error, Limits, Security, SocketType};
use zmtp_sockets::{
    Dealer, Events, Pair, Pub, Pull, Push, Rep, Req, Router, SendReason, SocketEvent,
    SocketOptions, Sub,
};

const MOMENT: Duration = Duration::from_millis(30);

async fn lost(events: &mut Events) -> NetError {
    loop {
        if let SocketEvent::Lost { error, .. } = soon(events.next()).await.unwrap() {
            return error;
        }
    }
}

async fn failure(events: &mut Events) -> (NetError, Option<Duration>) {
    match soon(events.next()).await.unwrap() {
        SocketEvent::Retrying {
            error, retry_after, ..
        } => (error, retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_what_waits_for_a_conflated_peer_the_last_message_is_sent_whole() {
    let options = fast().with_conflate(true).with_send_high_water_mark(1);
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    soon(pull.unbind(&endpoint)).await.unwrap();
    let (mut push, mut dealer) = (
        Push::with_options(options.clone()),
        Dealer::with_options(options),
    );
    push.connect(&endpoint, null()).unwrap();
    for number in 0..100 {
        push.try_send([number.to_string(), "body".into()]).unwrap();
    }
    pull.bind(&endpoint, null()).await.unwrap();
    assert_eq!(soon(pull.recv()).await.frames(), ["99", "body"]);
    soon(pull.unbind(&endpoint)).await.unwrap();

    let mut other = Dealer::new();
    dealer.connect(&endpoint, null()).unwrap();
    for number in 0..100 {
        dealer.try_send(number.to_string()).unwrap();
    }
    other.bind(&endpoint, null()).await.unwrap();
    assert_eq!(soon(other.recv()).await.frames(), ["99"]);
    for number in 0..100 {
        soon(other.send(number.to_string())).await;
    }
    let mut events = dealer.events();
    soon(other.close()).await.unwrap();
    lost(&mut events).await;
    let mut received = 0;
    while soon(dealer.recv()).await.frames() != ["99"] {
        received += 1;
    }
    assert!(received < 10, "{received} before the last one");
}

#[tokio::test]
async fn of_what_has_arrived_a_conflated_socket_receives_the_last_message_of_each_peer() {
    let mut pull = Pull::with_options(SocketOptions::default().with_conflate(true));
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    for name in ["a", "b"] {
        let mut push = Push::new();
        push.connect(&endpoint, null()).unwrap();
        for number in 0..500 {
            push.try_send(format!("{name}{number}")).unwrap();
        }
        soon(push.close()).await.unwrap();
        lost(&mut events).await;
    }
    let (mut received, mut last) = (0, vec!["a499", "b499"]);
    while !last.is_empty() {
        let message = soon(pull.recv()).await.into_message();
        last.retain(|text| message.frames() != [*text]);
        received += 1;
    }
    assert!(received < 10, "{received} received");
    assert!(pull.try_recv().is_none());
}

#[tokio::test]
async fn no_subscriber_of_a_conflated_pub_misses_the_latest_message() {
    let mut publisher = Pub::with_options(SocketOptions::default().with_conflate(true));
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut sub = Sub::with_options(SocketOptions::default().with_conflate(true));
    // Subscriptions do not replace each other.
    for topic in 0..100 {
        sub.subscribe(format!("{topic} "));
    }
    sub.connect(&endpoint, null()).unwrap();
    subscribed(&mut publisher, 100).await;
    let large = Bytes::from(vec![b'x'; 64 * 1024]);
    for _ in 0..400 {
        publisher.send([Bytes::from("7 "), large.clone()]);
        tokio::task::yield_now().await;
    }
    publisher.send("99 the end");
    let mut received = 0;
    while soon(sub.recv()).await.frames() != ["99 the end"] {
        received += 1;
    }
    assert!(received < 400);
    assert_eq!(publisher.subscribers().map(|it| it.dropped).sum::<u64>(), 0);
}

#[tokio::test]
async fn sockets_of_other_types_keep_all_messages() {
    let options = fast().with_conflate(true);
    let (mut pair, mut other) = (
        Pair::with_options(options.clone()),
        Pair::with_options(options),
    );
    let endpoint = other.bind(ANY_PORT, null()).await.unwrap();
    pair.connect(&endpoint, null()).unwrap();
    for number in 0..100 {
        pair.try_send(number.to_string()).unwrap();
    }
    for number in 0..100 {
        assert_eq!(soon(other.recv()).await.frames(), [number.to_string()]);
    }
}

#[tokio::test]
async fn a_router_learns_of_a_peer_by_its_probe_on_each_connection() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let options = |name| fast().with_probe_router(true).with_routing_id(name);
    let mut dealer = Dealer::with_options(options("dealer"));
    dealer.connect(&endpoint, null()).unwrap();
    soon(dealer.send("behind the probe")).await;
    for expected in ["", "behind the probe"] {
        let request = soon(router.recv()).await;
        assert_eq!(
            (request.routing_id(), request.frames()),
            (&"dealer".into(), &[expected.into()][..])
        );
    }
    let mut req = Req::with_options(options("req"));
    req.connect(&endpoint, null()).unwrap();
    assert_eq!(soon(router.recv()).await.frames(), [""]);
    let asking = soon(req.request("question"));
    let answering = async {
        let request = router.recv().await;
        assert_eq!(request.frames(), ["", "question"]);
        router.send(request.reply("answer")).unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.unwrap().frames(), ["answer"]);
    let mut other = Router::with_options(options("router"));
    other.connect(&endpoint, null()).unwrap();
    let request = soon(router.recv()).await;
    assert_eq!(
        (request.routing_id(), request.frames()),
        (&"router".into(), &["".into()][..])
    );

    soon(router.close()).await.unwrap();
    let mut router = Router::new();
    router.bind(&endpoint, null()).await.unwrap();
    let mut names: Vec<_> = Vec::new();
    for _ in 0..3 {
        let request = soon(router.recv()).await;
        assert_eq!(request.frames(), [""]);
        names.push(request.routing_id().clone());
    }
    names.sort();
    assert_eq!(names, ["dealer", "req", "router"]);
}

#[tokio::test]
async fn a_probe_is_no_request_and_other_types_send_none() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
    let mut req = Req::with_options(fast().with_probe_router(true));
    req.connect(&endpoint, null()).unwrap();
    let answering = async {
        let request = rep.recv().await;
        rep.send(request.reply("answer"));
        assert_eq!(rep.malformed(), 1);
    };
    let (answer, ()) = tokio::join!(soon(req.request("question")), answering);
    assert_eq!(answer.unwrap().frames(), ["answer"]);

    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut push = Push::with_options(fast().with_probe_router(true));
    push.connect(&endpoint, null()).unwrap();
    soon(push.send("first")).await;
    assert_eq!(soon(pull.recv()).await.frames(), ["first"]);
}

/// How many messages of 256 KiB reach a PULL that receives none of them.
async fn taken_without_receiving(
    receive_high_water_mark: usize,
    of: usize,
    patience: Duration,
) -> usize {
    let limits = Limits::default().with_read_ahead(256 * 1024 * of);
    let config = Config::builder(SocketType::Pull).null().accept_any_peer();
    let config = config.limits(limits).finish().unwrap();
    let options = SocketOptions::default().with_receive_high_water_mark(receive_high_water_mark);
    let mut pull = Pull::with_options(options);
    let endpoint = pull.bind(ANY_PORT, config).await.unwrap();
    let mut push = Push::with_options(SocketOptions::default().with_send_high_water_mark(1));
    push.connect(&endpoint, null()).unwrap();
    let message = Message::from(vec![0; 256 * 1024]);
    for sent in 0..of {
        if timeout(patience, push.send(message.clone())).await.is_err() {
            return sent;
        }
    }
    of
}

#[tokio::test]
async fn no_more_messages_are_read_ahead_than_the_receive_high_water_mark() {
    // The buffers of the system hold some more, and far fewer than this.
    assert!(taken_without_receiving(2, 256, 10 * MOMENT).await < 256);
    assert_eq!(taken_without_receiving(1000, 256, 300 * MOMENT).await, 256);
}

#[tokio::test]
async fn an_immediate_socket_queues_only_for_connected_peers() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    soon(pull.unbind(&endpoint)).await.unwrap();
    let mut push = Push::with_options(fast().with_immediate(true));
    push.connect(&endpoint, null()).unwrap();
    assert_eq!(push.try_send("early").unwrap_err().reason, SendReason::Full);
    pull.bind(&endpoint, null()).await.unwrap();
    soon(push.send("connected")).await;
    assert_eq!(soon(pull.recv()).await.frames(), ["connected"]);
}

#[tokio::test]
async fn delays_between_attempts_grow_from_the_first_to_the_longest() {
    let (first, longest) = (Duration::from_millis(4), Duration::from_millis(10));
    let mut push =
        Push::with_options(SocketOptions::default().with_reconnect_delays(first, longest));
    let mut events = push.events();
    push.connect("tcp://127.0.0.1:9", null()).unwrap();
    // Each is shortened by up to a half.
    for limit in [first, first * 2, longest, longest] {
        let (_, retry_after) = failure(&mut events).await;
        let delay = retry_after.unwrap();
        assert!(
            delay <= limit && delay >= limit / 2,
            "{delay:?} of {limit:?}"
        );
    }
}

#[tokio::test]
async fn an_attempt_to_connect_ends_after_the_connect_timeout() {
    // The listener accepts nothing, and the system queues one connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _queued = soon(TcpStream::connect(address)).await.unwrap();
    let mut push = Push::with_options(fast().with_connect_timeout(MOMENT));
    let mut events = push.events();
    push.connect(format!("tcp://{address}").as_str(), null())
        .unwrap();
    let (error, _) = failure(&mut events).await;
    let is_timeout = |source: &std::io::Error| source.kind() == std::io::ErrorKind::TimedOut;
    assert!(
        matches!(&error, NetError::Io { source, .. } if is_timeout(source)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_handshake_ends_after_the_time_that_the_configuration_allows() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let limits = Limits::default().with_handshake_timeout(MOMENT);
    let config = Config::untyped_builder()
        .limits(limits)
        .null()
        .accept_any_peer()
        .finish();
    let mut push = Push::with_options(fast());
    let mut events = push.events();
    push.connect(endpoint.as_str(), Security::from(config.unwrap()))
        .unwrap();
    let _silent = soon(listener.accept()).await.unwrap();
    let (error, _) = failure(&mut events).await;
    assert!(
        matches!(error, NetError::Handshake(Error::Timeout(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_peer_that_answers_no_heartbeat_is_lost() {
    let mut heartbeat = HeartbeatSettings::every(MOMENT);
    heartbeat.timeout = MOMENT * 2;
    let mut pull = Pull::with_options(SocketOptions::default().with_heartbeat(heartbeat));
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let stream = soon(TcpStream::connect(("127.0.0.1", port(&endpoint))))
        .await
        .unwrap();
    let _raw = RawPeer::shake_hands(stream, SocketType::Push, 1).await;
    let error = lost(&mut events).await;
    assert!(
        matches!(error, NetError::Heartbeat(HeartbeatExpired::NoAnswer)),
        "{error:?}"
    );
}

//! Subscriptions in both wire forms, and heartbeats, against a raw peer and between connections.

use crate::net_peers;

use bytes::Bytes;
use futures_sink::Sink;
use net_peers::*;
use std::pin::Pin;
use std::time::Duration;
use zmtp_auth::SocketType;
use zmtp_auth::net::{
    Connection, Connector, Incoming, Listener, Message, NetError, Options, Reconnecting,
};
use zmtp_auth::traffic::heartbeat::{Expiry, HeartbeatExpired, HeartbeatSettings};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;

/// A connection to a raw peer that listens.
async fn dial_raw(ours: SocketType, raw: SocketType, minor: u8) -> (Connection, RawPeer) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = local(listener.local_addr().unwrap().port());
    let raw = async {
        let (stream, _) = listener.accept().await.unwrap();
        RawPeer::shake_hands(stream, raw, minor).await
    };
    let dialling = Connection::connect(endpoint, null(ours));
    let (dialled, raw) = soon(async { tokio::join!(dialling, raw) }).await;
    (dialled.unwrap(), raw)
}

#[tokio::test]
async fn subscriptions_are_events_at_the_publisher() {
    let topics: Vec<Bytes> = (240..=260).map(|len| vec![b't'; len].into()).collect();
    for publisher in [SocketType::Pub, SocketType::Xpub] {
        for subscriber in [SocketType::Sub, SocketType::Xsub] {
            let (mut publisher, mut subscriber) = connected(publisher, subscriber).await;
            for topic in &topics {
                subscriber.subscribe(topic.clone()).await.unwrap();
                subscriber.unsubscribe(topic.clone()).await.unwrap();
            }
            for topic in &topics {
                let incoming = soon(publisher.recv()).await.unwrap();
                assert_eq!(incoming, Incoming::Subscribe(topic.clone()));
                let incoming = soon(publisher.recv()).await.unwrap();
                assert_eq!(incoming, Incoming::Unsubscribe(topic.clone()));
            }
            publisher.send("news").await.unwrap();
            assert_eq!(
                soon(subscriber.recv_message()).await.unwrap(),
                "news".into()
            );
        }
    }
}

#[tokio::test]
async fn a_publisher_takes_subscriptions_as_messages_and_drops_other_messages() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pub))
        .await
        .unwrap();
    for minor in [0, 1] {
        let mut raw = RawPeer::connect(&listener, SocketType::Sub, minor).await;
        let mut publisher = soon(listener.accept()).await.unwrap();
        for _ in 0..10_000 {
            raw.send(Flags::Last, b"junk").await;
        }
        raw.send(Flags::Last, b"\x01topic").await;
        raw.send(Flags::Last, b"\x00topic").await;
        let incoming = soon(publisher.recv()).await.unwrap();
        assert_eq!(incoming, Incoming::Subscribe("topic".into()));
        let incoming = soon(publisher.recv()).await.unwrap();
        assert_eq!(incoming, Incoming::Unsubscribe("topic".into()));
    }
}

#[tokio::test]
async fn a_subscriber_speaks_the_form_of_its_publishers_version() {
    let (mut sub, mut raw) = dial_raw(SocketType::Sub, SocketType::Pub, 1).await;
    sub.subscribe("a").await.unwrap();
    sub.unsubscribe("a").await.unwrap();
    let subscribe = TrafficCommand::Subscribe("a".into());
    assert_eq!(raw.traffic_command().await, subscribe);
    let cancel = TrafficCommand::Cancel("a".into());
    assert_eq!(raw.traffic_command().await, cancel);

    let (mut sub, mut raw) = dial_raw(SocketType::Xsub, SocketType::Pub, 0).await;
    sub.subscribe("a").await.unwrap();
    sub.unsubscribe("a").await.unwrap();
    assert_eq!(raw.message_body().await, "\x01a");
    assert_eq!(raw.message_body().await, "\x00a");
}

#[tokio::test]
async fn the_sink_of_a_subscriber_takes_subscriptions_as_messages() {
    for subscriber in [SocketType::Sub, SocketType::Xsub] {
        let (mut publisher, subscriber) = connected(SocketType::Xpub, subscriber).await;
        let (mut sink, _receiver) = subscriber.split();
        for message in ["\x01topic", "\0topic"] {
            Sink::start_send(Pin::new(&mut sink), message.into()).unwrap();
        }
        let incoming = soon(publisher.recv()).await.unwrap();
        assert_eq!(incoming, Incoming::Subscribe("topic".into()));
        let incoming = soon(publisher.recv()).await.unwrap();
        assert_eq!(incoming, Incoming::Unsubscribe("topic".into()));
    }
    // For any other type they are data.
    let (mut pull, push) = connected(SocketType::Pull, SocketType::Push).await;
    let (mut sink, _receiver) = push.split();
    Sink::start_send(Pin::new(&mut sink), "\x01data".into()).unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "\x01data".into());
    let (_peer, sub) = connected(SocketType::Pub, SocketType::Sub).await;
    let (mut sink, _receiver) = sub.split();
    let error = Sink::start_send(Pin::new(&mut sink), "data".into()).unwrap_err();
    assert!(matches!(error, NetError::CannotSend(SocketType::Sub)));
}

#[tokio::test]
async fn only_subscribers_subscribe() {
    let (_pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    let error = push.subscribe("a").await.unwrap_err();
    assert!(matches!(error, NetError::CannotSubscribe(SocketType::Push)));
}

#[tokio::test]
async fn messages_that_every_peer_would_refuse_are_not_sent() {
    for (ours, theirs) in [
        (SocketType::Pull, SocketType::Push),
        (SocketType::Sub, SocketType::Pub),
        (SocketType::Dish, SocketType::Radio),
        (SocketType::Gather, SocketType::Scatter),
    ] {
        let (_peer, mut connection) = connected(theirs, ours).await;
        let error = connection.send("x").await.unwrap_err();
        assert!(
            matches!(error, NetError::CannotSend(kind) if kind == ours),
            "{error}"
        );
    }
    let (mut rep, mut req) = connected(SocketType::Rep, SocketType::Req).await;
    for bad in [&["question"][..], &[""], &["envelope", "", "question"]] {
        let error = req
            .send(bad.iter().copied().collect::<Message>())
            .await
            .unwrap_err();
        assert!(
            matches!(error, NetError::Delimiter(SocketType::Req)),
            "{bad:?}: {error}"
        );
    }
    for bad in [
        &["answer"][..],
        &[""],
        &["envelope", "answer"],
        &["envelope", ""],
    ] {
        let error = rep
            .send(bad.iter().copied().collect::<Message>())
            .await
            .unwrap_err();
        assert!(
            matches!(error, NetError::Delimiter(SocketType::Rep)),
            "{bad:?}: {error}"
        );
    }
    let question: Message = ["", "question"].into_iter().collect();
    req.send(question.clone()).await.unwrap();
    assert_eq!(soon(rep.recv_message()).await.unwrap(), question);
    for answer in [&["", "answer"][..], &["", ""], &["envelope", "", "answer"]] {
        let answer: Message = answer.iter().copied().collect();
        rep.send(answer.clone()).await.unwrap();
        assert_eq!(soon(req.recv_message()).await.unwrap(), answer);
    }
}

#[tokio::test]
async fn a_reconnecting_client_does_not_send_messages_that_every_peer_would_refuse() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Rep))
        .await
        .unwrap();
    let connector = Connector::new(listener.local_endpoint(), null(SocketType::Req)).unwrap();
    let sent = Reconnecting::new(connector).send("question").await;
    let error = sent.unwrap_err();
    assert!(
        matches!(error, NetError::Delimiter(SocketType::Req)),
        "{error}"
    );
}

#[tokio::test]
async fn a_push_receives_nothing() {
    let (mut push, mut raw) = dial_raw(SocketType::Push, SocketType::Pull, 1).await;
    raw.send(Flags::Last, b"junk").await;
    raw.send(Flags::More, b"more").await;
    raw.send(Flags::Last, b"junk").await;
    raw.half_close().await;
    assert!(matches!(soon(push.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn a_ping_is_answered_while_the_application_does_not_receive() {
    for minor in [0, 1] {
        let (_pull, mut raw) = dial_raw(SocketType::Pull, SocketType::Push, minor).await;
        raw.send(Flags::Last, b"not received").await;
        for context in ["", "0123456789abcdef"] {
            let context = Bytes::from(context);
            let ping = TrafficCommand::Ping {
                ttl: 0,
                context: context.clone(),
            };
            raw.command(ping).await;
            assert_eq!(
                raw.traffic_command().await,
                TrafficCommand::Pong { context }
            );
        }
    }
}

#[tokio::test]
async fn every_ping_of_a_burst_is_answered_and_what_follows_it_is_delivered() {
    let (mut pull, mut raw) = dial_raw(SocketType::Pull, SocketType::Push, 1).await;
    let context = |number: u32| Bytes::from(number.to_be_bytes().to_vec());
    let mut burst: Vec<(Flags, Bytes)> = (0..200)
        .map(|number| {
            let context = context(number);
            let ping = TrafficCommand::Ping { ttl: 0, context };
            (Flags::Command, ping.encode().unwrap())
        })
        .collect();
    burst.push((Flags::Last, "behind".into()));
    raw.send_together(&burst).await;
    for number in 0..200 {
        let context = context(number);
        assert_eq!(
            raw.traffic_command().await,
            TrafficCommand::Pong { context }
        );
    }
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "behind".into());
}

#[tokio::test]
async fn pings_come_before_waiting_messages_and_never_within_one() {
    let (mut push, mut raw) = dial_raw(SocketType::Push, SocketType::Pull, 1).await;
    let large: zmtp_auth::net::Message = (0..64).map(|_| vec![0; 1 << 20]).collect();
    let sending = tokio::spawn(async move {
        push.send(large).await.unwrap();
        push
    });
    let first = raw.frame().await.unwrap();
    assert_eq!(first.flags, Flags::More);
    raw.command(TrafficCommand::Ping {
        ttl: 0,
        context: "x".into(),
    })
    .await;
    for _ in 0..62 {
        assert_eq!(raw.frame().await.unwrap().flags, Flags::More);
    }
    assert_eq!(raw.frame().await.unwrap().flags, Flags::Last);
    let context = "x".into();
    assert_eq!(
        raw.traffic_command().await,
        TrafficCommand::Pong { context }
    );
    soon(sending).await.unwrap();
}

fn beating(interval: u64, timeout: u64) -> Options {
    let mut settings = HeartbeatSettings::every(Duration::from_millis(interval));
    settings.timeout = Duration::from_millis(timeout);
    settings.ttl = Duration::from_secs(3600);
    Options::default().with_heartbeat(settings)
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed() {
    let config = null(SocketType::Pull);
    let listener = Listener::bind_with(ANY_PORT, config, beating(20, 100))
        .await
        .unwrap();
    let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    let ping = raw.traffic_command().await;
    assert_eq!(
        ping,
        TrafficCommand::Ping {
            ttl: 655,
            context: Bytes::new()
        }
    );
    let error = soon(pull.recv()).await.unwrap_err();
    assert!(
        matches!(error, NetError::Heartbeat(HeartbeatExpired::NoAnswer)),
        "{error}"
    );
    while raw.frame().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn only_a_peer_that_has_answered_before_is_closed_where_that_was_asked_for() {
    for answers in [0, 1] {
        let mut options = beating(1000, 1000);
        if let Some(settings) = &mut options.heartbeat {
            settings.expiry = Expiry::OnceAnswered;
        }
        let config = null(SocketType::Pull);
        let listener = Listener::bind_with(ANY_PORT, config, options)
            .await
            .unwrap();
        let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
        let mut pull = listener.accept().await.unwrap();
        for _ in 0..answers {
            raw.traffic_command().await;
            let context = Bytes::new();
            raw.command(TrafficCommand::Pong { context }).await;
        }
        let hour = Duration::from_secs(3600);
        match (answers, tokio::time::timeout(hour, pull.recv()).await) {
            (0, Err(_)) => {}
            (1, Ok(Err(NetError::Heartbeat(HeartbeatExpired::NoAnswer)))) => {}
            (_, end) => panic!("{end:?}"),
        }
    }
}

#[tokio::test]
async fn answers_keep_a_connection_alive_and_zmtp_3_0_is_not_asked() {
    let config = null(SocketType::Pull);
    let listener = Listener::bind_with(ANY_PORT, config, beating(5, 30_000))
        .await
        .unwrap();
    let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    for _ in 0..20 {
        assert!(matches!(
            raw.traffic_command().await,
            TrafficCommand::Ping { .. }
        ));
        let context = Bytes::new();
        raw.command(TrafficCommand::Pong { context }).await;
    }
    raw.send(Flags::Last, b"alive").await;
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "alive".into());

    let mut old = RawPeer::connect(&listener, SocketType::Push, 0).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    old.send(Flags::Last, b"alive").await;
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "alive".into());
    soon(pull.close()).await.unwrap();
    assert!(old.frame().await.is_none());
}

#[tokio::test]
async fn the_time_to_live_that_a_peer_announces_is_enforced() {
    let (mut pull, mut raw) = dial_raw(SocketType::Pull, SocketType::Push, 1).await;
    let ping = TrafficCommand::Ping {
        ttl: 1,
        context: Bytes::new(),
    };
    raw.command(ping).await;
    let error = soon(pull.recv()).await.unwrap_err();
    assert!(
        matches!(error, NetError::Heartbeat(HeartbeatExpired::TtlExpired)),
        "{error}"
    );
}

#[tokio::test]
async fn back_pressure_does_not_count_as_silence() {
    let config = null(SocketType::Pull);
    let listener = Listener::bind_with(ANY_PORT, config, beating(50, 500))
        .await
        .unwrap();
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let mut push = soon(push).await.unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();
    let sending = tokio::spawn(async move {
        for _ in 0..200 {
            push.send(vec![0; 100_000]).await.unwrap();
        }
        push
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..200 {
        soon(pull.recv_message()).await.unwrap();
    }
    soon(sending).await.unwrap();
}

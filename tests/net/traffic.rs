//! Messages on established connections: order, back-pressure, cancellation, halves and closing.

use crate::net_peers;

use bytes::Bytes;
use net_peers::*;
use std::time::Duration;
use zmtp_auth::net::{Connection, Incoming, Listener, Message, NetError, Options};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Config, Error, KeyPair, LimitExceeded, Limits, ProtocolError, SocketType};

fn numbered(number: u32) -> Message {
    Message::from(number.to_be_bytes().to_vec())
}

async fn number(connection: &mut Connection) -> u32 {
    let message = soon(connection.recv_message()).await.unwrap();
    u32::from_be_bytes(message.single().unwrap()[..].try_into().unwrap())
}

#[tokio::test]
async fn a_sender_waits_for_a_receiver_that_does_not_receive_and_nothing_is_lost() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    let chunk = Bytes::from(vec![7; 64 * 1024]);
    let mut sent = 0;
    // The system's buffers hold a few megabytes.
    while sent < 4096 {
        let sending = push.send(chunk.clone());
        match tokio::time::timeout(Duration::from_secs(1), sending).await {
            Ok(done) => done.unwrap(),
            Err(_) => break,
        }
        sent += 1;
    }
    assert!(sent < 4096, "256 MiB were sent without a receiver");
    let closing = tokio::spawn(push.close());
    for _ in 0..sent {
        assert_eq!(
            soon(pull.recv_message()).await.unwrap().single(),
            Some(&chunk)
        );
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
    assert!(matches!(
        soon(pull.send("late")).await,
        Err(NetError::Closed)
    ));
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_larger_than_all_that_is_read_ahead_still_passes() {
    let mut limits = Limits::default();
    limits.read_ahead = 1000;
    let (mut pull, mut push) =
        connected_with(null_with(SocketType::Pull, limits), null(SocketType::Push)).await;
    for number in 0..100 {
        push.send(numbered(number)).await.unwrap();
    }
    push.send(vec![1; 1_000_000]).await.unwrap();
    push.send(numbered(100)).await.unwrap();
    for expected in 0..100 {
        assert_eq!(number(&mut pull).await, expected);
    }
    assert_eq!(soon(pull.recv_message()).await.unwrap().size(), 1_000_000);
    assert_eq!(number(&mut pull).await, 100);
}

#[tokio::test]
async fn cancelled_receives_lose_no_message() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    let sending = tokio::spawn(async move {
        for number in 0..5000 {
            push.send(numbered(number)).await.unwrap();
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        push
    });
    let mut expected = 0;
    soon(async {
        while expected < 5000 {
            tokio::select! {
                biased;
                incoming = pull.recv() => {
                    assert_eq!(incoming.unwrap(), Incoming::Message(numbered(expected)));
                    expected += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_send_was_not_sent() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    let receiving = tokio::spawn(async move {
        for expected in 0..5000 {
            let message = soon(pull.recv_message()).await.unwrap();
            assert_eq!(message.frames()[0], expected.to_string());
        }
    });
    let mut next = 0;
    soon(async {
        while next < 5000 {
            let message: Message = [Bytes::from(next.to_string()), vec![0; 5000].into()]
                .into_iter()
                .collect();
            tokio::select! {
                biased;
                sent = push.send(message) => {
                    sent.unwrap();
                    next += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    soon(receiving).await.unwrap();
}

#[tokio::test]
async fn two_tasks_own_the_halves() {
    let (left, right) = connected(SocketType::Pair, SocketType::Pair).await;
    let mut tasks = Vec::new();
    for connection in [left, right] {
        let (mut sender, mut receiver) = connection.split();
        let sending = tokio::spawn(async move {
            for number in 0..2000 {
                sender.send(numbered(number)).await.unwrap();
            }
            sender
        });
        let receiving = tokio::spawn(async move {
            for expected in 0..2000 {
                let message = soon(receiver.recv_message()).await.unwrap();
                assert_eq!(message, numbered(expected));
            }
            receiver
        });
        tasks.push((sending, receiving));
    }
    let mut halves = Vec::new();
    for (sending, receiving) in tasks {
        halves.push((soon(sending).await.unwrap(), soon(receiving).await.unwrap()));
    }
    let (right_sender, right_receiver) = halves.pop().unwrap();
    let (left_sender, left_receiver) = halves.pop().unwrap();
    let (left_sender, right_receiver) = left_sender.reunite(right_receiver).unwrap_err();
    left_sender.reunite(left_receiver).unwrap();
    right_sender.reunite(right_receiver).unwrap();
}

#[tokio::test]
async fn closing_sends_what_is_queued_however_slowly_it_is_received() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    for number in 0..500 {
        let message: Message = [
            numbered(number).into_frames().remove(0),
            vec![0; 400].into(),
        ]
        .into_iter()
        .collect();
        push.send(message).await.unwrap();
    }
    let closing = tokio::spawn(push.close());
    for expected in 0_u32..500 {
        tokio::task::yield_now().await;
        let message = soon(pull.recv_message()).await.unwrap();
        assert_eq!(message.frames()[0][..], expected.to_be_bytes());
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_connection_sends_what_is_queued() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    for number in 0..1000 {
        push.send(numbered(number)).await.unwrap();
    }
    drop(push);
    for expected in 0..1000 {
        assert_eq!(number(&mut pull).await, expected);
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn closing_gives_up_on_a_peer_that_takes_nothing() {
    let mut limits = Limits::default();
    limits.read_ahead = 1;
    let listener = Listener::bind(ANY_PORT, null_with(SocketType::Pull, limits))
        .await
        .unwrap();
    let options = Options::default()
        .with_linger(Duration::from_millis(50))
        .with_send_ahead(usize::MAX);
    let push =
        Connection::connect_with(listener.local_endpoint(), null(SocketType::Push), &options);
    let mut push = soon(push).await.unwrap();
    let _pull = soon(listener.accept()).await.unwrap();
    let chunk = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..64 {
        push.send(chunk.clone()).await.unwrap();
    }
    assert!(matches!(soon(push.close()).await, Err(NetError::Unsent)));
}

#[tokio::test]
async fn a_connection_without_its_receiving_half_still_sends_and_discards_what_arrives() {
    let (left, mut right) = connected(SocketType::Pair, SocketType::Pair).await;
    let (mut sender, receiver) = left.split();
    drop(receiver);
    for _ in 0..64 {
        soon(right.send(vec![0; 1 << 20])).await.unwrap();
    }
    sender.send("still here").await.unwrap();
    let message = soon(right.recv_message()).await.unwrap();
    assert_eq!(message.single().unwrap(), "still here");
    soon(right.close()).await.unwrap();
    assert!(matches!(soon(sender.closed()).await, NetError::Closed));
}

#[tokio::test]
async fn a_finished_sender_leaves_its_other_half_alive() {
    let (left, mut right) = connected(SocketType::Pair, SocketType::Pair).await;
    let (mut sender, mut receiver) = left.split();
    sender.send("last").await.unwrap();
    soon(sender.finish()).await.unwrap();
    assert_eq!(soon(right.recv_message()).await.unwrap(), "last".into());
    right.send("answer").await.unwrap();
    assert_eq!(
        soon(receiver.recv_message()).await.unwrap(),
        "answer".into()
    );
    drop(receiver);
    assert!(matches!(soon(right.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn what_a_peer_took_before_it_closed_was_sent() {
    for round in 0..100 {
        let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
        for number in 0..3 {
            push.send(numbered(number)).await.unwrap();
        }
        for expected in 0..3 {
            assert_eq!(number(&mut pull).await, expected);
        }
        let closing = tokio::spawn(pull.close());
        if round % 4 < 2 {
            // It knows of the end, and still everything was sent.
            assert!(matches!(soon(push.closed()).await, NetError::Closed));
        }
        if round % 2 == 0 {
            let (sender, _receiver) = push.split();
            soon(sender.finish()).await.unwrap();
        } else {
            soon(push.close()).await.unwrap();
        }
        soon(closing).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_a_peer_left_when_it_closed_was_not_sent() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Push))
        .await
        .unwrap();
    for finishes in [true, false] {
        let raw = RawPeer::connect(&listener, SocketType::Pull, 1).await;
        let mut push = soon(listener.accept()).await.unwrap();
        // More than the system's buffers take.
        push.send(vec![0; 64 << 20]).await.unwrap();
        drop(raw);
        soon(push.closed()).await;
        let sent = if finishes {
            let (sender, _receiver) = push.split();
            soon(sender.finish()).await
        } else {
            soon(push.close()).await
        };
        assert!(matches!(sent, Err(NetError::Closed)), "{sent:?}");
    }
}

#[tokio::test]
async fn an_unfinished_message_is_never_delivered() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    raw.send(Flags::More, b"whole").await;
    raw.send(Flags::Last, b"").await;
    raw.send(Flags::More, b"broken").await;
    drop(raw);
    let whole = soon(pull.recv_message()).await.unwrap();
    assert_eq!(whole, message(&[b"whole", b""]));
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn what_came_before_a_violation_is_delivered_and_then_the_violation() {
    let mut limits = Limits::default();
    limits.max_message = 100;
    let config = null_with(SocketType::Pull, limits);
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();

    let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    raw.send(Flags::Last, b"fine").await;
    raw.send(Flags::Last, &[0; 101]).await;
    soon(pull.recv_message()).await.unwrap();
    let error = soon(pull.recv()).await.unwrap_err();
    let expected = LimitExceeded::Message {
        size: 101,
        limit: 100,
    };
    assert_eq!(error.protocol(), Some(&expected.into()));
    assert!(raw.frame().await.is_none());

    let mut raw = RawPeer::connect(&listener, SocketType::Push, 1).await;
    let mut pull = soon(listener.accept()).await.unwrap();
    raw.send(Flags::Command, b"\x04PING\0").await;
    let error = soon(pull.recv()).await.unwrap_err();
    assert!(matches!(
        error.protocol(),
        Some(zmtp_auth::Error::Protocol(ProtocolError::Malformed { .. }))
    ));
}

#[tokio::test]
async fn traffic_right_behind_the_handshake_is_not_lost() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    push.send("first").await.unwrap();
    soon(push.close()).await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap(), "first".into());
}

/// A listener, a raw peer, and our end of their connection.
async fn with_raw(limits: Limits) -> (Listener, RawPeer, Connection) {
    let config = null_with(SocketType::Pair, limits);
    let listener = Listener::bind(ANY_PORT, config).await.unwrap();
    let raw = RawPeer::connect(&listener, SocketType::Pair, 1).await;
    let connection = soon(listener.accept()).await.unwrap();
    (listener, raw, connection)
}

/// `count` messages of one byte.
fn burst(count: usize) -> Vec<(Flags, Bytes)> {
    (0..count)
        .map(|number| (Flags::Last, Bytes::from(vec![number as u8])))
        .collect()
}

/// Sends until that fails, and returns the error.
async fn fail_to_send(connection: &mut Connection) -> NetError {
    soon(async {
        loop {
            if let Err(error) = connection.send("answer").await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

/// Receives a whole burst and then the end of the connection.
async fn assert_all_arrive(connection: &mut Connection, count: usize) {
    for number in 0..count {
        let received = soon(connection.recv_message()).await;
        let received = received.unwrap_or_else(|error| panic!("{error} after {number}"));
        assert_eq!(received.single().unwrap()[..], [number as u8]);
    }
    assert!(matches!(
        soon(connection.recv()).await,
        Err(NetError::Closed)
    ));
}

/// More than the connection reads ahead for the application, less than the system's buffers take.
const MANY: usize = 20_000;

/// Runs for accepted and dialled connections, over tcp and ipc, under NULL and CURVE.
#[tokio::test]
async fn what_has_arrived_is_received_though_an_answer_meets_a_peer_that_has_closed() {
    let (listener, mut raw, mut ours) = with_raw(Limits::default()).await;
    raw.send_together(&burst(MANY)).await;
    drop((raw, listener));
    fail_to_send(&mut ours).await;
    // Sending fails at once.
    assert!(matches!(soon(ours.closed()).await, NetError::Closed));
    assert_all_arrive(&mut ours, MANY).await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, client) = (keys(), keys());
    let config = zmtp_auth::Config::builder(SocketType::Pair)
        .curve_server(server.clone())
        .accept_any_peer()
        .finish()
        .unwrap();
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        RawPeer::speak(stream, &config, 1).await
    };
    let endpoint = local(listener.local_addr().unwrap().port());
    let mut limits = Limits::default();
    limits.read_ahead = 1000;
    let config = zmtp_auth::Config::builder(SocketType::Pair)
        .limits(limits)
        .curve_client(client, server.public_key())
        .finish()
        .unwrap();
    let dialling = Connection::connect(endpoint, config);
    let (mut raw, ours) = soon(async { tokio::join!(accepting, dialling) }).await;
    let sealed = MANY / 20;
    raw.send_together(&burst(sealed)).await;
    drop(raw);
    let (mut sender, mut receiver) = ours.unwrap().split();
    soon(async {
        while sender.send("answer").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    for number in 0..sealed {
        let received = soon(receiver.recv_message()).await.unwrap();
        assert_eq!(received.single().unwrap()[..], [number as u8]);
    }
    assert!(matches!(soon(receiver.recv()).await, Err(NetError::Closed)));
}

#[cfg(unix)]
#[tokio::test]
async fn what_has_arrived_over_ipc_is_received_though_an_answer_meets_a_peer_that_has_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let endpoint = format!("ipc://{}", path.display());
    let config = null(SocketType::Pair);
    let listener = Listener::bind(endpoint.as_str(), config).await.unwrap();
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut raw = RawPeer::shake_hands(stream, SocketType::Pair, 1).await;
    let mut ours = soon(listener.accept()).await.unwrap();
    raw.send_together(&burst(2 * MANY)).await;
    drop(raw);
    fail_to_send(&mut ours).await;
    assert_all_arrive(&mut ours, 2 * MANY).await;
}

/// The peer keeps the connection open, reads nothing and sends nothing, so nothing shows whether it
/// lives.
#[cfg(unix)]
#[tokio::test]
async fn a_peer_that_takes_nothing_and_says_nothing_is_waited_for_as_long_as_linger() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let endpoint = format!("ipc://{}", path.display());
    let options = Options::default().with_linger(Duration::from_millis(500));
    let config = null(SocketType::Pair);
    let listener = Listener::bind_with(endpoint.as_str(), config, options)
        .await
        .unwrap();
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut raw = RawPeer::shake_hands(stream, SocketType::Pair, 1).await;
    let mut ours = soon(listener.accept()).await.unwrap();
    let stream = std::os::fd::AsFd::as_fd(&raw.stream);
    socket2::SockRef::from(&stream)
        .shutdown(std::net::Shutdown::Read)
        .unwrap();
    fail_to_send(&mut ours).await;
    // The peer may still send.
    raw.send_together(&burst(100)).await;
    assert_all_arrive(&mut ours, 100).await;
    assert!(raw.frame().await.is_none());
}

/// Checks that both ends of the queue wake each other although the runtime pauses in between.
#[test]
fn a_connection_survives_from_one_block_on_to_the_next() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_listener, mut raw, mut ours) = runtime.block_on(with_raw(Limits::default()));
    for round in 0..200 {
        let large = vec![round; 1024 * 1024];
        let sending = raw.send(Flags::Last, &large);
        let ((), received) =
            runtime.block_on(async { tokio::join!(sending, soon(ours.recv_message())) });
        assert_eq!(received.unwrap().size(), large.len());
    }
}

/// The end of the stream follows more messages than the queue holds, just while the application
/// takes some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_end_is_received_however_slowly() {
    for round in 0..tries(4000, 200) as usize {
        let mut limits = Limits::default();
        limits.read_ahead = [256 * 1024, 2000, 1][round % 3];
        let (_listener, mut raw, mut ours) = with_raw(limits).await;
        raw.send_together(&burst(5000)).await;
        drop(raw);
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        assert_all_arrive(&mut ours, 5000).await;
    }
}

/// The peer has closed only its sending direction and could still receive. But no live peer does
/// that, and a peer that has gone looks the same.
#[tokio::test]
async fn a_peer_that_will_send_no_more_is_sent_to_no_more() {
    let (_listener, mut raw, mut ours) = with_raw(Limits::default()).await;
    raw.send_together(&burst(MANY)).await;
    raw.half_close().await;
    let receiving = async {
        assert_all_arrive(&mut ours, MANY).await;
        assert!(matches!(ours.send("late").await, Err(NetError::Closed)));
    };
    // The peer sees the end although our application keeps the connection.
    let ((), heard) = soon(async { tokio::join!(receiving, raw.frame()) }).await;
    assert!(heard.is_none());
}

#[tokio::test]
async fn all_that_came_before_a_violation_is_received_and_nothing_behind_it_holds_up_the_end() {
    let mut limits = Limits::default();
    limits.linger_timeout = Duration::from_secs(3600);
    let (_listener, mut raw, mut ours) = with_raw(limits).await;
    let mut frames = burst(MANY);
    frames.push((Flags::Command, Bytes::from_static(b"\x04PING\0")));
    frames.extend(burst(MANY));
    // The connection may close before everything is sent.
    let sending = async {
        let mut out = bytes::BytesMut::new();
        for (flags, body) in &frames {
            let header = zmtp_auth::wire::frame::FrameHeader::encode;
            header(*flags, body.len(), &mut out);
            out.extend_from_slice(body);
        }
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &out).await;
        raw.frame().await
    };
    let receiving = async {
        for number in 0..MANY {
            let received = soon(ours.recv_message()).await.unwrap();
            assert_eq!(received.single().unwrap()[..], [number as u8]);
        }
        soon(ours.recv()).await.unwrap_err()
    };
    let (heard, end) = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(heard.is_none());
    assert!(matches!(end, NetError::Traffic(_)), "{end}");
}

/// Rounds for tests of a race.
fn tries(full: u32, quick: u32) -> u32 {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => full,
        None => quick,
    }
}

/// The application empties the queue just while the driver finds it full. The waiting message must
/// be delivered without further input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_found_no_room_is_delivered_though_nothing_more_arrives() {
    let mut limits = Limits::default();
    limits.read_ahead = 1;
    let pull = null_with(SocketType::Pull, limits);
    let (mut pull, mut push) = connected_with(pull, null(SocketType::Push)).await;
    for round in 0..tries(200_000, 5000) {
        for number in 0..4 {
            push.send(numbered(round + number)).await.unwrap();
        }
        for expected in 0..4 {
            assert_eq!(number(&mut pull).await, round + expected);
        }
    }
}

/// The application closes just while the driver checks for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_connection_is_closed_it_ends() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pair))
        .await
        .unwrap();
    for round in 0..tries(50_000, 1000) {
        let dialling = Connection::connect(listener.local_endpoint(), null(SocketType::Pair));
        let (near, far) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        far.send("hello").await.unwrap();
        soon(near.recv()).await.unwrap();
        near.send("hello").await.unwrap();
        for _ in 0..round % 256 {
            std::hint::spin_loop();
        }
        let far = tokio::spawn(async move { while far.recv().await.is_ok() {} });
        soon(near.close()).await.unwrap();
        soon(far).await.unwrap();
    }
}

#[tokio::test]
async fn small_limits_hold_under_curve() {
    let ours = KeyPair::generate().unwrap();
    for limit in [0, 1, 10, 100, 512, 990, 991, 1000, 1023, 1024, 1025] {
        let mut limits = Limits::default();
        limits.max_message = limit;
        let bound = Config::builder(SocketType::Pull)
            .limits(limits)
            .curve_server(ours.clone())
            .accept_any_peer();
        let connecting = Config::builder(SocketType::Push)
            .curve_client(KeyPair::generate().unwrap(), ours.public_key());
        let (bound, connecting) = (bound.finish().unwrap(), connecting.finish().unwrap());
        let (mut pull, mut push) = connected_with(bound, connecting).await;
        push.send(vec![7; limit]).await.unwrap();
        push.send(message(&[&vec![7; limit], b""])).await.unwrap();
        push.send(message(&[&vec![7; limit], b"x"])).await.unwrap();
        for frames in 1..=2 {
            let message = soon(pull.recv_message()).await.unwrap();
            assert_eq!(message.frames().len(), frames, "{limit}");
        }
        let error = soon(pull.recv()).await.unwrap_err();
        let is_limit = matches!(
            error.protocol(),
            Some(Error::Limit(LimitExceeded::Message { .. }))
        );
        assert!(is_limit, "{limit}: {error}");
    }
}

//! Established connections: order, back-pressure, cancellation, halves, closing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(feature = "tokio")]

mod net_peers;

use bytes::Bytes;
use net_peers::*;
use std::time::Duration;
use zmtp_auth::net::{Connection, Incoming, Listener, Message, NetError, Options};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{LimitExceeded, Limits, ProtocolError, SocketType};

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
    // What the system's own buffers hold is a few megabytes.
    while sent < 4096 {
        let sending = push.send(chunk.clone());
        match tokio::time::timeout(Duration::from_secs(1), sending).await {
            Ok(done) => done.unwrap(),
            Err(_) => break,
        }
        sent += 1;
    }
    assert!(sent < 4096, "256 MiB went nowhere");
    let closing = tokio::spawn(push.close());
    for _ in 0..sent {
        assert_eq!(
            soon(pull.recv_message()).await.unwrap().single(),
            Some(&chunk)
        );
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
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
async fn receiving_that_is_given_up_again_and_again_loses_nothing() {
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
async fn sending_that_is_given_up_was_not_sent() {
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
    assert!(matches!(
        soon(pull.send("late")).await,
        Err(NetError::Closed)
    ));
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
    let listener = Listener::bind(ANY_PORT, null_with(SocketType::Pull, limits), ())
        .await
        .unwrap();
    let mut options = Options::default();
    options.linger = Duration::from_millis(50);
    options.send_ahead = usize::MAX;
    let push = Connection::connect_with(
        listener.local_endpoint(),
        null(SocketType::Push),
        (),
        &options,
    );
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
async fn an_unfinished_message_is_never_delivered() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull), ())
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
    let listener = Listener::bind(ANY_PORT, config, ()).await.unwrap();

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

/// How often to try what depends on who looks first.
fn tries(full: u32, quick: u32) -> u32 {
    match std::env::var_os("ZMTP_AUTH_FULL") {
        Some(_) => full,
        None => quick,
    }
}

/// The application takes what is there just while the driver finds no room for what has come
/// behind it: then nothing more may have to arrive for that to be delivered.
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

/// The application closes just while the driver looks whether it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_connection_is_closed_it_ends() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pair), ())
        .await
        .unwrap();
    for round in 0..tries(50_000, 1000) {
        let dialling = Connection::connect(listener.local_endpoint(), null(SocketType::Pair), ());
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

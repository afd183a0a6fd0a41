//! Connections between sockets of one process.

use crate::net_peers;
use bytes::Bytes;
use net_peers::*;
use std::future::poll_fn;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use zmtp_auth::net::{
    Connection, Endpoint, EndpointError, InProcess, Incoming, Listener, Message, NetError, Options,
    SendQueue, TryRecvError, TrySendReason,
};
use zmtp_auth::{ConfigError, Error, Incompatible, PeerAddress, SocketType};

fn side(kind: SocketType, options: &Options) -> InProcess {
    InProcess::new(kind, "")
        .unwrap()
        .with_options(options.clone())
}

fn pair_with(one: SocketType, other: SocketType, options: &Options) -> (Connection, Connection) {
    connect(&side(one, options), &side(other, options))
}

fn connect(one: &InProcess, other: &InProcess) -> (Connection, Connection) {
    let (one, other, passing) = one.connect(other).unwrap();
    tokio::spawn(passing);
    (one, other)
}

fn pair(one: SocketType, other: SocketType) -> (Connection, Connection) {
    pair_with(one, other, &Options::default())
}

/// Lets the other tasks do all that they can do without time.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// How many tasks run now, without the test.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn a_frame_that_is_received_is_the_frame_that_was_sent() {
    let (mut one, mut other) = pair(SocketType::Pair, SocketType::Pair);
    for size in [0, 1, 100, 1 << 20] {
        let frames = [Bytes::from(vec![7; size]), Bytes::from(vec![8; size + 1])];
        one.send(frames.to_vec()).await.unwrap();
        let received = soon(other.recv_message()).await.unwrap();
        assert_eq!(received.frames(), frames);
        let is_same = |(one, other): (&Bytes, &Bytes)| one.as_ptr() == other.as_ptr();
        assert!(received.frames().iter().zip(&frames).all(is_same));
        other.send(received).await.unwrap();
        let returned = soon(one.recv_message()).await.unwrap();
        assert!(returned.frames().iter().zip(&frames).all(is_same));
    }
}

#[tokio::test]
async fn a_peer_is_this_process_and_has_proven_nothing() {
    let one = InProcess::new(SocketType::Dealer, "me").unwrap();
    let other = InProcess::new(SocketType::Router, "").unwrap();
    let (one, other) = connect(&one, &other);
    let peer = other.peer();
    assert_eq!(peer.address, PeerAddress::InProcess);
    assert!(peer.authenticated.is_none() && peer.proven_key.is_none() && peer.port.is_none());
    assert_eq!(peer.claims.socket_type, Some(SocketType::Dealer));
    assert_eq!(peer.claims.identity, Some(Bytes::from("me")));
    assert_eq!(peer.claims.properties.get("Socket-Type").unwrap(), "DEALER");
    assert_eq!(one.peer().claims.socket_type, Some(SocketType::Router));
    assert!(matches!(
        InProcess::new(SocketType::Dealer, vec![1; 256]),
        Err(ConfigError::IdentityTooLong(256))
    ));
    let pull = InProcess::new(SocketType::Pull, "not sent").unwrap();
    let push = InProcess::new(SocketType::Push, "").unwrap();
    let (push, _pull) = connect(&push, &pull);
    assert_eq!(push.peer().claims.identity, None);
}

/// RFC 37, "Socket-Type".
#[tokio::test]
async fn sockets_connect_if_their_types_talk_to_each_other() {
    use SocketType::*;
    let all = [
        Req, Rep, Dealer, Router, Pub, Sub, Xpub, Xsub, Push, Pull, Pair, Client, Server, Radio,
        Dish, Scatter, Gather, Peer, Channel,
    ];
    for one in all {
        for other in all {
            match side(one, &Options::default()).connect(&side(other, &Options::default())) {
                Ok(_) => assert!(one.accepts(other), "{one} {other}"),
                Err(NetError::Handshake(Error::Incompatible(Incompatible::SocketType {
                    peer,
                    ours,
                }))) => {
                    assert!(!one.accepts(other), "{one} {other}");
                    assert_eq!((ours, &*peer), (one.name(), other.name()));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(matches!(
        InProcess::new(Relay, ""),
        Err(ConfigError::RelayMetadata)
    ));
}

#[tokio::test]
async fn both_marks_of_both_sides_bound_what_waits() {
    let sizes = [(0, 5), (100 * 1024, 6)];
    for (size, expected) in sizes {
        let options = Options::default()
            .with_send_ahead_messages(3)
            .with_read_ahead_messages(if size == 0 { 2 } else { usize::MAX });
        let (mut push, mut pull) = pair_with(SocketType::Push, SocketType::Pull, &options);
        let mut sent = 0;
        loop {
            settle().await;
            match push.try_send(vec![sent; size]) {
                Ok(()) => sent += 1,
                Err(refused) => {
                    assert!(matches!(refused.reason, TrySendReason::Full));
                    break;
                }
            }
        }
        assert_eq!(sent, expected);
        let mut has_room = tokio::spawn(async move {
            poll_fn(|context| push.poll_ready(context)).await.unwrap();
            push
        });
        settle().await;
        assert!(!has_room.is_finished());
        for number in 0..sent {
            let received = soon(pull.recv_message()).await.unwrap();
            assert_eq!(received.frames(), [vec![number; size]]);
        }
        let push = soon(&mut has_room).await.unwrap();
        assert!(matches!(pull.try_recv(), Err(TryRecvError::Empty)));
        drop(push);
    }
}

#[tokio::test]
async fn a_message_larger_than_all_marks_passes_alone() {
    let options = Options::default().with_send_ahead(10);
    let (mut push, mut pull) = pair_with(SocketType::Push, SocketType::Pull, &options);
    let sending = tokio::spawn(async move {
        for _ in 0..3 {
            push.send(vec![1; 3 << 20]).await.unwrap();
        }
        push
    });
    for _ in 0..3 {
        let received = soon(pull.recv_message()).await.unwrap();
        assert_eq!(received.size(), 3 << 20);
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn what_was_sent_is_received_after_the_close_of_its_sender() {
    let (mut push, mut pull) = pair(SocketType::Push, SocketType::Pull);
    for number in 0..10 {
        push.send(number.to_string()).await.unwrap();
    }
    let mut ends = pull.ends();
    soon(push.close()).await.unwrap();
    assert!(matches!(soon(ends.closed()).await.reason, NetError::Closed));
    settle().await;
    assert_eq!(tasks(), 0);
    for number in 0..10 {
        let received = soon(pull.recv_message()).await.unwrap();
        assert_eq!(received.frames(), [number.to_string()]);
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_slow_receiver_for_the_linger_time() {
    for drops in [false, true] {
        let options = Options::default()
            .with_read_ahead_messages(2)
            .with_linger(Duration::from_secs(5));
        let (mut push, mut pull) = pair_with(SocketType::Push, SocketType::Pull, &options);
        for number in 0..10 {
            push.send(number.to_string()).await.unwrap();
        }
        let began = tokio::time::Instant::now();
        if drops {
            // One half after the other, so that the close is not seen with the first.
            let (sender, receiver) = push.split();
            drop(receiver);
            settle().await;
            drop(sender);
            assert!(matches!(pull.closed().await, NetError::Closed));
        } else {
            let error = push.close().await.unwrap_err();
            assert!(matches!(error, NetError::Unsent));
        }
        assert_eq!(began.elapsed().as_secs(), 5);
        for number in 0..2 {
            assert_eq!(
                pull.recv_message().await.unwrap().frames(),
                [number.to_string()]
            );
        }
        assert!(matches!(pull.recv().await, Err(NetError::Closed)));
        assert_eq!(tasks(), 0);
    }
}

#[tokio::test]
async fn a_receiver_that_goes_on_in_time_gets_everything() {
    let options = Options::default().with_read_ahead_messages(2);
    let (mut push, mut pull) = pair_with(SocketType::Push, SocketType::Pull, &options);
    for number in 0..100 {
        push.send(number.to_string()).await.unwrap();
    }
    let closing = tokio::spawn(push.close());
    settle().await;
    assert!(!closing.is_finished());
    for number in 0..100 {
        let received = soon(pull.recv_message()).await.unwrap();
        assert_eq!(received.frames(), [number.to_string()]);
    }
    soon(closing).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_queued_for_a_closed_side_is_not_sent_and_said_so() {
    let (mut one, other) = pair(SocketType::Pair, SocketType::Pair);
    one.send("never received").await.unwrap();
    // Both are closed before the task had a turn.
    let (closed, other_closed) = soon(async { tokio::join!(one.close(), other.close()) }).await;
    assert!(matches!(closed, Err(NetError::Closed)), "{closed:?}");
    other_closed.unwrap();
    settle().await;
    assert_eq!(tasks(), 0);
    let (mut one, other) = pair(SocketType::Pair, SocketType::Pair);
    soon(other.close()).await.unwrap();
    let error = one.send("late").await.unwrap_err();
    assert!(matches!(error, NetError::Closed));
    assert!(matches!(soon(one.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn without_a_receiving_half_what_arrives_is_discarded() {
    let options = Options::default()
        .with_read_ahead_messages(2)
        .with_send_ahead(100);
    let (mut one, other) = pair_with(SocketType::Pair, SocketType::Pair, &options);
    let (mut sender, receiver) = other.split();
    drop(receiver);
    for _ in 0..1000 {
        soon(one.send(vec![0; 1000])).await.unwrap();
    }
    soon(poll_fn(|context| one.poll_flush(context)))
        .await
        .unwrap();
    sender.send("still there").await.unwrap();
    assert_eq!(
        soon(one.recv_message()).await.unwrap().frames(),
        ["still there"]
    );
}

#[tokio::test]
async fn no_task_is_left_however_the_ends_are_dropped() {
    for order in 0..8 {
        let (one, other) = pair(SocketType::Pair, SocketType::Pair);
        assert_eq!(tasks(), 1);
        let (mut sender, receiver) = one.split();
        for _ in 0..10 {
            sender.send("x").await.unwrap();
        }
        if order & 1 == 0 {
            settle().await;
        }
        if order & 2 == 0 {
            drop(receiver);
            settle().await;
            drop(sender);
        } else {
            drop(sender);
            settle().await;
            drop(receiver);
        }
        if order & 4 == 0 {
            settle().await;
        }
        drop(other);
        eventually(|| tasks() == 0).await;
    }
}

#[tokio::test]
async fn subscriptions_pass_to_publishers_in_both_forms() {
    let (mut xsub, mut xpub) = pair(SocketType::Xsub, SocketType::Xpub);
    xsub.subscribe("a").await.unwrap();
    xsub.send(&b"\x01b"[..]).await.unwrap();
    xsub.unsubscribe("a").await.unwrap();
    xsub.send(&b"\x00b"[..]).await.unwrap();
    xsub.send(["\x01b", "two frames"]).await.unwrap();
    xsub.send("data").await.unwrap();
    for expected in [
        Incoming::Subscribe("a".into()),
        Incoming::Subscribe("b".into()),
        Incoming::Unsubscribe("a".into()),
        Incoming::Unsubscribe("b".into()),
        Incoming::Message(["\x01b", "two frames"].into()),
        Incoming::Message("data".into()),
    ] {
        assert_eq!(soon(xpub.recv()).await.unwrap(), expected);
    }
    xpub.send("topic").await.unwrap();
    assert_eq!(soon(xsub.recv_message()).await.unwrap().frames(), ["topic"]);
    // A PUB receives no messages.
    let (mut xsub, mut publisher) = pair(SocketType::Xsub, SocketType::Pub);
    xsub.send("data").await.unwrap();
    xsub.subscribe("a").await.unwrap();
    let incoming = soon(publisher.recv()).await.unwrap();
    assert_eq!(incoming, Incoming::Subscribe("a".into()));
}

#[tokio::test]
async fn a_queue_outlives_the_connections_that_send_from_it() {
    let options = Options::default().with_read_ahead_messages(1);
    let mut queue = SendQueue::new(SocketType::Push, &options);
    let push = side(SocketType::Push, &options).with_queue(&queue);
    let pull = side(SocketType::Pull, &options);
    for number in 0..6 {
        queue.try_send(number.to_string()).unwrap();
    }
    for round in 0..2 {
        let (_push, mut received) = connect(&push, &pull);
        assert!(matches!(push.connect(&pull), Err(NetError::QueueInUse)));
        settle().await;
        for number in 0..2 {
            let message = soon(received.recv_message()).await.unwrap();
            assert_eq!(message.frames(), [(round * 3 + number).to_string()]);
            settle().await;
        }
        // One message has passed, and is lost with its receiver. The others wait.
        drop(received);
        settle().await;
    }
    queue.try_send("the last").unwrap();
    let finished = tokio::spawn(queue.finished_owned());
    drop(queue);
    settle().await;
    assert!(!finished.is_finished());
    let (sender, mut received) = connect(&push, &pull);
    let message = soon(received.recv_message()).await.unwrap();
    assert_eq!(message.frames(), ["the last"]);
    drop(sender);
    soon(finished).await.unwrap();
}

#[tokio::test]
async fn nothing_passes_before_the_task_runs_and_after_it_is_dropped() {
    let options = Options::default();
    let mut queue = SendQueue::new(SocketType::Push, &options);
    queue.try_send("stays").unwrap();
    let push = side(SocketType::Push, &options).with_queue(&queue);
    let pull = side(SocketType::Pull, &options);
    let (_push, mut received, passing) = push.connect(&pull).unwrap();
    settle().await;
    assert!(matches!(received.try_recv(), Err(TryRecvError::Empty)));
    drop(passing);
    assert!(matches!(
        soon(received.recv()).await,
        Err(NetError::Aborted)
    ));
    let (_push, mut received) = connect(&push, &pull);
    assert_eq!(
        soon(received.recv_message()).await.unwrap().frames(),
        ["stays"]
    );
}

#[tokio::test]
async fn a_lost_runtime_ends_the_connections_of_others() {
    let other_runtime = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async { pair(SocketType::Pair, SocketType::Pair) })
    });
    let (mut one, _other) = other_runtime.join().unwrap();
    assert!(matches!(soon(one.recv()).await, Err(NetError::Aborted)));
    let sent = one.send("late").await;
    assert!(matches!(sent, Err(NetError::Aborted)), "{sent:?}");
}

/// A connection within the process needs no security, so nothing that wants one takes its endpoint.
#[tokio::test]
async fn an_endpoint_within_the_process_is_never_bound_by_a_listener() {
    let endpoint = Endpoint::Inproc("name".into());
    assert_eq!(endpoint.to_string(), "inproc://name");
    let is_refused = |error: &EndpointError| {
        assert_eq!(error, &EndpointError::Inproc);
    };
    is_refused(&"inproc://name".parse::<Endpoint>().unwrap_err());
    let security = || null(SocketType::Pair);
    let bound = Listener::bind(&endpoint, security()).await.unwrap_err();
    let connected = Connection::connect(&endpoint, security())
        .await
        .unwrap_err();
    for error in [bound, connected] {
        let NetError::Endpoint(error) = error else {
            panic!("{error}");
        };
        is_refused(&error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_pass_both_ways_in_order() {
    let options = Options::default()
        .with_read_ahead_messages(7)
        .with_send_ahead_messages(5);
    let (one, other) = pair_with(SocketType::Pair, SocketType::Pair, &options);
    let exchange = |connection: Connection| async move {
        let (mut sender, mut receiver) = connection.split();
        let sending = async {
            for number in 0..5000_u32 {
                sender.send(number.to_be_bytes().to_vec()).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..5000_u32 {
                let message = receiver.recv_message().await.unwrap();
                assert_eq!(message, Message::from(number.to_be_bytes().to_vec()));
            }
        };
        tokio::join!(sending, receiving);
    };
    let (one, other) = (tokio::spawn(exchange(one)), tokio::spawn(exchange(other)));
    soon(one).await.unwrap();
    soon(other).await.unwrap();
}

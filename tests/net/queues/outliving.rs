//! Bounds of the queues in messages, and queues that outlive their connections.

use crate::net_peers;

use net_peers::*;
use std::time::Duration;
use zmtp_auth::SocketType;
use zmtp_auth::net::{
    Attempt, Connection, Connector, Listener, NetError, Options, ReconnectPolicy, SendQueue,
    TrySendReason,
};

#[tokio::test]
async fn what_a_lost_connection_has_not_taken_is_sent_by_the_next_one() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut queue = SendQueue::new(SocketType::Push, &Options::default());
    queue.try_send("early").unwrap();
    let reconnect = ReconnectPolicy::default().with_first_delay(Duration::from_millis(1));
    let options = Options::default().with_reconnect(reconnect);
    let endpoint = listener.local_endpoint();
    let mut connector = Connector::with_options(endpoint, null(SocketType::Push), options)
        .unwrap()
        .with_queue(&queue);

    let first = soon(connector.next()).await.unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["early"]);
    drop(pull);
    soon(first.closed()).await;
    drop(first);

    for number in ["1", "2", "3"] {
        soon(queue.send(number)).await.unwrap();
    }
    let _second = soon(connector.next()).await.unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();
    for number in ["1", "2", "3"] {
        assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), [number]);
    }
    std::future::poll_fn(|context| queue.poll_close(context)).await;
    assert!(matches!(
        soon(queue.send("late")).await,
        Err(NetError::SendClosed)
    ));
}

#[tokio::test]
async fn a_queue_has_one_connection_at_a_time() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let queue = SendQueue::new(SocketType::Push, &Options::default());
    let connect = || {
        Connector::new(listener.local_endpoint(), null(SocketType::Push))
            .unwrap()
            .with_queue(&queue)
    };
    let _first = soon(connect().next()).await.unwrap();
    match soon(connect().next_attempt()).await {
        Attempt::Failed { error, .. } => assert!(matches!(error, NetError::QueueInUse)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_queue_is_full_by_messages_however_small() {
    let options = Options::default().with_send_ahead_messages(2);
    let mut queue = SendQueue::new(SocketType::Push, &options);
    queue.try_send("").unwrap();
    queue.try_send("").unwrap();
    let refused = queue.try_send("third").unwrap_err();
    assert!(matches!(refused.reason, TrySendReason::Full));
    assert_eq!(refused.message.frames(), ["third"]);
}

#[tokio::test]
async fn few_messages_are_read_ahead_however_small() {
    let options = Options::default().with_read_ahead_messages(4);
    let listener = Listener::bind_with(ANY_PORT, null(SocketType::Pull), options)
        .await
        .unwrap();
    let options = Options::default().with_send_ahead_messages(10);
    let endpoint = listener.local_endpoint();
    let mut push = Connection::connect_with(endpoint, null(SocketType::Push), &options)
        .await
        .unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..1000_u32 {
            push.send(number.to_string()).await.unwrap();
        }
        push.close().await.unwrap();
    });
    for number in 0..1000_u32 {
        let message = soon(pull.recv_message()).await.unwrap();
        assert_eq!(message.frames(), [number.to_string()]);
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_closed_queue_closes_its_connection_whose_halves_send_nothing() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pair))
        .await
        .unwrap();
    let mut queue = SendQueue::new(SocketType::Pair, &Options::default());
    let mut connector = Connector::new(listener.local_endpoint(), null(SocketType::Pair))
        .unwrap()
        .with_queue(&queue);
    let connection = soon(connector.next()).await.unwrap();
    let mut peer = soon(listener.accept()).await.unwrap();
    queue.try_send("last").unwrap();
    soon(peer.recv_message()).await.unwrap();
    let mut ends = connection.ends();
    let (_guard, receiver) = connection.split();
    drop(receiver);
    soon(std::future::poll_fn(|context| queue.poll_close(context))).await;
    drop(queue);
    let before = tokio::time::Instant::now();
    assert!(soon(peer.recv()).await.is_err());
    soon(ends.closed()).await;
    assert!(connector.has_sent_all());
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
}

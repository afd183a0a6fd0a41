//! How a connection ends: for tasks that still send or receive, for a revoked peer, and in the log.

use crate::net_peers;
use futures_core::stream::Stream;
use futures_sink::Sink;
use net_peers::*;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use zmtp_auth::SocketType;
use zmtp_auth::net::{Connection, Listener, NetError, Options, TrySendReason};

/// A peer that does not close holds up the end of our socket, and not that of the stream.
#[tokio::test]
async fn a_stream_ends_when_close_has_returned() {
    let listener = Listener::bind_with(
        ANY_PORT,
        null(SocketType::Pair),
        Options::default().with_linger(Duration::from_secs(3600)),
    )
    .await
    .unwrap();
    let (peer, connection) = tokio::join!(
        RawPeer::connect(&listener, SocketType::Pair, 1),
        listener.accept()
    );
    let mut connection = connection.unwrap();
    soon(poll_fn(|context| connection.poll_close(context)))
        .await
        .unwrap();
    let next = poll_fn(|context| Pin::new(&mut connection).poll_next(context));
    let ended = tokio::time::timeout(Duration::from_secs(5), next).await;
    drop(peer);
    assert!(ended.is_ok(), "closed, and the stream has not ended");
}

/// From the first call of `poll_close` on, sending fails with `SendClosed`.
#[tokio::test]
async fn sending_after_close_fails_with_send_closed() {
    let (one, mut other) = connected(SocketType::Pair, SocketType::Pair).await;
    tokio::spawn(one.close());
    soon(poll_fn(|context| other.poll_close(context)))
        .await
        .unwrap();
    let error = Pin::new(&mut other).start_send("late".into()).unwrap_err();
    let tried = other.try_send("late").unwrap_err();
    assert!(
        matches!(error, NetError::SendClosed),
        "we closed, and it says: {error}"
    );
    assert!(matches!(
        tried.reason,
        TrySendReason::Failed(NetError::SendClosed)
    ));
}

/// The same without a peer that closes by itself.
#[tokio::test]
async fn sending_after_our_own_close_does_not_blame_the_peer() {
    let (mut one, mut other) = connected(SocketType::Pair, SocketType::Pair).await;
    let receiving = tokio::spawn(async move { one.recv().await.map(|_| ()) });
    soon(poll_fn(|context| other.poll_close(context)))
        .await
        .unwrap();
    let error = Pin::new(&mut other).start_send("late".into()).unwrap_err();
    let _ = receiving.await;
    assert!(
        matches!(error, NetError::SendClosed),
        "we closed, and it says: {error}"
    );
}

/// Not that our side was closed already.
#[test]
fn finish_says_that_the_runtime_is_gone() {
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (here, there) = (build(), build());
    let listener = here
        .block_on(Listener::bind(ANY_PORT, null(SocketType::Pair)))
        .unwrap();
    let endpoint = listener.local_endpoint().clone();
    let mut push = there
        .block_on(Connection::connect(endpoint, null(SocketType::Pair)))
        .unwrap();
    let _pull = here.block_on(listener.accept()).unwrap();
    // A peer that does not receive takes only the first.
    for _ in 0..2 {
        there.block_on(push.send(vec![7; 32 << 20])).unwrap();
    }
    let (sender, _receiver) = push.split();
    let finishing = here.spawn(sender.finish());
    std::thread::sleep(Duration::from_millis(200));
    drop(there);
    let finished = here.block_on(finishing).unwrap();
    assert!(
        matches!(finished, Err(NetError::Aborted)),
        "runtime gone, and it says: {finished:?}"
    );
}

/// What it had sent waits for the application, and is withdrawn.
#[tokio::test]
async fn nothing_is_received_from_a_peer_that_is_revoked_after_it_has_closed() {
    let (router, issued) = super::grants::granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router))
        .await
        .unwrap();
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let mut push = soon(push).await.unwrap();
    let mut pull = soon(listener.accept()).await.unwrap();
    for _ in 0..10 {
        push.send("command").await.unwrap();
    }
    soon(push.close()).await.unwrap();
    soon(pull.closed()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    issued.lock().unwrap().last().unwrap().send_replace(false);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!pull.peer().grant().unwrap().still_valid());
    let mut received = 0;
    while let Ok(incoming) = soon(pull.recv()).await {
        assert!(incoming.into_message().is_some());
        received += 1;
    }
    assert_eq!(
        received, 0,
        "messages of a peer that was revoked half a second ago"
    );
}

/// In quotes, a reader of the log sees where the user id ends.
#[tokio::test]
async fn a_user_id_forges_no_field_of_the_span() {
    use zmtp_auth::zap::{ZapRequest, ZapRouter};
    crate::log_lines::listen();
    let router = ZapRouter::new();
    router
        .bind("test", async |request: ZapRequest| {
            request.allow("bob}: peer accepted in connection{address=10.0.0.1:1 user_id=root")
        })
        .unwrap();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router))
        .await
        .unwrap();
    let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
    let _both = soon(async { tokio::join!(push, listener.accept()) }).await;
    let lines = crate::log_lines::take(tracing::Level::TRACE);
    let line = lines
        .iter()
        .find(|line| line.contains("peer accepted"))
        .unwrap();
    assert!(line.contains(" user_id=\"bob}"), "{line}");
}

/// Cancelled sends, flushes with changing wakers, and all ways to receive, mixed on two threads and in
/// both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_repeated_whatever_is_cancelled() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    const COUNT: u32 = 60_000;
    let (one, other) = connected(SocketType::Pair, SocketType::Pair).await;
    fn once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(Waker::noop()))
    }
    async fn run(connection: Connection, seed: u32) {
        let (mut sender, mut receiver) = connection.split();
        let sending = tokio::spawn(async move {
            let mut random = seed;
            for number in 0..COUNT {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let body = number.to_be_bytes().to_vec();
                match (random >> 24) % 6 {
                    0 => {
                        // Polled once and dropped: sent at most once.
                        let mut cancelled = Box::pin(sender.send(body.clone()));
                        let sent = once(|context| cancelled.as_mut().poll(context));
                        drop(cancelled);
                        if sent.is_pending() {
                            sender.send(body).await.unwrap();
                        }
                    }
                    1 => {
                        let mut message = body.into();
                        while let Err(full) = sender.try_send(message) {
                            message = full.message;
                            let _ = once(|context| sender.poll_ready(context));
                            poll_fn(|context| sender.poll_ready(context)).await.unwrap();
                        }
                    }
                    2 => {
                        poll_fn(|context| Pin::new(&mut sender).as_mut().poll_ready(context))
                            .await
                            .unwrap();
                        Pin::new(&mut sender).start_send(body.into()).unwrap();
                        if random >> 16 & 3 == 0 {
                            let _ = once(|context| sender.poll_flush(context));
                            poll_fn(|context| sender.poll_flush(context)).await.unwrap();
                        }
                    }
                    _ => sender.send(body).await.unwrap(),
                }
            }
            poll_fn(|context| sender.poll_close(context)).await.unwrap();
            sender
        });
        let mut random = seed;
        for expected in 0..COUNT {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let incoming = match (random >> 24) % 3 {
                0 => match receiver.try_recv() {
                    Ok(incoming) => incoming,
                    Err(_) => receiver.recv().await.unwrap(),
                },
                1 => match once(|context| receiver.poll_recv(context)) {
                    Poll::Ready(incoming) => incoming.unwrap(),
                    Poll::Pending => receiver.recv().await.unwrap(),
                },
                _ => receiver.recv().await.unwrap(),
            };
            let message = incoming.into_message().unwrap();
            let body = message.single().unwrap().to_vec();
            assert_eq!(body, expected.to_be_bytes().to_vec());
        }
        let sender = sending.await.unwrap();
        sender.reunite(receiver).unwrap().close().await.unwrap();
    }
    let (one, other) = (tokio::spawn(run(one, 1)), tokio::spawn(run(other, 2)));
    soon(one).await.unwrap();
    soon(other).await.unwrap();
}

/// A waker is foreign code, so none is called while the state of the connection is locked.
#[test]
fn a_waker_that_polls_at_once_does_not_hang_the_driver() {
    use std::sync::{Arc, Mutex, mpsc};
    use std::task::{Context, Poll, Wake, Waker};
    use zmtp_auth::net::SendHalf;
    struct Inline {
        sender: Mutex<Option<SendHalf>>,
        outcome: mpsc::Sender<String>,
    }
    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            let mut sender = self.sender.lock().unwrap();
            let Some(sender) = &mut *sender else { return };
            let waker = Waker::from(Arc::clone(&self));
            if let Poll::Ready(done) = sender.poll_flush(&mut Context::from_waker(&waker)) {
                let _ = self.outcome.send(format!("{done:?}"));
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (pull, mut push) = runtime.block_on(connected(SocketType::Pair, SocketType::Pair));
    for _ in 0..2 {
        let sending = push.send(vec![7; 32 << 20]);
        runtime
            .block_on(async {
                tokio::time::timeout(Duration::from_secs(5), sending)
                    .await
                    .unwrap()
            })
            .unwrap();
    }
    let (sender, _receiver) = push.split();
    let (outcome, outcomes) = mpsc::channel();
    let inline = Arc::new(Inline {
        sender: Mutex::new(Some(sender)),
        outcome,
    });
    Arc::clone(&inline).wake();
    std::thread::sleep(Duration::from_millis(200));
    drop(pull);
    let outcome = outcomes.recv_timeout(Duration::from_secs(10));
    if outcome.is_err() {
        runtime.shutdown_background();
        std::mem::forget(inline);
        panic!("the driver hangs");
    }
}

/// A peer chooses the name of its mechanism and of its socket type.
#[tokio::test]
async fn a_stranger_forges_no_field_of_its_refusal() {
    use tokio::io::AsyncWriteExt;
    crate::log_lines::listen();
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut stream = silent(&listener).await;
    let mut greeting = [0; 64];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..29].copy_from_slice(b"X who=root status");
    stream.write_all(&greeting).await.unwrap();
    refusal(&listener).await;
    let lines = crate::log_lines::take(tracing::Level::TRACE);
    let line = lines
        .iter()
        .find(|line| line.contains("peer refused"))
        .unwrap();
    assert!(!line.contains("speaks X who=root status"), "{line}");
}

/// The sender is dropped while the peer takes nothing, and its receiver was dropped before.
#[tokio::test]
async fn linger_bounds_a_connection_whose_halves_are_dropped_one_after_the_other() {
    let listener = Listener::bind_with(
        ANY_PORT,
        null(SocketType::Pair),
        Options::default().with_linger(Duration::from_millis(50)),
    )
    .await
    .unwrap();
    let (peer, connection) = tokio::join!(
        RawPeer::connect(&listener, SocketType::Pair, 1),
        listener.accept()
    );
    let connection = connection.unwrap();
    let mut ends = connection.ends();
    let (mut sender, receiver) = connection.split();
    drop(receiver);
    // The system's buffers are full once there is no room for a while.
    let mut message = zmtp_auth::net::Message::from(vec![0; 1 << 20]);
    let mut waits = 0;
    while waits < 20 {
        match sender.try_send(message.clone()) {
            Ok(()) => waits = 0,
            Err(refused) => {
                message = refused.message;
                waits += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    drop(sender);
    let reason = soon(ends.closed()).await.reason;
    assert!(matches!(reason, NetError::Unsent), "{reason}");
    drop(peer);
}

//! Connections without `async fn`: `try_send`, `try_recv`, `poll_*`, and as `Stream` and `Sink`.

use crate::net_peers;

use crate::grants::granting;
use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use net_peers::*;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use zmtp_auth::SocketType;
use zmtp_auth::net::{
    Connection, Incoming, Listener, Message, NetError, Options, TryRecvError, TrySendReason,
};

fn numbered(number: u32) -> Message {
    Message::from(number.to_be_bytes().to_vec())
}

fn number(incoming: Incoming) -> u32 {
    let message = incoming.into_message().unwrap();
    u32::from_be_bytes(message.single().unwrap()[..].try_into().unwrap())
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    soon(poll_fn(|context| Pin::new(&mut *stream).poll_next(context))).await
}

async fn flush<S: Sink<Message> + Unpin>(sink: &mut S) -> Result<(), S::Error> {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_flush(context))).await
}

async fn close<S: Sink<Message> + Unpin>(sink: &mut S) -> Result<(), S::Error> {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_close(context))).await
}

/// Sends without waiting for a flush, as a combinator does.
async fn feed<S: Sink<Message> + Unpin>(sink: &mut S, message: Message) -> Result<(), S::Error> {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_ready(context))).await?;
    Pin::new(sink).start_send(message)
}

/// More than the buffers of the system hold.
const LARGE: usize = 32 << 20;

/// Two messages, of which a peer that does not receive takes only the first.
async fn feed_too_much(push: &mut Connection) {
    for _ in 0..2 {
        feed(push, vec![7; LARGE].into()).await.unwrap();
    }
}

fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_full_queue_gives_the_message_back_and_nothing_is_lost_or_sent_twice() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    let sending = tokio::spawn(async move {
        let mut refused = 0;
        for number in 0..20_000 {
            let mut message = numbered(number);
            while let Err(full) = push.try_send(message) {
                assert!(matches!(full.reason, TrySendReason::Full), "{full:?}");
                assert_eq!(full.message, numbered(number));
                message = full.message;
                refused += 1;
                poll_fn(|context| push.poll_ready(context)).await.unwrap();
            }
        }
        push.close().await.unwrap();
        refused
    });
    for expected in 0..20_000 {
        assert_eq!(number(soon(pull.recv()).await.unwrap()), expected);
    }
    assert!(soon(sending).await.unwrap() > 0);
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn what_no_peer_would_accept_is_given_back_too() {
    let (mut pull, _push) = connected(SocketType::Pull, SocketType::Push).await;
    let refused = pull.try_send("x").unwrap_err();
    assert_eq!(refused.message, "x".into());
    assert!(matches!(
        refused.reason,
        TrySendReason::Failed(NetError::CannotSend(SocketType::Pull))
    ));
}

#[tokio::test]
async fn an_empty_queue_is_not_an_ended_connection() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    assert!(matches!(pull.try_recv(), Err(TryRecvError::Empty)));
    push.send("last").await.unwrap();
    soon(push.close()).await.unwrap();
    soon(async { pull.halves().0.closed().await }).await;
    eventually(|| match pull.try_recv() {
        Ok(incoming) => {
            assert_eq!(incoming.into_message(), Some("last".into()));
            true
        }
        Err(error) => {
            assert!(matches!(error, TryRecvError::Empty), "{error}");
            false
        }
    })
    .await;
    eventually(|| match pull.try_recv() {
        Err(TryRecvError::Ended(reason)) => {
            assert!(matches!(reason, NetError::Closed), "{reason}");
            true
        }
        other => {
            assert!(matches!(other, Err(TryRecvError::Empty)), "{other:?}");
            false
        }
    })
    .await;
    assert!(matches!(
        pull.try_recv(),
        Err(TryRecvError::Ended(NetError::Closed))
    ));
    let failed = pull.halves().0.try_send("x").unwrap_err();
    assert!(matches!(failed.reason, TrySendReason::Failed(_)));
}

#[tokio::test]
async fn nothing_is_received_from_a_revoked_peer() {
    let (router, issued) = granting();
    let listener = Listener::bind(ANY_PORT, (null_asks(SocketType::Pull), router))
        .await
        .unwrap();
    for way in 0..3 {
        let push = Connection::connect(listener.local_endpoint(), null(SocketType::Push));
        let mut push = soon(push).await.unwrap();
        let mut pull = soon(listener.accept()).await.unwrap();
        for number in 0..100 {
            push.send(numbered(number)).await.unwrap();
        }
        flush(&mut push).await.unwrap();
        assert_eq!(number(soon(pull.recv()).await.unwrap()), 0);
        issued.lock().unwrap().last().unwrap().send_replace(false);
        assert!(matches!(
            soon(pull.halves().0.closed()).await,
            NetError::Revoked
        ));
        match way {
            0 => match pull.try_recv() {
                Err(TryRecvError::Empty | TryRecvError::Ended(NetError::Revoked)) => {}
                other => panic!("{other:?}"),
            },
            1 => {
                let received = soon(poll_fn(|context| pull.poll_recv(context))).await;
                assert!(matches!(received, Err(NetError::Revoked)), "{received:?}");
            }
            _ => {
                let item = next(&mut pull).await;
                assert!(matches!(item, Some(Err(NetError::Revoked))), "{item:?}");
                assert!(next(&mut pull).await.is_none());
            }
        }
    }
}

/// Moves a stream into a sink, as `futures_util::StreamExt::forward` does.
async fn forward(
    from: &mut (impl Stream<Item = Result<Incoming, NetError>> + Unpin),
    to: &mut (impl Sink<Message, Error = NetError> + Unpin),
) -> NetError {
    let end = loop {
        match next(from).await.unwrap() {
            Ok(incoming) => feed(to, incoming.into_message().unwrap()).await.unwrap(),
            Err(end) => break end,
        }
    };
    close(to).await.unwrap();
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_forwarded_into_a_sink_loses_nothing_and_repeats_nothing() {
    const COUNT: u32 = 50_000;
    let (mut first_pull, mut first_push) = connected(SocketType::Pull, SocketType::Push).await;
    let (second_pull, mut second_push) = connected(SocketType::Pull, SocketType::Push).await;
    let sending = tokio::spawn(async move {
        for number in 0..COUNT {
            feed(&mut first_push, numbered(number)).await.unwrap();
        }
        close(&mut first_push).await.unwrap();
    });
    let forwarding = tokio::spawn(async move { forward(&mut first_pull, &mut second_push).await });
    let (_sender, mut receiver) = second_pull.split();
    for expected in 0..COUNT {
        assert_eq!(
            number(next(&mut receiver).await.unwrap().unwrap()),
            expected
        );
    }
    assert!(!receiver.is_terminated());
    let end = next(&mut receiver).await.unwrap();
    assert!(matches!(end, Err(NetError::Closed)), "{end:?}");
    assert!(receiver.is_terminated());
    for _ in 0..2 {
        assert!(next(&mut receiver).await.is_none());
    }
    // What is no stream still gives the reason.
    assert!(matches!(soon(receiver.recv()).await, Err(NetError::Closed)));
    soon(sending).await.unwrap();
    assert!(matches!(soon(forwarding).await.unwrap(), NetError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_everything_arrives_even_if_the_sender_vanishes() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint().clone();
    let sending = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let push = Connection::connect(&endpoint, null(SocketType::Push));
            let mut push = push.await.unwrap();
            for number in 0..100 {
                feed(&mut push, numbered(number)).await.unwrap();
                feed(&mut push, vec![7; 100_000].into()).await.unwrap();
            }
            flush(&mut push).await.unwrap();
        });
        // The task of the connection is dropped wherever it is.
        runtime.shutdown_background();
    });
    let mut pull = soon(listener.accept()).await.unwrap();
    for expected in 0..100 {
        assert_eq!(number(soon(pull.recv()).await.unwrap()), expected);
        assert_eq!(soon(pull.recv_message()).await.unwrap().size(), 100_000);
    }
    assert!(matches!(soon(pull.recv()).await, Err(NetError::Closed)));
    sending.join().unwrap();
}

#[tokio::test]
async fn a_flush_waits_for_a_peer_that_takes_nothing() {
    let (mut pull, mut push) = connected(SocketType::Pull, SocketType::Push).await;
    flush(&mut push).await.unwrap();
    feed_too_much(&mut push).await;
    let flushing = tokio::time::timeout(
        Duration::from_millis(200),
        poll_fn(|context| push.poll_flush(context)),
    );
    assert!(flushing.await.is_err());
    let receiving = tokio::spawn(async move {
        for _ in 0..2 {
            assert_eq!(pull.recv_message().await.unwrap().size(), LARGE);
        }
        pull
    });
    flush(&mut push).await.unwrap();
    soon(receiving).await.unwrap();
}

#[tokio::test]
async fn a_flush_fails_only_if_something_was_not_sent() {
    let (pull, mut push) = connected(SocketType::Pair, SocketType::Pair).await;
    feed(&mut push, "sent".into()).await.unwrap();
    flush(&mut push).await.unwrap();
    soon(pull.close()).await.unwrap();
    assert!(matches!(
        soon(push.halves().0.closed()).await,
        NetError::Closed
    ));
    flush(&mut push).await.unwrap();
    assert!(feed(&mut push, "late".into()).await.is_err());
    flush(&mut push).await.unwrap();

    let (pull, mut push) = connected(SocketType::Pair, SocketType::Pair).await;
    feed_too_much(&mut push).await;
    assert!(poll_once(poll_fn(|context| push.poll_flush(context))).is_pending());
    drop(pull);
    assert!(matches!(flush(&mut push).await, Err(NetError::Closed)));
    assert!(matches!(close(&mut push).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn a_closed_sending_half_has_sent_everything_and_the_other_goes_on() {
    let (mut one, other) = connected(SocketType::Pair, SocketType::Pair).await;
    let (mut sender, mut receiver) = other.split();
    for number in 0..1000 {
        feed(&mut sender, numbered(number)).await.unwrap();
    }
    close(&mut sender).await.unwrap();
    close(&mut sender).await.unwrap();
    let closed = feed(&mut sender, "late".into()).await;
    assert!(matches!(closed, Err(NetError::SendClosed)), "{closed:?}");
    let closed = Pin::new(&mut sender).start_send("late".into());
    assert!(matches!(closed, Err(NetError::SendClosed)), "{closed:?}");
    for expected in 0..1000 {
        assert_eq!(number(soon(one.recv()).await.unwrap()), expected);
    }
    one.send("answer").await.unwrap();
    let answer = next(&mut receiver).await.unwrap().unwrap();
    assert_eq!(answer.into_message(), Some("answer".into()));
    drop(receiver);
    assert!(matches!(soon(one.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn a_closed_connection_has_sent_everything_and_receives_nothing_more() {
    let (mut one, mut other) = connected(SocketType::Pair, SocketType::Pair).await;
    one.send("discarded").await.unwrap();
    for number in 0..1000 {
        feed(&mut other, numbered(number)).await.unwrap();
    }
    let closing = tokio::spawn(async move {
        let closed = close(&mut other).await;
        let again = close(&mut other).await;
        // The close is ours, so no error says that the peer closed.
        let refused = feed(&mut other, "late".into()).await;
        assert!(matches!(refused, Err(NetError::SendClosed)), "{refused:?}");
        let refused = other.try_send("late").unwrap_err();
        assert!(matches!(
            refused.reason,
            TrySendReason::Failed(NetError::SendClosed)
        ));
        assert!(matches!(other.closed().await, NetError::SendClosed));
        (closed, again, next(&mut other).await)
    });
    for expected in 0..1000 {
        assert_eq!(number(soon(one.recv()).await.unwrap()), expected);
    }
    assert!(matches!(soon(one.recv()).await, Err(NetError::Closed)));
    let (closed, again, received) = soon(closing).await.unwrap();
    closed.unwrap();
    again.unwrap();
    assert!(
        matches!(received, Some(Err(NetError::SendClosed))),
        "{received:?}"
    );
}

#[tokio::test]
async fn a_connection_that_is_dropped_while_it_closes_still_sends_everything() {
    let (mut one, mut other) = connected(SocketType::Pair, SocketType::Pair).await;
    for number in 0..1000 {
        feed(&mut other, numbered(number)).await.unwrap();
    }
    assert!(poll_once(poll_fn(|context| other.poll_close(context))).is_pending());
    drop(other);
    for expected in 0..1000 {
        assert_eq!(number(soon(one.recv()).await.unwrap()), expected);
    }
    assert!(matches!(soon(one.recv()).await, Err(NetError::Closed)));
}

#[tokio::test]
async fn a_close_that_takes_longer_than_the_linger_time_says_that_something_is_unsent() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let mut options = Options::default();
    options.linger = Duration::from_millis(50);
    let endpoint = listener.local_endpoint();
    let push = Connection::connect_with(endpoint, null(SocketType::Push), &options);
    let (pull, push) = soon(async { tokio::join!(listener.accept(), push) }).await;
    let (_pull, mut push) = (pull.unwrap(), push.unwrap());
    feed_too_much(&mut push).await;
    assert!(matches!(close(&mut push).await, Err(NetError::Unsent)));
}

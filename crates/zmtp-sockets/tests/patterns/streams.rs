//! Sockets and halves as `Stream` and `Sink`.

use crate::securities::{ANY_PORT, fast, null, soon};
use futures_core::Stream;
use futures_sink::Sink;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use zmtp_sockets::{
    Addressed, Dealer, FromSubscriber, Message, Pair, Pub, Pull, Push, Received, Rep, Req, Request,
    Router, SendError, SendReason, Sub, Xpub, Xsub,
};

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    let next = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
    soon(next).await.expect("a socket's stream has no end")
}

/// As `SinkExt::feed`.
async fn feed<T>(sink: &mut (impl Sink<T, Error = SendError> + Unpin), item: T) {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_ready(context)))
        .await
        .unwrap();
    Pin::new(&mut *sink).start_send(item).unwrap();
}

async fn flush<T>(sink: &mut (impl Sink<T, Error = SendError> + Unpin)) {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_flush(context)))
        .await
        .unwrap();
}

async fn close<T>(sink: &mut (impl Sink<T, Error = SendError> + Unpin)) {
    soon(poll_fn(|context| Pin::new(&mut *sink).poll_close(context)))
        .await
        .unwrap();
}

/// One task answers `from` the stream by `to` the sink, and another asks.
async fn echo<A, B>(from: &mut A, to: &mut B, reply: impl Fn(A::Item) -> Addressed)
where
    A: Stream + Unpin,
    B: Sink<Addressed, Error = SendError> + Unpin,
{
    let answer = reply(next(from).await);
    feed(to, answer).await;
    flush(to).await;
    close(to).await;
}

async fn passes<A, B>(sender: &mut A, receiver: &mut B, text: &'static str)
where
    A: Sink<Message, Error = SendError> + Unpin,
    B: Stream<Item = Received> + Unpin,
{
    feed(sender, Message::from(text)).await;
    flush(sender).await;
    close(sender).await;
    assert_eq!(next(receiver).await.frames(), [text]);
}

#[tokio::test]
async fn sockets_that_send_in_turn_are_sinks_and_all_that_receive_are_streams() {
    let (mut push, mut pull) = (Push::new(), Pull::new());
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    push.connect(&endpoint, null()).unwrap();
    passes(&mut push, &mut pull, "pushed").await;
    // The sink closes nothing.
    passes(&mut push, &mut pull, "pushed again").await;

    let (mut dealer, mut other) = (Dealer::new(), Dealer::new());
    let endpoint = dealer.bind(ANY_PORT, null()).await.unwrap();
    other.connect(&endpoint, null()).unwrap();
    passes(&mut other, &mut dealer, "dealt").await;
    passes(&mut dealer, &mut other, "dealt back").await;
    let (mut sender, mut receiver) = dealer.split();
    passes(&mut sender, &mut other, "from a half").await;
    passes(&mut other, &mut receiver, "to a half").await;

    let (mut pair, mut other) = (Pair::new(), Pair::new());
    let endpoint = pair.bind(ANY_PORT, null()).await.unwrap();
    other.connect(&endpoint, null()).unwrap();
    passes(&mut other, &mut pair, "hello").await;
    let (mut sender, mut receiver) = pair.split();
    passes(&mut sender, &mut other, "hello yourself").await;
    passes(&mut other, &mut receiver, "to a half").await;
}

#[tokio::test]
async fn sockets_that_answer_are_sinks_of_what_they_answer() {
    let reply = |request: Request| request.reply(request.message().clone());
    let mut router = Router::new();
    let mut rep = Rep::new();
    for is_split in [false, true] {
        let mut req = Req::new();
        let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
        req.connect(&endpoint, null()).unwrap();
        // A ROUTER gets the empty frame before the body, which the reply adds too.
        let body = |request: Request| request.reply(request.frames()[1].clone());
        let serving = async {
            if is_split {
                let (mut sender, mut receiver) = std::mem::take(&mut router).split();
                echo(&mut receiver, &mut sender, body).await;
            } else {
                let request = next(&mut router).await;
                feed(&mut router, body(request)).await;
                close(&mut router).await;
            }
        };
        let (answer, ()) = tokio::join!(soon(req.request("router")), serving);
        assert_eq!(answer.unwrap().frames(), ["router"]);

        let mut req = Req::new();
        let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
        req.connect(&endpoint, null()).unwrap();
        let serving = async {
            if is_split {
                let (mut sender, mut receiver) = std::mem::take(&mut rep).split();
                echo(&mut receiver, &mut sender, reply).await;
                assert_eq!((sender.undelivered(), receiver.malformed()), (0, 0));
            } else {
                let request = next(&mut rep).await;
                feed(&mut rep, reply(request)).await;
                close(&mut rep).await;
            }
        };
        let (answer, ()) = tokio::join!(soon(req.request("rep")), serving);
        assert_eq!(answer.unwrap().frames(), ["rep"]);
    }
    let absent = Addressed::new("absent", "hello");
    let refused = Pin::new(&mut router).start_send(absent).unwrap_err();
    assert_eq!(refused.reason, SendReason::NoRoute("absent".into()));
}

#[tokio::test]
async fn publishers_are_sinks_and_subscribers_streams() {
    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    let mut publisher = Pub::new();
    let other = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut sub = Sub::new();
    sub.subscribe("a");
    sub.connect(&endpoint, null()).unwrap();
    assert!(matches!(
        next(&mut xpub).await,
        FromSubscriber::Subscribe(_)
    ));
    passes(&mut xpub, &mut sub, "a message").await;
    sub.connect(&other, null()).unwrap();
    while publisher.subscribers().count() == 0
        || publisher.subscribers().any(|it| it.subscriptions == 0)
    {
        tokio::task::yield_now().await;
    }
    passes(&mut publisher, &mut sub, "another").await;
}

#[tokio::test]
async fn an_xsub_and_its_halves_are_sinks_and_streams() {
    let mut xpub = Xpub::new();
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    let mut xsub = Xsub::new();
    xsub.connect(&endpoint, null()).unwrap();
    feed(&mut xsub, "\u{1}a".into()).await;
    feed(&mut xsub, "first".into()).await;
    close(&mut xsub).await;
    let (mut sender, mut receiver) = xsub.split();
    sender.subscribe("b");
    feed(&mut sender, "second".into()).await;
    flush(&mut sender).await;
    close(&mut sender).await;
    for expected in ["+a", "first", "+b", "second"] {
        match (next(&mut xpub).await, expected.strip_prefix('+')) {
            (FromSubscriber::Subscribe(it), Some(topic)) => assert_eq!(it.topic(), topic),
            (FromSubscriber::Message(it), None) => assert_eq!(it.frames(), [expected]),
            other => panic!("{other:?}"),
        }
    }
    passes(&mut xpub, &mut receiver, "a message").await;
    assert_eq!(sender.dropped(), 0);
}

#[tokio::test]
async fn a_message_whose_peer_is_lost_after_poll_ready_is_kept_and_goes_first() {
    let mut push = Push::new();
    let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
    let mut pull = Pull::with_options(fast());
    pull.connect(&endpoint, null()).unwrap();
    soon(poll_fn(|context| {
        Sink::poll_ready(Pin::new(&mut push), context)
    }))
    .await
    .unwrap();
    soon(push.unbind(&endpoint)).await.unwrap();
    Pin::new(&mut push).start_send("kept".into()).unwrap();
    // It has no place yet.
    poll_fn(|context| {
        assert!(Pin::new(&mut push).poll_flush(context).is_pending());
        assert!(Sink::poll_ready(Pin::new(&mut push), context).is_pending());
        Poll::Ready(())
    })
    .await;
    // Without `poll_ready` there is room for one.
    let refused = Pin::new(&mut push).start_send("refused".into());
    assert_eq!(refused.unwrap_err().reason, SendReason::Full);
    assert_eq!(push.try_send("too").unwrap_err().reason, SendReason::Full);

    push.bind(&endpoint, null()).await.unwrap();
    soon(push.send("second")).await;
    for expected in ["kept", "second"] {
        assert_eq!(next(&mut pull).await.frames(), [expected]);
    }
}

#[tokio::test]
async fn a_sink_closes_when_everything_has_left() {
    let (mut push, mut pull) = (Push::with_options(fast()), Pull::new());
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    soon(pull.unbind(&endpoint)).await.unwrap();
    push.connect(&endpoint, null()).unwrap();
    feed(&mut push, "hello".into()).await;
    flush(&mut push).await;
    poll_fn(|context| {
        assert!(Pin::new(&mut push).poll_close(context).is_pending());
        Poll::Ready(())
    })
    .await;
    pull.bind(&endpoint, null()).await.unwrap();
    close(&mut push).await;
    assert_eq!(next(&mut pull).await.frames(), ["hello"]);
}

//! Futures that are dropped at every await: no message is lost, and none comes twice.

use crate::securities::{ANY_PORT, eventually, fast, null, soon};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use zmtp_auth::net::NetError;
use zmtp_sockets::{
    Dealer, FromSubscriber, Pair, Pub, Pull, Push, Rep, Req, Router, SocketEvent, SocketOptions,
    Sub, Xpub, Xsub,
};

/// How often a future is polled at most before it is dropped. The ones here are done after fewer.
const POLLS: usize = 6;
const MESSAGES: u32 = 60;
/// A future that waits for something else is not polled again.
const UNWOKEN: Duration = Duration::from_millis(2);

/// Polls a future, at most `polls` times and whenever it is woken, and drops it.
async fn cancelled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    let polling = poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let done = tokio::time::timeout(UNWOKEN, polling).await;
    done.ok().flatten()
}

/// Makes a future again and again until one is done before it is dropped, each time after another number of
/// polls.
macro_rules! at_last {
    ($polls:ident, $future:expr) => {
        loop {
            $polls = ($polls + 1) % (POLLS + 1);
            if let Some(done) = cancelled($future, $polls).await {
                break done;
            }
            tokio::task::yield_now().await;
        }
    };
}

/// One message waits in each queue, so that `send` has to wait.
fn narrow() -> SocketOptions {
    fast()
        .with_send_high_water_mark(1)
        .with_receive_high_water_mark(1)
}

/// Large enough for the buffers of the system to hold few of them.
fn body(number: u32) -> Vec<u8> {
    let mut body = vec![0; 32 * 1024];
    body[..4].copy_from_slice(&number.to_be_bytes());
    body
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().unwrap())
}

/// Sends all messages by futures that are dropped, receives them by others, and counts on their order.
macro_rules! all_cross {
    ($sender:ident, $receiver:ident) => {{
        let sending = async {
            let mut polls = 0;
            for number in 0..MESSAGES {
                at_last!(polls, $sender.send(body(number)));
            }
        };
        let receiving = async {
            let mut polls = 3;
            for expected in 0..MESSAGES {
                let received = at_last!(polls, $receiver.recv());
                assert_eq!(number(&received.frames()[0]), expected);
            }
        };
        soon(async { tokio::join!(sending, receiving) }).await;
        tokio::time::sleep(UNWOKEN * 5).await;
        assert!($receiver.try_recv().is_none());
    }};
}

#[tokio::test]
async fn messages_of_sends_and_receives_that_are_dropped_cross_once() {
    for we_bind in [false, true] {
        let (mut push, mut pull) = (Push::with_options(narrow()), Pull::with_options(narrow()));
        let (mut dealer, mut other) = (
            Dealer::with_options(narrow()),
            Dealer::with_options(narrow()),
        );
        let (mut pair, mut peer) = (Pair::with_options(narrow()), Pair::with_options(narrow()));
        if we_bind {
            let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
            pull.connect(&endpoint, null()).unwrap();
            let endpoint = dealer.bind(ANY_PORT, null()).await.unwrap();
            other.connect(&endpoint, null()).unwrap();
            let endpoint = pair.bind(ANY_PORT, null()).await.unwrap();
            peer.connect(&endpoint, null()).unwrap();
        } else {
            let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
            push.connect(&endpoint, null()).unwrap();
            let endpoint = other.bind(ANY_PORT, null()).await.unwrap();
            dealer.connect(&endpoint, null()).unwrap();
            let endpoint = peer.bind(ANY_PORT, null()).await.unwrap();
            pair.connect(&endpoint, null()).unwrap();
        }
        all_cross!(push, pull);
        all_cross!(dealer, other);
        all_cross!(pair, peer);
    }
}

#[tokio::test]
async fn requests_of_receives_that_are_dropped_are_answered_once() {
    let mut router = Router::with_options(narrow());
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let mut rep = Rep::with_options(narrow());
    let other = rep.bind(ANY_PORT, null()).await.unwrap();
    let mut to_router = Dealer::with_options(narrow());
    to_router.connect(&endpoint, null()).unwrap();
    let mut to_rep = Dealer::with_options(narrow());
    to_rep.connect(&other, null()).unwrap();
    let (mut polls, mut others) = (0, 3);
    soon(async {
        for number in 0..MESSAGES {
            let number = number.to_string();
            at_last!(polls, to_router.send(number.clone()));
            let request = at_last!(others, router.recv());
            assert_eq!(request.frames(), [number.as_str()]);
            router.send(request.reply(number.clone())).unwrap();
            let reply = at_last!(polls, to_router.recv());
            assert_eq!(reply.frames(), [number.as_str()]);

            at_last!(polls, to_rep.send(["".to_owned(), number.clone()]));
            let request = at_last!(others, rep.recv());
            assert_eq!(request.frames(), [number.as_str()]);
            rep.send(request.reply(number.clone()));
            let reply = at_last!(polls, to_rep.recv());
            assert_eq!(reply.frames(), ["".to_owned(), number]);
        }
    })
    .await;
    assert!(router.try_recv().is_none() && rep.try_recv().is_none());
    assert!(to_router.try_recv().is_none() && to_rep.try_recv().is_none());
}

#[tokio::test]
async fn what_is_subscribed_to_comes_once_to_receives_that_are_dropped() {
    let mut xpub = Xpub::with_options(fast());
    let endpoint = xpub.bind(ANY_PORT, null()).await.unwrap();
    let mut sub = Sub::with_options(fast());
    sub.subscribe("");
    sub.connect(&endpoint, null()).unwrap();
    let mut xsub = Xsub::with_options(fast());
    xsub.connect(&endpoint, null()).unwrap();
    let (mut polls, mut others) = (0, 3);
    soon(async {
        let subscription = at_last!(polls, xpub.recv());
        assert!(matches!(subscription, FromSubscriber::Subscribe(_)));
        xsub.subscribe("x");
        at_last!(polls, xpub.recv());
        for number in 0..MESSAGES {
            let text = format!("x{number}");
            xpub.send(text.clone());
            assert_eq!(at_last!(others, sub.recv()).frames(), [text.as_str()]);
            assert_eq!(at_last!(others, xsub.recv()).frames(), [text.as_str()]);
            xsub.send(text.clone());
            match at_last!(polls, xpub.recv()) {
                FromSubscriber::Message(received) => assert_eq!(received.frames(), [text]),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(sub.try_recv().is_none() && xsub.try_recv().is_none() && xpub.try_recv().is_none());
}

/// The reply that is returned is that of the request, however many others were dropped before.
#[tokio::test]
async fn requests_that_are_dropped_at_every_await_leave_no_reply_for_the_next() {
    for correlate in [false, true] {
        let mut rep = Rep::new();
        let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                rep.send(request.reply(request.message().clone()));
            }
        });
        let mut req = Req::with_options(fast().with_correlate(correlate));
        req.connect(&endpoint, null()).unwrap();
        soon(async {
            for number in 0..40_usize {
                let dropped = format!("dropped {number}");
                let polls = number % (POLLS + 1);
                let done = cancelled(req.request(dropped.clone()), polls).await;
                if let Some(Ok(reply)) = done {
                    assert_eq!(reply.frames(), [dropped]);
                }
                let asked = format!("asked {number}");
                let reply = loop {
                    if let Ok(reply) = req.request(asked.clone()).await {
                        break reply;
                    }
                };
                assert_eq!(reply.frames(), [asked]);
            }
        })
        .await;
        serving.abort();
    }
}

/// What `send` has accepted arrives also if `close` is dropped at any await.
#[tokio::test]
async fn a_close_that_is_dropped_goes_on_in_the_background() {
    const QUEUED: u32 = 100;
    let before = Handle::current().metrics().num_alive_tasks();
    for polls in 0..=POLLS {
        for we_bind in [false, true] {
            let mut pull = Pull::with_options(fast());
            let mut push = Push::with_options(fast());
            if we_bind {
                let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
                pull.connect(&endpoint, null()).unwrap();
                soon(push.send(body(0))).await;
            } else {
                let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
                push.connect(&endpoint, null()).unwrap();
                push.try_send(body(0)).unwrap();
            }
            for number in 1..QUEUED {
                soon(push.send(body(number)[..64].to_vec())).await;
            }
            let closed = cancelled(push.close(), polls).await;
            assert!(matches!(closed, None | Some(Ok(()))), "{closed:?}");
            for expected in 0..QUEUED {
                let received = soon(pull.recv()).await;
                assert_eq!(number(&received.frames()[0]), expected);
            }
            assert!(pull.try_recv().is_none());
            cancelled(pull.close(), polls).await;
        }
    }
    eventually(|| Handle::current().metrics().num_alive_tasks() == before).await;
}

/// As above for each other type that sends. Its last message is queued when it is closed.
#[tokio::test]
async fn the_last_message_of_every_socket_leaves_though_its_close_is_dropped() {
    let closed = |closed: Option<Result<(), NetError>>| assert!(!matches!(closed, Some(Err(_))));
    for polls in 0..=POLLS {
        let mut rep = Rep::new();
        let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
        let mut dealer = Dealer::new();
        dealer.connect(&endpoint, null()).unwrap();
        soon(dealer.send(["", "question"])).await;
        let request = soon(rep.recv()).await;
        rep.send(request.reply("answer"));
        closed(cancelled(rep.close(), polls).await);
        assert_eq!(soon(dealer.recv()).await.frames(), ["", "answer"]);

        let mut router = Router::new();
        let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
        let mut dealer = Dealer::new();
        dealer.connect(&endpoint, null()).unwrap();
        soon(dealer.send("question")).await;
        let request = soon(router.recv()).await;
        router.send(request.reply("answer")).unwrap();
        dealer.try_send("last").unwrap();
        closed(cancelled(dealer.close(), polls).await);
        assert_eq!(soon(router.recv()).await.frames(), ["last"]);
        closed(cancelled(router.close(), polls).await);

        let mut sub = Sub::new();
        sub.subscribe("");
        let endpoint = sub.bind(ANY_PORT, null()).await.unwrap();
        let (mut publisher, mut xpub) = (Pub::new(), Xpub::new());
        publisher.connect(&endpoint, null()).unwrap();
        xpub.connect(&endpoint, null()).unwrap();
        eventually(|| publisher.subscribers().any(|it| it.subscriptions == 1)).await;
        soon(xpub.recv()).await;
        publisher.send("last");
        closed(cancelled(publisher.close(), polls).await);
        assert_eq!(soon(sub.recv()).await.frames(), ["last"]);
        xpub.send("last");
        closed(cancelled(xpub.close(), polls).await);
        assert_eq!(soon(sub.recv()).await.frames(), ["last"]);
        cancelled(sub.close(), polls).await;

        let mut ours = Pair::new();
        let endpoint = ours.bind(ANY_PORT, null()).await.unwrap();
        let mut theirs = Pair::new();
        theirs.connect(&endpoint, null()).unwrap();
        soon(ours.send("last")).await;
        closed(cancelled(ours.close(), polls).await);
        assert_eq!(soon(theirs.recv()).await.frames(), ["last"]);
    }
}

/// An endpoint whose `unbind` is dropped is free, and the peers that came by it are gone.
#[tokio::test]
async fn an_unbind_that_is_dropped_takes_the_peers_along() {
    for polls in 0..=POLLS {
        let mut pull = Pull::new();
        let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
        let mut push = Push::with_options(fast());
        push.connect(&endpoint, null()).unwrap();
        soon(push.send("1")).await;
        soon(pull.recv()).await;
        let mut events = push.events();
        soon(push.send("2")).await;
        cancelled(pull.unbind(&endpoint), polls).await;
        if pull.endpoints().count() > 0 {
            // It has not begun.
            assert_eq!(polls, 0);
            continue;
        }
        // The message that has arrived may be received until then.
        let lost =
            async { while !matches!(events.next().await, Some(SocketEvent::Lost { .. })) {} };
        let mut lost = pin!(lost);
        while tokio::time::timeout(UNWOKEN, lost.as_mut()).await.is_err() {
            let _ = pull.try_recv();
        }
        soon(async {
            while pull.bind(&endpoint, null()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        soon(push.send("3")).await;
        assert_eq!(soon(pull.recv()).await.frames(), ["3"]);
    }
}

/// A `bind` that is dropped leaves nothing bound.
#[tokio::test]
async fn a_bind_that_is_dropped_is_free_again() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    soon(pull.unbind(&endpoint)).await.unwrap();
    for polls in 0..=POLLS {
        let bound = cancelled(pull.bind(&endpoint, null()), polls).await;
        match bound {
            Some(bound) => {
                bound.unwrap();
                soon(pull.unbind(&endpoint)).await.unwrap();
            }
            None => assert_eq!(pull.endpoints().count(), 0),
        }
    }
    pull.bind(&endpoint, null()).await.unwrap();
}

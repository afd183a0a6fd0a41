//! Sockets and endpoints that are given up under load: what `send` has accepted arrives, or `close` says
//! that it does not, and nothing comes twice.

use crate::securities::{ANY_PORT, eventually, fast, null, soon};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use zmtp_auth::net::{Endpoint, NetError};
use zmtp_sockets::{Dealer, Pub, Pull, Push, Router, SocketOptions, Sub};

const MESSAGES: u32 = 2_000;
const PEERS: usize = 4;

/// Receives until the end of the test, and tells what has come.
fn receiving(mut pull: Pull, told: &tokio::sync::mpsc::UnboundedSender<u32>) -> JoinHandle<()> {
    let told = told.clone();
    tokio::spawn(async move {
        loop {
            let received = pull.recv().await;
            let number = std::str::from_utf8(&received.frames()[0]).unwrap();
            let _ = told.send(number.parse().unwrap());
        }
    })
}

#[tokio::test]
async fn everything_that_was_accepted_arrives_though_the_socket_is_closed_under_load() {
    for we_bind in [false, true] {
        let (told, mut arrived) = tokio::sync::mpsc::unbounded_channel();
        let mut push = Push::with_options(fast());
        let mut tasks = Vec::new();
        let bound = push.bind(ANY_PORT, null()).await.unwrap();
        for _ in 0..PEERS {
            let mut pull = Pull::with_options(fast().with_receive_high_water_mark(10));
            if we_bind {
                pull.connect(&bound, null()).unwrap();
            } else {
                let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
                push.connect(&endpoint, null()).unwrap();
            }
            tasks.push(receiving(pull, &told));
        }
        for number in 0..MESSAGES {
            soon(push.send(number.to_string())).await;
        }
        soon(push.close()).await.unwrap();
        let mut missing: BTreeSet<_> = (0..MESSAGES).collect();
        while !missing.is_empty() {
            let number = soon(arrived.recv()).await.unwrap();
            assert!(missing.remove(&number), "{number} came twice");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(arrived.try_recv().is_err());
        for task in tasks {
            task.abort();
        }
    }
}

/// A peer that does not read keeps what was accepted from leaving, and `close` says so.
#[tokio::test]
async fn a_close_that_could_not_send_everything_says_so() {
    let options = || fast().with_linger(Duration::from_millis(50));
    for we_bind in [false, true] {
        let mut push = Push::with_options(options());
        let mut dealer = Dealer::with_options(options());
        let mut pull = Pull::new();
        let mut router = Router::new();
        if we_bind {
            let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
            pull.connect(&endpoint, null()).unwrap();
            let endpoint = dealer.bind(ANY_PORT, null()).await.unwrap();
            router.connect(&endpoint, null()).unwrap();
        } else {
            let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
            push.connect(&endpoint, null()).unwrap();
            let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
            dealer.connect(&endpoint, null()).unwrap();
        }
        // Until there was no room for a while.
        let large = vec![0; 64 * 1024];
        let patience = Duration::from_millis(150);
        while tokio::time::timeout(patience, push.send(large.clone()))
            .await
            .is_ok()
        {}
        while tokio::time::timeout(patience, dealer.send(large.clone()))
            .await
            .is_ok()
        {}
        let closed = soon(async { tokio::join!(push.close(), dealer.close()) }).await;
        assert!(matches!(
            closed,
            (Err(NetError::Unsent), Err(NetError::Unsent))
        ));
    }
}

#[tokio::test]
async fn replies_and_publications_that_were_accepted_arrive_though_the_socket_is_closed() {
    const REPLIES: usize = 200;
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    let mut dealers = Vec::new();
    for _ in 0..PEERS {
        let mut dealer = Dealer::with_options(fast().with_receive_high_water_mark(10));
        dealer.connect(&endpoint, null()).unwrap();
        soon(dealer.send("question")).await;
        let request = soon(router.recv()).await;
        dealers.push((dealer, request));
    }
    for number in 0..REPLIES {
        for (_, request) in &dealers {
            router.send(request.reply(number.to_string())).unwrap();
        }
    }
    let reading = async {
        for (dealer, _) in &mut dealers {
            for number in 0..REPLIES {
                assert_eq!(dealer.recv().await.frames(), [number.to_string()]);
            }
        }
    };
    let (closed, ()) = soon(async { tokio::join!(router.close(), reading) }).await;
    closed.unwrap();

    let mut publisher = Pub::with_options(SocketOptions::default());
    let endpoint = publisher.bind(ANY_PORT, null()).await.unwrap();
    let mut subs = Vec::new();
    for _ in 0..PEERS {
        let mut sub = Sub::with_options(fast().with_receive_high_water_mark(10));
        sub.subscribe("");
        sub.connect(&endpoint, null()).unwrap();
        subs.push(sub);
    }
    eventually(|| {
        publisher
            .subscribers()
            .filter(|it| it.subscriptions == 1)
            .count()
            == PEERS
    })
    .await;
    for number in 0..REPLIES {
        publisher.send(number.to_string());
    }
    assert!(publisher.subscribers().all(|it| it.dropped == 0));
    let reading = async {
        for sub in &mut subs {
            for number in 0..REPLIES {
                assert_eq!(sub.recv().await.frames(), [number.to_string()]);
            }
        }
    };
    let (closed, ()) = soon(async { tokio::join!(publisher.close(), reading) }).await;
    closed.unwrap();
}

/// What had arrived when an endpoint is unbound may be lost. Nothing else is, and nothing comes twice or
/// out of order.
#[tokio::test]
async fn an_endpoint_that_is_unbound_under_load_delivers_no_message_twice() {
    const SENDERS: u32 = 4;
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let sending = |name: u32, endpoint: Endpoint| {
        tokio::spawn(async move {
            let mut push = Push::with_options(fast());
            push.connect(&endpoint, null()).unwrap();
            for number in 0..MESSAGES {
                push.send(format!("{name} {number:05}")).await;
                if number % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            push.close().await.unwrap();
        })
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|name| sending(name, endpoint.clone()))
        .collect();
    let mut latest = vec![None; SENDERS as usize];
    let mut unbound = 0;
    let mut received = 0;
    let last = Some(MESSAGES - 1);
    soon(async {
        while latest.iter().any(|number| *number < last) {
            let next = tokio::time::timeout(Duration::from_millis(300), pull.recv()).await;
            let Ok(message) = next else {
                // The last ones were lost with their connection.
                break;
            };
            received += 1;
            let text = std::str::from_utf8(&message.frames()[0])
                .unwrap()
                .to_owned();
            let (name, number) = text.split_once(' ').unwrap();
            let (name, number): (usize, u32) = (name.parse().unwrap(), number.parse().unwrap());
            assert!(
                latest[name] < Some(number),
                "{text} after {:?}",
                latest[name]
            );
            latest[name] = Some(number);
            if received % 500 == 0 && unbound < 8 {
                pull.unbind(&endpoint).await.unwrap();
                assert!(
                    pull.try_recv().is_none(),
                    "a peer of an endpoint that is unbound"
                );
                pull.bind(&endpoint, null()).await.unwrap();
                unbound += 1;
            }
        }
    })
    .await;
    assert!(unbound > 0);
    for sender in senders {
        soon(sender).await.unwrap();
    }
}

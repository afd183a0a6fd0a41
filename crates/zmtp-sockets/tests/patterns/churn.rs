//! Peers that come and go leave nothing behind.

use crate::securities::{ANY_PORT, eventually, fast, null, plain_client, soon};
use std::time::Duration;
use tokio::runtime::Handle;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, DenialStatus, Domain};
use zmtp_sockets::{Dealer, Pub, Pull, Push, Rep, Req, Router, SocketEvent, SocketOptions, Sub};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn the_tasks_of_peers_that_are_gone_have_ended() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    eventually(|| tasks() == 2).await;
    for round in 0..2 {
        let mut dealers = Vec::new();
        for _ in 0..25 {
            let mut dealer = Dealer::with_options(fast());
            dealer.connect(&endpoint, null()).unwrap();
            dealer.try_send("hello").unwrap();
            dealers.push(dealer);
        }
        let mut requests = Vec::new();
        for _ in 0..25 {
            requests.push(soon(router.recv()).await);
        }
        for request in &requests {
            router.send(request.reply("answer")).unwrap();
        }
        for dealer in &mut dealers {
            soon(dealer.recv()).await;
        }
        drop(dealers);
        eventually(|| tasks() == 2).await;
        for request in requests {
            assert!(router.send(request.reply("late")).is_err(), "{round}");
        }
    }
    soon(router.unbind(&endpoint)).await.unwrap();
    eventually(|| tasks() == 0).await;
}

#[tokio::test]
async fn an_endpoint_that_was_given_up_sends_what_is_queued_and_brings_nothing() {
    let mut router = Router::new();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    soon(router.close()).await.unwrap();
    let mut dealer = Dealer::with_options(fast());
    dealer.connect(&endpoint, null()).unwrap();
    dealer.try_send("queued").unwrap();
    dealer.disconnect(&endpoint).unwrap();
    let mut router = Router::new();
    let mut events = router.events();
    router.bind(&endpoint, null()).await.unwrap();
    let request = soon(router.recv()).await;
    assert_eq!(request.frames(), ["queued"]);
    let _ = router.send(request.reply("too late"));
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    assert!(dealer.try_recv().is_none());
    drop(router);
    eventually(|| tasks() == 0).await;
}

#[tokio::test]
async fn a_dropped_socket_sends_what_is_queued() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut push = Push::with_options(fast());
    push.connect(&endpoint, null()).unwrap();
    let mut bound = Push::new();
    let mut events = bound.events();
    let other = bound.bind(ANY_PORT, null()).await.unwrap();
    pull.connect(&other, null()).unwrap();
    soon(events.next()).await;
    for number in 0..200_u32 {
        push.try_send(number.to_string()).unwrap();
        bound.try_send(number.to_string()).unwrap();
    }
    drop((push, bound));
    for _ in 0..400 {
        soon(pull.recv()).await;
    }
    assert!(pull.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_peer_the_task_of_a_dropped_socket_ends_after_the_linger_time() {
    for linger in [Duration::ZERO, Duration::from_secs(5)] {
        let options = SocketOptions::default().with_linger(linger);
        let mut push = Push::with_options(options.clone());
        push.connect("tcp://127.0.0.1:9", null()).unwrap();
        push.try_send("unsent").unwrap();
        let since = tokio::time::Instant::now();
        drop(push);
        while tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let waited = since.elapsed();
        assert!(waited >= linger && waited <= linger + Duration::from_secs(1));

        let mut push = Push::with_options(options);
        push.connect("tcp://127.0.0.1:9", null()).unwrap();
        push.try_send("unsent").unwrap();
        push.close().await.unwrap_err();
        assert!(tokio::time::Instant::now() - since >= linger * 2);
        while tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn an_endpoint_is_unbound_under_load_and_bound_again_at_once() {
    let mut rep = Rep::new();
    let endpoint = rep.bind(ANY_PORT, null()).await.unwrap();
    let mut askers = Vec::new();
    for _ in 0..8 {
        let endpoint = endpoint.clone();
        askers.push(tokio::spawn(async move {
            let mut req = Req::with_options(fast());
            req.connect(&endpoint, null()).unwrap();
            let mut answered = 0;
            while answered < 40 {
                answered += usize::from(req.request("question").await.is_ok());
            }
        }));
    }
    let serving = async {
        for round in 0_u32.. {
            for _ in 0..20 {
                let Ok(request) = tokio::time::timeout(Duration::from_secs(1), rep.recv()).await
                else {
                    return;
                };
                rep.send(request.reply("answer"));
            }
            if round < 10 {
                rep.unbind(&endpoint).await.unwrap();
                rep.bind(&endpoint, null()).await.unwrap();
            }
        }
    };
    let asking = async {
        for asker in askers {
            asker.await.unwrap();
        }
    };
    soon(async { tokio::join!(serving, asking) }).await;
}

/// A peer that sends and leaves, again and again, must not fill the memory of a socket that is not
/// received from: with the messages of 256 peers that have left, it accepts no others.
#[tokio::test]
async fn peers_that_send_and_leave_wait_until_the_socket_receives() {
    const LEFT: usize = 256;
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let accepted = async |events: &mut zmtp_sockets::Events| {
        while !matches!(events.next().await, Some(SocketEvent::Accepted { .. })) {}
    };
    for _ in 0..LEFT {
        let mut push = Push::new();
        push.connect(&endpoint, null()).unwrap();
        push.try_send("left").unwrap();
        soon(push.close()).await.unwrap();
        soon(accepted(&mut events)).await;
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    }
    let mut push = Push::new();
    push.connect(&endpoint, null()).unwrap();
    push.try_send("last").unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(100), accepted(&mut events));
    assert!(waiting.await.is_err());
    for _ in 0..LEFT {
        assert_eq!(soon(pull.recv()).await.frames(), ["left"]);
    }
    assert_eq!(soon(pull.recv()).await.frames(), ["last"]);
}

/// Only unread messages hold others up: a socket that sends and does not receive takes new peers however
/// many have left.
#[tokio::test]
async fn peers_that_have_left_nothing_unread_hold_up_no_others() {
    const PEERS: usize = 260;
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let mut pushes = Vec::new();
    for _ in 0..PEERS {
        let mut push = Push::new();
        push.connect(&endpoint, null()).unwrap();
        push.try_send("received").unwrap();
        soon(pull.recv()).await;
        while !matches!(
            soon(events.next()).await,
            Some(SocketEvent::Accepted { .. })
        ) {}
        pushes.push(push);
    }
    for push in pushes {
        soon(push.close()).await.unwrap();
        while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    }
    let mut late = Push::new();
    late.connect(&endpoint, null()).unwrap();
    while !matches!(
        soon(events.next()).await,
        Some(SocketEvent::Accepted { .. })
    ) {}
}

#[tokio::test]
async fn a_subscriber_that_is_not_called_keeps_nothing_of_publishers_that_come_and_go() {
    let mut sub = Sub::new();
    let endpoint = sub.bind(ANY_PORT, null()).await.unwrap();
    let mut events = sub.events();
    let mut publisher = Pub::new();
    publisher.connect(&endpoint, null()).unwrap();
    while !matches!(
        soon(events.next()).await,
        Some(SocketEvent::Accepted { .. })
    ) {}
    soon(publisher.close()).await.unwrap();
    while !matches!(
        soon(events.next()).await,
        Some(SocketEvent::AllReceived { .. })
    ) {}
}

#[tokio::test]
async fn a_socket_that_is_dropped_while_a_server_refuses_it_for_good_leaves_no_task() {
    let mut pull = Pull::new();
    let router = ZapRouter::new();
    let deny = async |request: ZapRequest| request.deny(DenialStatus::Failure, "no");
    router.bind("test", deny).unwrap();
    let server = Config::untyped_builder().plain_server();
    let server = server.authorize(Domain::from("test")).finish().unwrap();
    let endpoint = pull.bind(ANY_PORT, (server, router)).await.unwrap();
    eventually(|| tasks() == 2).await;
    let mut push = Push::new();
    push.connect(&endpoint, plain_client("anyone")).unwrap();
    push.try_send("unsent").unwrap();
    drop(push);
    eventually(|| tasks() == 2).await;
}

//! Sockets within the process.

use crate::securities::{ANY_PORT, eventually, fast, null, soon, subscribed};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use zmtp_auth::auth::{Authenticator, CurveKey};
use zmtp_auth::net::{Endpoint, NetError};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, KeyPair, PeerAddress, SocketType};
use zmtp_sockets::{
    Addressed, AttachError, Dealer, Events, FromSubscriber, Inproc, Message, Pair, Pub, Pull, Push,
    Rep, Req, Request, RouteBy, Router, SocketEvent, SocketOptions, Sub, TurnedAway, Xpub, Xsub,
    proxy,
};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Lets the other tasks do all that they can do without time.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

async fn until(events: &mut Events, is_it: impl Fn(&SocketEvent) -> bool) -> SocketEvent {
    loop {
        let event = soon(events.next()).await.unwrap();
        if is_it(&event) {
            return event;
        }
    }
}

fn is_lost(event: &SocketEvent) -> bool {
    matches!(event, SocketEvent::Lost { .. })
}

fn body(message: impl Into<Message>) -> Bytes {
    message.into().frames().last().unwrap().clone()
}

/// The next request with this body.
async fn next(router: &mut Router, body: &str) -> Request {
    loop {
        let request = soon(router.recv()).await;
        if request.frames() == [body] {
            return request;
        }
    }
}

/// Connects both in each role, and runs the exchange each time. What the exchange leaves is dropped.
macro_rules! in_both_roles {
    ($one:ident, $other:ident, $exchange:expr) => {
        for one_binds in [true, false] {
            let inproc = Inproc::new();
            let (mut one, mut other) = ($one::with_options(fast()), $other::with_options(fast()));
            if one_binds {
                one.bind_inproc(&inproc, "name").unwrap();
                other.connect_inproc(&inproc, "name").unwrap();
            } else {
                one.connect_inproc(&inproc, "name").unwrap();
                other.bind_inproc(&inproc, "name").unwrap();
            }
            $exchange(one, other).await;
            eventually(|| tasks() == 0).await;
        }
    };
}

#[tokio::test]
async fn req_is_answered_by_rep_and_router() {
    in_both_roles!(Req, Rep, async |mut req: Req, mut rep: Rep| {
        let asking = req.request("question");
        let answering = async {
            let request = rep.recv().await;
            assert_eq!(request.peer().address, PeerAddress::InProcess);
            rep.send(request.reply("answer"));
        };
        let (reply, ()) = soon(async { tokio::join!(asking, answering) }).await;
        assert_eq!(reply.unwrap().frames(), ["answer"]);
    });
    in_both_roles!(Req, Router, async |mut req: Req, mut router: Router| {
        let asking = req.request("question");
        let answering = async {
            let request = router.recv().await;
            router.send(request.reply("answer")).unwrap();
        };
        let (reply, ()) = soon(async { tokio::join!(asking, answering) }).await;
        assert_eq!(reply.unwrap().frames(), ["answer"]);
    });
}

#[tokio::test]
async fn dealer_talks_to_rep_router_and_dealer() {
    in_both_roles!(Dealer, Rep, async |mut dealer: Dealer, mut rep: Rep| {
        soon(dealer.send(["", "question"])).await;
        let request = soon(rep.recv()).await;
        rep.send(request.reply("answer"));
        assert_eq!(soon(dealer.recv()).await.frames(), ["", "answer"]);
    });
    in_both_roles!(
        Dealer,
        Router,
        async |mut dealer: Dealer, mut router: Router| {
            soon(dealer.send("question")).await;
            let request = soon(router.recv()).await;
            router.send(request.reply("answer")).unwrap();
            assert_eq!(soon(dealer.recv()).await.frames(), ["answer"]);
        }
    );
    in_both_roles!(
        Dealer,
        Dealer,
        async |mut one: Dealer, mut other: Dealer| {
            soon(one.send("there")).await;
            assert_eq!(soon(other.recv()).await.frames(), ["there"]);
            soon(other.send("back")).await;
            assert_eq!(soon(one.recv()).await.frames(), ["back"]);
        }
    );
}

#[tokio::test]
async fn routers_know_each_other_by_what_they_claim() {
    for one_binds in [true, false] {
        let inproc = Inproc::new();
        let router = |id: &'static str| Router::with_options(fast().with_routing_id(id));
        let (mut one, mut other) = (router("one"), router("other"));
        let (binding, connecting) = if one_binds {
            (&mut one, &mut other)
        } else {
            (&mut other, &mut one)
        };
        let mut events = binding.events();
        binding.bind_inproc(&inproc, "name").unwrap();
        connecting.connect_inproc(&inproc, "name").unwrap();
        until(&mut events, |event| {
            matches!(event, SocketEvent::Accepted { .. })
        })
        .await;
        one.send(Addressed::new("other", "there")).unwrap();
        let request = soon(other.recv()).await;
        assert_eq!(request.routing_id(), "one");
        other.send(request.reply("back")).unwrap();
        assert_eq!(soon(one.recv()).await.frames(), ["back"]);
    }
}

#[tokio::test]
async fn push_and_pull_and_pairs_pass_messages() {
    in_both_roles!(Push, Pull, async |mut push: Push, mut pull: Pull| {
        for number in 0..10 {
            soon(push.send(number.to_string())).await;
        }
        soon(push.close()).await.unwrap();
        for number in 0..10 {
            let received = soon(pull.recv()).await;
            assert_eq!(received.frames(), [number.to_string()]);
        }
        soon(pull.close()).await;
    });
    in_both_roles!(Pair, Pair, async |mut one: Pair, mut other: Pair| {
        soon(one.send("there")).await;
        assert_eq!(soon(other.recv()).await.frames(), ["there"]);
        soon(other.send("back")).await;
        assert_eq!(soon(one.recv()).await.frames(), ["back"]);
        soon(one.close()).await.unwrap();
    });
}

#[tokio::test]
async fn publishers_send_what_is_subscribed_to() {
    macro_rules! with_pub {
        ($sub:ident) => {
            in_both_roles!(Pub, $sub, async |mut publisher: Pub, mut sub: $sub| {
                sub.subscribe("a");
                eventually(|| publisher.subscribers().any(|it| it.subscriptions == 1)).await;
                publisher.send("b");
                publisher.send(["a", "body"]);
                assert_eq!(soon(sub.recv()).await.frames(), ["a", "body"]);
                sub.unsubscribe("a");
                eventually(|| publisher.subscribers().all(|it| it.subscriptions == 0)).await;
                soon(publisher.close()).await.unwrap();
            });
        };
    }
    macro_rules! with_xpub {
        ($sub:ident) => {
            in_both_roles!(Xpub, $sub, async |mut xpub: Xpub, mut sub: $sub| {
                sub.subscribe("a");
                let subscribed = soon(xpub.recv()).await;
                assert!(matches!(subscribed, FromSubscriber::Subscribe(it) if it.topic() == "a"));
                xpub.send("b");
                xpub.send("a1");
                assert_eq!(soon(sub.recv()).await.frames(), ["a1"]);
                drop(sub);
                let ended = soon(xpub.recv()).await;
                assert!(matches!(ended, FromSubscriber::Unsubscribe(it) if it.topic() == "a"));
            });
        };
    }
    with_pub!(Sub);
    with_pub!(Xsub);
    with_xpub!(Sub);
    with_xpub!(Xsub);
    in_both_roles!(Xpub, Xsub, async |mut xpub: Xpub, mut xsub: Xsub| {
        xsub.subscribe("");
        assert!(matches!(
            soon(xpub.recv()).await,
            FromSubscriber::Subscribe(_)
        ));
        xsub.send("up");
        let FromSubscriber::Message(message) = soon(xpub.recv()).await else {
            panic!("no message");
        };
        assert_eq!(message.frames(), ["up"]);
    });
}

#[tokio::test]
async fn a_name_may_be_bound_after_it_was_connected_to_and_has_one_socket() {
    let inproc = Inproc::new();
    let mut push = Push::new();
    let endpoint = push.connect_inproc(&inproc, "name").unwrap();
    assert_eq!(endpoint, Endpoint::Inproc("name".into()));
    push.try_send("1").unwrap();
    settle().await;
    let (mut pull, mut second) = (Pull::new(), Pull::new());
    pull.bind_inproc(&inproc, "name").unwrap();
    assert_eq!(soon(pull.recv()).await.frames(), ["1"]);
    let refused = second.bind_inproc(&inproc, "name").unwrap_err();
    assert!(matches!(refused, AttachError::NameInUse(in_use) if in_use == endpoint));
    assert_eq!(second.endpoints().count(), 0);
    assert_eq!(pull.endpoints().collect::<Vec<_>>(), [&endpoint]);
    // Another registry has names of its own.
    second.bind_inproc(&Inproc::new(), "name").unwrap();
    // The name is free at once, however its socket gives it up.
    soon(pull.unbind(&endpoint)).await.unwrap();
    pull.bind_inproc(&inproc, "name").unwrap();
    soon(pull.close()).await;
    let mut pull = Pull::new();
    pull.bind_inproc(&inproc, "name").unwrap();
    drop(pull);
    second.bind_inproc(&inproc, "name").unwrap();
    for name in ["".to_owned(), "n".repeat(257)] {
        let refused = push.connect_inproc(&inproc, &name).unwrap_err();
        assert!(matches!(refused, AttachError::InprocName(len) if len == name.len()));
    }
    push.connect_inproc(&inproc, &"n".repeat(256)).unwrap();
}

#[tokio::test]
async fn a_lost_peer_is_waited_for_with_what_is_queued() {
    let inproc = Inproc::new();
    let mut push = Push::with_options(fast());
    let mut events = push.events();
    push.connect_inproc(&inproc, "name").unwrap();
    for round in 0..3 {
        let mut pull = Pull::new();
        pull.bind_inproc(&inproc, "name").unwrap();
        soon(push.send(round.to_string())).await;
        assert_eq!(soon(pull.recv()).await.frames(), [round.to_string()]);
        soon(pull.close()).await;
        let SocketEvent::Lost { error, peer, .. } = until(&mut events, is_lost).await else {
            unreachable!();
        };
        assert!(matches!(error, NetError::Closed), "{error}");
        assert_eq!(peer.claims.socket_type, Some(SocketType::Pull));
    }
    // The bound side loses a peer that closes, and receives what it had sent.
    let mut pull = Pull::new();
    let mut events = pull.events();
    pull.bind_inproc(&inproc, "name").unwrap();
    soon(push.send("the last")).await;
    soon(push.close()).await.unwrap();
    until(&mut events, is_lost).await;
    assert_eq!(soon(pull.recv()).await.frames(), ["the last"]);
    drop(pull);
    eventually(|| tasks() == 0).await;
    assert_eq!(format!("{inproc:?}"), "Inproc { names: [] }");
}

#[tokio::test]
async fn unbind_and_disconnect_end_the_peers_of_an_endpoint() {
    let inproc = Inproc::new();
    let (mut router, mut dealer) = (Router::new(), Dealer::with_options(fast()));
    let endpoint = router.bind_inproc(&inproc, "name").unwrap();
    dealer.connect_inproc(&inproc, "name").unwrap();
    for _ in 0..2 {
        soon(dealer.send("there")).await;
        let request = soon(router.recv()).await;
        soon(router.unbind(&endpoint)).await.unwrap();
        assert!(router.send(request.reply("late")).is_err());
        assert!(matches!(
            soon(router.unbind(&endpoint)).await,
            Err(AttachError::NoSuchEndpoint(_))
        ));
        router.bind_inproc(&inproc, "name").unwrap();
    }
    soon(dealer.send("there")).await;
    soon(router.recv()).await;
    let mut events = router.events();
    dealer.disconnect(&endpoint).unwrap();
    assert!(dealer.disconnect(&endpoint).is_err());
    until(&mut events, is_lost).await;
    eventually(|| tasks() == 0).await;
}

#[tokio::test]
async fn marks_bound_what_waits_and_nothing_is_lost_to_a_slow_receiver() {
    for push_binds in [true, false] {
        let inproc = Inproc::new();
        let mut push = Push::with_options(SocketOptions::default().with_send_high_water_mark(3));
        let mut pull = Pull::with_options(SocketOptions::default().with_receive_high_water_mark(2));
        if push_binds {
            push.bind_inproc(&inproc, "name").unwrap();
            pull.connect_inproc(&inproc, "name").unwrap();
        } else {
            push.connect_inproc(&inproc, "name").unwrap();
            pull.bind_inproc(&inproc, "name").unwrap();
        }
        let mut sent = 0;
        let mut full = 0;
        while full < 3 {
            settle().await;
            match push.try_send(sent.to_string()) {
                Ok(()) => sent += 1,
                Err(_) => full += 1,
            }
        }
        assert_eq!(sent, 5);
        let sending = tokio::spawn(async move {
            push.send("the last").await;
            push
        });
        settle().await;
        assert!(!sending.is_finished());
        for number in 0..sent {
            assert_eq!(soon(pull.recv()).await.frames(), [number.to_string()]);
        }
        assert_eq!(soon(pull.recv()).await.frames(), ["the last"]);
        soon(sending).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_socket_takes_within_the_linger_time_is_dropped() {
    let inproc = Inproc::new();
    let mut push = Push::with_options(fast().with_linger(Duration::from_secs(5)));
    push.connect_inproc(&inproc, "name").unwrap();
    // Without anything to send no task is left to wait.
    drop(push);
    settle().await;
    assert_eq!(tasks(), 0);
    for (bound_after, arrives) in [(4, true), (6, false)] {
        let mut push = Push::with_options(fast().with_linger(Duration::from_secs(5)));
        push.connect_inproc(&inproc, "name").unwrap();
        push.try_send("queued").unwrap();
        drop(push);
        tokio::time::sleep(Duration::from_secs(bound_after)).await;
        let mut pull = Pull::new();
        pull.bind_inproc(&inproc, "name").unwrap();
        let received = tokio::time::timeout(Duration::from_secs(60), pull.recv()).await;
        assert_eq!(received.is_ok(), arrives);
        drop(pull);
        settle().await;
        assert_eq!(tasks(), 0);
    }
}

#[tokio::test]
async fn the_frames_that_are_received_are_those_that_were_sent() {
    let inproc = Inproc::new();
    let (mut push, mut pull) = (Push::new(), Pull::new());
    push.bind_inproc(&inproc, "name").unwrap();
    pull.connect_inproc(&inproc, "name").unwrap();
    let frame = Bytes::from(vec![1; 1 << 20]);
    soon(push.send(frame.clone())).await;
    assert_eq!(soon(pull.recv()).await.frames()[0].as_ptr(), frame.as_ptr());
    let (mut publisher, mut subs) = (Pub::new(), [Sub::new(), Sub::new()]);
    publisher.bind_inproc(&inproc, "news").unwrap();
    for sub in &mut subs {
        sub.subscribe("");
        sub.connect_inproc(&inproc, "news").unwrap();
    }
    subscribed(&mut publisher, 2).await;
    publisher.send(frame.clone());
    for sub in &mut subs {
        assert_eq!(soon(sub.recv()).await.frames()[0].as_ptr(), frame.as_ptr());
    }
}

/// The guide's server of many workers: clients over tcp, workers within the process.
#[tokio::test]
async fn a_proxy_leads_authenticated_clients_to_workers_in_the_process() {
    let (server, alice) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let server_key = server.public_key();
    let policy = Authenticator::new();
    let users = [CurveKey::new(alice.public_key()).with_user("alice")];
    policy.configure_curve_users("test", users).unwrap();
    let zap = ZapRouter::new();
    zap.bind("test", policy).unwrap();
    let config = Config::untyped_builder()
        .curve_server(server)
        .authorize("test");
    let (mut clients, mut workers) = (Router::new(), Dealer::new());
    let mut events = clients.events();
    let endpoint = clients
        .bind(ANY_PORT, (config.finish().unwrap(), zap))
        .await
        .unwrap();
    let inproc = Inproc::new();
    workers.bind_inproc(&inproc, "workers").unwrap();
    for worker in 0..3 {
        let mut rep = Rep::new();
        rep.connect_inproc(&inproc, "workers").unwrap();
        tokio::spawn(async move {
            loop {
                let request = rep.recv().await;
                let number = body(request.message().clone());
                rep.send(request.reply([number, worker.to_string().into()]));
            }
        });
    }
    let passing = tokio::spawn(async move {
        proxy(clients, workers, |_| {}).await;
    });
    let mut req = Req::new();
    let config = Config::untyped_builder().curve_client(alice, server_key);
    req.connect(&endpoint, config.finish().unwrap()).unwrap();
    let mut counts = HashMap::new();
    for number in 0..30 {
        let reply = soon(req.request(number.to_string())).await.unwrap();
        assert_eq!(reply.frames()[0], number.to_string());
        *counts.entry(reply.frames()[1].clone()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    let accepted = until(&mut events, |event| {
        matches!(event, SocketEvent::Accepted { .. })
    });
    let SocketEvent::Accepted { peer, .. } = accepted.await else {
        unreachable!();
    };
    assert_eq!(peer.user_id().unwrap(), "alice");
    passing.abort();
}

#[tokio::test]
async fn a_peer_in_the_process_and_one_over_tcp_have_equal_turns() {
    let inproc = Inproc::new();
    let mut pull = Pull::new();
    let mut events = pull.events();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    pull.bind_inproc(&inproc, "name").unwrap();
    let (mut near, mut far) = (Push::new(), Push::new());
    near.connect_inproc(&inproc, "name").unwrap();
    far.connect(&endpoint, null()).unwrap();
    for _ in 0..2 {
        until(&mut events, |event| {
            matches!(event, SocketEvent::Accepted { .. })
        })
        .await;
    }
    let sending = |mut push: Push, name: &'static str| {
        tokio::spawn(async move {
            for _ in 0..4000 {
                push.send(name).await;
            }
            push
        })
    };
    let sending = [sending(near, "near"), sending(far, "far")];
    // Both have filled what may wait for us.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut near = 0;
    for _ in 0..1000 {
        near += usize::from(soon(pull.recv()).await.frames() == ["near"]);
    }
    assert!((450..=550).contains(&near), "{near}");
    for task in sending {
        task.abort();
    }
}

#[tokio::test]
async fn a_routing_id_is_not_taken_from_a_peer_in_the_process_or_by_one() {
    let inproc = Inproc::new();
    let claiming = || Dealer::with_options(fast().with_routing_id("worker"));
    let mut router = Router::new();
    let mut events = router.events();
    let endpoint = router.bind(ANY_PORT, null()).await.unwrap();
    router.bind_inproc(&inproc, "name").unwrap();
    let connect = |is_near: bool| {
        let mut dealer = claiming();
        if is_near {
            dealer.connect_inproc(&inproc, "name").unwrap();
        } else {
            dealer.connect(&endpoint, null()).unwrap();
        }
        dealer
    };
    for [first_is_near, second_is_near] in [[true, true], [true, false], [false, true]] {
        let mut first = connect(first_is_near);
        soon(first.send("first")).await;
        let request = next(&mut router, "first").await;
        assert_eq!(request.routing_id(), "worker");
        let mut second = connect(second_is_near);
        soon(second.send("second")).await;
        let turned_away = |event: &SocketEvent| matches!(event, SocketEvent::TurnedAway { .. });
        let SocketEvent::TurnedAway { reason, .. } = until(&mut events, turned_away).await else {
            unreachable!();
        };
        assert_eq!(reason, TurnedAway::RoutingIdInUse("worker".into()));
        router.send(request.reply("to the first")).unwrap();
        assert_eq!(soon(first.recv()).await.frames(), ["to the first"]);
        // The reply to one does not go to another who has its id now.
        soon(first.close()).await.unwrap();
        let telling = async {
            loop {
                // What a connection over tcp that was turned away had taken is lost with it.
                let _ = second.try_send("second");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = next(&mut router, "second") => {}
            () = telling => {}
        }
        let sent = router.send(request.reply("to the first"));
        assert_eq!(sent.is_ok(), first_is_near == second_is_near);
        soon(second.close()).await.unwrap();
        eventually(|| {
            let addressed = Addressed::new("worker", "");
            router.send(addressed).is_err()
        })
        .await;
    }
    let options = SocketOptions::default().with_route_by(RouteBy::UserId);
    let mut router = Router::with_options(options);
    let bound = router.bind_inproc(&inproc, "by user id");
    assert!(matches!(bound, Err(AttachError::NoUserId)));
    let connected = router.connect_inproc(&inproc, "by user id");
    assert!(matches!(connected, Err(AttachError::NoUserId)));
}

#[tokio::test]
async fn a_socket_that_fits_no_other_waits_for_one_that_does() {
    let inproc = Inproc::new();
    let mut push = Push::new();
    let mut events = push.events();
    push.try_send("queued").unwrap_err();
    push.connect_inproc(&inproc, "name").unwrap();
    push.try_send("queued").unwrap();
    let mut publisher = Pub::new();
    publisher.bind_inproc(&inproc, "name").unwrap();
    let retrying = until(&mut events, |event| {
        matches!(event, SocketEvent::Retrying { .. })
    });
    let SocketEvent::Retrying { error, .. } = retrying.await else {
        unreachable!();
    };
    let cause = error.likely_cause();
    assert_eq!(cause, Some(zmtp_auth::LikelyCause::SocketTypeMismatch));
    drop(publisher);
    let mut pull = Pull::new();
    pull.bind_inproc(&inproc, "name").unwrap();
    assert_eq!(soon(pull.recv()).await.frames(), ["queued"]);
}

#[tokio::test]
async fn a_second_peer_of_a_pair_gets_its_place_once_it_is_free() {
    let inproc = Inproc::new();
    let mut pair = Pair::new();
    let mut events = pair.events();
    pair.bind_inproc(&inproc, "name").unwrap();
    let (mut first, mut second) = (Pair::new(), Pair::with_options(fast()));
    first.connect_inproc(&inproc, "name").unwrap();
    soon(first.send("first")).await;
    assert_eq!(soon(pair.recv()).await.frames(), ["first"]);
    second.connect_inproc(&inproc, "name").unwrap();
    second.try_send("second").unwrap();
    until(&mut events, |event| {
        matches!(event, SocketEvent::TurnedAway { .. })
    })
    .await;
    assert!(pair.try_recv().is_none());
    soon(first.close()).await.unwrap();
    assert_eq!(soon(pair.recv()).await.frames(), ["second"]);
}

#[tokio::test]
async fn a_socket_may_connect_to_itself() {
    let inproc = Inproc::new();
    let mut dealer = Dealer::new();
    dealer.bind_inproc(&inproc, "name").unwrap();
    dealer.connect_inproc(&inproc, "name").unwrap();
    for number in 0..4 {
        soon(dealer.send(number.to_string())).await;
    }
    let mut received = Vec::new();
    for _ in 0..4 {
        received.push(soon(dealer.recv()).await.frames()[0].clone());
    }
    received.sort();
    assert_eq!(received, ["0", "1", "2", "3"]);
    drop(dealer);
    eventually(|| tasks() == 0).await;
}

/// Threads with a runtime each, which end before the other.
#[tokio::test]
async fn sockets_of_several_runtimes_outlive_each_other() {
    let inproc = Inproc::new();
    let mut router = Router::new();
    let mut events = router.events();
    router.bind_inproc(&inproc, "name").unwrap();
    let worker = |number: usize| {
        let inproc = inproc.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let options = SocketOptions::default().with_routing_id("worker");
                let mut dealer = Dealer::with_options(options);
                dealer.connect_inproc(&inproc, "name").unwrap();
                dealer.send(number.to_string()).await;
                soon(dealer.recv()).await;
            });
        })
    };
    for number in 0..3 {
        let thread = worker(number);
        let request = soon(router.recv()).await;
        assert_eq!(request.frames(), [number.to_string()]);
        router.send(request.reply("done")).unwrap();
        until(&mut events, is_lost).await;
        thread.join().unwrap();
        // The route is gone, so the next worker gets its id.
        assert!(router.send(request.reply("late")).is_err());
    }
    drop(router);
    eventually(|| tasks() == 0).await;
}

/// As over tcp: of messages that wait the last one stays, and what is received is what came last.
#[tokio::test]
async fn a_conflated_socket_keeps_the_last_message() {
    let options = || fast().with_conflate(true);
    for binds in [true, false] {
        let inproc = Inproc::new();
        let (mut push, mut pull) = (Push::with_options(options()), Pull::new());
        if binds {
            pull.bind_inproc(&inproc, "sending").unwrap();
            push.connect_inproc(&inproc, "sending").unwrap();
        } else {
            push.bind_inproc(&inproc, "sending").unwrap();
            pull.connect_inproc(&inproc, "sending").unwrap();
            settle().await;
        }
        // No task passes messages on in between.
        for number in 0..100 {
            push.try_send([number.to_string(), "body".into()]).unwrap();
        }
        assert_eq!(soon(pull.recv()).await.frames(), ["99", "body"]);

        let (mut push, mut pull) = (Push::new(), Pull::with_options(options()));
        if binds {
            pull.bind_inproc(&inproc, "receiving").unwrap();
            push.connect_inproc(&inproc, "receiving").unwrap();
        } else {
            push.bind_inproc(&inproc, "receiving").unwrap();
            pull.connect_inproc(&inproc, "receiving").unwrap();
        }
        for number in 0..100 {
            soon(push.send(number.to_string())).await;
        }
        settle().await;
        assert_eq!(soon(pull.recv()).await.frames(), ["99"]);
        assert!(pull.try_recv().is_none());
    }
    let inproc = Inproc::new();
    let mut publisher = Pub::with_options(options());
    publisher.bind_inproc(&inproc, "weather").unwrap();
    let mut sub = Sub::new();
    // Subscriptions do not replace each other.
    for topic in ["a", "b", "c"] {
        sub.subscribe(topic);
    }
    sub.connect_inproc(&inproc, "weather").unwrap();
    subscribed(&mut publisher, 3).await;
    for topic in ["a", "b", "c"] {
        publisher.send(topic);
    }
    assert_eq!(soon(sub.recv()).await.frames(), ["c"]);
    settle().await;
    assert!(sub.try_recv().is_none());
    let missed: u64 = publisher.subscribers().map(|it| it.dropped).sum();
    assert_eq!(missed, 0);
}

#[tokio::test]
async fn a_router_learns_of_a_peer_by_its_probe() {
    let options = |name| fast().with_probe_router(true).with_routing_id(name);
    for binds in [true, false] {
        let inproc = Inproc::new();
        let mut router = Router::new();
        let mut dealer = Dealer::with_options(options("dealer"));
        let mut req = Req::with_options(options("req"));
        let mut other = Router::with_options(options("router"));
        let mut rep = Rep::new();
        let mut asking = Req::with_options(options("asking"));
        macro_rules! meet {
            ($one:ident, $other:ident, $name:expr) => {
                if binds {
                    $one.bind_inproc(&inproc, $name).unwrap();
                    $other.connect_inproc(&inproc, $name).unwrap();
                } else {
                    $other.bind_inproc(&inproc, $name).unwrap();
                    $one.connect_inproc(&inproc, $name).unwrap();
                }
            };
        }
        meet!(router, dealer, "dealer");
        meet!(router, req, "req");
        meet!(router, other, "router");
        let mut names = Vec::new();
        for _ in 0..3 {
            let request = soon(router.recv()).await;
            assert_eq!(request.frames(), [""]);
            names.push(request.routing_id().clone());
        }
        names.sort();
        assert_eq!(names, ["dealer", "req", "router"]);
        soon(dealer.send("behind the probe")).await;
        assert_eq!(soon(router.recv()).await.frames(), ["behind the probe"]);
        // A probe is no request.
        meet!(rep, asking, "rep");
        let answering = async {
            let request = rep.recv().await;
            rep.send(request.reply("answer"));
            assert_eq!(rep.malformed(), 1);
        };
        let (answer, ()) = tokio::join!(soon(asking.request("question")), answering);
        assert_eq!(answer.unwrap().frames(), ["answer"]);
    }
}

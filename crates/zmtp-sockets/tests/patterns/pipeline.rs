//! PUSH and PULL (RFC 30).

use crate::securities::{ANY_PORT, fast, null, soon};
use std::collections::HashMap;
use std::time::Duration;
use zmtp_auth::{Config, SocketType};
use zmtp_sockets::{AttachError, Pull, Push, SendReason, SocketEvent, SocketOptions};

#[tokio::test]
async fn messages_before_the_peer_is_there_arrive_in_order() {
    let mut push = Push::with_options(fast());
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    push.connect(&endpoint, null()).unwrap();
    for number in 0..100 {
        push.try_send(number.to_string()).unwrap();
    }
    for number in 0..100 {
        let received = soon(pull.recv()).await;
        assert_eq!(received.frames(), [number.to_string()]);
    }
    soon(push.close()).await.unwrap();
    soon(pull.close()).await;
}

#[tokio::test]
async fn messages_go_to_peers_in_turn() {
    let mut push = Push::new();
    let endpoint = push.bind(ANY_PORT, null()).await.unwrap();
    let mut events = push.events();
    let mut pulls = Vec::new();
    for _ in 0..3 {
        let mut pull = Pull::new();
        pull.connect(&endpoint, null()).unwrap();
        pulls.push(pull);
        assert!(matches!(
            soon(events.next()).await,
            Some(SocketEvent::Accepted { .. })
        ));
    }
    for number in 0..30 {
        soon(push.send(number.to_string())).await;
    }
    for pull in &mut pulls {
        for _ in 0..10 {
            soon(pull.recv()).await;
        }
        assert!(pull.try_recv().is_none());
    }
}

#[tokio::test]
async fn no_peer_starves_another() {
    takes_of_each_in_turn().await;
}

/// Here most turns are taken without a count of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_peer_starves_another_on_several_threads() {
    takes_of_each_in_turn().await;
}

async fn takes_of_each_in_turn() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut events = pull.events();
    let mut pushes = Vec::new();
    for name in ["a", "b", "c"] {
        let mut push = Push::new();
        push.connect(&endpoint, null()).unwrap();
        for _ in 0..500 {
            push.try_send(name).unwrap();
        }
        pushes.push(push);
        soon(events.next()).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut counts = HashMap::new();
    for _ in 0..300 {
        let frame = soon(pull.recv()).await.frames()[0].clone();
        *counts.entry(frame).or_insert(0) += 1;
    }
    for (name, count) in &counts {
        assert!((90..=110).contains(count), "{name:?}: {count}");
    }
}

#[tokio::test]
async fn a_dialled_peer_that_comes_back_gets_what_is_queued() {
    let mut push = Push::with_options(fast());
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    push.connect(&endpoint, null()).unwrap();
    let mut events = push.events();
    soon(push.send("1")).await;
    assert_eq!(soon(pull.recv()).await.frames(), ["1"]);
    soon(pull.close()).await;
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    soon(push.send("2")).await;
    let mut pull = Pull::new();
    pull.bind(&endpoint, null()).await.unwrap();
    assert_eq!(soon(pull.recv()).await.frames(), ["2"]);
}

#[tokio::test]
async fn a_full_socket_says_so_and_returns_the_message() {
    let mut push = Push::new();
    let refused = push.try_send("nobody is there").unwrap_err();
    assert_eq!(refused.reason, SendReason::Full);
    assert_eq!(refused.message.frames(), ["nobody is there"]);
    let mut push = Push::with_options(SocketOptions::default().with_send_high_water_mark(3));
    push.connect("tcp://127.0.0.1:9", null()).unwrap();
    for _ in 0..3 {
        push.try_send("").unwrap();
    }
    assert_eq!(push.try_send("").unwrap_err().reason, SendReason::Full);
}

#[tokio::test]
async fn a_configuration_for_another_type_is_refused() {
    let security = Config::builder(SocketType::Pull).null().accept_any_peer();
    let error = Push::new()
        .bind(ANY_PORT, security.finish().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, AttachError::SocketType { .. }));
}

#[tokio::test]
async fn an_unbound_endpoint_is_free_and_its_peers_are_gone() {
    let mut pull = Pull::new();
    let endpoint = pull.bind(ANY_PORT, null()).await.unwrap();
    let mut push = Push::with_options(fast());
    push.connect(&endpoint, null()).unwrap();
    soon(push.send("1")).await;
    soon(pull.recv()).await;
    let mut events = push.events();
    soon(pull.unbind(&endpoint)).await.unwrap();
    assert!(matches!(
        soon(pull.unbind(&endpoint)).await,
        Err(AttachError::NoSuchEndpoint(_))
    ));
    while !matches!(soon(events.next()).await, Some(SocketEvent::Lost { .. })) {}
    assert_eq!(pull.endpoints().count(), 0);
    pull.bind(&endpoint, null()).await.unwrap();
    soon(push.send("2")).await;
    assert_eq!(soon(pull.recv()).await.frames(), ["2"]);
}

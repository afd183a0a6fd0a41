//! `Reconnecting` retries, stops or goes on as its options say, and loses no message that had
//! arrived.

use crate::net_peers;

use bytes::Bytes;
use net_peers::*;
use std::time::Duration;
use tokio::net::TcpListener;
use zmtp_auth::net::{
    AfterRefusal, Attempt, Connection, Connector, Incoming, Listener, Message, NetError, Options,
    ReconnectPolicy, Reconnecting,
};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, DenialStatus, Error, SocketType};

fn denying() -> ZapRouter {
    let router = ZapRouter::new();
    let deny = async |request: ZapRequest| request.deny(DenialStatus::Failure, "no");
    router.bind("test", deny).unwrap();
    router
}

fn impatient() -> Options {
    let reconnect = ReconnectPolicy::default()
        .with_first_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(50))
        .with_slow_delay(Duration::from_millis(20));
    Options::default().with_reconnect(reconnect)
}

#[tokio::test]
async fn a_configuration_of_no_type_is_refused_before_anything_is_bound_or_dialled() {
    let untyped = || {
        let null = Config::untyped_builder().null().accept_any_peer();
        null.finish().unwrap()
    };
    let nobody_there = "tcp://127.0.0.1:1";
    let errors = [
        Listener::bind(ANY_PORT, untyped()).await.unwrap_err(),
        Connection::connect(nobody_there, untyped())
            .await
            .unwrap_err(),
        Connector::new(nobody_there, untyped()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, NetError::SocketTypeMissing), "{error}");
    }
}

#[tokio::test]
async fn a_refused_plain_client_stops_and_says_why_until_it_is_reset() {
    let listener = Listener::bind(ANY_PORT, (plain_server(SocketType::Pull), denying()))
        .await
        .unwrap();
    let client = plain_client(SocketType::Push, "wrong");
    let mut connector = Connector::new(listener.local_endpoint(), client).unwrap();
    for _ in 0..2 {
        let error = soon(connector.next()).await.unwrap_err();
        assert!(matches!(handshake_error(&error), Error::RefusedByPeer(_)));
        assert!(connector.is_stopped());
        assert!(connector.last_error().is_some());
    }
    refusal(&listener).await;
    connector.reset();
    assert!(soon(connector.next()).await.is_err());
    refusal(&listener).await;
}

#[tokio::test]
async fn a_connector_that_tries_once_makes_one_connection() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull)).await;
    let listener = listener.unwrap();
    let mut options = impatient();
    options.reconnect.once = true;
    let push = null(SocketType::Push);
    let mut connector = Connector::with_options(listener.local_endpoint(), push, options).unwrap();
    for _ in 0..2 {
        let mut connection = soon(connector.next()).await.unwrap();
        let mut ends = connection.ends();
        let mut pull = soon(listener.accept()).await.unwrap();
        connection.send("taken").await.unwrap();
        soon(pull.recv_message()).await.unwrap();
        drop(pull);
        let loss = soon(ends.closed()).await;
        assert!(loss.all_sent, "{loss:?}");
        let error = soon(connector.next()).await.unwrap_err();
        assert!(matches!(error, NetError::Closed), "{error:?}");
        connector.reset();
    }
    drop(listener);
    let Attempt::Failed { retry_after, .. } = soon(connector.next_attempt()).await else {
        panic!("nothing listens there");
    };
    assert_eq!(retry_after, None);
}

#[tokio::test]
async fn a_refused_curve_client_tries_again_unless_told_otherwise() {
    let (ours, theirs) = (keys(), keys());
    let server = curve_server(SocketType::Pull, &ours);
    let listener = Listener::bind(ANY_PORT, (server, denying())).await.unwrap();
    let client = curve_client(SocketType::Push, &theirs, &ours);
    let mut connector =
        Connector::with_options(listener.local_endpoint(), client.clone(), impatient()).unwrap();
    for _ in 0..3 {
        match soon(connector.next_attempt()).await {
            Attempt::Failed {
                error,
                retry_after: Some(_),
            } => assert!(matches!(handshake_error(&error), Error::RefusedByPeer(_))),
            other => panic!("{other:?}"),
        }
        refusal(&listener).await;
    }
    let mut options = impatient();
    options.reconnect.after_refusal = AfterRefusal::Stop;
    let mut connector =
        Connector::with_options(listener.local_endpoint(), client, options).unwrap();
    assert!(soon(connector.next()).await.is_err());
}

#[tokio::test]
async fn a_client_finds_a_server_that_comes_back() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint().clone();
    let mut connector =
        Connector::with_options(&endpoint, null(SocketType::Push), impatient()).unwrap();
    let first = soon(connector.next()).await.unwrap();
    let accepted = soon(listener.accept()).await.unwrap();
    listener.close().await;
    drop(accepted);
    assert!(matches!(soon(first.closed()).await, NetError::Closed));
    match soon(connector.next_attempt()).await {
        Attempt::Failed {
            error: NetError::Io {
                doing: "connect", ..
            },
            retry_after: Some(_),
        } => {}
        other => panic!("{other:?}"),
    }
    let _listener = Listener::bind(&endpoint, null(SocketType::Pull))
        .await
        .unwrap();
    soon(connector.next()).await.unwrap();
    assert!(connector.last_error().is_some());
}

#[tokio::test]
async fn cancelled_attempts_still_connect() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint();
    let mut connector =
        Connector::with_options(endpoint, null(SocketType::Push), impatient()).unwrap();
    soon(async {
        loop {
            tokio::select! {
                biased;
                connection = connector.next() => break connection.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    soon(listener.accept()).await.unwrap();
}

#[tokio::test]
async fn a_reconnecting_subscriber_subscribes_again() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pub))
        .await
        .unwrap();
    let connector = Connector::with_options(
        listener.local_endpoint(),
        null(SocketType::Sub),
        impatient(),
    )
    .unwrap();
    let mut sub = Reconnecting::new(connector);
    sub.subscribe("a").await.unwrap();
    sub.subscribe("b").await.unwrap();
    sub.unsubscribe("b").await.unwrap();
    for round in ["first", "second", "third"] {
        let serving = async {
            let mut publisher = listener.accept().await.unwrap();
            let incoming = publisher.recv().await.unwrap();
            assert_eq!(incoming, Incoming::Subscribe("a".into()));
            publisher.send(round).await.unwrap();
            publisher.close().await.unwrap();
        };
        let (received, ()) = soon(async { tokio::join!(sub.recv(), serving) }).await;
        assert_eq!(received.unwrap(), Incoming::Message(round.into()));
    }
    assert!(matches!(sub.last_error(), Some(NetError::Closed)));
}

#[tokio::test]
async fn a_reconnecting_sender_goes_on_with_the_next_server() {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let connector = Connector::with_options(
        listener.local_endpoint(),
        null(SocketType::Push),
        impatient(),
    )
    .unwrap();
    let mut push = Reconnecting::new(connector);
    for round in ["first", "second"] {
        soon(push.send(round)).await.unwrap();
        let mut pull = soon(listener.accept()).await.unwrap();
        assert_eq!(soon(pull.recv_message()).await.unwrap(), round.into());
        drop(pull);
        let gone = soon(push.connected()).await.unwrap();
        soon(gone.closed()).await;
    }
}

#[test]
fn wildcards_cannot_be_connected_to() {
    for endpoint in ["tcp://*:5555", "tcp://127.0.0.1:*"] {
        let error = Connector::new(endpoint, null(SocketType::Push)).unwrap_err();
        assert!(matches!(error, NetError::Endpoint(_)), "{error}");
    }
}

/// Runs `flood` in a process that may open enough files.
#[cfg(unix)]
#[test]
fn a_flood_of_clients_is_served_to_the_last() {
    let status = std::process::Command::new("sh")
        .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "clients::flood", "--nocapture"])
        .status()
        .unwrap();
    assert!(status.success());
}

/// All clients connect at once, with as many handshakes in progress as clients. Each is served.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above in its own process"]
async fn flood() {
    const CLIENTS: usize = 1000;
    let (ours, theirs) = (keys(), keys());
    let server = Config::builder(SocketType::Router)
        .curve_server(ours.clone())
        .accept_any_peer()
        .finish()
        .unwrap();
    let listener = Listener::bind(ANY_PORT, server).await.unwrap();
    let endpoint = listener.local_endpoint().clone();
    let serving = tokio::spawn(async move {
        for _ in 0..CLIENTS {
            let mut connection = soon(listener.accept()).await.unwrap();
            tokio::spawn(async move {
                let question = connection.recv_message().await.unwrap();
                connection.send(question).await.unwrap();
                connection.closed().await;
            });
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = curve_client(SocketType::Dealer, &theirs, &ours);
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                let connecting = Connection::connect(endpoint, client);
                let mut connection = soon(connecting).await.unwrap();
                connection.send(number.to_string()).await.unwrap();
                let answer = soon(connection.recv_message()).await.unwrap();
                assert_eq!(answer, Message::from(number.to_string()));
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    serving.await.unwrap();
}

/// The server has gone when an answer is sent, so the client reconnects before it has received
/// everything from the old connection.
#[tokio::test]
async fn what_had_arrived_on_a_lost_connection_is_received_after_reconnecting() {
    const COUNT: usize = 5000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = local(listener.local_addr().unwrap().port());
    let config = null(SocketType::Pair);
    let connector = Connector::with_options(endpoint, config, impatient()).unwrap();
    let mut pair = Reconnecting::new(connector);
    let accept = async || {
        let (stream, _) = listener.accept().await.unwrap();
        RawPeer::shake_hands(stream, SocketType::Pair, 1).await
    };
    let (mut raw, connected) = soon(async { tokio::join!(accept(), pair.connected()) }).await;
    connected.unwrap();
    raw.send_together(&vec![(Flags::Last, Bytes::from_static(b"before")); COUNT])
        .await;
    drop(raw);
    let answering = async {
        loop {
            pair.send("answer").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut raw = tokio::select! {
        raw = accept() => raw,
        () = answering => unreachable!(),
    };
    raw.send(Flags::Last, b"after").await;
    for _ in 0..COUNT {
        let received = soon(pair.recv()).await.unwrap();
        assert_eq!(received, Incoming::Message("before".into()));
    }
    let received = soon(pair.recv()).await.unwrap();
    assert_eq!(received, Incoming::Message("after".into()));
}

/// Accepts a connection of `pair`, which sends meanwhile, sends `count` messages on it and ends it.
async fn serve_and_go(listener: &Listener, pair: &mut Reconnecting, name: usize, count: usize) {
    let (sent, accepted) = soon(async { tokio::join!(pair.send("x"), listener.accept()) }).await;
    sent.unwrap();
    let mut accepted = accepted.unwrap();
    soon(accepted.recv()).await.unwrap();
    for number in 0..count {
        let sent = accepted.send(format!("{name} {number}")).await;
        sent.unwrap();
    }
    soon(accepted.close()).await.unwrap();
    soon(pair.connected().await.unwrap().closed()).await;
}

async fn reconnecting_pair() -> (Listener, Reconnecting) {
    let listener = Listener::bind(ANY_PORT, null(SocketType::Pair))
        .await
        .unwrap();
    let endpoint = listener.local_endpoint();
    let connector = Connector::with_options(endpoint, null(SocketType::Pair), impatient()).unwrap();
    (listener, Reconnecting::new(connector))
}

#[tokio::test]
async fn what_had_arrived_on_several_lost_connections_is_received_in_order() {
    let (listener, mut pair) = reconnecting_pair().await;
    for name in 0..3 {
        serve_and_go(&listener, &mut pair, name, 3).await;
    }
    for name in 0..3 {
        for number in 0..3 {
            let received = soon(pair.recv()).await.unwrap();
            let expected = Message::from(format!("{name} {number}"));
            assert_eq!(received, Incoming::Message(expected));
        }
    }
}

/// Sixteen lost connections are kept. With the messages of so many waiting, no other is made.
#[tokio::test]
async fn no_connection_is_made_while_too_many_lost_ones_hold_messages() {
    const MOST: usize = 16;
    let (listener, mut pair) = reconnecting_pair().await;
    // Lost connections on which nothing arrived do not count.
    for name in 0..MOST + 2 {
        serve_and_go(&listener, &mut pair, name, 0).await;
    }
    for name in 0..MOST {
        serve_and_go(&listener, &mut pair, name, 1).await;
    }
    for _ in 0..2 {
        let refused = soon(pair.send("x")).await;
        assert!(matches!(refused, Err(NetError::NotReceived)), "{refused:?}");
    }
    for name in 0..MOST {
        let received = soon(pair.recv()).await.unwrap();
        let expected = Message::from(format!("{name} 0"));
        assert_eq!(received, Incoming::Message(expected));
    }
    serve_and_go(&listener, &mut pair, MOST, 0).await;
}

//! Every mechanism works over every transport: the peer's user id, and messages both ways.

use crate::net_peers;

use bytes::Bytes;
use net_peers::*;
use zmtp_auth::net::{
    Connection, Connector, Listener, Message, NetError, Reconnecting, RecvHalf, SendHalf,
};
use zmtp_auth::{
    Config, Credential, KeyPair, MechanismKind, NoPolicy, PeerAddress, Security, SocketType,
};

/// Both ends of a connection over `endpoint`.
async fn meet(
    endpoint: &str,
    server: impl Into<Security>,
    client: Config<NoPolicy>,
) -> (Listener, Connection, Connection) {
    let listener = Listener::bind(endpoint, server).await.unwrap();
    let dialling = Connection::connect(listener.local_endpoint(), client);
    let (accepted, dialled) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
    (listener, accepted.unwrap(), dialled.unwrap())
}

async fn echo(server: &mut Connection, client: &mut Connection) {
    let question = message(&[b"", b"question"]);
    client.send(question.clone()).await.unwrap();
    assert_eq!(soon(server.recv_message()).await.unwrap(), question);
    server.send("answer").await.unwrap();
    let answer = soon(client.recv_message()).await.unwrap();
    assert_eq!(answer.single().unwrap(), "answer");
}

async fn every_mechanism(endpoint: &str, check_address: impl Fn(&PeerAddress)) {
    use SocketType::{Dealer, Router};

    let (listener, mut server, mut client) = meet(endpoint, null(Router), null(Dealer)).await;
    echo(&mut server, &mut client).await;
    assert!(server.peer().authenticated.is_none());
    assert_eq!(server.peer().claims.socket_type, Some(Dealer));
    check_address(&server.peer().address);
    listener.close().await;

    let (listener, mut server, mut client) =
        meet(endpoint, (null_asks(Router), welcoming()), null(Dealer)).await;
    echo(&mut server, &mut client).await;
    let authenticated = server.peer().authenticated.as_ref().unwrap();
    assert_eq!(authenticated.mechanism(), MechanismKind::Null);
    assert_eq!(server.peer().user_id().unwrap(), "somebody");
    listener.close().await;

    let client = plain_client(Dealer, "secret");
    let (listener, mut server, mut client) =
        meet(endpoint, (plain_server(Router), welcoming()), client).await;
    echo(&mut server, &mut client).await;
    let authenticated = server.peer().authenticated.as_ref().unwrap();
    assert_eq!(
        authenticated.credential,
        Credential::UserName("admin".into())
    );
    listener.close().await;

    let (ours, theirs): (KeyPair, KeyPair) = (keys(), keys());
    let client = curve_client(Dealer, &theirs, &ours);
    let (_listener, mut server, mut client) =
        meet(endpoint, (curve_server(Router, &ours), welcoming()), client).await;
    echo(&mut server, &mut client).await;
    let authenticated = server.peer().authenticated.as_ref().unwrap();
    assert_eq!(
        authenticated.credential,
        Credential::Key(theirs.public_key())
    );
    assert_eq!(server.peer().proven_key, Some(theirs.public_key()));
    assert_eq!(client.peer().proven_key, Some(ours.public_key()));
    check_address(&server.peer().address);
}

#[tokio::test]
async fn over_tcp_with_ipv4() {
    every_mechanism("tcp://127.0.0.1:*", |address| {
        assert_eq!(address.to_zap(), "127.0.0.1");
    })
    .await;
}

#[tokio::test]
async fn over_tcp_with_ipv6() {
    every_mechanism("tcp://[::1]:*", |address| {
        assert_eq!(address.to_zap(), "::1");
    })
    .await;
}

#[tokio::test]
async fn over_tcp_with_a_host_name() {
    every_mechanism("tcp://localhost:*", |address| assert!(address.is_local())).await;
}

#[cfg(unix)]
#[tokio::test]
async fn over_ipc_with_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("ipc://{}/socket", directory.path().display());
    let me = std::process::id();
    every_mechanism(&endpoint, |address| {
        let PeerAddress::Ipc(peer) = address else {
            panic!("{address}");
        };
        assert!(peer.pid.is_none_or(|pid| pid == me));
        assert!(address.to_string().starts_with("localhost:"));
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn over_ipc_with_an_abstract_name() {
    let endpoint = format!("ipc://@zmtp-auth-test-{}", std::process::id());
    every_mechanism(&endpoint, |address| {
        assert!(matches!(address, PeerAddress::Ipc(_)));
    })
    .await;
}

#[tokio::test]
async fn the_wildcard_takes_ipv4_and_ipv6() {
    let listener = Listener::bind("tcp://*:*", null(SocketType::Pair))
        .await
        .unwrap();
    let port = port(listener.local_endpoint());
    for (host, seen) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let endpoint = format!("tcp://{host}:{port}");
        let dialling = Connection::connect(endpoint, null(SocketType::Pair));
        let (accepted, dialled) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
        dialled.unwrap();
        let ip = accepted.unwrap().peer().address.canonical_ip();
        assert_eq!(ip, Some(seen.parse().unwrap()));
    }
}

#[tokio::test]
async fn two_null_peers_that_both_ask_do_not_wait_for_each_other() {
    let config = null_asks(SocketType::Pair);
    let listener = Listener::bind(ANY_PORT, (config.clone(), welcoming()))
        .await
        .unwrap();
    let dialling = Connection::connect(listener.local_endpoint(), (config, welcoming()));
    let (accepted, dialled) = soon(async { tokio::join!(listener.accept(), dialling) }).await;
    assert_eq!(accepted.unwrap().peer().user_id().unwrap(), "somebody");
    assert_eq!(dialled.unwrap().peer().user_id().unwrap(), "somebody");
}

#[tokio::test]
async fn messages_of_all_shapes_arrive_as_they_were_sent() {
    let sizes = [0, 1, 255, 256, 4095, 4096, 65_536, 4 * 1024 * 1024];
    let (ours, theirs) = (keys(), keys());
    let pairs = [
        meet(ANY_PORT, null(SocketType::Pair), null(SocketType::Pair)).await,
        meet(
            ANY_PORT,
            (curve_server(SocketType::Pair, &ours), welcoming()),
            curve_client(SocketType::Pair, &theirs, &ours),
        )
        .await,
    ];
    for (_listener, mut server, mut client) in pairs {
        let mut messages: Vec<Message> = sizes
            .iter()
            .map(|&size| Bytes::from(vec![size as u8; size]).into())
            .collect();
        for count in 1..=20 {
            messages.push(
                (0..count)
                    .map(|index| vec![index; usize::from(index)])
                    .collect(),
            );
        }
        // One message with a frame of each size.
        messages.push(sizes.iter().map(|&size| vec![1; size]).collect());
        let expected = messages.clone();
        let sending = tokio::spawn(async move {
            for message in messages {
                client.send(message).await.unwrap();
            }
            client
        });
        for message in expected {
            assert!(soon(server.recv_message()).await.unwrap() == message);
        }
        soon(sending).await.unwrap();
    }
}

#[test]
fn everything_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Connection>();
    is_send_and_sync::<SendHalf>();
    is_send_and_sync::<RecvHalf>();
    is_send_and_sync::<Listener>();
    is_send_and_sync::<NetError>();
    let config = null_asks(SocketType::Pair);
    is_send(&Listener::bind(ANY_PORT, (config.clone(), welcoming())));
    let security = Security::from((config, welcoming()));
    is_send(&Connection::connect(ANY_PORT, security.clone()));
    let mut connector = Connector::new("tcp://127.0.0.1:1", security).unwrap();
    is_send(&connector.next());
    is_send(&Reconnecting::new(connector).recv());
}

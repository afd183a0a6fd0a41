//! Every pattern, identity and user id crosses both tunnels, and forged properties do not.

use crate::net_peers::{ANY_PORT, RawPeer, message, null, soon, welcoming};
use crate::rig::{Line, MECHANISMS, claiming, client, client_tunnel, ipc, server, server_tunnel};
use zmtp_auth::net::{Connection, Incoming, Listener, Tunnel, TunnelOptions};
use zmtp_auth::relay::IdentityRule;
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::{Config, Metadata, SocketType};

#[tokio::test]
async fn every_pattern_crosses_as_if_nothing_stood_between() {
    use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub};
    let (one, two) = (
        message(&[b"", b"one", &[7; 100_000]]),
        message(&[b"", b"two"]),
    );
    for mechanism in MECHANISMS {
        for (connecting, bound, replies) in [
            (Push, Pull, false),
            (Req, Rep, true),
            (Dealer, Router, true),
            (Pair, Pair, true),
        ] {
            let line = Line::new(mechanism, bound).await;
            let (mut dialled, mut accepted) = line.meet(null(connecting)).await;
            assert_eq!(accepted.peer().claims.socket_type, Some(connecting));
            assert_eq!(dialled.peer().claims.socket_type, Some(bound));
            for _ in 0..10 {
                dialled.send(one.clone()).await.unwrap();
            }
            for _ in 0..10 {
                assert_eq!(soon(accepted.recv_message()).await.unwrap(), one);
            }
            if replies {
                accepted.send(two.clone()).await.unwrap();
                assert_eq!(soon(dialled.recv_message()).await.unwrap(), two);
            }
        }
        let line = Line::new(mechanism, Pub).await;
        let (mut sub, mut publisher) = line.meet(null(Sub)).await;
        sub.subscribe("a").await.unwrap();
        assert_eq!(
            soon(publisher.recv()).await.unwrap(),
            Incoming::Subscribe("a".into())
        );
        publisher.send("a topic").await.unwrap();
        assert_eq!(
            soon(sub.recv_message()).await.unwrap().frames(),
            ["a topic"]
        );
        sub.unsubscribe("a").await.unwrap();
        assert_eq!(
            soon(publisher.recv()).await.unwrap(),
            Incoming::Unsubscribe("a".into())
        );
    }
}

#[tokio::test]
async fn identities_properties_and_the_user_id_arrive() {
    let program = Listener::bind(ANY_PORT, null(SocketType::Router))
        .await
        .unwrap();
    for (rule, identity) in [
        (IdentityRule::Pass, "me"),
        (IdentityRule::UserId, "somebody"),
        (IdentityRule::Drop, ""),
    ] {
        let options = TunnelOptions::default().with_identity(rule);
        let config = server(SocketType::Relay, "curve");
        let forward = program.local_endpoint();
        let server = Tunnel::server(ANY_PORT, forward, (config, welcoming()), options)
            .await
            .unwrap();
        let tunnel = client_tunnel(server.local_endpoint(), "curve").await;
        let dealer = Config::builder(SocketType::Dealer)
            .identity("me")
            .property("X-Colour", "green")
            .null()
            .accept_any_peer()
            .finish()
            .unwrap();
        let dialling = Connection::connect(tunnel.local_endpoint(), dealer);
        let (dialled, accepted) = soon(async { tokio::join!(dialling, program.accept()) }).await;
        let (_dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        let claims = &accepted.peer().claims;
        assert_eq!(claims.identity.as_ref().unwrap(), identity);
        assert_eq!(claims.properties.get("X-Colour").unwrap(), "green");
        assert_eq!(claims.properties.get("User-Id").unwrap(), "somebody");
    }
}

#[tokio::test]
async fn a_forged_user_id_never_arrives() {
    let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    for mechanism in MECHANISMS {
        let server = server_tunnel(program.local_endpoint(), mechanism, welcoming()).await;
        let near = client_tunnel(server.local_endpoint(), mechanism).await;
        for name in ["User-Id", "user-id", "USER-ID", "uSER-iD"] {
            let mut forged = Metadata::new();
            forged.push(name, "root").unwrap();
            forged.push("Socket-Type", "PUSH").unwrap();
            forged.push("PEER-address", "192.0.2.1").unwrap();
            // From a peer on the network, and from a program on the clear side of a client's
            // tunnel.
            let far = client(SocketType::Push, mechanism);
            for (endpoint, config) in [
                (server.local_endpoint(), &far),
                (near.local_endpoint(), &null(SocketType::Push)),
            ] {
                let claiming = claiming(endpoint, config, forged.clone());
                let (claimed, accepted) =
                    soon(async { tokio::join!(claiming, program.accept()) }).await;
                let (_stream, _) = claimed.unwrap();
                let accepted = accepted.unwrap();
                let properties = &accepted.peer().claims.properties;
                assert_eq!(properties.get("User-Id").unwrap(), "somebody");
                assert_eq!(properties.get("Peer-Address"), None);
                assert!(properties.iter().all(|(_, value)| value != "root"));
            }
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn both_sides_can_be_ipc() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| ipc(directory.path(), name);
    let program = Listener::bind(path("program"), null(SocketType::Pull))
        .await
        .unwrap();
    let options = TunnelOptions::default;
    let config = server(SocketType::Relay, "curve");
    let server = Tunnel::server(
        path("net"),
        path("program"),
        (config, welcoming()),
        options(),
    )
    .await
    .unwrap();
    let config = client(SocketType::Relay, "curve");
    let tunnel = Tunnel::client(path("clear"), path("net"), config, options())
        .await
        .unwrap();
    let mut push = soon(Connection::connect(path("clear"), null(SocketType::Push)))
        .await
        .unwrap();
    push.send("hello").await.unwrap();
    let mut pull = soon(program.accept()).await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["hello"]);
    soon(tunnel.close()).await.unwrap();
    soon(server.close()).await.unwrap();
    assert!(!directory.path().join("clear").exists());
    assert!(!directory.path().join("net").exists());
}

#[tokio::test]
async fn a_ping_is_answered_by_the_tunnel_and_subscribers_of_zmtp_3_0_are_understood() {
    let line = Line::new("curve", SocketType::Pub).await;
    let stream = tokio::net::TcpStream::connect(crate::rig::address(line.client.local_endpoint()));
    let stream = stream.await.unwrap();
    let shaking = RawPeer::shake_hands(stream, SocketType::Sub, 0);
    let (mut old, publisher) = soon(async { tokio::join!(shaking, line.program.accept()) }).await;
    let mut publisher = publisher.unwrap();
    old.send(zmtp_auth::wire::frame::Flags::Last, b"\x01t")
        .await;
    assert_eq!(
        soon(publisher.recv()).await.unwrap(),
        Incoming::Subscribe("t".into())
    );
    old.command(TrafficCommand::Ping {
        ttl: 0,
        context: "here?".into(),
    })
    .await;
    assert_eq!(
        old.traffic_command().await,
        TrafficCommand::Pong {
            context: "here?".into()
        }
    );
    publisher.send("topic").await.unwrap();
    assert_eq!(old.message_body().await, "topic");
}

//! Tunnels with live libzmq on one side or both.

use crate::net_peers::{ANY_PORT, welcoming};
use crate::peer::{Context, Options, Payload, Received, Security, Socket};
use crate::rig::{client_tunnel, server, server_tunnel};
use std::time::Duration;
use zmtp_auth::net::{Endpoint, Tunnel, TunnelOptions};
use zmtp_auth::{Config, Domain, KeyPair, PublicKey, SecretKey, SocketType, WithCauses};

const LOOPBACK: &str = "tcp://127.0.0.1:*";

fn plain_of(text: &str) -> Payload {
    Payload::from(text)
}

/// The frames as they were received.
#[track_caller]
fn expect(received: &Received, frames: &[Payload]) {
    assert_eq!(received.frames, frames);
}

fn null() -> Options {
    Options::new(Security::Null)
}

/// Both tunnels before a bound program.
async fn tunnels(program: &str, mechanism: &str) -> (Tunnel, Tunnel) {
    let program: Endpoint = program.parse().unwrap();
    let server = server_tunnel(&program, mechanism, welcoming()).await;
    let client = client_tunnel(server.local_endpoint(), mechanism).await;
    (server, client)
}

/// Sends until a message arrives, since a SUB's subscription takes effect only when it has reached
/// the PUB.
async fn publish_until_heard(publisher: &Socket<'_>, subscriber: &Socket<'_>, frame: Payload) {
    for _ in 0..600 {
        publisher.send(std::slice::from_ref(&frame)).await;
        let wait = Duration::from_millis(50);
        if let Some(message) = subscriber.try_receive(&[], wait).await {
            return expect(&message, &[frame]);
        }
    }
    panic!("no message arrived");
}

#[tokio::test]
async fn libzmq_without_security_meets_libzmq_through_both_tunnels_in_every_pattern() {
    for mechanism in ["curve", "plain"] {
        let context = Context::new().await;
        let long = Payload::Fill {
            seed: 3,
            length: 100_000,
        };
        let frames = [plain_of("one"), plain_of(""), long];
        for (bound, connecting) in [
            ("PULL", "PUSH"),
            ("REP", "REQ"),
            ("ROUTER", "DEALER"),
            ("PUB", "SUB"),
            ("PAIR", "PAIR"),
        ] {
            let (program, at) = context.bound(bound, null(), LOOPBACK).await;
            let (_server, client) = tunnels(&at, mechanism).await;
            let options = match connecting {
                "DEALER" => null().bytes("ROUTING_ID", b"the dealer"),
                _ => null(),
            };
            let to = client.local_endpoint().to_string();
            let other = context.connected(connecting, options, &to).await;
            if connecting == "SUB" {
                other.set_bytes("SUBSCRIBE", b"topic").await;
                publish_until_heard(&program, &other, plain_of("topic: news")).await;
                other.set_bytes("UNSUBSCRIBE", b"topic").await;
                continue;
            }
            other.send(&frames).await;
            let received = program.receive_with(&["User-Id", "Socket-Type"]).await;
            // libzmq shows its application the user id that the tunnel has set.
            assert_eq!(received.property("User-Id"), Some("somebody"));
            assert_eq!(received.property("Socket-Type"), Some(connecting));
            match bound {
                "ROUTER" => {
                    assert_eq!(received.frames[0], plain_of("the dealer"));
                    assert_eq!(received.frames[1..], frames);
                    program.send(&received.frames).await;
                    expect(&other.receive().await, &frames);
                }
                "REP" | "PAIR" => {
                    expect(&received, &frames);
                    program.send(&frames).await;
                    expect(&other.receive().await, &frames);
                }
                _ => expect(&received, &frames),
            }
        }
    }
}

#[tokio::test]
async fn libzmq_with_curve_meets_libzmq_without_through_a_servers_tunnel() {
    use crate::peer::{CLIENT_PUBLIC, SERVER_SECRET};
    let authenticator = zmtp_auth::auth::Authenticator::new();
    authenticator.configure_curve_keys("test", [PublicKey::from_z85(CLIENT_PUBLIC).unwrap()]);
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("test", authenticator).unwrap();
    let config = Config::builder(SocketType::Relay)
        .curve_server(KeyPair::from_secret(
            SecretKey::from_z85(SERVER_SECRET).unwrap(),
        ))
        .authorize(Domain::from("test"))
        .finish()
        .unwrap();
    let context = Context::new().await;
    let (program, at) = context.bound("PULL", null(), LOOPBACK).await;
    let options = TunnelOptions::default();
    let tunnel = Tunnel::server(ANY_PORT, at.as_str(), (config, router), options)
        .await
        .unwrap();
    let to = tunnel.local_endpoint().to_string();

    // An unknown key is refused, and the program does not notice.
    let stranger = Options::new(Security::CurveClient {
        public: crate::peer::SERVER_PUBLIC,
        secret: SERVER_SECRET,
        server: crate::peer::SERVER_PUBLIC,
    });
    let stranger = context.socket("PUSH", stranger).await;
    let mut events = stranger.monitor().await;
    stranger.connect(&to).await;
    let outcome = events.handshake().await;
    assert_eq!(
        (outcome.name.as_str(), outcome.value),
        ("HANDSHAKE_FAILED_AUTH", 400)
    );

    let options = Options::new(Security::CURVE_CLIENT);
    let push = context.connected("PUSH", options, &to).await;
    push.send(&[plain_of("hello")]).await;
    let received = program.receive_with(&["User-Id", "Peer-Address"]).await;
    expect(&received, &[plain_of("hello")]);
    assert_eq!(received.property("User-Id"), Some(CLIENT_PUBLIC));
    assert_eq!(received.property("Peer-Address"), Some("127.0.0.1"));
}

#[tokio::test]
async fn libzmq_comes_back_after_the_far_side_had_refused_it() {
    // Refused at first. The local program must see a close, or it would never try again.
    let authenticator = zmtp_auth::auth::Authenticator::new();
    authenticator.configure_curve_keys("test", []);
    let router = zmtp_auth::zap::ZapRouter::new();
    router.bind("test", authenticator.clone()).unwrap();
    let context = Context::new().await;
    let far = zmtp_auth::net::Listener::bind(ANY_PORT, (server(SocketType::Pull, "curve"), router))
        .await
        .unwrap();
    let tunnel = client_tunnel(far.local_endpoint(), "curve").await;
    let to = tunnel.local_endpoint().to_string();
    let push = context.connected("PUSH", null(), &to).await;
    let refusal = crate::net_peers::refusal(&far).await;
    assert!(WithCauses(&refusal.error).to_string().contains("400"));
    authenticator.configure_curve_keys("test", [crate::rig::client_keys().public_key()]);
    push.send(&[plain_of("at last")]).await;
    let mut pull = crate::net_peers::soon(far.accept()).await.unwrap();
    let message = crate::net_peers::soon(pull.recv_message()).await.unwrap();
    assert_eq!(message.frames(), ["at last"]);
}

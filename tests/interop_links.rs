//! Links that live for a while: heartbeats both ways, and libzmq clients that reconnect.
#![cfg(feature = "live-interop")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod peer;

use peer::{
    CLIENT_PUBLIC, CLIENT_SECRET, Context, Options, SERVER_PUBLIC, SERVER_SECRET, Security,
};
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::heartbeat::HeartbeatSettings;
use zmtp_auth::net::{self, Connection, Listener};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Asks, Config, Domain, KeyPair, PublicKey, SecretKey, SocketType};

const TCP: &str = "tcp://127.0.0.1:*";

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(secret).unwrap())
}

fn curve_server() -> (Config<Asks>, ZapRouter) {
    let authenticator = Authenticator::new();
    authenticator.configure_curve_keys(Domain::ALL, [PublicKey::from_z85(CLIENT_PUBLIC).unwrap()]);
    let router = ZapRouter::new();
    router.bind(Domain::ALL, authenticator).unwrap();
    let config = Config::builder(SocketType::Pull)
        .curve_server(keys(SERVER_SECRET))
        .authorize(Domain::EMPTY)
        .finish()
        .unwrap();
    (config, router)
}

/// A PING every 30 ms, and time enough to answer it on a busy machine.
fn heartbeat() -> HeartbeatSettings {
    let mut settings = HeartbeatSettings::every(Duration::from_millis(30));
    settings.timeout = Duration::from_secs(1);
    settings
}

#[tokio::test]
async fn libzmqs_heartbeats_are_answered_and_ours_are() {
    let context = Context::new().await;
    let (config, router) = curve_server();
    let mut options = net::Options::default();
    options.heartbeat = Some(heartbeat());
    let listener = Listener::bind_with(TCP, config, router, options)
        .await
        .unwrap();
    let theirs = Options::new(Security::CURVE_CLIENT)
        .set("HEARTBEAT_IVL", 30)
        .set("HEARTBEAT_TIMEOUT", 1000)
        .set("HEARTBEAT_TTL", 1000);
    let push = context.socket("PUSH", theirs).await;
    let mut events = push.monitor().await;
    push.connect(&listener.local_endpoint().to_string()).await;
    assert_eq!(events.handshake().await.name, "HANDSHAKE_SUCCEEDED");
    let mut pull = listener.accept().await.unwrap();
    // A PING that is not answered, on either side, would end the connection meanwhile.
    let quiet = tokio::time::timeout(Duration::from_millis(2500), pull.recv()).await;
    assert!(quiet.is_err(), "the link did not live: {quiet:?}");
    push.send(&["still here".into()]).await;
    assert_eq!(pull.recv_message().await.unwrap().frames(), ["still here"]);
}

#[tokio::test]
async fn heartbeats_cross_a_null_link_that_we_dialled() {
    let context = Context::new().await;
    let theirs = Options::new(Security::Null)
        .set("HEARTBEAT_IVL", 30)
        .set("HEARTBEAT_TIMEOUT", 1000);
    let (pull, endpoint) = context.bound("PULL", theirs, TCP).await;
    let config = Config::builder(SocketType::Push)
        .null()
        .accept_any_peer()
        .finish()
        .unwrap();
    let mut options = net::Options::default();
    options.heartbeat = Some(heartbeat());
    let mut push = Connection::connect_with(&endpoint, config, (), &options)
        .await
        .unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(2500), push.recv()).await;
    assert!(quiet.is_err(), "the link did not live: {quiet:?}");
    push.send("still here").await.unwrap();
    assert_eq!(pull.receive().await.frames, ["still here".into()]);
}

#[tokio::test]
async fn a_libzmq_client_reconnects_to_a_listener_that_comes_back() {
    let context = Context::new().await;
    let (config, router) = curve_server();
    let listener = Listener::bind(TCP, config, router).await.unwrap();
    let endpoint = listener.local_endpoint().to_string();
    let options = Options::new(Security::CURVE_CLIENT).set("RECONNECT_IVL", 20);
    let push = context.connected("PUSH", options, &endpoint).await;
    for round in ["first", "second", "third"] {
        push.send(&[round.into()]).await;
        let mut pull = listener.accept().await.unwrap();
        assert_eq!(pull.recv_message().await.unwrap().frames(), [round]);
        pull.close().await.unwrap();
    }
}

#[tokio::test]
async fn our_client_reconnects_to_a_libzmq_server_that_comes_back() {
    let context = Context::new().await;
    let security = Security::CURVE_SERVER;
    let (pull, endpoint) = context.bound("PULL", Options::new(security), TCP).await;
    let server = PublicKey::from_z85(SERVER_PUBLIC).unwrap();
    let config = Config::builder(SocketType::Push)
        .curve_client(keys(CLIENT_SECRET), server)
        .finish()
        .unwrap();
    let connector = net::Connector::new(&endpoint, config, ()).unwrap();
    let mut push = net::Reconnecting::new(connector);
    push.send("before").await.unwrap();
    assert_eq!(pull.receive().await.frames, ["before".into()]);
    pull.close().await;
    let again = context.socket("PULL", Options::new(security)).await;
    again.bind(&endpoint).await;
    // What was under way when the link broke is lost: send until one arrives.
    let arrived = async {
        loop {
            push.send("after").await.unwrap();
            if again
                .try_receive(&[], Duration::from_millis(50))
                .await
                .is_some()
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrived)
        .await
        .unwrap();
}

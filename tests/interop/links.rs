//! Heartbeats with libzmq in both directions, reconnecting, and every pattern with pyomq, which
//! shares no code with libzmq.

use crate::omq;
use crate::peer;

use omq::{OmqPeer, Stands, printed, to_hex};
use peer::{
    CLIENT_PUBLIC, CLIENT_SECRET, Context, Options, SERVER_PUBLIC, SERVER_SECRET, Security,
};
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{self, Connection, Incoming, Listener, Message};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Authorizing, Config, Domain, KeyPair, PublicKey, SecretKey, SocketType};

const TCP: &str = "tcp://127.0.0.1:*";

fn keys(secret: &str) -> KeyPair {
    KeyPair::from_secret(SecretKey::from_z85(secret).unwrap())
}

fn curve_server() -> (Config<Authorizing>, ZapRouter) {
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
    let options = net::Options::default().with_heartbeat(heartbeat());
    let listener = Listener::bind_with(TCP, (config, router), options)
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
    // An unanswered PING of either side would end the connection meanwhile.
    let quiet = tokio::time::timeout(Duration::from_millis(2500), pull.recv()).await;
    assert!(quiet.is_err(), "the link ended: {quiet:?}");
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
    let options = net::Options::default().with_heartbeat(heartbeat());
    let mut push = Connection::connect_with(&endpoint, config, &options)
        .await
        .unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(2500), push.recv()).await;
    assert!(quiet.is_err(), "the link ended: {quiet:?}");
    push.send("still here").await.unwrap();
    assert_eq!(pull.receive().await.frames, ["still here".into()]);
}

#[tokio::test]
async fn a_libzmq_client_reconnects_to_a_listener_that_comes_back() {
    let context = Context::new().await;
    let (config, router) = curve_server();
    let listener = Listener::bind(TCP, (config, router)).await.unwrap();
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
    let connector = net::Connector::new(&endpoint, config).unwrap();
    let mut push = net::Reconnecting::new(connector);
    push.send("before").await.unwrap();
    assert_eq!(pull.receive().await.frames, ["before".into()]);
    pull.close().await;
    let again = context.socket("PULL", Options::new(security)).await;
    again.bind(&endpoint).await;
    // Messages in flight when the link broke are lost, so send until one arrives.
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

const OMQ_MECHANISMS: [&str; 3] = ["NULL", "PLAIN", "CURVE"];
const OMQ_PATTERNS: [(SocketType, &str); 8] = [
    (SocketType::Push, "PULL"),
    (SocketType::Pull, "PUSH"),
    (SocketType::Req, "REP"),
    (SocketType::Rep, "REQ"),
    (SocketType::Dealer, "ROUTER"),
    (SocketType::Router, "DEALER"),
    (SocketType::Pub, "SUB"),
    (SocketType::Sub, "PUB"),
];

/// Messages of one frame and of several, and some that need long frames, also when sealed.
fn omq_messages() -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![b"one".to_vec()],
        vec![b"three".to_vec(), b"whole".to_vec(), b"frames".to_vec()],
        vec![vec![7; 250], vec![8; 70_000]],
    ]
}

fn prefixed(prefix: Option<&'static [u8]>, frames: &[Vec<u8>]) -> Message {
    let prefix = prefix.map(<[u8]>::to_vec);
    prefix.into_iter().chain(frames.iter().cloned()).collect()
}

/// Exchanges all messages in the pattern of the two types.
async fn talk(ours: SocketType, mut connection: Connection, mut peer: OmqPeer) {
    let messages = omq_messages();
    let hex = |message: &Vec<Vec<u8>>| {
        message
            .iter()
            .map(|frame| to_hex(frame))
            .collect::<Vec<_>>()
    };
    if ours == SocketType::Pub {
        let subscribed = connection.recv().await.unwrap();
        assert_eq!(subscribed, Incoming::Subscribe("topic".into()));
    }
    if ours == SocketType::Sub {
        connection.subscribe("topic").await.unwrap();
        // Its PUB repeats all messages.
        let mut missing: Vec<_> = messages
            .iter()
            .map(|frames| prefixed(Some(b"topic"), frames))
            .collect();
        let all = missing.clone();
        while !missing.is_empty() {
            let message = connection.recv_message().await.unwrap();
            assert!(all.contains(&message));
            missing.retain(|other| *other != message);
        }
        return;
    }
    for frames in &messages {
        let prefix: Option<&'static [u8]> = match ours {
            SocketType::Req | SocketType::Rep => Some(b""),
            SocketType::Pub => Some(b"topic"),
            _ => None,
        };
        let message = prefixed(prefix, frames);
        match ours {
            SocketType::Push => {
                connection.send(message).await.unwrap();
                assert_eq!(peer.received().await, hex(frames));
            }
            SocketType::Pub => {
                connection.send(message.clone()).await.unwrap();
                assert_eq!(peer.received().await, printed(&message));
            }
            SocketType::Pull => assert_eq!(connection.recv_message().await.unwrap(), message),
            SocketType::Req | SocketType::Dealer => {
                connection.send(message.clone()).await.unwrap();
                assert_eq!(connection.recv_message().await.unwrap(), message);
            }
            _ => {
                assert_eq!(connection.recv_message().await.unwrap(), message);
                connection.send(message).await.unwrap();
                assert_eq!(peer.received().await, hex(frames));
            }
        }
    }
}

#[tokio::test]
async fn every_pattern_crosses_to_pyomq_in_every_mechanism_and_both_roles() {
    let [mine, theirs] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let messages = omq_messages();
    for mechanism in OMQ_MECHANISMS {
        for (ours, kind) in OMQ_PATTERNS {
            eprintln!("{mechanism}: {ours} with {kind}");
            let keys = (&theirs, mine.public_key());
            // pyomq binds and is the server.
            let peer = OmqPeer::start(kind, mechanism, Stands::Bound, keys, &messages).await;
            let builder = Config::builder(ours);
            let config = match mechanism {
                "PLAIN" => builder.plain_client("admin", "secret").finish(),
                "CURVE" => builder
                    .curve_client(mine.clone(), theirs.public_key())
                    .finish(),
                _ => builder.null().accept_any_peer().finish(),
            };
            let connection = Connection::connect(&*peer.endpoint, config.unwrap());
            talk(ours, connection.await.unwrap(), peer).await;

            // We bind and are the server.
            let builder = Config::builder(ours);
            let listener = match mechanism {
                "PLAIN" => {
                    let router = ZapRouter::new();
                    let allow = async |request: ZapRequest| request.allow("admin");
                    router.bind(Domain::ALL, allow).unwrap();
                    let config = builder.plain_server().authorize(Domain::EMPTY).finish();
                    Listener::bind(TCP, (config.unwrap(), router)).await
                }
                "CURVE" => {
                    let config = builder
                        .curve_server(mine.clone())
                        .accept_any_peer()
                        .finish();
                    Listener::bind(TCP, config.unwrap()).await
                }
                _ => {
                    let config = builder.null().accept_any_peer().finish();
                    Listener::bind(TCP, config.unwrap()).await
                }
            };
            let listener = listener.unwrap();
            let endpoint = listener.local_endpoint().to_string();
            let stands = Stands::ConnectedTo(&endpoint);
            let peer = OmqPeer::start(kind, mechanism, stands, keys, &messages).await;
            talk(ours, listener.accept().await.unwrap(), peer).await;
        }
    }
}

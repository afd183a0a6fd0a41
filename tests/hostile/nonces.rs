//! Repeated nonces are refused (CVE-2014-7203), and the sealed COMMAND bit decides (jeromq #696),
//! in both directions.

use super::curve::{CurveClient, Traffic, serve};
use super::load_attack::{MIB, alone, load_attack, scaled, soon};
use super::raw::{RawServer, command, frame, metadata};
use super::server::{Kind, Server, Setup, UNNOTED, client};
use std::time::Duration;
use zmtp_auth::net::{Connection, Incoming, Message, NetError, Options};
use zmtp_auth::traffic::heartbeat::HeartbeatSettings;
use zmtp_auth::{CryptoError, Error, Limits, SocketType};

/// Nonces of messages; all but the last are valid, and `first` is the lowest valid one. One more
/// valid message follows, since nothing revives a connection after a bad nonce.
fn replays(first: u64) -> Vec<Vec<u64>> {
    vec![
        vec![first, first],
        vec![first, first + 1, first],
        vec![first + 10, first + 9],
        // The nonces of INITIATE or READY, of HELLO if there is one, and 0.
        vec![first - 1],
        vec![first - 2],
        vec![first, first - 1],
        vec![0],
        vec![first, 0],
    ]
}

/// What a hostile side of `traffic` sends for one of [`replays`], all at once.
fn replayed(traffic: &Traffic, nonces: &[u64]) -> Vec<u8> {
    let after = 1 + nonces.iter().max().unwrap();
    nonces
        .iter()
        .chain(&[after])
        .flat_map(|nonce| frame(0, &traffic.message(*nonce, 0, &nonce.to_be_bytes())))
        .collect()
}

fn numbered(nonce: u64) -> Message {
    Message::from(&nonce.to_be_bytes())
}

fn is_replay(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Traffic(Error::Crypto(CryptoError::ReplayedNonce))
    )
}

#[test]
fn cve_2014_7203_replayed_nonces_deliver_nothing_and_close() {
    alone(async || {
        let attack = async |server: &mut Server, load| {
            for _ in 0..load {
                for nonces in replays(3) {
                    let (mut raw, traffic) =
                        CurveClient::established(&server.target, "DEALER").await;
                    server.accepted().await;
                    raw.say(&replayed(&traffic, &nonces)).await;
                    for good in &nonces[..nonces.len() - 1] {
                        let delivered = server.delivery().await;
                        assert_eq!(delivered, Incoming::Message(numbered(*good)));
                    }
                    let end = server.end().await;
                    assert!(is_replay(&end), "{nonces:?}: {end}");
                    assert!(raw.rest().await.is_empty());
                }
            }
            assert!(server.notes().is_empty());
        };
        let setup = Setup::new(Kind::Curve);
        load_attack(
            "CVE-2014-7203: replays",
            setup,
            scaled(400, 20),
            MIB,
            attack,
        )
        .await;
    });
}

#[test]
fn cve_2014_7203_a_client_of_ours_takes_no_replayed_nonce_either() {
    alone(async || {
        let attack = async |_: &mut Server, load| {
            let hostile = RawServer::bind().await;
            for _ in 0..load {
                for nonces in replays(2) {
                    let answering = async {
                        let mut raw = hostile.visitor().await;
                        let dealer = metadata(&[("Socket-Type", b"DEALER")]);
                        let traffic = serve(&mut raw, &dealer).await;
                        raw.say(&replayed(&traffic, &nonces)).await;
                        raw.rest().await
                    };
                    let receiving = async {
                        let mut connection =
                            visit(&hostile, SocketType::Dealer, &Options::default()).await;
                        let mut received = Vec::new();
                        loop {
                            match soon(connection.recv_message()).await {
                                Ok(message) => received.push(message),
                                Err(end) => return (received, end),
                            }
                        }
                    };
                    let ((received, end), heard) = tokio::join!(receiving, answering);
                    let good: Vec<_> = nonces[..nonces.len() - 1]
                        .iter()
                        .copied()
                        .map(numbered)
                        .collect();
                    assert_eq!(received, good);
                    assert!(is_replay(&end), "{nonces:?}: {end}");
                    assert!(heard.is_empty());
                }
            }
        };
        let setup = Setup::new(Kind::Curve);
        load_attack(
            "CVE-2014-7203: replays by a server",
            setup,
            scaled(400, 20),
            MIB,
            attack,
        )
        .await;
    });
}

async fn visit(hostile: &RawServer, socket: SocketType, options: &Options) -> Connection {
    let config = client(Kind::Curve, socket, UNNOTED, Limits::default());
    let dialling = Connection::connect_with(hostile.endpoint(), config, options);
    soon(dialling).await.unwrap()
}

/// PINGs as often as possible, with the longest time-out for their answers.
fn pinging() -> Options {
    let mut heartbeat = HeartbeatSettings::every(Duration::from_millis(1));
    heartbeat.timeout = Duration::from_secs(600);
    Options::default().with_heartbeat(heartbeat)
}

const MESSAGE: u8 = 0;
/// The sealed bit of a command.
const COMMAND: u8 = 0x02;

#[test]
fn jeromq_696_commands_under_curve_are_understood_by_their_sealed_bit() {
    alone(async || {
        let attack = async |server: &mut Server, load| {
            for _ in 0..load {
                let (mut raw, traffic) = CurveClient::established(&server.target, "SUB").await;
                server.accepted().await;
                raw.say(&frame(
                    0,
                    &traffic.message(3, COMMAND, &command("SUBSCRIBE", b"topic")),
                ))
                .await;
                assert_eq!(server.delivery().await, Incoming::Subscribe("topic".into()));
                // Without the bit the same bytes are a message and not a subscription.
                raw.say(&frame(
                    0,
                    &traffic.message(4, MESSAGE, &command("SUBSCRIBE", b"no")),
                ))
                .await;
                raw.say(&frame(
                    0,
                    &traffic.message(5, COMMAND, &command("PING", b"\0\0context")),
                ))
                .await;
                let (flags, body) = raw.frame().await;
                assert_eq!(flags, 0, "a MESSAGE is no command frame");
                assert_eq!(traffic.open(&body), (COMMAND, command("PONG", b"context")));
                raw.say(&frame(
                    0,
                    &traffic.message(6, COMMAND, &command("CANCEL", b"topic")),
                ))
                .await;
                assert_eq!(
                    server.delivery().await,
                    Incoming::Unsubscribe("topic".into())
                );
                // The sealed flags do not appear in clear.
                raw.say(&frame(0x04, &command("PING", b"\0\0"))).await;
                assert!(matches!(
                    server.end().await,
                    NetError::Traffic(Error::Protocol(_))
                ));
            }
            assert!(server.notes().is_empty());
        };
        let setup = Setup::new(Kind::Curve).socket(SocketType::Pub);
        load_attack(
            "jeromq #696: sealed commands",
            setup,
            scaled(2000, 100),
            MIB,
            attack,
        )
        .await;
    });
}

#[test]
fn jeromq_696_our_own_commands_under_curve_carry_their_sealed_bit() {
    alone(async || {
        let attack = async |_: &mut Server, load| {
            let hostile = RawServer::bind().await;
            for _ in 0..load {
                let answering = async {
                    let mut raw = hostile.visitor().await;
                    let publisher = metadata(&[("Socket-Type", b"PUB")]);
                    let traffic = serve(&mut raw, &publisher).await;
                    let ping = traffic.message(2, COMMAND, &command("PING", b"\0\0context"));
                    raw.say(&frame(0, &ping)).await;
                    let mut missing = vec!["SUBSCRIBE", "CANCEL", "PING", "PONG"];
                    while !missing.is_empty() {
                        let (flags, body) = raw.frame().await;
                        assert_eq!(flags, 0, "a MESSAGE is no command frame");
                        let (flags, body) = traffic.open(&body);
                        assert_eq!(flags, COMMAND);
                        missing.retain(|name| !body.starts_with(&command(name, b"")));
                    }
                };
                let subscribing = async {
                    let mut connection = visit(&hostile, SocketType::Sub, &pinging()).await;
                    connection.subscribe("topic").await.unwrap();
                    connection.unsubscribe("topic").await.unwrap();
                    connection
                };
                tokio::join!(subscribing, answering);
            }
        };
        let setup = Setup::new(Kind::Curve);
        load_attack(
            "jeromq #696: our sealed commands",
            setup,
            scaled(500, 20),
            MIB,
            attack,
        )
        .await;
    });
}

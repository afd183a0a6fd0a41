//! Many honest clients at the same moment, from one address: the server loses none of them. And what a
//! stranger may cost, whose slot the server keeps.

use super::curve::CurveClient;
use super::load_attack::{KIB, alone, eventually, live, require_descriptors, scaled, soon};
use super::raw::{Raw, frame, greeting, metadata};
use super::server::{Kind, Noted, Setup, UNNOTED, client};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use tokio::task::JoinSet;
use zmtp_auth::net::{Attempt, Connection, Connector, Options, ReconnectPolicy};
use zmtp_auth::{Limits, SocketType};

/// Longer than any test, however busy the machine is.
const LONG: Duration = Duration::from_secs(600);

/// The default number of slots, without time-outs.
fn patient() -> Limits {
    Limits::default()
        .with_greeting_timeout(LONG)
        .with_handshake_timeout(LONG)
}

/// Every client makes one attempt. More clients than the default was before it was measured.
#[test]
fn a_storm_of_clients_from_one_address_loses_none_of_them() {
    alone(async || {
        let count = scaled(5000, 1200);
        require_descriptors(2 * count + 256);
        let kind = if count == 5000 {
            Kind::Curve
        } else {
            Kind::Null
        };
        let server = Setup::new(kind).limits(patient()).open().await;
        let config = client(kind, SocketType::Dealer, UNNOTED, patient());
        let mut clients = JoinSet::new();
        for _ in 0..count {
            clients.spawn(Connection::connect(server.endpoint.clone(), config.clone()));
        }
        // Each connection is kept until all are there.
        let mut connected = Vec::with_capacity(count);
        while let Some(client) = soon(clients.join_next()).await {
            connected.push(client.unwrap().unwrap());
        }
    });
}

/// Far more clients than slots, and idle peers in all of them. Each attempt of a client may lose its
/// slot, and the next one comes through.
#[test]
fn clients_that_lose_their_slots_come_back_and_are_served() {
    alone(async || {
        const SLOTS: usize = 16;
        let count = scaled(1000, 100);
        let limits = patient()
            .with_max_pending_handshakes(SLOTS)
            .with_max_pending_verdicts(SLOTS / 2);
        let server = Setup::new(Kind::Curve).limits(limits).open().await;
        let mut idlers = Vec::new();
        for _ in 0..2 * SLOTS {
            idlers.push(Raw::connect(&server.target).await);
        }
        let config = client(Kind::Curve, SocketType::Dealer, UNNOTED, patient());
        let again = ReconnectPolicy::default().with_first_delay(Duration::from_millis(10));
        let options = Options::default().with_reconnect(again);
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let endpoint = server.endpoint.clone();
            let connector = Connector::with_options(endpoint, config.clone(), options.clone());
            let mut connector = connector.unwrap();
            clients.spawn(async move {
                let mut failures = 0;
                loop {
                    match connector.next_attempt().await {
                        Attempt::Connected(connection) => return (connection, failures),
                        Attempt::Failed { retry_after, .. } => assert!(retry_after.is_some()),
                        other => panic!("{other:?}"),
                    }
                    failures += 1;
                }
            });
        }
        let (mut connected, mut failures) = (Vec::new(), 0);
        while let Some(client) = soon(clients.join_next()).await {
            let (connection, failed) = client.unwrap();
            connected.push(connection);
            failures += failed;
        }
        println!("load attack: {count} clients through {SLOTS} slots: {failures} attempts failed");
    });
}

/// Peers that have sent HELLO and got WELCOME keep their slots, however many silent ones come.
#[test]
fn a_handshake_that_makes_progress_outlives_a_flood_of_silent_peers() {
    alone(async || {
        const SLOTS: usize = 16;
        let limits = patient()
            .with_max_pending_handshakes(SLOTS)
            .with_max_pending_verdicts(SLOTS / 2);
        let mut server = Setup::new(Kind::Curve).limits(limits).open().await;
        let mut welcomed = Vec::new();
        for _ in 0..SLOTS * 3 / 4 {
            welcomed.push(CurveClient::welcomed(&server.target).await);
        }
        let mut silent = Vec::new();
        for _ in 0..10 * SLOTS {
            silent.push(Raw::connect(&server.target).await);
        }
        let evicted = |silent: &[Raw]| silent.iter().filter(|raw| raw.is_closed()).count();
        eventually(|| evicted(&silent) >= silent.len() - SLOTS / 4).await;
        let ours = metadata(&[("Socket-Type", b"DEALER")]);
        for (raw, client, welcomed) in &mut welcomed {
            raw.say(&frame(0x04, &client.initiate(welcomed, &ours)))
                .await;
            let (_, ready) = raw.frame().await;
            assert!(ready.starts_with(b"\x05READY"));
            while !matches!(server.note().await, Noted::Accepted) {}
        }
    });
}

/// What a slot costs at most before the peer's key is known, without what the system holds for a
/// connection. [`Limits::max_pending_handshakes`] states it.
#[test]
fn a_stranger_costs_no_more_than_its_limit_says() {
    const MOST: usize = 6 * KIB;
    const MOST_WITH_A_COMMAND: usize = 13 * KIB;
    alone(async || {
        let count = scaled(1000, 200);
        require_descriptors(2 * count + 256);
        for kind in [Kind::Null, Kind::Curve] {
            for stage in [
                "silent",
                "half a greeting",
                "half a command",
                "all but a byte of the longest command",
                "HELLO",
            ] {
                let server = Setup::new(kind).limits(patient()).open().await;
                server.serve_honest().await;
                let mut said = Vec::new();
                if stage != "silent" {
                    said.extend_from_slice(&greeting(kind.mechanism())[..40]);
                }
                if stage.ends_with("command") || stage == "HELLO" {
                    said.extend_from_slice(&greeting(kind.mechanism())[40..]);
                    let hello = frame(4, &CurveClient::new(&server.target.key).hello());
                    let longest = frame(4, &vec![0; Limits::default().max_handshake_command]);
                    said.extend_from_slice(match stage {
                        "HELLO" => &hello,
                        "half a command" => &hello[..8],
                        _ => &longest[..longest.len() - 1],
                    });
                }
                if kind == Kind::Null && stage == "HELLO" {
                    continue;
                }
                // Streams without a runtime hold no memory of this process.
                let mut strangers = Vec::with_capacity(count);
                let before = live();
                for _ in 0..count {
                    let mut stranger = TcpStream::connect(server.target.address).unwrap();
                    stranger.write_all(&said).unwrap();
                    strangers.push(stranger);
                }
                let mut each = 0;
                let mut still = 0;
                while still < 20 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let now = live().saturating_sub(before) / count;
                    still = if now == each && now > 0 { still + 1 } else { 0 };
                    each = now;
                }
                println!("load attack: a stranger, {kind:?}, {stage}: {each} bytes");
                let most = if stage.ends_with("longest command") {
                    MOST_WITH_A_COMMAND
                } else {
                    MOST
                };
                assert!(
                    each <= most,
                    "{kind:?}, {stage}: {each} bytes, {most} allowed"
                );
            }
        }
    });
}

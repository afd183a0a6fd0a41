//! Floods of connections, of HELLOs and of other frames leave no memory behind and shut out no
//! honest peer.
//!
//! All attackers are on this machine, where each peer counts as an address of its own. The tests in
//! `src/net/accept/eviction.rs` show how slots are shared among remote addresses.

use super::curve::CurveClient;
use super::load_attack::{MIB, alone, crowd, eventually, load_attack, scaled};
use super::raw::{Raw, frame, plain_hello};
use super::server::{KINDS, Kind, Server, Setup, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use zmtp_auth::{Error, LimitExceeded, Limits, ProtocolError};

/// Attackers at a time.
const WIDTH: usize = 256;

#[test]
fn ten_thousand_connects_from_one_address_leave_no_trace() {
    alone(async || {
        for kind in [Kind::Null, Kind::Curve] {
            let what = format!("connects, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let target = server.target.clone();
                let flooding = crowd(load, WIDTH, move |index| {
                    let target = target.clone();
                    async move {
                        let raw = Raw::connect(&target).await;
                        if index % 2 == 0 {
                            raw.reset();
                        }
                    }
                });
                // There are more slots than attackers at a time, so no peer is evicted.
                let working = async {
                    let mut honest = server.honest().await;
                    for round in 0..100 {
                        honest.exchange(&[round; 300]).await.unwrap();
                    }
                    server.serve_honest().await;
                };
                tokio::join!(flooding, working);
            };
            let setup = Setup::new(kind);
            load_attack(&what, setup, scaled(10_000, 2000), 16 * MIB, attack).await;
        }
    });
}

/// Four times as many silent peers as there are slots. Another follows as soon as one is evicted.
#[test]
fn ten_thousand_silent_connects_are_evicted_and_the_honest_get_in() {
    const PLACES: usize = WIDTH / 4;
    alone(async || {
        let mut limits = Limits::default();
        limits.max_pending_handshakes = PLACES;
        limits.max_pending_verdicts = PLACES / 2;
        limits.greeting_timeout = Duration::from_secs(3600);
        limits.handshake_timeout = Duration::from_secs(3600);
        for kind in [Kind::Null, Kind::Curve] {
            let what = format!("silent connects, {kind:?}");
            let attack = async |server: &mut Server, load| {
                // An accepted connection is not evicted.
                let mut resident = server.honest().await;
                let (over, _) = watch::channel(false);
                let evicted = Arc::new(AtomicUsize::new(0));
                let (target, counted) = (server.target.clone(), Arc::clone(&evicted));
                let attacking = over.clone();
                let flooding = crowd(load, WIDTH, move |_| {
                    let (target, evicted) = (target.clone(), Arc::clone(&counted));
                    let mut over = attacking.subscribe();
                    async move {
                        let mut raw = Raw::connect(&target).await;
                        tokio::select! {
                            heard = raw.rest() => {
                                assert!(heard.len() <= 64);
                                evicted.fetch_add(1, Ordering::SeqCst);
                            }
                            _ = over.wait_for(|is_over| *is_over) => {}
                        }
                    }
                });
                let working = async {
                    let mut turned_away = 0;
                    for _ in 0..10 {
                        resident.exchange(b"meanwhile").await.unwrap();
                        turned_away += server.serve_persistent().await;
                    }
                    turned_away
                };
                // No newcomer evicts the last ones, which would stay for ever.
                let ending = async {
                    eventually(|| evicted.load(Ordering::SeqCst) + PLACES >= load).await;
                    over.send_replace(true);
                };
                let ((), turned_away, ()) = tokio::join!(flooding, working, ending);
                let expected = |error: &Error| {
                    matches!(
                        error,
                        Error::Limit(LimitExceeded::Evicted) | Error::ClosedByPeer(_)
                    )
                };
                server.refusals(load + turned_away, expected).await;
                println!(
                    "load attack: {what}: honest peers were turned away {turned_away} times of 10"
                );
            };
            let setup = Setup::new(kind).limits(limits.clone());
            load_attack(&what, setup, scaled(10_000, 4000), 16 * MIB, attack).await;
        }
    });
}

/// Sends HELLO, and leaves in one of several ways.
async fn hail(target: Target, index: usize) {
    let mut raw = Raw::greeted(&target).await;
    let hello = match target.kind {
        Kind::Curve => frame(4, &CurveClient::new(&target.key).hello()),
        _ => plain_hello("mallory", "secret"),
    };
    raw.say(&hello).await;
    match index % 4 {
        0 => raw.reset(),
        1 => drop(raw),
        2 => {
            // Leaves after WELCOME.
            raw.frame().await;
        }
        _ => {
            // The second HELLO is refused.
            raw.say(&hello.repeat(3)).await;
            raw.rest().await;
        }
    }
}

#[test]
fn floods_of_hello_cost_nothing_that_stays() {
    alone(async || {
        for kind in [Kind::Plain, Kind::Curve] {
            let what = format!("HELLOs, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let target = server.target.clone();
                let flooding = crowd(load, WIDTH, move |index| hail(target.clone(), index));
                let working = async {
                    let mut honest = server.honest().await;
                    for round in 0..100 {
                        honest.exchange(&[round; 300]).await.unwrap();
                    }
                    server.serve_honest().await;
                };
                tokio::join!(flooding, working);
                let expected = |error: &Error| {
                    matches!(
                        error,
                        Error::ClosedByPeer(_)
                            | Error::Protocol(ProtocolError::UnexpectedCommand { .. })
                            // More bytes than a peer may send while its verdict is pending.
                            | Error::Limit(LimitExceeded::HandshakeCommand { .. })
                    )
                };
                server.refusals(load, expected).await;
            };
            let setup = Setup::new(kind);
            load_attack(&what, setup, scaled(10_000, 500), 16 * MIB, attack).await;
        }
    });
}

/// An endless series of useless frames in place of the next handshake command.
#[test]
fn floods_of_frames_in_the_handshake_end_it_at_the_first() {
    alone(async || {
        for kind in KINDS {
            let what = format!("frames in handshakes, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let mut raw = Raw::greeted(&server.target).await;
                    let nonsense = [
                        frame(0, b"message"),
                        frame(4, b"\x04PING\0\0"),
                        frame(4, b""),
                        frame(1, b""),
                    ];
                    let flood = nonsense[round % nonsense.len()].repeat(2000);
                    while raw.say(&flood).await {}
                    let error = server.refusal().await;
                    // With a domain NULL asks first, and accepts only one command meanwhile.
                    let expected = match error {
                        Error::Protocol(_) => true,
                        Error::Limit(LimitExceeded::HandshakeCommand { .. }) => {
                            kind == Kind::NullAsks
                        }
                        _ => false,
                    };
                    assert!(expected, "{error}");
                }
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind);
            load_attack(&what, setup, scaled(2000, 100), MIB, attack).await;
        }
    });
}

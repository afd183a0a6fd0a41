//! Peers that take a slot and do nothing, or very little (CVE-2020-15166), shut out no honest peer.

use super::curve::CurveClient;
use super::load_attack::{
    KIB, MIB, alone, crowd, eventually, is_full, load_attack, require_descriptors, scaled,
};
use super::raw::{Raw, established, first_command, greeting};
use super::server::{KINDS, Kind, Server, Setup, Target};
use std::time::Duration;
use zmtp_auth::net::NetError;
use zmtp_auth::{Error, Limits, Stage};

/// How far each idle peer goes: from a silent connection to a complete one that is never read from.
const STAGES: usize = 5;

async fn idle(target: &Target, stage: usize) -> Raw {
    match stage {
        0 => Raw::connect(target).await,
        1 => {
            let mut raw = Raw::connect(target).await;
            raw.say(&greeting(target.kind.mechanism())[..40]).await;
            raw
        }
        2 => Raw::greeted(target).await,
        3 if target.kind == Kind::Curve => CurveClient::welcomed(target).await.0,
        3 => {
            let mut raw = Raw::greeted(target).await;
            raw.say(&first_command(target.kind)[..8]).await;
            raw
        }
        _ => established(target, "DEALER").await,
    }
}

/// All idle peers stay: there are slots for all, and no time-out.
fn patient(places: usize) -> Limits {
    let mut limits = Limits::default();
    limits.greeting_timeout = Duration::from_secs(3600);
    limits.handshake_timeout = Duration::from_secs(3600);
    limits.max_pending_handshakes = places;
    limits.max_pending_verdicts = places / 2;
    limits
}

#[test]
fn cve_2020_15166_idle_peers_starve_no_other_and_nothing_is_queued_to_them() {
    /// What an idle peer may cost on both sides together. Both run in this process.
    const EACH: usize = 8 * KIB;
    alone(async || {
        let count = scaled(2000, 500);
        // A quarter of them is still in the handshake.
        require_descriptors(8 * count + 256);
        for kind in KINDS {
            let what = format!("CVE-2020-15166: idle peers, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let mut honest = server.honest().await;
                let mut idlers = Vec::new();
                for index in 0..load {
                    idlers.push(idle(&server.target, index % STAGES).await);
                    if index % STAGES == STAGES - 1 {
                        server.accepted().await;
                    }
                    honest.exchange(b"meanwhile").await.unwrap();
                }
                for index in 0..load {
                    honest.exchange(&[index as u8; 100]).await.unwrap();
                }
                server.serve_honest().await;
                let mut heard = vec![0; 4096];
                for (index, idler) in idlers.iter().enumerate() {
                    let len = idler.0.try_read(&mut heard).unwrap_or(0);
                    let expected = match (kind, index % STAGES) {
                        // A part of the greeting, or all of it.
                        (_, 0 | 1) => len <= 64,
                        // Under NULL both sides send READY without waiting.
                        (Kind::Null, 2 | 3) => len == 2 + usize::from(heard[1]),
                        (Kind::NullAsks, 2 | 3) => len <= 64,
                        _ => len == 0,
                    };
                    assert!(expected, "{index}: {:?}", &heard[..len]);
                }
                for (index, idler) in idlers.into_iter().enumerate() {
                    drop(idler);
                    if index % STAGES == STAGES - 1 {
                        assert!(matches!(server.end().await, NetError::Closed));
                    } else {
                        let error = server.refusal().await;
                        assert!(matches!(error, Error::ClosedByPeer(_)), "{error}");
                    }
                }
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind).limits(patient(2 * count));
            load_attack(&what, setup, count, MIB + count * EACH, attack).await;
        }
    });
}

/// More idle peers than slots. They would stay for ever.
#[test]
fn cve_2020_15166_idle_peers_beyond_all_places_make_room_for_the_honest() {
    const PLACES: usize = 16;
    alone(async || {
        let count = scaled(2000, 500);
        require_descriptors(2 * count + 256);
        for kind in [Kind::Null, Kind::Curve] {
            let what = format!("CVE-2020-15166: more idle peers than places, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let mut honest = server.honest().await;
                let mut idlers = Vec::new();
                for index in 0..load {
                    idlers.push(idle(&server.target, index % 4).await);
                    if index % 10 == 0 {
                        // Served at once, however many idle peers there are.
                        server.serve_honest().await;
                        honest.exchange(b"meanwhile").await.unwrap();
                    }
                }
                // Every idle peer beyond the number of slots has been evicted.
                let stay =
                    |idlers: &[Raw]| idlers.iter().filter(|idler| !idler.is_closed()).count();
                eventually(|| stay(&idlers) <= PLACES).await;
            };
            let setup = Setup::new(kind).limits(patient(PLACES));
            load_attack(&what, setup, count, 8 * MIB, attack).await;
        }
    });
}

/// Peers that send their greeting, or the command after it, byte by byte. The full run sends a byte
/// a second under the default limits. The quick run shortens both.
#[test]
fn slow_peers_run_out_of_time_however_steadily_they_drip() {
    /// One drips its greeting, the other the command after it.
    async fn drip(target: Target, is_greeted: bool, pause: Duration) {
        let (mut raw, bytes) = if is_greeted {
            // The longest first command of each mechanism.
            (
                Raw::greeted(&target).await,
                [&[4, 200][..], &[0; 199]].concat(),
            )
        } else {
            let greeting = greeting(target.kind.mechanism());
            (Raw::connect(&target).await, greeting[..63].to_vec())
        };
        for byte in bytes {
            if !raw.say(&[byte]).await {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        raw.rest().await;
    }

    alone(async || {
        let mut limits = Limits::default();
        let mut pause = Duration::from_secs(1);
        if !is_full() {
            // Still far more than an honest peer needs on a loaded machine.
            limits.greeting_timeout = Duration::from_millis(1000);
            limits.handshake_timeout = Duration::from_millis(1500);
            pause = Duration::from_millis(100);
        }
        for kind in [Kind::Null, Kind::Curve] {
            let what = format!("a byte each {pause:?}, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let target = server.target.clone();
                let dripping = crowd(load, load, move |index| {
                    drip(target.clone(), index % 2 == 1, pause)
                });
                let working = async {
                    let mut honest = server.honest().await;
                    for round in 0..100 {
                        honest.exchange(&[round; 300]).await.unwrap();
                        server.serve_honest().await;
                    }
                };
                tokio::join!(dripping, working);
                let too_slow = |error: &Error| {
                    matches!(
                        error,
                        Error::Timeout(Stage::Greeting | Stage::NullReady | Stage::CurveHello)
                    )
                };
                server.refusals(load, too_slow).await;
            };
            let setup = Setup::new(kind).limits(limits.clone());
            load_attack(&what, setup, scaled(500, 60), 8 * MIB, attack).await;
        }
    });
}

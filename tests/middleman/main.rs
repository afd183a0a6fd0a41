//! No middleman can make a handshake complete without the right keys and an approval. The test runs
//! all placements of up to three moves in complete handshakes on the real machines and compares
//! them with a small model. `ZMTP_AUTH_FULL=1` makes it four moves, and flips bits in more places.
//!
//! The middleman, Mallory, drops, replays, reorders and damages units. She inserts units of three
//! other sessions: an earlier one of the same two peers, one of her own with the same server, and
//! one of the same client with her server. She sends READY early and a second WELCOME, and swaps
//! verdicts. Every path must satisfy:
//!
//! - each machine does exactly what the model says, and completes only where the model does;
//! - no side completes without the right keys and, if policy is asked, its approval of this peer;
//! - under CURVE, two completed sides agree on keys, identity and claims, and can exchange
//!   messages.
//!
//! NULL and PLAIN protect nothing. There the middleman may change claims, and the model says which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod explorer;
mod machines;
mod model;
mod moves;
#[path = "../pair/mod.rs"]
mod pair;
mod parties;

use explorer::{Explorer, MOST_MOVES, Report};
use moves::{Damage, MOVES};
use parties::{Bug, Scenario, Twist};
use std::sync::Mutex;
use std::time::Instant;
use zmtp_auth::MechanismKind::{self, Curve, Null, Plain};

const fn scenario(
    name: &'static str,
    mechanism: MechanismKind,
    client_asks: bool,
    server_asks: bool,
    twist: Twist,
) -> Scenario {
    Scenario {
        name,
        mechanism,
        client_asks,
        server_asks,
        twist,
        bug: Bug::None,
    }
}

/// The largest scenarios come first, so that two threads share the work well.
const SCENARIOS: [Scenario; 10] = [
    scenario("curve, asked", Curve, false, true, Twist::Nothing),
    scenario("curve, anyone", Curve, false, false, Twist::Nothing),
    scenario(
        "curve, unknown client",
        Curve,
        false,
        true,
        Twist::Unwelcome,
    ),
    scenario(
        "curve, wrong server key",
        Curve,
        false,
        true,
        Twist::WrongServerKey,
    ),
    scenario("plain", Plain, false, true, Twist::Nothing),
    scenario(
        "plain, wrong password",
        Plain,
        false,
        true,
        Twist::Unwelcome,
    ),
    scenario("null, both ask", Null, true, true, Twist::Nothing),
    scenario("null, asked", Null, false, true, Twist::Nothing),
    scenario("null, refused", Null, false, true, Twist::Unwelcome),
    scenario("null, anyone", Null, false, false, Twist::Nothing),
];

fn explore_all(most_moves: usize, damage: Damage) -> Vec<(Scenario, Report)> {
    let waiting = Mutex::new(SCENARIOS.into_iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(scenario) = next else { return };
                    let report = Explorer::run(scenario, most_moves, damage);
                    done.lock().unwrap().push((scenario, report));
                }
            });
        }
    });
    done.into_inner().unwrap()
}

#[test]
fn no_path_through_a_middleman_completes_without_the_right_keys_and_an_approval() {
    let full = std::env::var_os("ZMTP_AUTH_FULL").is_some();
    let (most_moves, damage) = if full {
        (MOST_MOVES, Damage::Dense)
    } else {
        (3, Damage::Sparse)
    };
    let start = Instant::now();
    let reports = explore_all(most_moves, damage);

    println!(
        "{:26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} bad",
        "scenario", "paths", "both", "server", "client", "histories", "sampled"
    );
    let mut moves = [0; MOVES.len()];
    for (scenario, report) in &reports {
        println!(
            "{:26} {:9} {:9} {:9} {:9} {:9} {:7} {}",
            scenario.name,
            report.total(),
            report.both,
            report.server_alone,
            report.client_alone,
            report.histories,
            report.sampled,
            report.bad,
        );
        for (sum, count) in moves.iter_mut().zip(report.moves) {
            *sum += count;
        }
    }
    let total: usize = reports.iter().map(|(_, report)| report.total()).sum();
    println!("moves: {:?}", MOVES.iter().zip(moves).collect::<Vec<_>>());
    println!(
        "{total} paths of up to {most_moves} moves in {:?}",
        start.elapsed()
    );

    for (scenario, report) in &reports {
        assert!(
            report.told.is_empty(),
            "{}: {:#?}",
            scenario.name,
            report.told
        );
        assert_eq!(report.bad, 0);
        assert_eq!(report.paths[0], 1);
        // A refused client never gets in, but under PLAIN Mallory may send HELLO in its place.
        let good = scenario.twist == Twist::Nothing || scenario.mechanism == Plain;
        assert_eq!(report.both > 0, good, "{}", scenario.name);
    }
    assert!(moves.iter().all(|&made| made > 100), "{moves:?}");
    assert!(total >= 100_000, "only {total} paths");
}

/// Checks that the explorer finds `bug` within `most_moves` moves, and nothing without the bug.
fn assert_found(bug: Bug, scenario: Scenario, most_moves: usize, complaint: &str) {
    assert_eq!(Explorer::run(scenario, most_moves, Damage::Sparse).bad, 0);
    let report = Explorer::run(Scenario { bug, ..scenario }, most_moves, Damage::Sparse);
    println!("{bug:?}: {} bad paths, {:#?}", report.bad, report.told);
    assert_eq!(report.shortest_bad, Some(most_moves));
    assert!(
        report.told.iter().any(|told| told.contains(complaint)),
        "{:#?}",
        report.told
    );
}

#[test]
fn a_server_that_approves_without_asking_is_found() {
    let scenario = SCENARIOS[2];
    assert_found(Bug::ApprovesUnasked, scenario, 0, "without an approval");
}

#[test]
fn a_server_that_takes_the_verdict_for_another_is_found() {
    let scenario = SCENARIOS[2];
    assert_found(Bug::TakesAnyReply, scenario, 1, "without an approval");
}

#[test]
fn a_server_whose_cookies_are_good_in_two_sessions_is_found() {
    let scenario = SCENARIOS[0];
    assert_found(
        Bug::RepeatsRandomness,
        scenario,
        1,
        "another session's peer",
    );
}

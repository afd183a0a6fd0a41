//! Runs every target over its corpus, and checks what the corpora must contain.
//!
//! `BLESS=1 cargo test` writes the honest seeds again. Fuzzing has found the rest of the corpora
//! (`./fuzz-all minimise`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/named_cipher/mod.rs"]
mod named_cipher;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zmtp_auth::Error;
use zmtp_auth_fuzz::scripted_peer::ScriptedPeer;
use zmtp_auth_fuzz::setup::{Setup, clients, servers};
use zmtp_auth_fuzz::targets::inside_boxes;
use zmtp_auth_fuzz::{TARGETS, seeds};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// All inputs of a target by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder(target))
        .unwrap_or_else(|error| panic!("{target}: {error}"))
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Only one test runs at a time, since the target `connection` counts the bytes of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_target_holds_over_its_corpus() {
    let _alone = alone();
    for (target, run) in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for (name, input) in corpus {
            // The harness shows the output of a test that fails, this line last.
            println!("{target}/{name}");
            run(&input);
        }
    }
}

#[test]
fn every_target_holds_over_all_seeds_and_whatever_they_are_cut_to() {
    let _alone = alone();
    for (target, run) in TARGETS {
        run(b"");
        for (name, seed) in seeds::honest(target) {
            println!("{target}/{name}");
            // Each run of a whole connection takes milliseconds.
            let step = match target {
                "auth_stream" | "connection" => 97,
                _ => 7,
            };
            for len in (0..seed.len()).step_by(step) {
                run(&seed[..len]);
            }
        }
        for seed in seeds::recorded(target) {
            println!("{target}: {seed:?}");
            run(&seed);
        }
    }
}

#[test]
fn the_honest_seeds_are_in_the_corpora() {
    let _alone = alone();
    for (target, _) in TARGETS {
        let honest = seeds::honest(target);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(folder(target)).unwrap();
            for (name, seed) in &honest {
                fs::write(folder(target).join(name), seed).unwrap();
            }
        }
        let corpus = corpus(target);
        for (name, seed) in honest {
            assert_eq!(
                corpus.get(&name),
                Some(&seed),
                "{target}/{name}: BLESS=1 writes it"
            );
        }
    }
}

/// The scripted peer of a committed seed, as its target runs it.
fn played(target: &str, name: &str, setup: &'static Setup) -> ScriptedPeer {
    let corpus = corpus(target);
    let seed = corpus
        .get(name)
        .unwrap_or_else(|| panic!("{target}/{name} is missing"));
    ScriptedPeer::fed(setup, &seed[1..])
}

#[test]
fn the_seeds_of_each_handshake_target_reach_complete_in_every_setup() {
    let _alone = alone();
    for (target, setups) in [
        ("handshake_client", clients()),
        ("handshake_server", servers()),
    ] {
        for setup in setups {
            let outcome = if setup.denies.is_some() {
                "denied"
            } else {
                "complete"
            };
            let scripted_peer = played(target, &format!("{outcome}-{}", setup.name), setup);
            match setup.denies {
                None => assert!(scripted_peer.is_complete(), "{:?}", scripted_peer.events()),
                Some(_) => assert!(matches!(scripted_peer.error(), Some(Error::Denied(_)))),
            }
        }
    }
}

#[test]
fn the_honest_seeds_of_inside_boxes_are_accepted() {
    let _alone = alone();
    for (name, seed) in seeds::honest("inside_boxes") {
        assert!(inside_boxes::forge(&seed), "{name}");
    }
}

#[test]
fn recorded_conversations_reach_complete() {
    let _alone = alone();
    for (target, setups) in [
        ("handshake_client", clients()),
        ("handshake_server", servers()),
    ] {
        for mechanism in ["NULL", "PLAIN", "CURVE"] {
            let complete = seeds::recorded(target).iter().any(|seed| {
                let setup = &setups[usize::from(seed[0])];
                setup.mechanism.name() == mechanism
                    && ScriptedPeer::fed(setup, &seed[1..]).was_complete()
            });
            assert!(
                complete,
                "{target}: no recorded {mechanism} handshake completes"
            );
        }
    }
}

//! This crate plays every vector of `vectors/` from both sides: it sends the bytes that libzmq
//! sent, and refuses what the files say for the reason that they name.
//!
//! `BLESS=1 cargo test --test vectors derived` writes the derived vectors again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod conversation;
#[cfg(feature = "test-ciphers")]
mod named_cipher;
mod pair;

use conversation::file::{Expect, Side, Vector, Who, directory, load};
use conversation::play::{Delivery, play};
use conversation::{accepted, refused};
use std::collections::{BTreeMap, BTreeSet};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;

/// A directory of vectors and its minimum number.
const DIRECTORIES: [(&str, usize); 3] = [("libzmq", 78), ("accepted", 95), ("refused", 514)];

/// Plays every vector of a directory from every side that can be tested, and reports those that
/// fail.
fn play_all(name: &str) {
    let mut failed = Vec::new();
    for vector in load(name) {
        for who in vector.subjects() {
            for delivery in [Delivery::Whole, Delivery::ByteByByte] {
                if std::panic::catch_unwind(|| play(&vector, who, delivery)).is_err() {
                    failed.push(format!("{} as {}, {delivery:?}", vector.name, who.name()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_recorded_conversation_is_spoken_byte_for_byte_from_both_sides() {
    play_all("libzmq");
}

#[test]
fn what_the_protocol_allows_is_accepted() {
    play_all("accepted");
}

#[test]
fn what_the_protocol_forbids_is_refused_at_once_and_for_that_reason() {
    play_all("refused");
}

#[test]
fn files_are_written_as_they_are_read() {
    for (name, _) in DIRECTORIES {
        for vector in load(name) {
            let path = directory(name).join(format!("{}.txt", vector.name));
            assert_eq!(vector.to_text(), std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn derived_vectors_are_what_their_recipes_make() {
    for (name, vectors) in [
        ("accepted", accepted::vectors()),
        ("refused", refused::vectors()),
    ] {
        let made: BTreeMap<String, String> = vectors
            .iter()
            .map(|vector| (format!("{}.txt", vector.name), vector.to_text()))
            .collect();
        assert_eq!(made.len(), vectors.len(), "two vectors have one name");
        if std::env::var_os("BLESS").is_some() {
            let _ = std::fs::remove_dir_all(directory(name));
            std::fs::create_dir(directory(name)).unwrap();
            for (file, text) in &made {
                std::fs::write(directory(name).join(file), text).unwrap();
            }
        }
        let files: BTreeMap<String, String> = std::fs::read_dir(directory(name))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        for (file, text) in &made {
            assert_eq!(files.get(file), Some(text), "{name}/{file}");
        }
        assert_eq!(files.len(), made.len(), "files that no recipe makes");
    }
}

/// The words of the table in the README.
fn words_of_the_readme() -> BTreeSet<String> {
    let readme = std::fs::read_to_string(directory("README.md")).unwrap();
    let table = readme.split("| word | what is wrong |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn nothing_that_the_readme_promises_is_missing() {
    for (name, least) in DIRECTORIES {
        assert!(load(name).len() >= least, "{name}");
    }
    let recorded = load("libzmq");
    let of = |mechanism: &str| -> Vec<&Vector> {
        let mut of = recorded.iter().collect::<Vec<_>>();
        of.retain(|vector| vector.mechanism == mechanism);
        of
    };
    for mechanism in ["NULL", "PLAIN", "CURVE"] {
        for who in Who::BOTH {
            let types: BTreeSet<&str> = of(mechanism)
                .iter()
                .filter(|vector| vector.expect == Expect::Complete)
                .filter(|vector| vector.subjects().contains(&who))
                .flat_map(|vector| [&*vector.client.socket_type, &*vector.server.socket_type])
                .collect();
            assert_eq!(types.len(), 11, "{mechanism} {types:?}");
        }
        for status in ["300", "400", "500"] {
            let denied = Expect::Denies(Who::Server, status.to_owned());
            let denied = of(mechanism).iter().any(|vector| vector.expect == denied);
            assert!(denied, "{mechanism} {status}");
        }
        for identity in [0, 1, 2, 255] {
            let sent = |side: &Side| side.identity.as_ref().map_or(0, Vec::len) == identity;
            assert!(of(mechanism).iter().any(|vector| sent(&vector.client)));
        }
        let refused: BTreeSet<Who> = load("refused")
            .iter()
            .filter(|vector| vector.mechanism == mechanism)
            .filter_map(|vector| vector.subject)
            .collect();
        assert_eq!(refused.len(), 2, "{mechanism}: both sides refuse");
    }
}

#[test]
fn every_word_of_the_readme_has_a_vector_and_every_vector_a_word() {
    let used: BTreeSet<String> = load("refused")
        .into_iter()
        .map(|vector| match vector.expect {
            Expect::Refuses(who, word) if vector.subject == Some(who) => word,
            other => panic!("{}: {other:?}", vector.name),
        })
        .collect();
    assert_eq!(used, words_of_the_readme());
}

#[test]
fn a_pong_brings_back_what_the_ping_brought_as_libzmq_does() {
    let mut pings = 0;
    for vector in load("libzmq") {
        let mut due = None;
        for event in &vector.events {
            let Some((Flags::Command, body)) = &event.says else {
                continue;
            };
            match TrafficCommand::parse(&body.clone().into()).unwrap() {
                TrafficCommand::Ping { context, .. } => {
                    due = Some((event.from.other(), TrafficCommand::Pong { context }));
                }
                pong @ TrafficCommand::Pong { .. } => {
                    assert_eq!(due.take(), Some((event.from, pong)));
                    pings += 1;
                }
                _ => {}
            }
        }
        assert_eq!(due, None, "{}", vector.name);
    }
    assert_eq!(pings, 6);
}

/// `ZMTP_AUTH_PYTHON` names a Python interpreter with pyzmq; `./test` prepares one.
#[cfg(feature = "live-interop")]
#[test]
fn recording_again_gives_the_same_bytes() {
    let python = std::env::var_os("ZMTP_AUTH_PYTHON")
        .expect("ZMTP_AUTH_PYTHON must name a Python with pyzmq; ./test sets it");
    let status = std::process::Command::new(python)
        .args(["-B", "vectors/record.py", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
}

//! Searches a process's own memory for secrets that it has used and dropped: none may be left on
//! the heap.
//!
//! Each case runs in a child process, which is told the secrets with every bit inverted, so that
//! telling them plants nothing. Random numbers come from a tape, so that transient secrets are
//! known here too, and with them every key that is derived. Each secret that the library keeps
//! on the heap must be found there while it is in use, or the search would prove nothing.
//!
//! Hits on the stack are printed and not judged. What ciphers leave there is written over, but a
//! few words of a key can still be in the processor's vector registers, all of which the dynamic
//! linker saves on the stack when a function of another library is called for the first time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod child;
#[cfg(feature = "tokio")]
mod child_net;
mod search;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Kdf, XSalsa20Poly1305};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zmtp_auth::{OsRandom, RandomSource, SecretKey};

const SCENARIO: &str = "ZMTP_AUTH_MEMORY_SCENARIO";

#[test]
#[ignore = "the process that the other tests start and search"]
fn child_process() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        // On a machine of one core the harness has begun a line.
        println!();
        child::run(&scenario);
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes).unwrap();
    bytes
}

/// What a child is told.
#[derive(Default)]
struct Case {
    secrets: Vec<(String, Vec<u8>)>,
    needles: Vec<(String, Vec<u8>)>,
}

impl Case {
    /// Something that the child uses without our looking for it.
    fn tell(&mut self, name: &str, bytes: &[u8]) {
        self.secrets.push((name.into(), bytes.into()));
    }

    fn look_for(&mut self, name: &str, bytes: &[u8]) {
        self.needles.push((name.into(), bytes.into()));
    }

    fn run(&self, scenario: &str) -> Found {
        let mut input = String::new();
        for (kind, list) in [("secret", &self.secrets), ("needle", &self.needles)] {
            for (name, bytes) in list {
                write!(input, "{kind}\t{name}\t").unwrap();
                for byte in bytes {
                    write!(input, "{:02x}", !byte).unwrap();
                }
                input.push('\n');
            }
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child_process", "--nocapture"])
            .env(SCENARIO, scenario)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        Found::read(scenario, &output)
    }
}

/// What was found, by phase and place: needles.
struct Found(BTreeMap<(String, String), BTreeSet<String>>);

impl Found {
    fn read(scenario: &str, output: &str) -> Self {
        let mut found = Self(BTreeMap::new());
        let mut searched = BTreeSet::new();
        for line in output.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["searched", phase, bytes] => {
                    assert!(bytes.parse::<usize>().unwrap() > 100_000, "{line}");
                    searched.insert(phase.to_owned());
                }
                ["found", phase, needle, place, _count] => {
                    let key = (phase.to_owned(), place.to_owned());
                    found.0.entry(key).or_default().insert(needle.to_owned());
                }
                _ => {}
            }
        }
        assert!(searched.contains("after"), "{scenario} failed:\n{output}");
        for ((phase, place), needles) in &found.0 {
            println!("{scenario}, {phase}, {place}: {needles:?}");
        }
        found
    }

    fn at(&self, phase: &str, place: &str) -> BTreeSet<&str> {
        let needles = self.0.get(&(phase.to_owned(), place.to_owned()));
        needles.into_iter().flatten().map(String::as_str).collect()
    }

    /// All that is found on the heap or in static memory in `phase`.
    fn kept(&self, phase: &str) -> BTreeSet<&str> {
        &self.at(phase, "heap") | &self.at(phase, "static")
    }
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    names.into()
}

/// What a server seals its cookie with: what becomes of zeros.
fn cookie_stream(server_tape: &[u8; 96]) -> Vec<u8> {
    let key = XChaCha20Poly1305::new_from_slice(&server_tape[48..80]).unwrap();
    let nonce = [&b"COOKIE--"[..], &server_tape[32..48]].concat();
    let mut stream = vec![0; 64];
    key.encrypt_in_place_detached(nonce[..].into(), b"", &mut stream)
        .unwrap();
    stream
}

/// Adds both permanent keys, the random numbers of both sides, and all that is derived of them.
fn add_curve(case: &mut Case) {
    let (client, server): ([u8; 32], [u8; 32]) = (random(), random());
    // In the order in which each side draws.
    let client_tape: [u8; 48] = random();
    let server_tape: [u8; 96] = random();
    let client_transient = *client_tape.first_chunk().unwrap();
    let server_transient = *server_tape.first_chunk().unwrap();
    let public = |secret| x25519(secret, X25519_BASEPOINT_BYTES);

    case.tell("client", &client);
    case.tell("server", &server);
    case.tell("client tape", &client_tape);
    case.tell("server tape", &server_tape);

    case.look_for("c", &client);
    case.look_for("s", &server);
    case.look_for("c'", &client_transient);
    case.look_for("s'", &server_transient);
    case.look_for("cookie key", &server_tape[48..80]);
    case.look_for("cookie stream", &cookie_stream(&server_tape));
    for (name, shared, prefixes) in [
        (
            "C'->S",
            x25519(client_transient, public(server)),
            &[b"CurveZMQHELLO---"][..],
        ),
        (
            "C'->S'",
            x25519(client_transient, public(server_transient)),
            &[
                b"CurveZMQINITIATE",
                b"CurveZMQREADY---",
                b"CurveZMQMESSAGEC",
                b"CurveZMQMESSAGES",
            ],
        ),
        ("C->S'", x25519(client, public(server_transient)), &[]),
    ] {
        case.look_for(&format!("{name} raw"), &shared);
        let key = XSalsa20Poly1305::kdf(&shared.into(), &Default::default());
        case.look_for(name, &key);
        for prefix in prefixes {
            let subkey = XSalsa20Poly1305::kdf(&key, (*prefix).into());
            let prefix = std::str::from_utf8(&prefix[8..]).unwrap();
            case.look_for(&format!("{name} {prefix}"), &subkey);
        }
    }
}

fn add_passwords(case: &mut Case) {
    for name in ["password", "other password"] {
        // Letters, so that it can stand in a file.
        let password = random::<40>().map(|byte| b'A' + byte % 26);
        case.tell(name, &password);
        case.look_for(name, &password);
    }
}

#[test]
fn a_planted_leak_is_found_while_it_lives_and_after_it_was_freed() {
    let mut case = Case::default();
    for name in ["alive", "freed", "never used"] {
        let secret: [u8; 32] = random();
        case.tell(name, &secret);
        case.look_for(name, &secret);
    }
    let found = case.run("leak");
    assert_eq!(found.at("leaked", "heap"), set(["alive", "freed"]));
}

#[test]
fn no_key_of_a_curve_connection_outlives_its_use_on_the_heap() {
    let mut case = Case::default();
    add_curve(&mut case);
    let found = case.run("curve");
    // s' lives in the cookie, and C->S' only while a command is handled.
    let in_use = set(["c", "s", "c'", "cookie stream", "C'->S", "C'->S'"]);
    assert!(
        found.kept("alive").is_superset(&in_use),
        "{:?}",
        found.kept("alive")
    );
    // What is left of the shared key are the keys of the two directions.
    let directions = set(["c", "s", "C'->S' MESSAGEC", "C'->S' MESSAGES"]);
    assert_eq!(found.kept("complete"), directions);
    assert_eq!(found.kept("closed"), set(["c", "s"]));
    assert_eq!(found.kept("after"), set([]));
}

#[test]
fn no_password_outlives_its_use_on_the_heap() {
    let mut case = Case::default();
    add_passwords(&mut case);
    let found = case.run("plain");
    assert_eq!(found.kept("table"), set([]), "a table keeps hashes alone");
    assert_eq!(found.kept("alive"), set(["password"]));
    assert_eq!(found.kept("complete"), set([]));
    assert_eq!(found.kept("after"), set([]));
}

#[test]
fn nothing_is_left_of_handshakes_that_are_broken_off_anywhere() {
    let mut case = Case::default();
    add_curve(&mut case);
    add_passwords(&mut case);
    let found = case.run("broken off");
    assert_eq!(found.kept("after"), set([]));
}

#[test]
fn nothing_is_left_of_a_password_file_but_hashes() {
    let mut case = Case::default();
    add_passwords(&mut case);
    let found = case.run("password file");
    assert_eq!(found.kept("table"), set([]));
    assert_eq!(found.kept("after"), set([]));
}

#[test]
fn no_password_is_left_where_the_output_of_a_client_grew() {
    let mut case = Case::default();
    add_passwords(&mut case);
    let found = case.run("hasty");
    assert_eq!(found.kept("after"), set([]));
}

#[test]
fn nothing_is_left_of_a_certificate_that_was_saved_and_loaded() {
    let mut case = Case::default();
    let client: [u8; 32] = random();
    case.tell("client", &client);
    case.look_for("c", &client);
    case.look_for(
        "c as text",
        SecretKey::from_bytes(&client).unwrap().to_z85().as_bytes(),
    );
    let found = case.run("certificates");
    assert!(found.kept("alive").contains("c"));
    assert_eq!(found.kept("public"), set([]));
    assert_eq!(found.kept("after"), set([]));
}

#[cfg(feature = "tokio")]
#[test]
fn nothing_is_left_of_connections_over_sockets() {
    let mut case = Case::default();
    add_curve(&mut case);
    add_passwords(&mut case);
    let found = case.run("net");
    for phase in ["closed", "refused", "server left alone", "after"] {
        assert_eq!(found.kept(phase), set([]), "{phase}");
    }
}

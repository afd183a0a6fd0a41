//! No secret remains on the heap after its use: a process searches its own memory for secrets that
//! it has used and dropped.
//!
//! Each case runs in a child process, which receives the secrets with every bit inverted, so that
//! sending them leaves no copy. Random numbers are prescribed, so that transient secrets and all
//! derived keys are known too. Each secret that the library keeps on the heap must be found there
//! while it is in use, or the search would prove nothing.
//!
//! What the ciphers leave on the stack is searched by itself, on each of their implementations, and
//! nothing may be found. Elsewhere hits on the stack are printed and do not fail the test. The library
//! overwrites what ciphers leave on the stack. But a few words of a key can still be in the processor's
//! vector registers, which the dynamic linker saves on the stack at the first call of another library's
//! function.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod child;
#[cfg(feature = "tokio")]
mod child_net;
mod child_stack;
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
        // With one test thread the harness has already begun a line.
        println!();
        child::run(&scenario);
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes).unwrap();
    bytes
}

/// The input of a child.
#[derive(Default)]
struct Case {
    secrets: Vec<(String, Vec<u8>)>,
    needles: Vec<(String, Vec<u8>)>,
}

impl Case {
    /// A value that the child uses and does not search for.
    fn tell(&mut self, name: &str, bytes: &[u8]) {
        self.secrets.push((name.into(), bytes.into()));
    }

    fn look_for(&mut self, name: &str, bytes: &[u8]) {
        self.needles.push((name.into(), bytes.into()));
    }

    fn run(&self, scenario: &str) -> Found {
        self.run_on(None, scenario)
    }

    /// Runs the child with a certain implementation of the ciphers.
    fn run_on(&self, cipher: Option<&str>, scenario: &str) -> Found {
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
            .envs(cipher.map(|cipher| ("ZMTP_AUTH_CIPHER", cipher)))
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

/// The needles that were found, by phase and place.
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

    /// All needles found on the heap or in static memory in `phase`.
    fn kept(&self, phase: &str) -> BTreeSet<&str> {
        &self.at(phase, "heap") | &self.at(phase, "static")
    }
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    names.into()
}

/// The key with which a server seals its cookie, as the encryption of zeros.
fn cookie_stream(server_tape: &[u8; 96]) -> Vec<u8> {
    let key = XChaCha20Poly1305::new_from_slice(&server_tape[48..80]).unwrap();
    let nonce = [&b"COOKIE--"[..], &server_tape[32..48]].concat();
    let mut stream = vec![0; 64];
    key.encrypt_in_place_detached(nonce[..].into(), b"", &mut stream)
        .unwrap();
    stream
}

/// Adds both permanent keys, the random numbers of both sides, and all keys derived from them.
/// Returns the key that the two transient keys share.
fn add_curve(case: &mut Case) -> [u8; 32] {
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
    let shared = x25519(client_transient, public(server_transient));
    XSalsa20Poly1305::kdf(&shared.into(), &Default::default()).into()
}

fn add_passwords(case: &mut Case) {
    for name in ["password", "other password"] {
        // Letters, so that the password can stand in a file.
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
    // Only the keys of the two directions remain of the shared key.
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
    assert_eq!(found.kept("table"), set([]), "a table keeps only hashes");
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

/// The key stream of the message with a number, from the client.
fn message_stream(shared: &[u8; 32], number: u64, len: usize) -> Vec<u8> {
    let nonce = [&b"CurveZMQMESSAGEC"[..], &number.to_be_bytes()].concat();
    let mut stream = vec![0; len];
    let key = XSalsa20Poly1305::new(shared.into());
    key.encrypt_in_place_detached(nonce[..].into(), b"", &mut stream)
        .unwrap();
    stream
}

/// Every implementation of the ciphers, the fastest alone where none can be named.
fn ciphers() -> Vec<Option<&'static str>> {
    #[cfg(feature = "test-ciphers")]
    return zmtp_auth::ciphers().into_iter().map(Some).collect();
    #[cfg(not(feature = "test-ciphers"))]
    vec![None]
}

#[test]
#[ignore = "needs optimised code: `./test` runs it by itself"]
fn ciphers_leave_no_key_no_key_stream_and_no_text_on_the_stack() {
    let mut case = Case::default();
    let shared = add_curve(&mut case);
    let text: Vec<u8> = (0..40_000 / 32).flat_map(|_| random::<32>()).collect();
    case.tell("text", &text);
    case.look_for("text", &text);
    // HELLO and INITIATE have taken the numbers 1 and 2. The flags precede each text.
    let lengths = child_stack::lengths().iter();
    let lengths = lengths.chain(child_stack::batches().iter().copied().flatten());
    for (&len, number) in lengths.zip(3..) {
        let stream = message_stream(&shared, number, len + 1);
        case.look_for(&format!("stream {number}, {len}"), &stream);
    }
    let planted: [u8; 32] = random();
    case.tell("planted", &planted);
    case.look_for("planted", &planted);
    for cipher in ciphers() {
        let found = case.run_on(cipher, "stack");
        assert_eq!(found.at("planted", "stack"), set(["planted"]));
        assert_eq!(found.at("painted", "stack"), set([]));
        assert_eq!(found.at("X25519", "stack"), set([]), "{cipher:?}");
        let singles = child_stack::lengths().iter().map(usize::to_string);
        let batches = (0..child_stack::batches().len()).map(|at| format!("batch {at}"));
        for what in singles.chain(batches) {
            for phase in [format!("sealed {what}"), format!("opened {what}")] {
                assert!(found.at(&phase, "heap").contains("text"), "{phase}");
                assert_eq!(found.at(&phase, "stack"), set([]), "{cipher:?}, {phase}");
            }
        }
    }
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

//! Refusals after the handshake: frame headers, CURVE's MESSAGEs, and heartbeats.

use crate::conversation::derive::Place::{After, InsteadOf};
use crate::conversation::derive::{Scene, recorded};
use crate::conversation::file::Vector;
use crate::conversation::file::Who::{self, Client, Server};
use crate::conversation::forge::{Keys, command_body, counted, frame, message_prefix};

pub fn vectors() -> Vec<Vector> {
    let null = recorded("null-dealer-router");
    let plain = recorded("plain-dealer-router");
    let curve = recorded("curve-dealer-router");
    let mut vectors = Vec::new();
    for subject in Who::BOTH {
        for base in [&null, &plain] {
            let scene = Scene::new(base, subject, InsteadOf("frame"));
            vectors.extend(headers(&scene));
            for (slug, word, about, body) in bad_commands() {
                vectors.push(scene.refuse(slug, word, about, frame(4, &body)));
            }
        }
        vectors.extend(headers(&Scene::new(&curve, subject, InsteadOf("frame"))));
        vectors.extend(messages(&curve, subject));
        vectors.extend(nonces(&curve, subject));
    }
    vectors
}

/// Forbidden frame headers and absurd sizes.
fn headers(scene: &Scene<'_>) -> Vec<Vector> {
    let body = scene.honest_body();
    let claims = |size: u64| [&[2][..], &size.to_be_bytes()].concat();
    [
        (
            "reserved-flag",
            "frame-flags",
            "a reserved flag",
            frame(8, body),
        ),
        (
            "all-flags",
            "frame-flags",
            "every flag there is",
            frame(0xFD, body),
        ),
        (
            "command-with-more",
            "frame-flags",
            "a command with MORE",
            frame(5, body),
        ),
        (
            "endless",
            "too-long",
            "a frame that claims 2^64 - 1 bytes",
            claims(u64::MAX),
        ),
        (
            "half-endless",
            "too-long",
            "a frame that claims 2^63 bytes",
            claims(1 << 63),
        ),
        (
            "signed-endless",
            "too-long",
            "a frame that claims 2^63 - 1 bytes",
            claims(u64::MAX >> 1),
        ),
        (
            "wrapping",
            "too-long",
            "a size that wraps when a header is added",
            claims(u64::MAX - 37),
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, bytes)| scene.refuse(slug, word, about, bytes))
    .collect()
}

/// Commands whose bodies do not parse.
fn bad_commands() -> Vec<(&'static str, &'static str, &'static str, Vec<u8>)> {
    let context = [0xC0; 17];
    let ping = command_body("PING", &[&[0, 10][..], &context].concat());
    vec![
        (
            "ping-without-ttl",
            "truncated",
            "a PING without time to live",
            command_body("PING", b""),
        ),
        (
            "ping-with-half-a-ttl",
            "truncated",
            "a PING of 6 bytes",
            command_body("PING", b"\0"),
        ),
        (
            "ping-context-17",
            "trailing",
            "a PING with a context of 17 bytes",
            ping,
        ),
        (
            "pong-context-17",
            "trailing",
            "a PONG with a context of 17 bytes",
            command_body("PONG", &context),
        ),
        (
            "command-empty",
            "truncated",
            "a command without even a name",
            vec![],
        ),
        (
            "command-empty-name",
            "empty-name",
            "a command whose name is empty",
            b"\0PING".to_vec(),
        ),
        (
            "command-long-name",
            "truncated",
            "a command whose name is longer than its body",
            b"\x05PING".to_vec(),
        ),
    ]
}

/// The first nonce of a side's MESSAGEs. The client's handshake has used 1 and 2, the server's 1.
const fn first_nonce(from: Who) -> u64 {
    match from {
        Client => 3,
        Server => 2,
    }
}

/// MESSAGEs that do not parse, come from the wrong side, or hold forbidden content.
fn messages(base: &Vector, subject: Who) -> Vec<Vector> {
    let scene = Scene::new(base, subject, InsteadOf("frame"));
    let keys = Keys::of(base);
    let from = scene.forger();
    let honest = scene.honest_body();
    let nonce = first_nonce(from);
    let sealed = |text: &[u8]| frame(0, &keys.message(from, nonce, text));
    let own_nonce = counted(message_prefix(subject), nonce);
    let own_direction = keys.seal_transient(from, own_nonce, b"\0question");
    let own_direction = [&honest[..16], &own_direction].concat();
    let flipped = |at: usize| {
        let mut body = honest.to_vec();
        body[at] ^= 1;
        frame(0, &body)
    };
    let mut vectors: Vec<Vector> = [
        (
            "flipped",
            "box",
            "a bit of the box flipped",
            flipped(honest.len() - 1),
        ),
        (
            "tag-flipped",
            "box",
            "a bit of the tag flipped",
            flipped(16),
        ),
        (
            "nonce-flipped",
            "box",
            "a bit of the nonce flipped",
            flipped(8),
        ),
        (
            "name-flipped",
            "unexpected-command",
            "a bit of the name flipped",
            flipped(7),
        ),
        (
            "own-direction",
            "box",
            "a nonce of the other direction",
            frame(0, &own_direction),
        ),
        (
            "in-clear",
            "unexpected-command",
            "a message that is not sealed",
            frame(0, b"question"),
        ),
        (
            "empty",
            "unexpected-command",
            "an empty frame",
            frame(0, b""),
        ),
        (
            "clear-ping",
            "unexpected-command",
            "a PING that is not sealed",
            frame(4, b"\x04PING\0\x0a"),
        ),
        (
            "clear-subscribe",
            "unexpected-command",
            "a SUBSCRIBE that is not sealed",
            frame(4, b"\x09SUBSCRIBE"),
        ),
        (
            "only-name",
            "truncated",
            "a name and nothing else",
            frame(0, &honest[..8]),
        ),
        (
            "half-a-nonce",
            "truncated",
            "half a nonce",
            frame(0, &honest[..12]),
        ),
        (
            "without-box",
            "truncated",
            "a nonce and no box",
            frame(0, &honest[..16]),
        ),
        (
            "without-flags",
            "truncated",
            "a box that holds nothing",
            sealed(b""),
        ),
        (
            "cut",
            "box",
            "the last byte missing",
            frame(0, &honest[..honest.len() - 1]),
        ),
        (
            "trailing",
            "box",
            "a byte after the box",
            frame(0, &[honest, &[0]].concat()),
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, bytes)| scene.refuse(slug, word, about, bytes))
    .collect();
    for flags in [3, 4, 5, 6, 7, 8, 0x80, 0xFF] {
        vectors.push(scene.refuse(
            &format!("sealed-flags-{flags:02x}"),
            "sealed-flags",
            &format!("sealed flags {flags:#04x}"),
            sealed(&[&[flags], &b"\x04PING\0\x0a"[..]].concat()),
        ));
    }
    for (slug, word, about, body) in bad_commands() {
        vectors.push(scene.refuse(
            &format!("sealed-{slug}"),
            word,
            &format!("sealed: {about}"),
            sealed(&[&[2], &body[..]].concat()),
        ));
    }
    vectors
}

/// Nonces that are used already or reserved.
fn nonces(base: &Vector, subject: Who) -> Vec<Vector> {
    let keys = Keys::of(base);
    let first = Scene::new(base, subject, InsteadOf("frame"));
    let second = Scene::new(base, subject, After("frame"));
    let from = first.forger();
    let nonce = first_nonce(from);
    let with = |nonce| frame(0, &keys.message(from, nonce, b"\0again"));
    let replayed = second.honest().bytes.clone();
    vec![
        first.refuse("nonce-zero", "replayed-nonce", "nonce 0", with(0)),
        first.refuse(
            "nonce-of-handshake",
            "replayed-nonce",
            "the nonce of the handshake's last command",
            with(nonce - 1),
        ),
        first.refuse(
            "nonce-last",
            "nonce-exhausted",
            "nonce 2^64 - 1",
            with(u64::MAX),
        ),
        second.refuse(
            "replayed",
            "replayed-nonce",
            "the same MESSAGE twice",
            replayed,
        ),
        second.refuse(
            "nonce-again",
            "replayed-nonce",
            "another MESSAGE with the same nonce",
            with(nonce),
        ),
        second.refuse(
            "nonce-back",
            "replayed-nonce",
            "a MESSAGE with an earlier nonce",
            with(nonce - 1),
        ),
    ]
}

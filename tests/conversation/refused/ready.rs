//! Refusals of CURVE's READY.

use super::metadata::broken;
use crate::conversation::derive::Place::InsteadOf;
use crate::conversation::derive::{Scene, recorded};
use crate::conversation::file::Vector;
use crate::conversation::file::Who::{Client, Server};
use crate::conversation::forge::{
    COOKIE_LEN, INITIATE_PREFIX, Keys, READY_PREFIX, command, counted, flipped, property, seal,
};

pub fn vectors() -> Vec<Vector> {
    let base = &recorded("curve-zap-200");
    let scene = Scene::new(base, Client, InsteadOf("READY"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let metadata = property(b"Socket-Type", b"ROUTER");
    let with_box = |nonce: u64, boxed: &[u8]| [&nonce.to_be_bytes(), boxed].concat();
    let sealed = |nonce: u64, text: &[u8]| {
        with_box(
            nonce,
            &keys.seal_transient(Server, counted(READY_PREFIX, nonce), text),
        )
    };
    let other_command = keys.seal_transient(Server, counted(INITIATE_PREFIX, 1), &metadata);
    let client = keys.transient(Client).public_key();
    let permanent = seal(
        keys.permanent(Server),
        &client,
        counted(READY_PREFIX, 1),
        &metadata,
    );
    let reflected = &Scene::new(base, Server, InsteadOf("INITIATE")).honest_data()[COOKIE_LEN..];
    let cases = [
        (
            "nonce-zero",
            "replayed-nonce",
            "nonce 0",
            sealed(0, &metadata),
        ),
        (
            "nonce-last",
            "nonce-exhausted",
            "nonce 2^64 - 1",
            sealed(u64::MAX, &metadata),
        ),
        (
            "flipped",
            "box",
            "a bit of the box flipped",
            flipped(honest, honest.len() - 1),
        ),
        (
            "nonce-flipped",
            "box",
            "a bit of the nonce flipped",
            flipped(honest, 0),
        ),
        (
            "other-nonce",
            "box",
            "a box with another command's nonce",
            with_box(1, &other_command),
        ),
        (
            "by-permanent",
            "box",
            "a box by S instead of S'",
            with_box(1, &permanent),
        ),
        (
            "reflected",
            "box",
            "the client's own INITIATE box",
            reflected.to_vec(),
        ),
        (
            "no-box",
            "box",
            "a box shorter than its tag",
            honest[..8 + 15].to_vec(),
        ),
        (
            "no-nonce",
            "truncated",
            "half a nonce",
            honest[..4].to_vec(),
        ),
    ];
    let metadata = broken(&scene)
        .into_iter()
        .map(|(slug, word, about, metadata)| (slug, word, about, sealed(1, &metadata)));
    cases
        .into_iter()
        .map(|(slug, word, about, data)| (slug, word, about.to_owned(), data))
        .chain(metadata)
        .map(|(slug, word, about, data)| {
            scene.refuse(
                slug,
                word,
                &format!("READY: {about}"),
                command("READY", &data),
            )
        })
        .collect()
}

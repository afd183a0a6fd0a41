//! Refusals of CURVE's INITIATE: its cookie, its box, and the vouch within.

use super::hello::{low_order, not_canonical};
use super::metadata::broken;
use crate::conversation::derive::Place::InsteadOf;
use crate::conversation::derive::{Scene, recorded};
use crate::conversation::file::Vector;
use crate::conversation::file::Who::{Client, Server};
use crate::conversation::forge::{
    COOKIE_LEN, INITIATE_PREFIX, Keys, READY_PREFIX, command, counted, flipped, public, random,
    seal, secret,
};
use crypto_box::{PublicKey, SecretKey};

pub fn vectors() -> Vec<Vector> {
    let base = recorded("curve-zap-200");
    let other = recorded("curve-dealer-router");
    [
        cookies(&base, &other),
        initiate(&base),
        vouches(&base, &other),
    ]
    .concat()
}

/// Cookies that the server has not made for this connection. The player sends them unchanged.
fn cookies(base: &Vector, other: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("INITIATE"));
    let honest = scene.honest_data();
    let elsewhere = Scene::new(other, Server, InsteadOf("INITIATE")).honest_data();
    let with = |cookie: &[u8]| [cookie, &honest[COOKIE_LEN..]].concat();
    [
        (
            "nonce-flipped",
            "a bit of its nonce flipped",
            with(&flipped(&honest[..COOKIE_LEN], 0)),
        ),
        (
            "flipped",
            "a bit of its sealed part flipped",
            with(&flipped(&honest[..COOKIE_LEN], 95)),
        ),
        ("zero", "all zeros", with(&[0; COOKIE_LEN])),
        (
            "of-another",
            "another connection's",
            with(&elsewhere[..COOKIE_LEN]),
        ),
        (
            "and-all-of-another",
            "a whole INITIATE of another connection",
            elsewhere.to_vec(),
        ),
    ]
    .into_iter()
    .map(|(slug, about, data)| {
        let about = format!("INITIATE, cookie: {about}");
        let bytes = command("INITIATE", &data);
        let mut vector = scene.refuse(&format!("cookie-{slug}"), "cookie", &about, bytes);
        vector.keep_cookie = true;
        vector
    })
    .collect()
}

fn initiate(base: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("INITIATE"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let text = keys.open_initiate(&scene.honest().bytes);
    let with_box =
        |nonce: u64, boxed: &[u8]| [&honest[..COOKIE_LEN], &nonce.to_be_bytes(), boxed].concat();
    let sealed = |nonce: u64, text: &[u8]| {
        let boxed = keys.seal_transient(Client, counted(INITIATE_PREFIX, nonce), text);
        with_box(nonce, &boxed)
    };
    let other_command = keys.seal_transient(Client, counted(READY_PREFIX, 2), &text);
    let other_client = seal(
        keys.permanent(Client),
        &keys.transient(Server).public_key(),
        counted(INITIATE_PREFIX, 2),
        &text,
    );
    let other_server = seal(
        keys.transient(Client),
        &keys.permanent(Server).public_key(),
        counted(INITIATE_PREFIX, 2),
        &text,
    );
    let cases = [
        (
            "nonce-of-hello",
            "initiate-nonce",
            "the nonce of HELLO again",
            sealed(1, &text),
        ),
        ("nonce-zero", "initiate-nonce", "nonce 0", sealed(0, &text)),
        (
            "nonce-last",
            "nonce-exhausted",
            "nonce 2^64 - 1",
            sealed(u64::MAX, &text),
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
            flipped(honest, COOKIE_LEN),
        ),
        (
            "other-nonce",
            "box",
            "a box with another command's nonce",
            with_box(2, &other_command),
        ),
        (
            "other-client",
            "box",
            "a box by another key than C'",
            with_box(2, &other_client),
        ),
        (
            "other-server",
            "box",
            "a box for another key than S'",
            with_box(2, &other_server),
        ),
        (
            "no-box",
            "box",
            "a box shorter than its tag",
            honest[..COOKIE_LEN + 8 + 15].to_vec(),
        ),
        (
            "no-nonce",
            "truncated",
            "nothing after the cookie",
            honest[..COOKIE_LEN].to_vec(),
        ),
        (
            "half-a-cookie",
            "truncated",
            "half a cookie",
            honest[..COOKIE_LEN / 2].to_vec(),
        ),
        (
            "empty-box",
            "truncated",
            "a box that holds nothing",
            sealed(2, b""),
        ),
        (
            "only-key",
            "truncated",
            "a box that holds C alone",
            sealed(2, &text[..32]),
        ),
        (
            "vouch-truncated",
            "truncated",
            "a vouch that lacks its last byte",
            sealed(2, &text[..127]),
        ),
    ];
    let metadata = broken(&scene)
        .into_iter()
        .map(|(slug, word, about, metadata)| {
            (
                slug,
                word,
                about,
                sealed(2, &[&text[..128], &metadata].concat()),
            )
        });
    cases
        .into_iter()
        .map(|(slug, word, about, data)| (slug, word, about.to_owned(), data))
        .chain(metadata)
        .map(|(slug, word, about, data)| {
            scene.refuse(
                slug,
                word,
                &format!("INITIATE: {about}"),
                command("INITIATE", &data),
            )
        })
        .collect()
}

/// Vouches that do not prove that the owner of C uses C' with S.
fn vouches(base: &Vector, other: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("INITIATE"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let text = keys.open_initiate(&scene.honest().bytes);
    let (key, vouch_nonce, metadata) = (&text[..32], &text[32..48], &text[128..]);
    let bytes = |public: crypto_box::PublicKey| *public.as_bytes();
    let transient = bytes(keys.transient(Client).public_key());
    let server = bytes(keys.permanent(Server).public_key());
    let stranger = secret(&[7; 32]);
    let vouch = |secret: &SecretKey, public: &PublicKey, prefix, first: &[u8], second: &[u8]| {
        let nonce = random(prefix, vouch_nonce);
        seal(secret, public, nonce, &[first, second].concat())
    };
    let client = keys.permanent(Client);
    let to = keys.transient(Server).public_key();
    let strange = bytes(stranger.public_key());
    let of_another = Keys::of(other).open_initiate(
        &Scene::new(other, Server, InsteadOf("INITIATE"))
            .honest()
            .bytes,
    );
    let initiate = |key: &[u8], nonce: &[u8], vouch: &[u8]| {
        let text = [key, nonce, vouch, metadata].concat();
        let boxed = keys.seal_transient(Client, counted(INITIATE_PREFIX, 2), &text);
        let data = [&honest[..COOKIE_LEN], &2_u64.to_be_bytes(), &boxed].concat();
        command("INITIATE", &data)
    };
    let by = |vouch: Vec<u8>| initiate(key, vouch_nonce, &vouch);
    let mut vectors: Vec<Vector> = [
        (
            "other-transient",
            "vouch",
            "it names another C'",
            by(vouch(client, &to, b"VOUCH---", &strange, &server)),
        ),
        (
            "other-server",
            "vouch",
            "it names another S",
            by(vouch(client, &to, b"VOUCH---", &transient, &strange)),
        ),
        (
            "swapped",
            "vouch",
            "it names S and C' the wrong way round",
            by(vouch(client, &to, b"VOUCH---", &server, &transient)),
        ),
        (
            "zero",
            "vouch",
            "it holds zeros",
            by(vouch(client, &to, b"VOUCH---", &[0; 32], &[0; 32])),
        ),
        (
            "by-a-stranger",
            "box",
            "made by another key than C, which the client shows but does not hold",
            by(vouch(&stranger, &to, b"VOUCH---", &transient, &server)),
        ),
        (
            "to-permanent",
            "box",
            "a box for S instead of S'",
            by(vouch(
                client,
                &keys.permanent(Server).public_key(),
                b"VOUCH---",
                &transient,
                &server,
            )),
        ),
        (
            "other-nonce",
            "box",
            "a box with another nonce's prefix",
            by(vouch(client, &to, b"WELCOME-", &transient, &server)),
        ),
        (
            "flipped",
            "box",
            "a bit flipped",
            by(flipped(&text[48..128], 79)),
        ),
        (
            "of-another",
            "box",
            "key and vouch of another connection",
            initiate(&of_another[..32], &of_another[32..48], &of_another[48..128]),
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, bytes)| {
        let about = format!("INITIATE, vouch: {about}");
        scene.refuse(&format!("vouch-{slug}"), word, &about, bytes)
    })
    .collect();
    for (slug, point) in low_order() {
        let boxed = vouch(
            keys.transient(Server),
            &public(&point),
            b"VOUCH---",
            &transient,
            &server,
        );
        vectors.push(scene.refuse(
            &format!("low-order-{slug}"),
            "low-order-key",
            &format!("INITIATE: C of low order ({slug}), and a vouch that opens"),
            initiate(&point, vouch_nonce, &boxed),
        ));
    }
    for (slug, point) in not_canonical(&text[..32]) {
        let boxed = vouch(
            keys.transient(Server),
            &public(&point),
            b"VOUCH---",
            &transient,
            &server,
        );
        vectors.push(scene.refuse(
            &format!("not-canonical-{slug}"),
            "key-not-canonical",
            &format!("INITIATE: C in another encoding ({slug}), and a vouch that opens"),
            initiate(&point, vouch_nonce, &boxed),
        ));
    }
    vectors
}

//! Refusals of CURVE's HELLO and WELCOME: what is in their boxes, and what is wrong with the
//! boxes.

use crate::conversation::derive::Place::InsteadOf;
use crate::conversation::derive::{Scene, recorded};
use crate::conversation::file::Vector;
use crate::conversation::file::Who::{Client, Server};
use crate::conversation::forge::{
    HELLO_PREFIX, Keys, command, counted, flipped, public, random, seal,
};
use crypto_box::{PublicKey, SecretKey};

pub fn vectors() -> Vec<Vector> {
    let base = recorded("curve-zap-200");
    [
        hello(&base),
        low_order_hello(&base),
        welcome(&base),
        not_canonical_hello(&base),
    ]
    .concat()
}

/// Points whose product with any secret key is zero: those of orders 1, 2, 4 and 8, in every
/// form in which X25519 reads them (RFC 7748, section 6.1).
pub fn low_order() -> Vec<(&'static str, [u8; 32])> {
    let small = |byte| {
        let mut point = [0; 32];
        point[0] = byte;
        point
    };
    let near_p = |byte| {
        let mut point = [0xFF; 32];
        point[0] = byte;
        point[31] = 0x7F;
        point
    };
    let mut zero_with_high_bit = [0; 32];
    zero_with_high_bit[31] = 0x80;
    vec![
        ("zero", small(0)),
        ("one", small(1)),
        (
            "order-8",
            [
                0xE0, 0xEB, 0x7A, 0x7C, 0x3B, 0x41, 0xB8, 0xAE, 0x16, 0x56, 0xE3, 0xFA, 0xF1, 0x9F,
                0xC4, 0x6A, 0xDA, 0x09, 0x8D, 0xEB, 0x9C, 0x32, 0xB1, 0xFD, 0x86, 0x62, 0x05, 0x16,
                0x5F, 0x49, 0xB8, 0x00,
            ],
        ),
        (
            "order-8-other",
            [
                0x5F, 0x9C, 0x95, 0xBC, 0xA3, 0x50, 0x8C, 0x24, 0xB1, 0xD0, 0xB1, 0x55, 0x9C, 0x83,
                0xEF, 0x5B, 0x04, 0x44, 0x5C, 0xC4, 0x58, 0x1C, 0x8E, 0x86, 0xD8, 0x22, 0x4E, 0xDD,
                0xD0, 0x9F, 0x11, 0x57,
            ],
        ),
        ("p-minus-one", near_p(0xEC)),
        ("p", near_p(0xED)),
        ("p-plus-one", near_p(0xEE)),
        ("zero-with-high-bit", zero_with_high_bit),
    ]
}

fn hello(base: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("HELLO"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let server = keys.permanent(Server).public_key();
    let client = keys.transient(Client);
    let changed = |at: usize, bytes: &[u8]| {
        let mut data = honest.to_vec();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        data
    };
    // C', nonce and signature box from byte 74 on.
    let signed = |nonce: u64, text: &[u8]| {
        let boxed = seal(client, &server, counted(HELLO_PREFIX, nonce), text);
        changed(106, &[&nonce.to_be_bytes()[..], &boxed].concat())
    };
    let mut signature = [0; 64];
    signature[63] = 1;
    [
        (
            "version-2.0",
            "hello-version",
            "version 2.0",
            changed(0, &[2, 0]),
        ),
        (
            "version-1.1",
            "hello-version",
            "version 1.1",
            changed(0, &[1, 1]),
        ),
        (
            "padding-first",
            "padding",
            "a first byte of padding that is not zero",
            flipped(honest, 2),
        ),
        (
            "padding-last",
            "padding",
            "a last byte of padding that is not zero",
            flipped(honest, 73),
        ),
        (
            "nonce-zero",
            "replayed-nonce",
            "nonce 0",
            signed(0, &[0; 64]),
        ),
        (
            "nonce-last",
            "nonce-exhausted",
            "nonce 2^64 - 1",
            signed(u64::MAX, &[0; 64]),
        ),
        (
            "signature",
            "signature",
            "a signature box that holds a byte other than zero",
            signed(1, &signature),
        ),
        (
            "signature-flipped",
            "hello-box",
            "a bit of the signature box flipped",
            flipped(honest, 193),
        ),
        (
            "nonce-flipped",
            "hello-box",
            "a bit of the nonce flipped",
            flipped(honest, 106),
        ),
        (
            "transient-flipped",
            "hello-box",
            "a bit of C' flipped",
            flipped(honest, 74),
        ),
        (
            "truncated",
            "truncated",
            "the last byte missing",
            honest[..193].to_vec(),
        ),
        (
            "only-version",
            "truncated",
            "nothing after the version",
            honest[..2].to_vec(),
        ),
        (
            "trailing",
            "too-long",
            "a byte too many",
            [honest, &[0]].concat(),
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, data)| {
        scene.refuse(
            slug,
            word,
            &format!("HELLO: {about}"),
            command("HELLO", &data),
        )
    })
    .collect()
}

/// Second encodings of a key. X25519 gives the same result for both, so boxes open.
pub fn not_canonical(key: &[u8]) -> Vec<(&'static str, [u8; 32])> {
    let mut with_top_bit: [u8; 32] = key.try_into().unwrap();
    with_top_bit[31] |= 0x80;
    // p + 2: another name of the point 2, which is on the twist and of high order.
    let mut p_plus_two = [0xFF; 32];
    (p_plus_two[0], p_plus_two[31]) = (0xEF, 0x7F);
    vec![("top-bit", with_top_bit), ("p-plus-two", p_plus_two)]
}

/// The shared secret is zero, so anyone can make a box that opens.
fn low_order_hello(base: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("HELLO"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let sign = |(slug, point): (&str, [u8; 32])| {
        let nonce = counted(HELLO_PREFIX, 1);
        let boxed = seal(keys.permanent(Server), &public(&point), nonce, &[0; 64]);
        let data = [&honest[..74], &point, &1_u64.to_be_bytes(), &boxed].concat();
        scene.refuse(
            &format!("low-order-{slug}"),
            "low-order-key",
            &format!("HELLO: C' of low order ({slug}), and a signature box that opens"),
            command("HELLO", &data),
        )
    };
    low_order().into_iter().map(sign).collect()
}

/// The signature box opens, since the client owns the c' behind each of these encodings.
fn not_canonical_hello(base: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Server, InsteadOf("HELLO"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let sign = |(slug, point): (&str, [u8; 32])| {
        let nonce = counted(HELLO_PREFIX, 1);
        let boxed = seal(keys.permanent(Server), &public(&point), nonce, &[0; 64]);
        let data = [&honest[..74], &point, &1_u64.to_be_bytes(), &boxed].concat();
        scene.refuse(
            &format!("not-canonical-{slug}"),
            "key-not-canonical",
            &format!("HELLO: C' in another encoding ({slug}), and a signature box that opens"),
            command("HELLO", &data),
        )
    };
    not_canonical(&honest[74..106])
        .into_iter()
        .map(sign)
        .collect()
}

fn welcome(base: &Vector) -> Vec<Vector> {
    let scene = Scene::new(base, Client, InsteadOf("WELCOME"));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let text = keys.open_welcome(&scene.honest().bytes);
    let client = keys.transient(Client).public_key();
    let nonce = &honest[..16];
    let sealed = |secret: &SecretKey, public: &PublicKey, prefix, text: &[u8]| {
        let boxed = seal(secret, public, random(prefix, nonce), text);
        [nonce, &boxed].concat()
    };
    let server = keys.permanent(Server);
    let mut vectors: Vec<Vector> = [
        (
            "flipped",
            "box",
            "a bit of the box flipped",
            flipped(honest, 159),
        ),
        (
            "nonce-flipped",
            "box",
            "a bit of the nonce flipped",
            flipped(honest, 0),
        ),
        (
            "other-server",
            "box",
            "a box by another server",
            sealed(keys.transient(Server), &client, b"WELCOME-", &text),
        ),
        (
            "other-client",
            "box",
            "a box for another client",
            sealed(
                server,
                &keys.permanent(Client).public_key(),
                b"WELCOME-",
                &text,
            ),
        ),
        (
            "other-nonce",
            "box",
            "a box with another command's nonce",
            sealed(server, &client, b"COOKIE--", &text),
        ),
        (
            "truncated",
            "truncated",
            "the last byte missing",
            honest[..159].to_vec(),
        ),
        (
            "only-nonce",
            "truncated",
            "nothing after the nonce",
            nonce.to_vec(),
        ),
        (
            "trailing",
            "trailing",
            "a byte too many",
            [honest, &[0]].concat(),
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, data)| {
        scene.refuse(
            slug,
            word,
            &format!("WELCOME: {about}"),
            command("WELCOME", &data),
        )
    })
    .collect();
    for (slug, point) in low_order() {
        let data = sealed(
            server,
            &client,
            b"WELCOME-",
            &[&point, &text[32..]].concat(),
        );
        vectors.push(scene.refuse(
            &format!("low-order-{slug}"),
            "low-order-key",
            &format!("WELCOME: S' of low order ({slug})"),
            command("WELCOME", &data),
        ));
    }
    for (slug, point) in not_canonical(&text[..32]) {
        let data = sealed(
            server,
            &client,
            b"WELCOME-",
            &[&point, &text[32..]].concat(),
        );
        vectors.push(scene.refuse(
            &format!("not-canonical-{slug}"),
            "key-not-canonical",
            &format!("WELCOME: S' in another encoding ({slug})"),
            command("WELCOME", &data),
        ));
    }
    vectors
}

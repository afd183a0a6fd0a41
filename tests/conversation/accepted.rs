//! The vectors of `vectors/accepted/`: input that the protocol allows and libzmq never sends.

use super::derive::Place::InsteadOf;
use super::derive::{Scene, recorded};
use super::file::Who::{self, Client, Server};
use super::file::{Expect, Vector};
use super::forge::{
    COOKIE_LEN, HELLO_PREFIX, INITIATE_PREFIX, Keys, READY_PREFIX, command, command_body, counted,
    frame, long_frame, property, seal,
};
use zmtp_auth::wire::frame::Flags;

/// All vectors by name.
pub fn vectors() -> Vec<Vector> {
    let null = recorded("null-dealer-router");
    let curve = recorded("curve-dealer-router");
    let mut vectors = Vec::new();
    for subject in Who::BOTH {
        for base in [&null, &curve] {
            vectors.extend(greetings(&Scene::new(base, subject, InsteadOf("greeting"))));
        }
        vectors.extend(clear_traffic(&Scene::new(
            &null,
            subject,
            InsteadOf("frame"),
        )));
        vectors.extend(sealed_traffic(&curve, subject));
        vectors.extend(claims(&curve, subject));
    }
    vectors.push(skipped_nonces(&curve));
    for status in ["400", "500"] {
        vectors.extend(plain_error(
            &recorded(&format!("plain-zap-{status}")),
            status,
        ));
        vectors.push(miscounted_error(
            &recorded(&format!("curve-zap-{status}")),
            status,
        ));
    }
    vectors.sort_by(|one, other| one.name.cmp(&other.name));
    vectors
}

/// Parts of a greeting that may have any value.
fn greetings(scene: &Scene<'_>) -> Vec<Vector> {
    let changed = |at: usize, bytes: &[u8]| {
        let mut greeting = scene.honest().bytes.clone();
        greeting[at..at + bytes.len()].copy_from_slice(bytes);
        greeting
    };
    vec![
        scene.accept(
            "padding",
            "a signature with any padding",
            changed(1, &[0xA5; 8]),
        ),
        scene.accept(
            "as-server",
            "as-server set, whatever the role",
            changed(32, &[1]),
        ),
        scene.accept(
            "filler",
            "a filler that is not zero",
            changed(33, &[0x5A; 31]),
        ),
        scene.accept("minor-0", "version 3.0", changed(11, &[0])),
        scene.accept("minor-9", "version 3.9", changed(11, &[9])),
        scene.accept("major-4", "version 4.1", changed(10, &[4])),
    ]
}

/// Traffic commands that libzmq does not send: slug, description, body.
fn commands() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let longest = [b"\xff\xff", &[0xC0; 16][..]].concat();
    vec![
        (
            "ping-longest",
            "a PING with the longest context and time to live",
            command_body("PING", &longest),
        ),
        (
            "pong-unasked",
            "an unsolicited PONG",
            command_body("PONG", b"context"),
        ),
        (
            "unknown-command",
            "a command that we do not know: ignored",
            command_body("NEWS", b"of 2030"),
        ),
    ]
}

fn clear_traffic(scene: &Scene<'_>) -> Vec<Vector> {
    let mut vectors = vec![scene.understand(
        "long-frame",
        "a long frame around what fits a short one",
        (Flags::Last, b"short"),
        long_frame(0, b"short"),
    )];
    for (slug, about, body) in commands() {
        let says = (Flags::Command, &body[..]);
        vectors.push(scene.understand(slug, about, says, frame(4, &body)));
    }
    vectors
}

fn sealed_traffic(base: &Vector, subject: Who) -> Vec<Vector> {
    let scene = Scene::new(base, subject, InsteadOf("frame"));
    let keys = Keys::of(base);
    let from = scene.forger();
    let sealed =
        |nonce, flags: u8, payload: &[u8]| keys.message(from, nonce, &[&[flags], payload].concat());
    let mut vectors = vec![
        scene.understand(
            "nonce-gap",
            "the greatest nonce there may be: gaps are legal",
            (Flags::Last, b"late"),
            frame(0, &sealed(u64::MAX - 1, 0, b"late")),
        ),
        scene.understand(
            "long-frame",
            "a long frame around what fits a short one",
            (Flags::Last, b"short"),
            long_frame(0, &sealed(3, 0, b"short")),
        ),
    ];
    // libzmq ignores these bits too, and some implementations set them.
    for (outer, name) in [(0, "none"), (1, "more"), (4, "command")] {
        for (inner, flags, text) in [
            (0, Flags::Last, &b"last"[..]),
            (1, Flags::More, b"more"),
            (2, Flags::Command, b"\x09SUBSCRIBE"),
        ] {
            vectors.push(scene.understand(
                &format!("outer-{name}-around-{inner:02x}"),
                &format!("flags {outer:#04x} outside the box and {inner:#04x} in it, which decide"),
                (flags, text),
                frame(outer, &sealed(3, inner, text)),
            ));
            vectors.push(scene.understand(
                &format!("outer-{name}-around-{inner:02x}-long"),
                &format!(
                    "the same, in a long frame: {:#04x} and {inner:#04x}",
                    outer | 2
                ),
                (flags, text),
                long_frame(outer, &sealed(3, inner, text)),
            ));
        }
    }
    for (slug, about, body) in commands() {
        let bytes = frame(0, &sealed(3, 2, &body));
        let says = (Flags::Command, &body[..]);
        vectors.push(scene.understand(slug, about, says, bytes));
    }
    vectors
}

/// Slug, description, claimed properties, and the bytes of the metadata.
type Claim<'a> = (&'a str, &'a str, &'a [(&'a str, &'a [u8])], Vec<u8>);

/// Unusual metadata that is accepted. Like all metadata it is a claim and proves nothing.
fn claims(base: &Vector, subject: Who) -> Vec<Vector> {
    let label = match subject {
        Server => "INITIATE",
        Client => "READY",
    };
    let scene = Scene::new(base, subject, InsteadOf(label));
    let keys = Keys::of(base);
    let honest = scene.honest_data();
    let forged = |metadata: &[u8]| {
        let data = match subject {
            Server => {
                let text = keys.open_initiate(&scene.honest().bytes);
                let text = [&text[..128], metadata].concat();
                let boxed = keys.seal_transient(Client, counted(INITIATE_PREFIX, 2), &text);
                [&honest[..COOKIE_LEN + 8], &boxed].concat()
            }
            Client => {
                let boxed = keys.seal_transient(Server, counted(READY_PREFIX, 1), metadata);
                [&honest[..8], &boxed].concat()
            }
        };
        command(label, &data)
    };
    let theirs = base.side(scene.forger()).socket_type.as_bytes();
    let socket_type = property(b"Socket-Type", theirs);
    let reserved = b"\0\x01\x02\x03\x04";
    let cases: [Claim<'_>; 6] = [
        (
            "names-in-other-case",
            "property names in other cases",
            &[],
            [property(b"SOCKET-TYPE", theirs), property(b"identity", b"")].concat(),
        ),
        (
            "socket-type-last",
            "Socket-Type after everything else",
            &[("X-First", b"1")],
            [property(b"X-First", b"1"), socket_type.clone()].concat(),
        ),
        (
            "unknown-properties",
            "unknown properties, and a claimed User-Id, which proves nothing",
            &[("User-Id", b"root"), ("Weather", b"")],
            [
                socket_type.clone(),
                property(b"User-Id", b"root"),
                property(b"Weather", b""),
            ]
            .concat(),
        ),
        (
            "identity-reserved",
            "an identity that begins with zero, as a ROUTER makes them: a claim like any other",
            &[("Identity", reserved)],
            [socket_type.clone(), property(b"Identity", reserved)].concat(),
        ),
        (
            "longest-name",
            "a property name of 255 bytes",
            &[],
            [socket_type.clone(), property(&[b'x'; 255], b"")].concat(),
        ),
        (
            "long-value",
            "a value of 4096 bytes",
            &[],
            [socket_type, property(b"X-Long", &[0xEE; 4096])].concat(),
        ),
    ];
    cases
        .into_iter()
        .map(|(slug, about, claimed, metadata)| {
            let about = format!("metadata: {about}");
            let mut vector = scene.accept(slug, &about, forged(&metadata));
            let side = vector.side_mut(scene.forger());
            for (name, value) in claimed {
                side.properties.push(((*name).to_owned(), value.to_vec()));
            }
            vector
        })
        .collect()
}

/// A client whose nonces start at 7 and have gaps is served.
fn skipped_nonces(base: &Vector) -> Vector {
    let keys = Keys::of(base);
    let server = keys.permanent(Server).public_key();
    let scene = Scene::new(base, Server, InsteadOf("HELLO"));
    let boxed = seal(
        keys.transient(Client),
        &server,
        counted(HELLO_PREFIX, 7),
        &[0; 64],
    );
    let hello = [&scene.honest_data()[..106], &7_u64.to_be_bytes(), &boxed].concat();
    let mut vector = scene.accept(
        "nonces-with-gaps",
        "nonces 7 and 1000 in HELLO and INITIATE: gaps are legal",
        command("HELLO", &hello),
    );
    let scene = Scene::new(base, Server, InsteadOf("INITIATE"));
    let text = keys.open_initiate(&scene.honest().bytes);
    let boxed = keys.seal_transient(Client, counted(INITIATE_PREFIX, 1000), &text);
    let initiate = [
        &scene.honest_data()[..COOKIE_LEN],
        &1000_u64.to_be_bytes(),
        &boxed,
    ]
    .concat();
    for event in &mut vector.events {
        if event.label == "INITIATE" {
            event.bytes = command("INITIATE", &initiate);
        }
    }
    // The nonces of this client's MESSAGEs come after those of its handshake.
    vector.events.retain(|event| event.label != "frame");
    vector
}

/// PLAIN's ERROR as RFC 37 spells it, from a server to a client.
fn miscounted_error(base: &Vector, status: &str) -> Vector {
    let scene = Scene::new(base, Client, InsteadOf("ERROR"));
    let data = [b"\x08", status.as_bytes()].concat();
    let about = format!("ERROR {status} with a wrong count, as libzmq before 4.2.3 sends it");
    scene.accept(
        &format!("miscounted-{status}"),
        &about,
        command("ERROR", &data),
    )
}

fn plain_error(base: &Vector, status: &str) -> Vec<Vector> {
    let scene = Scene::new(base, Client, InsteadOf("ERROR"));
    let data = [b"\x03", status.as_bytes()].concat();
    let mut vector = scene.accept(
        &format!("rightly-spelled-{status}"),
        &format!("ERROR {status} in the RFC's spelling"),
        command("ERROR", &data),
    );
    assert_eq!(vector.expect, Expect::Denies(Server, status.to_owned()));
    vector.subject = None;
    vec![vector]
}

//! Refusals that need no encryption: greetings, frame headers, commands, NULL and PLAIN.

use super::metadata::broken;
use crate::conversation::derive::Place::InsteadOf;
use crate::conversation::derive::{Scene, recorded};
use crate::conversation::file::Vector;
use crate::conversation::file::Who::{self, Client, Server};
use crate::conversation::forge::{command, command_body, frame, long_frame};

pub fn vectors() -> Vec<Vector> {
    let null = recorded("null-zap-200");
    let plain = recorded("plain-zap-200");
    let curve = recorded("curve-zap-200");
    let mut vectors = Vec::new();
    for base in [&null, &plain, &curve] {
        for subject in Who::BOTH {
            vectors.extend(greetings(&Scene::new(base, subject, InsteadOf("greeting"))));
        }
    }
    for (base, subject, label) in [
        (&null, Server, "READY"),
        (&plain, Server, "HELLO"),
        (&plain, Client, "WELCOME"),
        (&curve, Server, "HELLO"),
        (&curve, Server, "INITIATE"),
        (&curve, Client, "WELCOME"),
        (&curve, Client, "READY"),
    ] {
        vectors.extend(framing(&Scene::new(base, subject, InsteadOf(label))));
    }
    for (base, subject, label) in [
        (&null, Server, "READY"),
        (&null, Client, "READY"),
        (&plain, Server, "INITIATE"),
        (&plain, Client, "READY"),
    ] {
        let scene = Scene::new(base, subject, InsteadOf(label));
        for (slug, word, about, metadata) in broken(&scene) {
            vectors.push(scene.refuse(slug, word, &about, command(label, &metadata)));
        }
    }
    for (base, label) in [
        (&null, "READY"),
        (&plain, "WELCOME"),
        (&curve, "WELCOME"),
        (&curve, "READY"),
    ] {
        vectors.extend(bad_errors(&Scene::new(base, Client, InsteadOf(label))));
    }
    vectors.extend(plain_credentials(&Scene::new(
        &plain,
        Server,
        InsteadOf("HELLO"),
    )));
    vectors.extend(wrong_order(&plain, &curve));
    vectors
}

/// Greetings of other protocol versions or mechanisms. There is no downgrade.
fn greetings(scene: &Scene<'_>) -> Vec<Vector> {
    let honest = &scene.honest().bytes;
    let changed = |at: usize, bytes: &[u8]| {
        let mut greeting = honest.clone();
        greeting[at..at + bytes.len()].copy_from_slice(bytes);
        greeting
    };
    let mut vectors = vec![
        scene.refuse(
            "zmtp-1",
            "not-zmtp-3",
            "a greeting of ZMTP 1: an anonymous peer's empty identity",
            vec![0x01, 0x00],
        ),
        scene.refuse(
            "zmtp-1-long",
            "not-zmtp-3",
            "a long length of ZMTP 1, which begins as a signature does: bit 0 of byte 9 is clear",
            changed(9, &[0x7E])[..10].to_vec(),
        ),
        scene.refuse(
            "zmtp-2",
            "old-version",
            "a greeting of ZMTP 2: revision 1, a socket type, an identity",
            [&honest[..10], &[0x01, 0x05, 0x00, 0x00]].concat(),
        ),
        scene.refuse(
            "major-2",
            "old-version",
            "a whole greeting, of major version 2",
            changed(10, &[2]),
        ),
        scene.refuse(
            "major-0",
            "old-version",
            "a whole greeting, of major version 0",
            changed(10, &[0]),
        ),
        scene.refuse(
            "mechanism-case",
            "other-mechanism",
            "the mechanism in lower case",
            changed(12, &honest[12..32].to_ascii_lowercase()),
        ),
        scene.refuse(
            "mechanism-tail",
            "other-mechanism",
            "the right mechanism, and a byte after its padding",
            changed(31, b"X"),
        ),
        scene.refuse(
            "mechanism-none",
            "other-mechanism",
            "no mechanism at all: 20 zeros",
            changed(12, &[0; 20]),
        ),
    ];
    for other in ["NULL", "PLAIN", "CURVE", "GSSAPI"] {
        if other != scene.base.mechanism {
            let mut name = [0; 20];
            name[..other.len()].copy_from_slice(other.as_bytes());
            vectors.push(scene.refuse(
                &format!("mechanism-{}", other.to_lowercase()),
                "other-mechanism",
                &format!("a peer that speaks {other}"),
                changed(12, &name),
            ));
        }
    }
    vectors
}

/// Frames that no handshake may have.
fn framing(scene: &Scene<'_>) -> Vec<Vector> {
    let body = scene.honest_body();
    let mut lying = vec![0x06];
    lying.extend(u64::MAX.to_be_bytes());
    let mut half = vec![0x06];
    half.extend((1_u64 << 63).to_be_bytes());
    vec![
        scene.refuse(
            "as-message",
            "message-in-handshake",
            "the right command in a message frame",
            frame(0, body),
        ),
        scene.refuse(
            "with-more",
            "frame-flags",
            "the right command with MORE",
            frame(5, body),
        ),
        scene.refuse(
            "reserved-flag",
            "frame-flags",
            "the right command with a reserved flag",
            frame(0x0C, body),
        ),
        scene.refuse(
            "long-frame",
            "long-frame",
            "a long frame around what fits a short one",
            long_frame(4, &body[..body.len().min(255)]),
        ),
        scene.refuse(
            "endless",
            "too-long",
            "a frame that claims 2^64 - 1 bytes",
            lying,
        ),
        scene.refuse(
            "half-endless",
            "too-long",
            "a frame that claims 2^63 bytes",
            half,
        ),
        scene.refuse(
            "empty-body",
            "truncated",
            "a command without even a name",
            frame(4, b""),
        ),
        scene.refuse(
            "empty-name",
            "empty-name",
            "a command whose name is empty",
            frame(4, b"\0data"),
        ),
        scene.refuse(
            "long-name",
            "truncated",
            "a command whose name is longer than its body",
            frame(4, b"\x06HELLO"),
        ),
        scene.refuse(
            "other-command",
            "unexpected-command",
            "a command that no mechanism has",
            command("NOTHING", b""),
        ),
        scene.refuse(
            "other-case",
            "unexpected-command",
            "the right command, its name in lower case",
            {
                let name_len = usize::from(body[0]);
                let mut body = body.to_vec();
                body[1..=name_len].make_ascii_lowercase();
                frame(4, &body)
            },
        ),
    ]
}

/// ERRORs that do not parse.
fn bad_errors(scene: &Scene<'_>) -> Vec<Vector> {
    [
        (
            "error-empty",
            "truncated",
            "an ERROR without a reason",
            &b""[..],
        ),
        (
            "error-truncated",
            "truncated",
            "an ERROR whose reason ends early",
            b"\x0a400",
        ),
        (
            "error-trailing",
            "trailing",
            "an ERROR with bytes after its reason",
            b"\x03400!",
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, data)| scene.refuse(slug, word, about, command("ERROR", data)))
    .collect()
}

/// PLAIN's HELLO, in which every length counts.
fn plain_credentials(scene: &Scene<'_>) -> Vec<Vector> {
    [
        ("empty", "truncated", "no user name", &b""[..]),
        (
            "username-truncated",
            "truncated",
            "a user name that ends early",
            b"\x05admi",
        ),
        (
            "password-missing",
            "truncated",
            "a user name and no password",
            b"\x05admin",
        ),
        (
            "password-truncated",
            "truncated",
            "a password that ends early",
            b"\x05admin\xffsecret",
        ),
        (
            "trailing",
            "trailing",
            "a byte after the password",
            b"\x05admin\x06secret!",
        ),
    ]
    .into_iter()
    .map(|(slug, word, about, data)| {
        scene.refuse(
            slug,
            word,
            &format!("HELLO: {about}"),
            command("HELLO", data),
        )
    })
    .chain([scene.refuse(
        "too-long",
        "too-long",
        "a HELLO longer than the longest there can be",
        frame(4, &command_body("HELLO", &[0xFF; 513])),
    )])
    .collect()
}

/// Commands that exist, in the wrong place.
fn wrong_order(plain: &Vector, curve: &Vector) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for base in [plain, curve] {
        for (subject, label, others) in [
            (Server, "HELLO", ["WELCOME", "INITIATE", "READY", "ERROR"]),
            (Server, "INITIATE", ["HELLO", "WELCOME", "READY", "ERROR"]),
            (Client, "WELCOME", ["HELLO", "INITIATE", "READY", "MESSAGE"]),
            (Client, "READY", ["HELLO", "WELCOME", "INITIATE", "MESSAGE"]),
        ] {
            let scene = Scene::new(base, subject, InsteadOf(label));
            for other in others {
                let mut events = base.events.iter();
                let bytes = match events.find(|event| event.label == other) {
                    // Longer ones could be refused for their length already.
                    Some(event) if event.bytes.len() <= 202 => event.bytes.clone(),
                    _ => command(other, b"\x03400"),
                };
                vectors.push(scene.refuse(
                    &format!("{}-instead", other.to_lowercase()),
                    "unexpected-command",
                    &format!("{other} where {label} is due"),
                    bytes,
                ));
            }
        }
    }
    let scene = Scene::new(plain, Client, InsteadOf("WELCOME"));
    vectors.push(scene.refuse(
        "trailing",
        "trailing",
        "a WELCOME that carries something",
        command("WELCOME", b"!"),
    ));
    vectors
}

//! The first inputs of the corpora: honest inputs, which are committed, and inputs from all of
//! `vectors/` and the certificates of `tests/data/`, from which the fuzzer chooses.
#![forbid(unsafe_code)]

use crate::choices::{string, strings};
use crate::forge::{property, secrets};
use crate::recording::Recording;
use crate::scripted_peer::ScriptedPeer;
use crate::setup::{Setup, clients, named, servers};
use crate::targets::{auth_stream, connection, judges, traffic};
use std::path::Path;
use zmtp_auth::MechanismKind;
use zmtp_auth::wire::frame::Flags;

/// The longest stream in bytes, which is libFuzzer's own limit.
const MAX_LEN: usize = 4096;

/// Honest inputs with names. They are committed, and a test compares them.
pub fn honest(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "handshake_client" => handshakes(clients()),
        "handshake_server" => handshakes(servers()),
        "cuts" => cuts(),
        "traffic" => traffic::seeds(),
        "connection" => connection::script::seeds(),
        "auth_stream" => auth_stream::seeds(),
        "judges" => judges::seeds(),
        "inside_boxes" => inside_boxes(),
        "policy" => policy(),
        "password_file" => vec![
            (
                "honest".to_owned(),
                b"# users\nada=secret\r\n\nbob = in clear \nempty=\n".to_vec(),
            ),
            (
                "honest-hash".to_owned(),
                b"ada=$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$7g3Rx0jLxbOo8cHwMe0wEqpqE2jXZ8pRnkA8kUCcKfE\n"
                    .to_vec(),
            ),
        ],
        "z85" => vec![(
            "honest".to_owned(),
            b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".to_vec(),
        )],
        "address" => [
            "192.0.2.1",
            "2001:db8::/32",
            "fe80::1%eth0",
            "::ffff:192.0.2.0/120",
            "uid:1000",
            "localhost:1000:100:4711",
        ]
        .iter()
        .enumerate()
        .map(|(at, text)| (format!("honest-{at}"), text.as_bytes().to_vec()))
        .collect(),
        _ => Vec::new(),
    }
}

/// Inputs for a target from recordings and files.
pub fn recorded(target: &str) -> Vec<Vec<u8>> {
    let all = Recording::all();
    let mut found: Vec<Vec<u8>> = match target {
        "handshake_client" => streams(&all, "server", clients()),
        "handshake_server" => streams(&all, "client", servers()),
        "cuts" => streams(&all, "client", servers())
            .into_iter()
            .map(|seed| [&seed[..1], &string(&[1, 50]), &seed[1..]].concat())
            .collect(),
        "greeting" => pieces(&all, |label| label == "greeting", |bytes| bytes.to_vec()),
        "frame" => clear_traffic(&all),
        "traffic" => clear_traffic(&all)
            .into_iter()
            .map(|stream| [&[0][..], &stream].concat())
            .chain(sealed_traffic(&all))
            .collect(),
        "command" => pieces(
            &all,
            |label| label != "greeting",
            |frame| body(frame).to_vec(),
        ),
        "metadata" => metadata(&all),
        "inside_boxes" => metadata(&all)
            .into_iter()
            .flat_map(|metadata| {
                [
                    [&HONEST_INITIATE[..], &metadata].concat(),
                    [&[3, 1][..], &metadata].concat(),
                ]
            })
            .collect(),
        "zap_request" => zap(&all, "zap-request"),
        "zap_reply" => zap(&all, "zap-reply"),
        "policy" => zap(&all, "zap-request")
            .into_iter()
            .map(|frames| [&[10, 0, 8][..], &frames].concat())
            .collect(),
        "certificate" => certificates(),
        _ => Vec::new(),
    };
    for seed in &mut found {
        seed.truncate(MAX_LEN);
    }
    found.sort();
    found.dedup();
    found
}

/// For each setup the whole stream of an honest peer, with its traffic, named after the outcome.
fn handshakes(setups: &'static [Setup]) -> Vec<(String, Vec<u8>)> {
    let numbered = (0_u8..).zip(setups);
    numbered
        .map(|(number, setup)| {
            let outcome = if setup.denies.is_some() {
                "denied"
            } else {
                "complete"
            };
            let stream = [&[number][..], &peer_of(setup, setups)].concat();
            (format!("{outcome}-{}", setup.name), stream)
        })
        .collect()
}

fn cuts() -> Vec<(String, Vec<u8>)> {
    let both = [handshakes(servers()), handshakes(clients())].concat();
    let numbered = (0_u8..).zip(both);
    numbered
        .map(|(number, (name, stream))| {
            let sizes = string(&[1, number, 100]);
            let seed = [&[number][..], &sizes, &stream[1..]].concat();
            (format!("{number}-{name}"), seed)
        })
        .collect()
}

/// Everything that an honest peer sends to a side.
fn peer_of(setup: &'static Setup, of: &'static [Setup]) -> Vec<u8> {
    let is_server = std::ptr::eq(of, servers());
    let peer = match (setup.mechanism, is_server) {
        (MechanismKind::Null, true) => named(clients(), "null-dials"),
        (MechanismKind::Null, false) => named(servers(), "null-open"),
        (MechanismKind::Plain, true) => named(clients(), "plain"),
        (MechanismKind::Plain, false) => named(servers(), "plain"),
        (_, true) => named(clients(), "curve"),
        (_, false) => named(servers(), "curve-open"),
    };
    let (mut side, mut peer) = (ScriptedPeer::new(setup), ScriptedPeer::new(peer));
    let (mut to_side, mut to_peer) = (0, 0);
    loop {
        let (from_peer, from_side) = (peer.sent(), side.sent());
        if (from_peer.len(), from_side.len()) == (to_side, to_peer) {
            break;
        }
        side.feed(&from_peer[to_side..]);
        peer.feed(&from_side[to_peer..]);
        (to_side, to_peer) = (from_peer.len(), from_side.len());
    }
    let mut stream = peer.sent();
    if side.is_complete() {
        stream.extend(peer.write(Flags::More, b"two"));
        stream.extend(peer.write(Flags::Command, b"\x04PING\x00\x0acontext"));
        stream.extend(peer.write(Flags::Last, b"parts"));
    }
    stream
}

/// A correct INITIATE, up to the metadata. See [`crate::targets::inside_boxes`].
const HONEST_INITIATE: [u8; 10] = [2, 2, 0, 0, 0, 0, 0, 0, 0, 0];

fn inside_boxes() -> Vec<(String, Vec<u8>)> {
    let dealer = property(b"Socket-Type", b"DEALER");
    let messages = [
        &[0, 0, 1][..],
        &string(b"two"),
        &[0, 0, 2],
        &string(b"\x04PING\x00\x0acontext"),
        &[2, 0, 0],
        &string(b"parts"),
    ]
    .concat();
    let burst: Vec<u8> = (0..20_u8)
        .flat_map(|len| [&[0, 0, 0][..], &string(&vec![len; usize::from(len) * 3])].concat())
        .collect();
    let mut second_client = HONEST_INITIATE;
    second_client[4] = 1;
    let seed = |name: &str, parts: &[&[u8]]| (format!("honest-{name}"), parts.concat());
    vec![
        seed("hello", &[&[0, 1, 0, 1], &[0; 72 + 64]]),
        seed("welcome", &[&[1, 0], &secrets().cookie]),
        seed("initiate", &[&HONEST_INITIATE, &dealer]),
        seed("initiate-second-client", &[&second_client, &dealer]),
        seed("ready", &[&[3, 1], &dealer]),
        seed("messages-of-client", &[&[4], &messages]),
        seed("messages-of-server", &[&[5], &messages]),
        seed("burst-of-client", &[&[4], &burst]),
        seed("burst-of-server", &[&[5], &burst]),
    ]
}

/// Steps of [`crate::targets::policy`] by their numbers.
fn policy() -> Vec<(String, Vec<u8>)> {
    let seed = |name: &str, steps: &[&[u8]]| (format!("honest-{name}"), steps.concat());
    vec![
        // Domain a admits ada and bob. ada is admitted; bob with ada's password is refused.
        seed(
            "passwords",
            &[
                &[3, 2, 2, 0, 1, 1, 0],
                &[11, 2, 0, 1, 0, 1],
                &[11, 2, 0, 1, 1, 1],
            ],
        ),
        // Key 1 in all domains, any key in b. Key 2 asks in a and b. Then a gets an empty rule.
        seed(
            "keys",
            &[
                &[4, 1, 1, 1],
                &[5, 3],
                &[11, 2, 0, 2, 2],
                &[11, 3, 0, 2, 2],
                &[11, 2, 0, 2, 1],
                &[4, 2, 0],
                &[11, 2, 0, 2, 1],
                &[8, 2],
            ],
        ),
        // One address allowed in all domains, then another denied in a. Stop and start.
        seed(
            "addresses",
            &[
                &[0, 0, 3],
                &[11, 2, 4, 0],
                &[11, 2, 0, 0],
                &[17, 2, 3],
                &[11, 2, 3, 0],
                &[2, 2],
                &[9, 0],
                &[11, 2, 3, 0],
                &[25, 0],
                &[11, 0, 3, 3],
            ],
        ),
        seed(
            "providers",
            &[
                &[6, 1, 1],
                &[7, 1, 0],
                &[11, 2, 0, 2, 1],
                &[11, 2, 0, 1, 0, 0],
            ],
        ),
    ]
}

/// The stream of one side of every conversation, for each setup that it could belong to.
fn streams(all: &[Recording], from: &str, setups: &'static [Setup]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for recording in all {
        let mechanism = recording.text("mechanism");
        if mechanism == "CURVE" && !recording.has_secrets_of_base() {
            continue;
        }
        let stream = stream(recording, from);
        for (number, setup) in (0_u8..).zip(setups) {
            // Two setups of each mechanism cover all differences.
            let is_meant = [
                "null-open",
                "null-relay",
                "plain",
                "plain-relay",
                "null-dials",
            ]
            .contains(&setup.name)
                || ["curve", "curve-asks", "curve-relay"].contains(&setup.name);
            if is_meant && setup.mechanism.name() == mechanism {
                found.push([&[number][..], &stream].concat());
            }
        }
    }
    found
}

/// Everything that a side sends, with this library's cookie in INITIATE.
fn stream(recording: &Recording, from: &str) -> Vec<u8> {
    let mut stream = Vec::new();
    for sent in recording.sent(from) {
        let mut bytes = sent.bytes.to_vec();
        let is_curve = recording.text("mechanism") == "CURVE";
        if is_curve && sent.label == "INITIATE" && recording.text("cookie") != "keep" {
            let at = bytes.len() - body(&bytes).len() + b"\x08INITIATE".len();
            if let Some(place) = bytes.get_mut(at..at + secrets().cookie.len()) {
                place.copy_from_slice(&secrets().cookie);
            }
        }
        stream.extend(bytes);
    }
    stream
}

/// The body of a complete frame.
fn body(frame: &[u8]) -> &[u8] {
    let header = match frame.first() {
        Some(bits) if bits & 2 != 0 => 9,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// What both sides of all conversations without encryption send under certain labels.
fn pieces(
    all: &[Recording],
    label: impl Fn(&str) -> bool,
    piece: impl Fn(&[u8]) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let clear = all.iter().filter(|one| one.text("mechanism") != "CURVE");
    clear
        .flat_map(|recording| [recording.sent("client"), recording.sent("server")].into_iter())
        .flatten()
        .filter(|sent| label(sent.label))
        .map(|sent| piece(sent.bytes))
        .collect()
}

fn clear_traffic(all: &[Recording]) -> Vec<Vec<u8>> {
    pieces(all, |label| label == "frame", <[u8]>::to_vec)
}

fn sealed_traffic(all: &[Recording]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for recording in all.iter().filter(|one| one.has_secrets_of_base()) {
        for (number, side) in [(1, "client"), (2, "server")] {
            let sent = recording.sent(side);
            let frames = sent.iter().filter(|sent| sent.label == "frame");
            let frames: Vec<_> = frames.map(|sent| sent.bytes).collect();
            found.push([&[number][..], &frames.concat()].concat());
        }
    }
    found
}

fn metadata(all: &[Recording]) -> Vec<Vec<u8>> {
    let behind_name = |frame: &[u8]| {
        let body = body(frame);
        body.get(1 + usize::from(*body.first().unwrap_or(&0))..)
            .unwrap_or_default()
            .to_vec()
    };
    pieces(
        all,
        |label| ["READY", "INITIATE"].contains(&label),
        behind_name,
    )
}

fn zap(all: &[Recording], key: &str) -> Vec<Vec<u8>> {
    let sides = |recording: &Recording| {
        ["client", "server"].map(|side| recording.zap(&format!("{side}.{key}")))
    };
    all.iter()
        .flat_map(sides)
        .map(|frames| strings(&frames))
        .collect()
}

fn certificates() -> Vec<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let mut found = Vec::new();
    for writer in ["czmq", "pyzmq"] {
        for entry in std::fs::read_dir(data.join(writer)).expect("certificates are there") {
            let path = entry.expect("a file").path();
            found.push(std::fs::read(path).expect("a certificate can be read"));
        }
    }
    found
}

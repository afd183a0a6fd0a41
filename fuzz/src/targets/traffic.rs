//! The bytes after the handshake, read by the opener of each mechanism and role.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::forge::{command, counted, greeting, property, random, seal, secrets};
use crate::scripted_peer::{Event, ScriptedPeer};
use crate::setup::{clients, named, servers};
use std::sync::OnceLock;
use zmtp_auth::wire::frame::Flags;

/// The first byte chooses the opener and how many frames are read at once. The rest is the stream.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let choice = choices.byte();
    let new = match choice % 3 {
        0 => null,
        1 => curve_server,
        _ => curve_client,
    };
    let stream = choices.rest();
    let mut scripted_peer = new();
    scripted_peer.feed(stream);
    let mut batched = new();
    batched.read_at_once(1 + usize::from(choice / 3));
    batched.feed(stream);
    assert_eq!(
        batched.events(),
        scripted_peer.events(),
        "at once, and one by one"
    );
    if scripted_peer.error().is_some() {
        let before = scripted_peer.events().len();
        scripted_peer.feed(b"\0\0");
        assert_eq!(
            scripted_peer.events().len(),
            before,
            "something after the end"
        );
    } else {
        answer(&mut scripted_peer, &mut batched);
    }
}

/// Seals what was received again, one side frame by frame and the other all at once.
fn answer(scripted_peer: &mut ScriptedPeer, batched: &mut ScriptedPeer) {
    let heard = scripted_peer.events().to_vec();
    let frames: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            Event::Frame(flags, body) => Some((*flags, &body[..])),
            _ => None,
        })
        .collect();
    let said: Vec<_> = frames
        .iter()
        .map(|(flags, body)| scripted_peer.write(*flags, body))
        .collect();
    assert_eq!(batched.write_many(&frames), said.concat());
}

fn null() -> ScriptedPeer {
    let ready = command("READY", &property(b"Socket-Type", b"DEALER"));
    let stream = [&greeting("NULL"), &ready[..]].concat();
    complete(ScriptedPeer::fed(named(servers(), "null-open"), &stream))
}

/// A server that has completed its handshake with the recorded client.
pub fn curve_server() -> ScriptedPeer {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let stream = STREAM.get_or_init(|| {
        let metadata = property(b"Socket-Type", b"DEALER");
        [crate::forge::recorded_hello(), initiate(&metadata)].concat()
    });
    complete(ScriptedPeer::fed(named(servers(), "curve-open"), stream))
}

/// A client that has completed its handshake with the recorded server.
pub fn curve_client() -> ScriptedPeer {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let stream = STREAM.get_or_init(|| {
        let nonce = counted(b"CurveZMQREADY---", 1);
        let boxed = seal(
            &secrets().traffic,
            nonce,
            &property(b"Socket-Type", b"ROUTER"),
        );
        let ready = command("READY", &[&1_u64.to_be_bytes()[..], &boxed].concat());
        [crate::forge::recorded_welcome(), ready].concat()
    });
    complete(ScriptedPeer::fed(named(clients(), "curve"), stream))
}

/// The INITIATE of the recorded client, with this library's cookie.
fn initiate(metadata: &[u8]) -> Vec<u8> {
    let secrets = secrets();
    let (client, vouch_key) = &secrets.vouchers[0];
    let vouch = [secrets.client_transient, secrets.server].concat();
    let vouch = seal(vouch_key, random(b"VOUCH---", &[3; 16]), &vouch);
    let text = [&client[..], &[3; 16], &vouch, metadata].concat();
    let boxed = seal(&secrets.traffic, counted(b"CurveZMQINITIATE", 2), &text);
    command(
        "INITIATE",
        &[&secrets.cookie[..], &2_u64.to_be_bytes(), &boxed].concat(),
    )
}

fn complete(scripted_peer: ScriptedPeer) -> ScriptedPeer {
    assert!(scripted_peer.is_complete(), "{:?}", scripted_peer.events());
    scripted_peer
}

/// The seeds: frames that each opener understands.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let said = |scripted_peer: &mut ScriptedPeer| {
        let ping = b"\x04PING\x00\x0acontext";
        [
            scripted_peer.write(Flags::More, b"two"),
            scripted_peer.write(Flags::Command, ping),
            scripted_peer.write(Flags::Last, &[b'x'; 300]),
        ]
        .concat()
    };
    let burst = |scripted_peer: &mut ScriptedPeer| {
        scripted_peer.write_many(&[(Flags::Last, &b"small"[..]); 20])
    };
    vec![
        (
            "burst-server".to_owned(),
            [&[1 + 3 * 40][..], &burst(&mut curve_client())].concat(),
        ),
        (
            "burst-client".to_owned(),
            [&[2 + 3 * 9][..], &burst(&mut curve_server())].concat(),
        ),
        (
            "complete-null".to_owned(),
            [&[0][..], &said(&mut null())].concat(),
        ),
        (
            "complete-server".to_owned(),
            [&[1][..], &said(&mut curve_client())].concat(),
        ),
        (
            "complete-client".to_owned(),
            [&[2][..], &said(&mut curve_server())].concat(),
        ),
    ]
}

//! CURVE behind the MAC: the input says what a peer with every key seals, and the expected outcome is
//! known beforehand.
#![forbid(unsafe_code)]

use crate::choices::Choices;
use crate::forge::{
    command, counted, frame, greeting, random, recorded_hello, recorded_welcome, seal, secrets,
};
use crate::metadata_model;
use crate::scripted_peer::{Event, ScriptedPeer};
use crate::setup::{MAX_HANDSHAKE_COMMAND, MAX_MESSAGE, MAX_PROPERTIES, clients, named, servers};
use crate::targets::traffic::{curve_client, curve_server};
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{AccessRequest, Credentials, MechanismKind};

/// A public key of order 4, with which every shared secret is zero.
const LOW_ORDER: [u8; 32] = [0; 32];

/// The first byte chooses what is forged.
pub fn run(data: &[u8]) {
    forge(data);
}

/// Whether an honest peer may send what was forged.
pub fn forge(data: &[u8]) -> bool {
    let mut choices = Choices::new(data);
    match choices.index(6) {
        0 => hello(&mut choices),
        1 => welcome(&mut choices),
        2 => initiate(&mut choices),
        3 => ready(&mut choices),
        4 => messages(&mut choices, curve_server, b"CurveZMQMESSAGEC", 2),
        _ => messages(&mut choices, curve_client, b"CurveZMQMESSAGES", 1),
    }
}

/// A counter: small, or at the upper end.
fn counter(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() {
        small @ 0..=127 => small.into(),
        large => u64::MAX - u64::from(u8::MAX - large),
    }
}

/// HELLO: version, padding, counter, and a signature of any bytes.
fn hello(choices: &mut Choices<'_>) -> bool {
    let version = [choices.byte(), choices.byte()];
    let counter = counter(choices);
    let mut padding = choices.take(72).to_vec();
    padding.resize(72, 0);
    let signature = choices.rest();
    let boxed = seal(
        &secrets().hello,
        counted(b"CurveZMQHELLO---", counter),
        signature,
    );
    let data = [
        &version[..],
        &padding,
        &secrets().client_transient,
        &counter.to_be_bytes(),
        &boxed,
    ]
    .concat();
    let server = ScriptedPeer::fed(
        named(servers(), "curve-asks"),
        &[&greeting("CURVE"), &command("HELLO", &data)[..]].concat(),
    );
    let is_good = version == [1, 0]
        && padding.iter().chain(signature).all(|&byte| byte == 0)
        && signature.len() == 64
        && counter != 0
        && counter != u64::MAX;
    assert_eq!(server.error().is_none(), is_good, "{:?}", server.events());
    assert_eq!(
        server.sent().len() > 64,
        is_good,
        "WELCOME is the answer to a good HELLO"
    );
    is_good
}

/// WELCOME: any text instead of S' and the cookie, or S' of low order.
fn welcome(choices: &mut Choices<'_>) -> bool {
    let transient = *choices.pick(&[secrets().server_transient, LOW_ORDER]);
    let cookie = choices.rest();
    let text = [&transient[..], cookie].concat();
    let boxed = seal(&secrets().hello, random(b"WELCOME-", &[5; 16]), &text);
    let greeting = greeting("CURVE");
    let welcome = command("WELCOME", &[&[5; 16][..], &boxed].concat());
    let is_good = cookie.len() == 96 && transient != LOW_ORDER;
    for name in ["curve", "curve-relay"] {
        let client = ScriptedPeer::fed(named(clients(), name), &[&greeting[..], &welcome].concat());
        assert_eq!(client.error().is_none(), is_good, "{:?}", client.events());
        if is_good {
            let sent = client.sent();
            let at = sent.windows(8).position(|name| name == b"INITIATE");
            let brought_back = &sent[at.expect("INITIATE is sent") + 8..][..96];
            assert_eq!(brought_back, cookie);
        }
    }
    is_good
}

/// INITIATE: counter, cookie, permanent key, vouch, and metadata of any bytes.
fn initiate(choices: &mut Choices<'_>) -> bool {
    let secrets = secrets();
    let counter = counter(choices);
    let mut cookie = secrets.cookie.clone();
    let (at, bits) = (choices.index(cookie.len()), choices.byte());
    cookie[at] ^= bits;
    let (honest_key, vouch_key) = choices.pick(&secrets.vouchers);
    let client = match choices.index(3) {
        0 => *honest_key,
        1 => LOW_ORDER,
        _ => secrets.client_transient,
    };
    let honest_vouch = [secrets.client_transient, secrets.server].concat();
    let mut vouch = honest_vouch.clone();
    for byte in vouch.iter_mut().skip(choices.index(64)) {
        *byte ^= choices.byte();
        if choices.byte() == 0 {
            break;
        }
    }
    let mut boxed_vouch = seal(vouch_key, random(b"VOUCH---", &[3; 16]), &vouch);
    boxed_vouch.truncate(80 - choices.index(2));
    let metadata = choices.rest();
    let text = [&client[..], &[3; 16], &boxed_vouch, metadata].concat();
    let boxed = seal(
        &secrets.traffic,
        counted(b"CurveZMQINITIATE", counter),
        &text,
    );
    let data = [&cookie[..], &counter.to_be_bytes(), &boxed].concat();
    let is_proven = bits == 0
        && (2..u64::MAX).contains(&counter)
        && client == *honest_key
        && vouch == honest_vouch
        && boxed_vouch.len() == 80
        && data.len() + b"\x08INITIATE".len() <= MAX_HANDSHAKE_COMMAND;
    let fitting = ["REQ", "DEALER", "ROUTER"];
    let is_good = is_proven && metadata_model::is_claim(metadata, MAX_PROPERTIES, &fitting);
    for name in ["curve-asks", "curve-denies"] {
        let setup = named(servers(), name);
        let server = ScriptedPeer::fed(
            setup,
            &[recorded_hello(), command("INITIATE", &data)].concat(),
        );
        assert_eq!(server.asked().is_some(), is_good, "{:?}", server.events());
        assert_eq!(server.is_complete(), is_good && setup.denies.is_none());
        if let Some(asked) = server.asked() {
            check_question(asked, &client, metadata);
        }
    }
    is_good
}

/// The handler is asked about exactly the key that was proven and the claims that were sealed.
fn check_question(asked: &AccessRequest, client: &[u8; 32], metadata: &[u8]) {
    let Credentials::Curve { key } = &asked.credentials else {
        panic!("{:?} is asked about", asked.credentials.mechanism());
    };
    assert_eq!(key.as_bytes(), client);
    assert_eq!(asked.credentials.mechanism(), MechanismKind::Curve);
    let claims = &asked
        .claims
        .as_ref()
        .expect("CURVE knows the claims")
        .properties;
    let properties = metadata_model::parse(metadata, MAX_PROPERTIES).expect("good metadata");
    assert_eq!(claims.len(), properties.len());
    for (name, value) in &properties {
        assert_eq!(claims.get(name).expect("it was claimed"), value);
    }
}

/// READY: counter, and metadata of any bytes.
fn ready(choices: &mut Choices<'_>) -> bool {
    let counter = counter(choices);
    let metadata = choices.rest();
    let boxed = seal(
        &secrets().traffic,
        counted(b"CurveZMQREADY---", counter),
        metadata,
    );
    let data = [&counter.to_be_bytes()[..], &boxed].concat();
    let is_good = counter != 0
        && counter != u64::MAX
        && data.len() + b"\x05READY".len() <= MAX_HANDSHAKE_COMMAND
        && metadata_model::is_claim(metadata, MAX_PROPERTIES, &["REP", "DEALER", "ROUTER"]);
    let client = ScriptedPeer::fed(
        named(clients(), "curve"),
        &[recorded_welcome(), command("READY", &data)].concat(),
    );
    assert_eq!(client.is_complete(), is_good, "{:?}", client.events());
    is_good
}

/// The longest PING, which leaves no room for a message.
const MAX_PING: usize = 23;

/// MESSAGEs: for each the flags of the frame, which have no meaning, a counter, the sealed flags and a
/// payload. Opened together they give the same as opened one by one.
fn messages(
    choices: &mut Choices<'_>,
    new: fn() -> ScriptedPeer,
    prefix: &[u8; 16],
    mut last: u64,
) -> bool {
    let (mut scripted_peer, mut stream) = (new(), Vec::new());
    let (mut frames, mut room) = (0, MAX_MESSAGE);
    let mut is_over = false;
    while !choices.is_empty() {
        let outer = *choices.pick(&[0, 0, 0, 1, 2, 4]);
        let counter = match choices.byte() {
            0 => last.saturating_add(1),
            other => counter(&mut Choices::new(&[other])),
        };
        let flags = choices.byte();
        let payload = choices.string();
        let text = match flags {
            255 => Vec::new(),
            flags => [&[flags], payload].concat(),
        };
        let boxed = seal(&secrets().traffic, counted(prefix, counter), &text);
        let body = [b"\x07MESSAGE", &counter.to_be_bytes()[..], &boxed].concat();
        let before = scripted_peer.events().len();
        let framed = match outer {
            2 if body.len() < 256 => [&[2][..], &(body.len() as u64).to_be_bytes(), &body].concat(),
            2 => frame(0, &body),
            other => frame(other, &body),
        };
        scripted_peer.feed(&framed);
        stream.extend(framed);
        let meaning = match flags {
            0 => Some(Flags::Last),
            1 => Some(Flags::More),
            2 => Some(Flags::Command),
            _ => None,
        };
        let is_good = !is_over
            && counter > last
            && counter < u64::MAX
            && (payload.len() <= room || (flags == 2 && payload.len() <= MAX_PING))
            && match meaning {
                None => false,
                Some(Flags::More) => frames + 1 < crate::setup::MAX_FRAMES,
                Some(Flags::Last) => true,
                Some(Flags::Command) => TrafficCommand::parse(&payload.to_vec().into()).is_ok(),
            };
        let happened = &scripted_peer.events()[before..];
        match (meaning, is_good) {
            (Some(meaning), true) => {
                assert_eq!(happened, [Event::Frame(meaning, payload.to_vec())]);
            }
            _ if is_over => assert_eq!(happened, []),
            _ => assert!(matches!(happened, [Event::Failed(_)]), "{happened:?}"),
        }
        is_over |= !is_good;
        last = counter;
        match meaning {
            Some(Flags::More) => (frames, room) = (frames + 1, room.saturating_sub(payload.len())),
            Some(Flags::Last) => (frames, room) = (0, MAX_MESSAGE),
            _ => {}
        }
    }
    let mut batched = new();
    batched.read_at_once(usize::MAX);
    batched.feed(&stream);
    assert_eq!(batched.events(), scripted_peer.events(), "opened together");
    !is_over
}

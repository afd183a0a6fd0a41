//! Thousands of malformed handshakes over tcp and ipc: every one is refused.

use super::curve::CurveClient;
use super::load_attack::{Dice, MIB, alone, crowd, load_attack, scaled};
use super::raw::{Raw, Stream, command, first_command, frame, greeting, metadata, null_ready};
use super::server::{KINDS, Kind, Server, Setup, Target};
use tokio::net::UnixStream;

/// Attackers at a time.
const WIDTH: usize = 16;

/// A client's output up to its first command, with one part that every server must refuse.
fn malformed(target: &Target, dice: &mut Dice) -> Vec<u8> {
    let mut greeting = greeting(target.kind.mechanism()).to_vec();
    let mut first = match target.kind {
        Kind::Curve => frame(4, &CurveClient::new(&target.key).hello()),
        kind => first_command(kind),
    };
    match dice.below(10) {
        0 => {
            let len = 1 + dice.below(300);
            greeting = dice.bytes(len);
            greeting[0] &= 0x7F;
        }
        1 => match dice.below(3) {
            0 => greeting[0] ^= 1 << dice.below(8),
            1 => greeting[9] = dice.roll() as u8 & 0xFE,
            _ => greeting[10] = dice.below(3) as u8,
        },
        2 => greeting[12 + dice.below(20)] ^= 1 << dice.below(8),
        3 => {
            while matches!(first[0], 4 | 6) {
                first[0] = dice.roll() as u8;
            }
        }
        // Lengths that are too large or too small, with no more bytes behind.
        4 => {
            let true_len = first[1];
            while first[1] == true_len {
                first[1] = dice.roll() as u8;
            }
        }
        5 => first[2 + dice.below(6)] ^= 1 << dice.below(8),
        6 => {
            let whole = [&greeting[..], &first].concat();
            return whole[..dice.below(whole.len())].to_vec();
        }
        // A short body in a long frame.
        7 => first = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &first[1..]].concat(),
        8 => {
            let names = [
                "WELCOME", "INITIATE", "MESSAGE", "ERROR", "PING", "HELLOO", "READYY", "",
            ];
            let len = dice.below(200);
            first = frame(4, &command(dice.one_of(&names), &dice.bytes(len)));
        }
        _ => first = malformed_command(first, target.kind, dice),
    }
    [greeting, first].concat()
}

/// A first command with a correct frame and name.
fn malformed_command(mut first: Vec<u8>, kind: Kind, dice: &mut Dice) -> Vec<u8> {
    match kind {
        Kind::Curve => {
            let at = 2 + dice.below(first.len() - 2);
            first[at] ^= 1 << dice.below(8);
            first
        }
        Kind::Plain => {
            let data: [&[u8]; 6] = [
                b"",
                b"\x04user",
                b"\x04user\x09password",
                b"\x04user\x07password",
                b"\xFFuser\x08password",
                b"\x04user\x08password\0",
            ];
            frame(4, &command("HELLO", dice.one_of(&data)))
        }
        Kind::Null | Kind::NullAsks => {
            let socket = metadata(&[("Socket-Type", b"DEALER")]);
            let long = [b'x'; 256];
            let data = [
                Vec::new(),
                socket[..socket.len() - 1].to_vec(),
                [&socket[..], &[0]].concat(),
                metadata(&[("Socket-Type", b"DEALER"), ("Socket-Type", b"DEALER")]),
                metadata(&[("Socket-Type", b"DEALER"), ("socket-type", b"ROUTER")]),
                metadata(&[("Socket-Type", b"DEALER"), ("", b"nameless")]),
                metadata(&[("Socket-Type", b"DEALER"), ("Identity", &long)]),
                metadata(&[("Socket-Type", b"dealer")]),
                metadata(&[("Socket-Type", b"PUB")]),
                metadata(&[("Identity", b"me")]),
                [&socket[..], b"\x01a\xFF\xFF\xFF\xFF"].concat(),
                socket.repeat(5),
                metadata(&[("Socket-Type", b"DEALER"), ("X\n", b"")]),
            ];
            frame(4, &command("READY", &data[dice.below(data.len())]))
        }
    }
}

/// Sends one malformed handshake, and checks that the answer holds no more than a refusal.
async fn botch<S: Stream>(mut raw: Raw<S>, target: Target, mut dice: Dice) {
    if target.kind == Kind::Curve && dice.below(4) == 0 {
        // Valid up to INITIATE, in which one bit is flipped.
        raw.greet("CURVE").await;
        let client = CurveClient::new(&target.key);
        let welcomed = client.be_welcomed(&mut raw).await;
        let ours = metadata(&[("Socket-Type", b"DEALER")]);
        let mut initiate = client.initiate(&welcomed, &ours);
        let at = dice.below(initiate.len());
        initiate[at] ^= 1 << dice.below(8);
        raw.say(&frame(4, &initiate)).await;
        raw.finish().await;
        assert!(raw.rest().await.is_empty());
        return;
    }
    raw.say(&malformed(&target, &mut dice)).await;
    raw.finish().await;
    let heard = raw.rest().await;
    // NULL sends READY at once, or after policy's answer, in any case before the peer's READY.
    let ready = match target.kind {
        Kind::Null | Kind::NullAsks => {
            null_ready("DEALER").len() + metadata(&[("Identity", b"")]).len()
        }
        Kind::Plain | Kind::Curve => 0,
    };
    assert!(heard.len() <= 64 + ready, "{heard:?}");
}

/// The seed of each round's random numbers, different for all attacks.
fn dice(kind: Kind, load: usize, index: usize) -> Dice {
    Dice(((kind as u64) << 48) + ((load as u64) << 24) + index as u64)
}

#[test]
fn every_malformed_handshake_over_tcp_is_refused() {
    alone(async || {
        for kind in KINDS {
            let what = format!("malformed over tcp, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let target = server.target.clone();
                let botching = crowd(load, WIDTH, move |index| {
                    let target = target.clone();
                    async move {
                        let raw = Raw::connect(&target).await;
                        botch(raw, target, dice(kind, load, index)).await;
                    }
                });
                tokio::join!(botching, server.refusals(load, |_| true));
            };
            load_attack(&what, Setup::new(kind), scaled(10_000, 1000), MIB, attack).await;
        }
    });
}

#[test]
fn every_malformed_handshake_over_ipc_is_refused() {
    alone(async || {
        let folder = tempfile::tempdir().unwrap();
        for kind in KINDS {
            let what = format!("malformed over ipc, {kind:?}");
            let path = folder.path().join(format!("{kind:?}"));
            let attack = async |server: &mut Server, load| {
                let target = server.target.clone();
                let path = path.clone();
                let botching = crowd(load, WIDTH, move |index| {
                    let (target, path) = (target.clone(), path.clone());
                    async move {
                        let raw = Raw(UnixStream::connect(path).await.unwrap());
                        botch(raw, target, dice(kind, load, index)).await;
                    }
                });
                tokio::join!(botching, server.refusals(load, |_| true));
            };
            let setup = Setup::new(kind).endpoint(format!("ipc://{}", path.display()));
            // 10^5 in all. The first run of each mechanism adds a tenth of its share.
            load_attack(&what, setup, scaled(25_000, 1000), MIB, attack).await;
        }
    });
}

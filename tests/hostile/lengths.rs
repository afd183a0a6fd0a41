//! Lengths that wrap, lie or are large (CVE-2019-6250, CVE-2019-13132), during and after the
//! handshake.

use super::curve::{CurveClient, serve};
use super::load_attack::{KIB, MIB, alone, load_attack, scaled};
use super::raw::{
    Raw, RawServer, command, established, frame, long_header, metadata_of, plain_hello,
};
use super::server::{KINDS, Kind, Server, Setup, Target, dial};
use std::sync::Arc;
use zmtp_auth::net::NetError;
use zmtp_auth::{CryptoError, Error, LimitExceeded, Limits};

/// 64-bit lengths that provoke arithmetic overflow.
const WRAPPING: [u64; 8] = [
    u64::MAX,
    u64::MAX - 8,
    u64::MAX - 37,
    1 << 63,
    (1 << 63) - 1,
    u64::MAX - 32,
    1 << 32,
    (64 << 20) + 100,
];

#[test]
fn cve_2019_6250_lengths_that_wrap_are_refused_by_their_header_after_the_handshake() {
    alone(async || {
        for kind in KINDS {
            let what = format!("CVE-2019-6250: lengths in traffic, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let size = WRAPPING[round % WRAPPING.len()];
                    let mut raw = established(&server.target, "DEALER").await;
                    server.accepted().await;
                    // Under CURVE the outer flags are never MORE nor COMMAND.
                    let flags = if kind == Kind::Curve {
                        0
                    } else {
                        [0, 1, 4][round % 3]
                    };
                    raw.say(&long_header(flags, size)).await;
                    raw.say(&[0; 100]).await;
                    let end = server.end().await;
                    let expected = matches!(
                        end,
                        NetError::Traffic(Error::Limit(LimitExceeded::Message { .. }))
                    );
                    assert!(expected, "{size}: {end}");
                    raw.rest().await;
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(5000, 300), MIB, attack).await;
        }
    });
}

fn is_too_long_a_command(error: &Error) -> bool {
    matches!(error, Error::Limit(LimitExceeded::HandshakeCommand { .. }))
}

#[test]
fn cve_2019_6250_lengths_that_wrap_are_refused_by_their_header_before_the_handshake() {
    alone(async || {
        for kind in KINDS {
            let what = format!("CVE-2019-6250: lengths in handshakes, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let size = WRAPPING[round % WRAPPING.len()];
                    let mut raw = Raw::greeted(&server.target).await;
                    raw.say(&long_header(4, size)).await;
                    raw.say(&[0; 100]).await;
                    let error = server.refusal().await;
                    assert!(is_too_long_a_command(&error), "{size}: {error}");
                    raw.rest().await;
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(5000, 300), MIB, attack).await;
        }
    });
}

#[test]
fn cve_2019_6250_a_client_of_ours_refuses_them_too() {
    alone(async || {
        for kind in KINDS {
            let what = format!("CVE-2019-6250: lengths from servers, {kind:?}");
            let attack = async |_: &mut Server, load| {
                let hostile = RawServer::bind().await;
                for round in 0..load {
                    let size = WRAPPING[round % WRAPPING.len()];
                    let answering = async {
                        let mut raw = hostile.visitor().await;
                        raw.greet(kind.mechanism()).await;
                        raw.say(&long_header(4, size)).await;
                        raw.rest().await;
                    };
                    let asked = Arc::default();
                    let dialling = dial(kind, hostile.endpoint(), &asked);
                    let (dialled, ()) = tokio::join!(dialling, answering);
                    let error = dialled.unwrap_err();
                    assert!(is_too_long_a_command(error.protocol().unwrap()), "{error}");
                }
            };
            load_attack(&what, Setup::new(kind), scaled(2000, 100), MIB, attack).await;
        }
    });
}

/// Peers that announce the longest allowed length and send little or nothing of it.
#[test]
fn cve_2019_6250_lengths_that_are_allowed_and_never_come_reserve_little() {
    /// Peers at a time, and what each may cost: the buffer that a claim reserves, and bookkeeping.
    const AT_ONCE: usize = 20;
    const EACH: usize = Limits::MAX_INITIAL_RESERVE + 64 * KIB;
    alone(async || {
        for kind in KINDS {
            let what = format!("CVE-2019-6250: lengths that lie, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let mut liars = Vec::new();
                    for liar in 0..AT_ONCE {
                        let mut raw = established(&server.target, "DEALER").await;
                        server.accepted().await;
                        raw.say(&long_header(0, 64 << 20)).await;
                        raw.say(&vec![0; [0, 1, 100, 30_000][(round + liar) % 4]])
                            .await;
                        liars.push(raw);
                    }
                    drop(liars);
                    for _ in 0..AT_ONCE {
                        let end = server.end().await;
                        assert!(matches!(end, NetError::Closed), "{end}");
                    }
                }
                assert!(server.notes().is_empty());
            };
            let max = AT_ONCE * EACH;
            load_attack(&what, Setup::new(kind), scaled(200, 10), max, attack).await;
        }
    });
}

/// The default limit on a command of the handshake, and one under which metadata of 64 KiB passes.
fn both_limits() -> [Limits; 2] {
    let mut generous = Limits::default();
    generous.max_handshake_command = 256 * KIB;
    [Limits::default(), generous]
}

/// Lengths of metadata in bytes: all near the default limit on a command whose other parts take
/// `around` bytes, and some far below and above it.
fn metadata_lengths(around: usize) -> [usize; 9] {
    let max = Limits::default().max_handshake_command - around;
    [
        256,
        257,
        4096,
        max - 1,
        max,
        max + 1,
        16_384,
        65_535,
        65_536,
    ]
}

/// Brings a peer to the point where its metadata is due, and returns that command's body with `len`
/// bytes of metadata.
async fn with_metadata(target: &Target, len: usize) -> (Raw, Vec<u8>) {
    let ours = metadata_of("DEALER", len);
    match target.kind {
        Kind::Null | Kind::NullAsks => (Raw::greeted(target).await, command("READY", &ours)),
        Kind::Plain => {
            let mut raw = Raw::greeted(target).await;
            raw.say(&plain_hello("mallory", "secret")).await;
            raw.frame().await;
            (raw, command("INITIATE", &ours))
        }
        Kind::Curve => {
            let (raw, client, welcomed) = CurveClient::welcomed(target).await;
            let initiate = client.initiate(&welcomed, &ours);
            (raw, initiate)
        }
    }
}

/// Bytes around the metadata in what [`with_metadata`] gives.
const fn around(kind: Kind) -> usize {
    match kind {
        Kind::Null | Kind::NullAsks => 1 + 5,
        Kind::Plain => 1 + 8,
        Kind::Curve => 1 + 8 + 96 + 8 + 16 + 32 + 96,
    }
}

#[test]
fn cve_2019_13132_large_metadata_passes_up_to_the_limit_and_fails_cleanly_beyond() {
    alone(async || {
        for kind in KINDS {
            for limits in both_limits() {
                let limit = limits.max_handshake_command;
                let what = format!("CVE-2019-13132: metadata, {kind:?}, at most {limit}");
                let attack = async |server: &mut Server, load| {
                    for round in 0..load {
                        let len = metadata_lengths(around(kind))[round % 9];
                        let (mut raw, body) = with_metadata(&server.target, len).await;
                        raw.say(&frame(4, &body)).await;
                        if body.len() <= limit {
                            server.accepted().await;
                            raw.finish().await;
                            assert!(matches!(server.end().await, NetError::Closed));
                        } else {
                            let error = server.refusal().await;
                            assert!(is_too_long_a_command(&error), "{len}: {error}");
                        }
                        raw.rest().await;
                    }
                    assert!(server.notes().is_empty());
                };
                let setup = Setup::new(kind).limits(limits);
                load_attack(&what, setup, scaled(2000, 90), 2 * MIB, attack).await;
            }
        }
    });
}

#[test]
fn cve_2019_13132_large_metadata_in_a_bad_box_is_refused() {
    alone(async || {
        for limits in both_limits() {
            let limit = limits.max_handshake_command;
            let what = format!("CVE-2019-13132: bad boxes, at most {limit}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let len = metadata_lengths(around(Kind::Curve))[round % 9];
                    let (mut raw, mut body) = with_metadata(&server.target, len).await;
                    let (index, bit) = (body.len() - 1 - round % len, round % 8);
                    body[index] ^= 1 << bit;
                    raw.say(&frame(4, &body)).await;
                    let error = server.refusal().await;
                    if body.len() <= limit {
                        let unopened = Error::Crypto(CryptoError::BoxNotOpened("INITIATE"));
                        assert_eq!(error, unopened);
                    } else {
                        assert!(is_too_long_a_command(&error), "{len}: {error}");
                    }
                    raw.rest().await;
                }
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(Kind::Curve).limits(limits);
            load_attack(&what, setup, scaled(2000, 90), 2 * MIB, attack).await;
        }
    });
}

#[test]
fn cve_2019_13132_a_client_of_ours_takes_large_metadata_up_to_the_limit() {
    /// READY's body without its metadata: name, nonce and tag.
    const AROUND: usize = 1 + 5 + 8 + 16;
    alone(async || {
        let attack = async |_: &mut Server, load| {
            let hostile = RawServer::bind().await;
            for round in 0..load {
                let len = metadata_lengths(AROUND)[round % 9];
                let answering = async {
                    let mut raw = hostile.visitor().await;
                    serve(&mut raw, &metadata_of("DEALER", len)).await;
                    raw
                };
                let asked = Arc::default();
                let dialling = dial(Kind::Curve, hostile.endpoint(), &asked);
                let (dialled, _raw) = tokio::join!(dialling, answering);
                if AROUND + len <= Limits::default().max_handshake_command {
                    assert!(dialled.is_ok(), "{dialled:?}");
                } else {
                    let error = dialled.unwrap_err();
                    assert!(is_too_long_a_command(error.protocol().unwrap()), "{error}");
                }
            }
        };
        let setup = Setup::new(Kind::Curve);
        let what = "CVE-2019-13132: metadata of servers";
        load_attack(what, setup, scaled(2000, 90), 2 * MIB, attack).await;
    });
}

//! Downgrades: peers of older protocols and of other mechanisms, against a listener and against a
//! client of ours (CVE-2014-7202, CVE-2014-9721).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(all(unix, feature = "tokio"))]

mod hostile;

use hostile::raw::{Raw, RawServer, first_command, greeting};
use hostile::server::{ASKING, Kind, Noted, Setup, client};
use hostile::{MIB, alone, scaled, siege_within, soon};
use zmtp_auth::net::{Connection, NetError};
use zmtp_auth::{Error, Incompatible, Limits, SocketType};

/// How an older peer begins, or one that wants to pass for it; and how many of these bytes suffice
/// to know.
fn older() -> Vec<(Vec<u8>, usize)> {
    let signed = |tail: &[u8]| [&[0xFF, 0, 0, 0, 0, 0, 0, 0, 1][..], tail].concat();
    vec![
        // ZMTP 1: an anonymous peer, one with an identity, and one with the long form of a length.
        (b"\x01\x00\x05\x00junk".to_vec(), 1),
        (b"\x06\x00admin\x05\x00junk".to_vec(), 1),
        (signed(b"\x00\x05\x00junk"), 10),
        (signed(b"\x7E\x05\x00junk"), 10),
        // ZMTP 2, whose third byte behind the signature is the socket type; then an identity.
        (signed(b"\x7F\x01\x05\x00\x00"), 11),
        (signed(b"\x7F\x02\x05\x00\x00"), 11),
        (signed(b"\x7F\x00\x05\x00\x00"), 11),
        // And what is no ZMTP at all.
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1),
        (vec![0; 64], 1),
    ]
}

/// The same beginnings with the rest of a flawless handshake of today behind them.
fn tempting(begin: &[u8], kind: Kind) -> Vec<u8> {
    let greeting = greeting(kind.mechanism());
    let rest = &greeting[begin.len().min(64)..];
    [begin, rest, &first_command(kind)].concat()
}

fn is_too_old(error: &Error) -> bool {
    matches!(
        error,
        Error::Incompatible(Incompatible::NotZmtp3 | Incompatible::OldVersion { .. })
    )
}

#[test]
fn older_peers_are_closed_on_and_policy_is_not_asked() {
    alone(
        "older_peers_are_closed_on_and_policy_is_not_asked",
        async || {
            for kind in ASKING {
                let what = format!("older peers, {kind:?}");
                let load = scaled(1000, 20);
                siege_within(&what, Setup::new(kind), load, MIB, async |server, load| {
                    for round in 0..load {
                        for (begin, telling) in older() {
                            let asked = server.asked();
                            let mut raw = Raw::connect(&server.target).await;
                            match round % 3 {
                                0 => _ = raw.say(&tempting(&begin, kind)).await,
                                1 => _ = raw.say(&begin).await,
                                // Nothing but what tells, byte by byte: no more is waited for.
                                _ => {
                                    for byte in &begin[..telling] {
                                        assert!(raw.say(&[*byte]).await);
                                        tokio::task::yield_now().await;
                                    }
                                }
                            }
                            // It is told our version, and nothing else.
                            let heard = raw.rest().await;
                            assert!(greeting(kind.mechanism())[..11].starts_with(&heard));
                            let error = server.refusal().await;
                            assert!(is_too_old(&error), "{error}");
                            assert_eq!(server.asked(), asked);
                        }
                    }
                    assert!(server.notes().is_empty());
                })
                .await;
            }
        },
    );
}

#[test]
fn every_byte_of_the_mechanism_must_be_ours() {
    alone("every_byte_of_the_mechanism_must_be_ours", async || {
        for kind in ASKING {
            let what = format!("other mechanisms, {kind:?}");
            siege_within(
                &what,
                Setup::new(kind),
                scaled(500, 10),
                MIB,
                async |server, load| {
                    for round in 0..load {
                        let asked = server.asked();
                        let mut bytes = greeting(kind.mechanism());
                        if round % 2 == 0 {
                            // One byte altered somewhere in the 20.
                            bytes[12 + round / 2 % 20] ^= 0x20;
                        } else {
                            let others = ["NULL", "PLAIN", "CURVE", "GSSAPI", "curve", ""];
                            let other = others[round / 2 % others.len()];
                            if other == kind.mechanism() {
                                continue;
                            }
                            bytes = greeting(other);
                        }
                        let mut raw = Raw::connect(&server.target).await;
                        raw.say(&bytes).await;
                        raw.say(&first_command(kind)).await;
                        let heard = raw.rest().await;
                        assert!(heard.len() <= 64, "{heard:?}");
                        let error = server.refusal().await;
                        let expected =
                            matches!(error, Error::Incompatible(Incompatible::Mechanism { .. }));
                        assert!(expected, "{error}");
                        assert_eq!(server.asked(), asked);
                    }
                    assert!(server.notes().is_empty());
                },
            )
            .await;
        }
    });
}

#[test]
fn a_client_of_ours_tells_an_older_server_nothing() {
    alone(
        "a_client_of_ours_tells_an_older_server_nothing",
        async || {
            for kind in ASKING {
                let what = format!("older servers, {kind:?}");
                siege_within(
                    &what,
                    Setup::new(kind),
                    scaled(1000, 20),
                    MIB,
                    async |_, load| {
                        let hostile = RawServer::bind().await;
                        for round in 0..load {
                            for (begin, _) in older() {
                                let config =
                                    client(kind, SocketType::Dealer, "", Limits::default());
                                let dialling =
                                    soon(Connection::connect(hostile.endpoint(), config, ()));
                                let answering = async {
                                    let mut raw = hostile.visitor().await;
                                    raw.say(&match round % 2 {
                                        0 => tempting(&begin, kind),
                                        _ => begin.clone(),
                                    })
                                    .await;
                                    raw.rest().await
                                };
                                let (dialled, heard) = tokio::join!(dialling, answering);
                                match dialled {
                                    Err(NetError::Handshake(error)) => {
                                        assert!(is_too_old(&error), "{error}");
                                    }
                                    other => panic!("{other:?}"),
                                }
                                assert!(greeting(kind.mechanism())[..11].starts_with(&heard));
                            }
                        }
                    },
                )
                .await;
            }
        },
    );
}

#[test]
fn a_client_of_ours_tells_a_server_of_another_mechanism_no_password() {
    let test = "a_client_of_ours_tells_a_server_of_another_mechanism_no_password";
    alone(test, async || {
        let what = "servers of another mechanism";
        siege_within(
            what,
            Setup::new(Kind::Plain),
            scaled(500, 20),
            MIB,
            async |server, load| {
                let hostile = RawServer::bind().await;
                for round in 0..load {
                    let config = client(Kind::Plain, SocketType::Dealer, "", Limits::default());
                    let dialling = soon(Connection::connect(hostile.endpoint(), config, ()));
                    let answering = async {
                        let mut raw = hostile.visitor().await;
                        raw.say(&greeting(["NULL", "CURVE", "PLAINER"][round % 3]))
                            .await;
                        raw.say(&first_command(Kind::Null)).await;
                        raw.rest().await
                    };
                    let (dialled, heard) = tokio::join!(dialling, answering);
                    let error = dialled.err().unwrap();
                    let expected = matches!(
                        error.protocol(),
                        Some(Error::Incompatible(Incompatible::Mechanism { .. }))
                    );
                    assert!(expected, "{error}");
                    assert!(heard.len() <= 64, "{heard:?}");
                }
                let noted = server.notes();
                assert!(!noted.iter().any(|note| matches!(note, Noted::Accepted)));
            },
        )
        .await;
    });
}

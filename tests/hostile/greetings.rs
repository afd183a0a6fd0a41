//! No downgrade (CVE-2014-7202, CVE-2014-9721): peers of older protocols and other mechanisms are
//! refused by listeners and clients.

use super::load_attack::{MIB, alone, load_attack, scaled};
use super::raw::{Raw, RawServer, first_command, greeting};
use super::server::{ASKING, Kind, Server, Setup, dial};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use zmtp_auth::net::NetError;
use zmtp_auth::{Error, Incompatible};

/// The first bytes of older peers, real or pretended, and how many of the bytes identify them.
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
        // Bytes that are not ZMTP.
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1),
        (vec![0; 64], 1),
    ]
}

/// The same first bytes followed by the rest of a valid ZMTP 3.1 handshake.
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

fn is_other_mechanism(error: &Error) -> bool {
    matches!(error, Error::Incompatible(Incompatible::Mechanism { .. }))
}

/// Our client's error for a failed handshake.
fn handshake_error<T>(dialled: Result<T, NetError>) -> Error {
    match dialled {
        Err(NetError::Handshake(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("connected"),
    }
}

#[test]
fn cve_2014_7202_and_9721_older_peers_are_closed_on_and_policy_is_not_asked() {
    alone(async || {
        for kind in ASKING {
            let what = format!("CVE-2014-7202: older peers, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    for (begin, telling) in older() {
                        let asked = server.asked();
                        let mut raw = Raw::connect(&server.target).await;
                        match round % 3 {
                            0 => _ = raw.say(&tempting(&begin, kind)).await,
                            1 => _ = raw.say(&begin).await,
                            // Sends only the identifying bytes, one at a time: the server must not
                            // wait for more.
                            _ => raw.say_in_bytes(&begin[..telling]).await,
                        }
                        // It receives our version and nothing else.
                        let heard = raw.rest().await;
                        assert!(greeting(kind.mechanism())[..11].starts_with(&heard));
                        let error = server.refusal().await;
                        assert!(is_too_old(&error), "{error}");
                        assert_eq!(server.asked(), asked);
                    }
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(600, 60), MIB, attack).await;
        }
    });
}

#[test]
fn cve_2014_7202_and_9721_a_client_of_ours_tells_an_older_server_nothing() {
    alone(async || {
        for kind in ASKING {
            let what = format!("CVE-2014-7202: older servers, {kind:?}");
            let attack = async |_: &mut Server, load| {
                let hostile = RawServer::bind().await;
                let asked = Arc::new(AtomicUsize::new(0));
                for round in 0..load {
                    for (begin, telling) in older() {
                        let answering = async {
                            let mut raw = hostile.visitor().await;
                            match round % 3 {
                                0 => _ = raw.say(&tempting(&begin, kind)).await,
                                1 => _ = raw.say(&begin).await,
                                _ => raw.say_in_bytes(&begin[..telling]).await,
                            }
                            raw.rest().await
                        };
                        let dialling = dial(kind, hostile.endpoint(), &asked);
                        let (dialled, heard) = tokio::join!(dialling, answering);
                        let error = handshake_error(dialled);
                        assert!(is_too_old(&error), "{error}");
                        assert!(greeting(kind.mechanism())[..11].starts_with(&heard));
                    }
                }
                assert_eq!(asked.load(Ordering::SeqCst), 0);
            };
            load_attack(&what, Setup::new(kind), scaled(600, 60), MIB, attack).await;
        }
    });
}

/// Greetings with another mechanism than `kind`'s: one of the 20 bytes altered, or another name.
fn other_mechanism(kind: Kind, round: usize) -> [u8; 64] {
    let mut bytes = greeting(kind.mechanism());
    if round.is_multiple_of(2) {
        bytes[12 + round / 2 % 20] ^= 0x20;
        return bytes;
    }
    let others: Vec<_> = ["NULL", "PLAIN", "CURVE", "GSSAPI", "curve", "PLAINER", ""]
        .into_iter()
        .filter(|other| *other != kind.mechanism())
        .collect();
    greeting(others[round / 2 % others.len()])
}

#[test]
fn cve_2014_7202_every_byte_of_the_mechanism_must_be_ours() {
    alone(async || {
        for kind in ASKING {
            let what = format!("CVE-2014-7202: other mechanisms, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let asked = server.asked();
                    let mut raw = Raw::connect(&server.target).await;
                    raw.say(&other_mechanism(kind, round)).await;
                    raw.say(&first_command(Kind::Null)).await;
                    let heard = raw.rest().await;
                    assert!(heard.len() <= 64, "{heard:?}");
                    let error = server.refusal().await;
                    assert!(is_other_mechanism(&error), "{error}");
                    assert_eq!(server.asked(), asked);
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(5000, 500), MIB, attack).await;
        }
    });
}

#[test]
fn cve_2014_7202_a_client_of_ours_tells_a_server_of_another_mechanism_no_password() {
    alone(async || {
        for kind in ASKING {
            let what = format!("CVE-2014-7202: servers of other mechanisms, {kind:?}");
            let attack = async |_: &mut Server, load| {
                let hostile = RawServer::bind().await;
                let asked = Arc::new(AtomicUsize::new(0));
                for round in 0..load {
                    let answering = async {
                        let mut raw = hostile.visitor().await;
                        raw.say(&other_mechanism(kind, round)).await;
                        raw.say(&first_command(Kind::Null)).await;
                        raw.rest().await
                    };
                    let dialling = dial(kind, hostile.endpoint(), &asked);
                    let (dialled, heard) = tokio::join!(dialling, answering);
                    let error = handshake_error(dialled);
                    assert!(is_other_mechanism(&error), "{error}");
                    assert!(heard.len() <= 64, "{heard:?}");
                }
                assert_eq!(asked.load(Ordering::SeqCst), 0);
            };
            load_attack(&what, Setup::new(kind), scaled(5000, 500), MIB, attack).await;
        }
    });
}

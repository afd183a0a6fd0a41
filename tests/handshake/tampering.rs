//! A middleman who changes bytes cannot complete a CURVE handshake, and elsewhere changes only what
//! is not protected.

use crate::pair;

use pair::{
    Delivery, Direction, Endpoint, KINDS, commands, drive, drive_through, endpoints, framed, stream,
};
use zmtp_auth::{Credentials, CryptoError, Peer};

/// Offsets of the frame headers and command bodies in the stream of one direction.
fn layout(log: &[Delivery], way: Direction) -> (Vec<usize>, Vec<usize>) {
    let mut at = 64;
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    for body in commands(log, way) {
        let header_len = framed(&body).len() - body.len();
        headers.extend(at..at + header_len);
        bodies.extend(at + header_len..at + header_len + body.len());
        at += header_len + body.len();
    }
    (headers, bodies)
}

/// Runs the handshake with one bit flipped in the stream of one direction.
fn with_flip(kind: &str, way: Direction, at: usize, bit: u8) -> (Endpoint, Endpoint) {
    let (mut client, mut server) = endpoints(kind, 7);
    let mut passed = 0;
    drive_through(&mut client, &mut server, |_, direction, mut bytes| {
        if direction == way {
            if (passed..passed + bytes.len()).contains(&at) {
                bytes[at - passed] ^= 1 << bit;
            }
            passed += bytes.len();
        }
        vec![bytes]
    });
    (client, server)
}

fn receiver(way: Direction, ends: &(Endpoint, Endpoint)) -> &Endpoint {
    match way {
        Direction::ToServer => &ends.1,
        Direction::ToClient => &ends.0,
    }
}

const WAYS: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

#[test]
fn every_flipped_bit_of_a_curve_command_is_refused() {
    for kind in ["curve", "curve-asks"] {
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive(&mut client, &mut server);
        for way in WAYS {
            for at in layout(&log, way).1 {
                for bit in 0..8 {
                    let ends = with_flip(kind, way, at, bit);
                    assert!(
                        receiver(way, &ends).error().is_some(),
                        "{kind} {way:?} byte {at} bit {bit}"
                    );
                    assert!(!receiver(way, &ends).is_complete());
                }
            }
        }
    }
}

#[test]
fn a_flipped_frame_header_is_refused_or_waits_but_never_completes() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive(&mut client, &mut server);
        for way in WAYS {
            for at in layout(&log, way).0 {
                for bit in 0..8 {
                    let ends = with_flip(kind, way, at, bit);
                    assert!(
                        !receiver(way, &ends).is_complete(),
                        "{kind} {way:?} {at} {bit}"
                    );
                }
            }
        }
    }
}

/// The properties in which the claims of two peers differ.
fn differing(one: &Peer, other: &Peer) -> usize {
    let list = |peer: &Peer| -> Vec<(String, Vec<u8>)> {
        peer.claims
            .properties
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
            .collect()
    };
    let (one, other) = (list(one), list(other));
    assert_eq!(one.len(), other.len());
    one.iter()
        .zip(&other)
        .filter(|(one, other)| one != other)
        .count()
}

#[test]
fn a_flip_under_null_and_plain_is_refused_or_changes_only_what_it_hits() {
    for kind in ["null", "null-asks", "null-both-ask", "plain"] {
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive(&mut client, &mut server);
        for way in WAYS {
            let reference = match way {
                Direction::ToServer => &server.established().peer,
                Direction::ToClient => &client.established().peer,
            };
            for at in layout(&log, way).1 {
                for bit in 0..8 {
                    let ends = with_flip(kind, way, at, bit);
                    let side = receiver(way, &ends);
                    if !side.is_complete() {
                        assert!(
                            side.error().is_some(),
                            "{kind} {way:?} {at} {bit}: undecided"
                        );
                        continue;
                    }
                    let mut changes = differing(&side.established().peer, reference);
                    if kind == "plain" && way == Direction::ToServer {
                        let Credentials::Plain { username, password } = &side.asked[0].credentials
                        else {
                            panic!("PLAIN asks about PLAIN")
                        };
                        changes += usize::from(username != "admin");
                        changes += usize::from(password.expose() != b"secret");
                    }
                    // Property names ignore case.
                    let case_alone = bit == 5 && stream(&log, way)[at].is_ascii_alphabetic();
                    assert!(
                        changes == 1 || (changes == 0 && case_alone),
                        "{kind} {at} {bit}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_flip_in_the_greeting_matters_exactly_where_it_should() {
    for kind in ["null", "plain", "curve"] {
        for way in WAYS {
            for at in 0..64 {
                for bit in 0..8 {
                    let ends = with_flip(kind, way, at, bit);
                    let side = receiver(way, &ends);
                    let matters = match at {
                        0 => true,
                        9 => bit == 0,
                        // 3 with one bit flipped is 2, 1, or more than 3.
                        10 => bit < 2,
                        12..32 => true,
                        _ => false,
                    };
                    assert_eq!(side.error().is_some(), matters, "{kind} {at} {bit}");
                    assert_eq!(side.is_complete(), !matters, "{kind} {at} {bit}");
                }
            }
        }
    }
}

#[test]
fn an_initiate_replayed_on_a_new_connection_is_refused() {
    for kind in ["curve", "curve-asks"] {
        let (mut client, mut server) = endpoints(kind, 7);
        let recorded = stream(&drive(&mut client, &mut server), Direction::ToServer);
        let (_, mut server) = endpoints(kind, 1234);
        server.feed(&recorded);
        assert_eq!(server.error(), Some(&CryptoError::Cookie.into()));
        assert!(server.asked.is_empty());
    }
}

#[test]
fn a_cookie_is_bound_to_the_address_it_was_made_for() {
    use zmtp_auth::PeerContext;
    use zmtp_auth::{Config, PeerAddress, SocketType};
    let config = Config::builder(SocketType::Router)
        .curve_server(pair::server_keys())
        .accept_any_peer()
        .finish()
        .unwrap();
    let (mut client, mut server) = endpoints("curve", 7);
    let recorded = stream(&drive(&mut client, &mut server), Direction::ToServer);
    // The same randomness, so the same cookie key and s': only the address differs.
    let config = config.dangerous().with_random(pair::Seeded::new(8));
    let here = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    let mut same = Endpoint::with_conn(&config, here);
    same.feed(&recorded);
    assert!(
        same.is_complete(),
        "the recording is good where it was made"
    );
    let config = Config::builder(SocketType::Router)
        .curve_server(pair::server_keys())
        .accept_any_peer()
        .finish()
        .unwrap()
        .dangerous()
        .with_random(pair::Seeded::new(8));
    let there = PeerContext::new(PeerAddress::from_zap(b"127.0.0.2"));
    let mut other = Endpoint::with_conn(&config, there);
    other.feed(&recorded);
    assert_eq!(other.error(), Some(&CryptoError::Cookie.into()));
}

//! A handshake gives the same bytes however its byte stream is cut into pieces.

use crate::pair;

use pair::{Direction, KINDS, drive, drive_through, endpoints, stream};

#[test]
fn every_split_point_of_every_handshake_gives_the_same_bytes() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let reference = drive(&mut client, &mut server);
        assert!(client.is_complete() && server.is_complete());
        for direction in [Direction::ToServer, Direction::ToClient] {
            for cut in 0..stream(&reference, direction).len() {
                let (mut client, mut server) = endpoints(kind, 7);
                let mut passed = 0;
                let log = drive_through(&mut client, &mut server, |_, way, bytes| {
                    if way != direction {
                        return vec![bytes];
                    }
                    let at = cut.saturating_sub(passed).min(bytes.len());
                    passed += bytes.len();
                    vec![bytes[..at].to_vec(), bytes[at..].to_vec()]
                });
                assert!(
                    client.is_complete() && server.is_complete(),
                    "{kind} {direction:?} {cut}"
                );
                for way in [Direction::ToServer, Direction::ToClient] {
                    assert_eq!(stream(&log, way), stream(&reference, way), "{kind} {cut}");
                }
            }
        }
    }
}

#[test]
fn byte_by_byte_gives_the_same_bytes() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let reference = drive(&mut client, &mut server);
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive_through(&mut client, &mut server, |_, _, bytes| {
            bytes.iter().map(|byte| vec![*byte]).collect()
        });
        assert!(client.is_complete() && server.is_complete(), "{kind}");
        for way in [Direction::ToServer, Direction::ToClient] {
            assert_eq!(stream(&log, way), stream(&reference, way));
        }
    }
}

#[test]
fn every_prefix_alone_waits_and_neither_completes_nor_fails() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let reference = drive(&mut client, &mut server);
        let to_server = stream(&reference, Direction::ToServer);
        for len in 0..to_server.len() {
            let (_, mut server) = endpoints(kind, 7);
            server.feed(&to_server[..len]);
            assert!(
                server.error().is_none() && !server.is_complete(),
                "{kind} {len}"
            );
        }
    }
}

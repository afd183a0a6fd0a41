//! Every state of a handshake accepts exactly one command and refuses every other, even a genuine
//! one.

use crate::pair;

use pair::{Direction, Endpoint, KINDS, commands, drive, endpoints, framed, stream};
use zmtp_auth::Error;

/// Genuine commands of every mechanism and of traffic. They come from the session under test, which
/// is reproducible and so recorded ahead of time, and from all other sessions.
fn all_commands(kind: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (kind, seed) in [(kind, 7)].into_iter().chain(KINDS.map(|kind| (kind, 99))) {
        let (mut client, mut server) = endpoints(kind, seed);
        let log = drive(&mut client, &mut server);
        for way in [Direction::ToServer, Direction::ToClient] {
            all.extend(commands(&log, way));
        }
    }
    all.extend(
        [
            &b"\x05HELLO"[..],
            b"\x05HELLO\x00\x00",
            b"\x07WELCOME",
            b"\x08INITIATE",
            b"\x05READY",
            b"\x05ERROR\x03400",
            b"\x05ERROR\x03200",
            b"\x5ERROR\x03400",
            b"\x07MESSAGE",
            b"\x04PING\x00\x00",
            b"\x04PONG",
            b"\x09SUBSCRIBE",
            b"\x06CANCEL",
            b"\x05ready",
            b"\x06READY\x00",
            b"\x00",
            b"",
        ]
        .map(<[u8]>::to_vec),
    );
    all
}

/// A new side that has accepted `taken` of the peer's commands.
fn side_after(kind: &str, way: Direction, taken: usize, recorded: &[Vec<u8>]) -> Endpoint {
    let (client, server) = endpoints(kind, 7);
    let mut side = match way {
        Direction::ToServer => server,
        Direction::ToClient => client,
    };
    side.feed(&pair::greeting(kind));
    for body in &recorded[..taken] {
        side.feed(&framed(body));
    }
    assert!(
        side.error().is_none() && !side.is_complete(),
        "{kind} {way:?} {taken}"
    );
    side
}

#[test]
fn every_command_in_every_wrong_state_is_refused_by_client_and_server() {
    let mut tried = 0;
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive(&mut client, &mut server);
        let every = all_commands(kind);
        for way in [Direction::ToServer, Direction::ToClient] {
            let recorded = commands(&log, way);
            for taken in 0..recorded.len() {
                for wrong in &every {
                    // NULL and PLAIN prove nothing: another session's command of the right name is
                    // as good as this one's. Under CURVE that holds only for HELLO, with which
                    // anyone may begin.
                    let expected = &recorded[taken];
                    let name_len = 1 + usize::from(expected[0]);
                    let name_fits =
                        wrong.len() > name_len && wrong[..name_len] == expected[..name_len];
                    let hello = wrong.len() == 200 && wrong.starts_with(b"\x05HELLO");
                    let clear = !kind.starts_with("curve");
                    if wrong == expected || (name_fits && (clear || hello)) {
                        continue;
                    }
                    let mut side = side_after(kind, way, taken, &recorded);
                    let asked = side.asked.len();
                    side.feed(&framed(wrong));
                    assert!(side.error().is_some(), "{kind} {way:?} {taken} {wrong:?}");
                    assert_eq!(side.asked.len(), asked, "a wrong command asks no policy");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn nothing_revives_a_handshake_that_has_failed() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 7);
        let log = drive(&mut client, &mut server);
        let good = stream(&log, Direction::ToServer);
        let (_, mut server) = endpoints(kind, 7);
        server.feed(&good[..64]);
        server.feed(&framed(b"\x04PING\x00\x00"));
        let error = server.error().cloned().unwrap();
        assert!(matches!(error, Error::Protocol(_)));
        server.take_output();
        server.feed(&good[64..]);
        assert_eq!(server.error(), Some(&error));
        assert!(server.take_output().is_empty());
    }
}

#[test]
fn messages_and_overlong_frames_have_no_place_in_a_handshake() {
    use zmtp_auth::{LimitExceeded, ProtocolError};
    for kind in KINDS {
        for (frame, expected) in [
            (
                &b"\x00\x01x"[..],
                Error::from(ProtocolError::MessageInHandshake),
            ),
            (b"\x01\x01x", ProtocolError::MessageInHandshake.into()),
            (
                b"\x05\x01x",
                ProtocolError::FrameFlags { flags: 0x05 }.into(),
            ),
            (
                b"\x08\x01x",
                ProtocolError::FrameFlags { flags: 0x08 }.into(),
            ),
            (
                b"\x06\x00\x00\x00\x00\x00\x00\x00\xFF",
                ProtocolError::LongFrameInHandshake { size: 255 }.into(),
            ),
        ] {
            let mut side = side_after(kind, Direction::ToServer, 0, &[]);
            side.feed(frame);
            assert_eq!(side.error(), Some(&expected), "{kind} {frame:?}");
        }
        for size in [
            8193_u64,
            1 << 31,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX - 37,
            u64::MAX,
        ] {
            let mut side = side_after(kind, Direction::ToServer, 0, &[]);
            side.feed(&[&[0x06][..], &size.to_be_bytes()].concat());
            assert!(
                matches!(
                    side.error(),
                    Some(Error::Limit(LimitExceeded::HandshakeCommand { size: refused, .. }))
                        if *refused == size
                ),
                "{kind} {size}"
            );
        }
    }
}

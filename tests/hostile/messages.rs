//! Endless messages, long topics and junk to a publisher (CVE-2021-20234, -20236, -20237) are
//! bounded or dropped.

use super::curve::CurveClient;
use super::load_attack::{MIB, alone, is_full, load_attack, scaled};
use super::raw::{Raw, command, established, frame, long_header};
use super::server::{KINDS, Kind, Server, Setup};
use zmtp_auth::net::{Incoming, NetError};
use zmtp_auth::{Error, LimitExceeded, SocketType};

#[test]
fn cve_2021_20234_unfinished_multipart_messages_leave_nothing_behind() {
    alone(async || {
        for kind in [Kind::Null, Kind::Plain] {
            let what = format!("CVE-2021-20234: unfinished messages, {kind:?}");
            let attack = async |server: &mut Server, load| {
                for round in 0..load {
                    let mut raw = established(&server.target, "DEALER").await;
                    server.accepted().await;
                    let part = frame(0x01, &vec![b'x'; [0, 1, 255, 256, 5000][round % 5]]);
                    raw.say(&part.repeat(1 + round % 3)).await;
                    drop(raw);
                    let end = server.end().await;
                    assert!(matches!(end, NetError::Closed), "{end}");
                }
                assert!(server.notes().is_empty());
            };
            load_attack(&what, Setup::new(kind), scaled(10_000, 500), MIB, attack).await;
        }
    });
}

#[test]
fn cve_2021_20234_unfinished_multipart_messages_under_curve_leave_nothing_behind() {
    /// Sealed.
    const MORE: u8 = 0x01;
    alone(async || {
        let attack = async |server: &mut Server, load| {
            for round in 0..load {
                let (mut raw, traffic) = CurveClient::established(&server.target, "DEALER").await;
                server.accepted().await;
                for nonce in 3..4 + round % 3 {
                    let part = traffic.message(nonce as u64, MORE, &[b'x'; 300]);
                    raw.say(&frame(0, &part)).await;
                }
                drop(raw);
                let end = server.end().await;
                assert!(matches!(end, NetError::Closed), "{end}");
            }
            assert!(server.notes().is_empty());
        };
        let what = "CVE-2021-20234: unfinished messages, Curve";
        load_attack(
            what,
            Setup::new(Kind::Curve),
            scaled(10_000, 200),
            MIB,
            attack,
        )
        .await;
    });
}

/// An endless series of parts on one connection, empty or of a megabyte each.
#[test]
fn cve_2021_20234_a_message_without_end_is_cut_off_at_the_limits() {
    alone(async || {
        let attack = async |server: &mut Server, load| {
            for round in 0..load {
                let is_empty = round % 2 == 0;
                let part = vec![b'x'; if is_empty { 0 } else { MIB }];
                let part = frame(0x01, &part).repeat(if is_empty { 1000 } else { 1 });
                let mut raw = established(&server.target, "DEALER").await;
                server.accepted().await;
                while raw.say(&part).await {}
                let end = server.end().await;
                let expected = matches!(
                    (&end, is_empty),
                    (
                        NetError::Traffic(Error::Limit(LimitExceeded::Frames { .. })),
                        true
                    ) | (
                        NetError::Traffic(Error::Limit(LimitExceeded::Message { .. })),
                        false
                    )
                );
                assert!(expected, "{end}");
            }
            assert!(server.notes().is_empty());
        };
        let mut limits = zmtp_auth::Limits::default();
        limits.max_message = 8 * MIB;
        let setup = Setup::new(Kind::Null).limits(limits);
        load_attack(
            "CVE-2021-20234: messages without end",
            setup,
            scaled(200, 20),
            24 * MIB,
            attack,
        )
        .await;
    });
}

/// A part keeps the buffer that it was read into, and an ignored command makes that buffer large.
#[test]
fn parts_and_large_ignored_commands_hold_no_more_than_the_message() {
    /// Sealed.
    const MORE: u8 = 0x01;
    const COMMAND: u8 = 0x02;
    alone(async || {
        let part = vec![b'x'; 5000];
        let ignored = command("IGNORED", &vec![0; 4 * MIB]);
        for kind in KINDS {
            let attack = async |server: &mut Server, load| {
                let is_curve = kind == Kind::Curve;
                let (mut raw, traffic) = if is_curve {
                    let (raw, traffic) = CurveClient::established(&server.target, "DEALER").await;
                    (raw, Some(traffic))
                } else {
                    (established(&server.target, "DEALER").await, None)
                };
                server.accepted().await;
                let mut nonce = 2;
                let mut framed = |clear, sealed, body: &[u8]| {
                    nonce += 1;
                    match &traffic {
                        Some(traffic) => frame(0, &traffic.message(nonce, sealed, body)),
                        None => frame(clear, body),
                    }
                };
                for _ in 0..load {
                    assert!(raw.say(&framed(0x01, MORE, &part)).await);
                    assert!(raw.say(&framed(0x04, COMMAND, &ignored)).await);
                }
                assert!(raw.say(&framed(0, 0, b"end")).await);
                match server.delivery().await {
                    Incoming::Message(message) => assert_eq!(message.frames().len(), load + 1),
                    other => panic!("{other:?}"),
                }
                drop(raw);
                let end = server.end().await;
                assert!(matches!(end, NetError::Closed), "{end}");
            };
            let mut limits = zmtp_auth::Limits::default();
            limits.max_message = 8 * MIB;
            let setup = Setup::new(kind).limits(limits);
            // A command, the buffer before its last growth, the frame that the attacker makes of
            // it, and the copy for sealing.
            let max = if kind == Kind::Curve { 24 } else { 14 } * MIB;
            let what = format!("parts and large ignored commands, {kind:?}");
            load_attack(&what, setup, scaled(100, 30), max, attack).await;
        }
    });
}

#[test]
fn cve_2021_20236_long_topics_are_bounded_by_their_length() {
    alone(async || {
        let attack = async |server: &mut Server, load| {
            for round in 0..load {
                let len = MIB
                    * if is_full() {
                        1 + round % 16
                    } else {
                        [1, 16][round % 2]
                    };
                let mut raw = established(&server.target, "SUB").await;
                server.accepted().await;
                // Subscriptions as commands, and as messages as in ZMTP 3.0.
                let name = [&b"\x09SUBSCRIBE"[..], b"\x01"][round % 2];
                let flags = [0x04, 0][round % 2];
                raw.say(&long_header(flags, (name.len() + len) as u64))
                    .await;
                raw.say(name).await;
                say_topic(&mut raw, len).await;
                assert_eq!(topic_len(server.delivery().await), len);
                if round % 3 > 0 {
                    let name = [&b"\x06CANCEL"[..], b"\x00"][round % 2];
                    raw.say(&long_header(flags, (name.len() + len) as u64))
                        .await;
                    raw.say(name).await;
                    say_topic(&mut raw, len).await;
                    assert_eq!(topic_len(server.delivery().await), len);
                }
                drop(raw);
                let end = server.end().await;
                assert!(matches!(end, NetError::Closed), "{end}");
            }
            assert!(server.notes().is_empty());
        };
        // A topic, its read buffer, and the buffer before its last growth.
        let max = 3 * 16 * MIB + MIB;
        let setup = Setup::new(Kind::Null).socket(SocketType::Pub);
        load_attack(
            "CVE-2021-20236: topics of 1 to 16 MiB",
            setup,
            scaled(96, 6),
            max,
            attack,
        )
        .await;
    });
}

/// Sends `len` bytes of a topic in pieces.
async fn say_topic(raw: &mut Raw, len: usize) {
    let piece = vec![b'/'; MIB / 4];
    for _ in 0..len / piece.len() {
        raw.say(&piece).await;
    }
}

fn topic_len(incoming: Incoming) -> usize {
    match incoming {
        Incoming::Subscribe(topic) | Incoming::Unsubscribe(topic) => topic.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cve_2021_20237_junk_to_a_publisher_is_dropped() {
    /// Sends junk to a connection in one write.
    const AT_ONCE: usize = 100;
    alone(async || {
        for kind in KINDS {
            if kind == Kind::Curve {
                continue;
            }
            let what = format!("CVE-2021-20237: junk to a publisher, {kind:?}");
            let attack = async |server: &mut Server, load| {
                let mut raw = established(&server.target, "SUB").await;
                server.accepted().await;
                for round in 0..load / AT_ONCE {
                    raw.say(&junk(round).repeat(AT_ONCE)).await;
                }
                // When this message arrives, everything before it has been read.
                raw.say(&frame(0x04, &command("SUBSCRIBE", b"after the junk")))
                    .await;
                let after = Incoming::Subscribe("after the junk".into());
                assert_eq!(server.delivery().await, after);
                drop(raw);
                let end = server.end().await;
                assert!(matches!(end, NetError::Closed), "{end}");
                assert!(server.notes().is_empty());
            };
            let setup = Setup::new(kind).socket(SocketType::Pub);
            load_attack(&what, setup, scaled(1_000_000, 100_000), MIB, attack).await;
        }
    });
}

/// Messages that a subscriber must not send, and meaningless ones.
fn junk(round: usize) -> Vec<u8> {
    match round % 6 {
        0 => frame(0, b""),
        1 => frame(0, b"no subscription"),
        2 => [frame(1, b"\x01parts"), frame(1, b""), frame(0, b"\x01end")].concat(),
        3 => frame(0, &[2; 300]),
        4 => frame(0x04, &command("JOIN", b"group")),
        _ => frame(0x04, &command("SUBSCRIBER", b"topic")),
    }
}

//! Which traffic crosses a tunnel once both handshakes are complete, and which does not.

use super::rig::{Ended, MECHANISMS, Program, Tunnel, WHOLE, client, drive, null, server};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::{Duration, Instant};
use zmtp_auth::relay::{Relay, RelayError, Side};
use zmtp_auth::traffic::heartbeat::HeartbeatExpired;
use zmtp_auth::traffic::seal::MESSAGE_OVERHEAD;
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Config, Error, LimitExceeded, ProtocolError, SocketType};

/// A row of programs and tunnels that have completed their handshakes.
struct Line {
    first: Program,
    tunnels: Vec<Tunnel>,
    last: Program,
}

impl Line {
    fn of(first: Program, tunnels: Vec<Tunnel>, last: Program) -> Self {
        let mut line = Self {
            first,
            tunnels,
            last,
        };
        line.drive();
        assert!(line.first.is_complete() && line.last.is_complete());
        line
    }

    /// Two programs with NULL, and a client's and a server's tunnel between them.
    fn through_both(mechanism: &str, first: SocketType, last: SocketType) -> Self {
        Self::of(
            Program::new(null(Config::builder(first))),
            vec![Tunnel::client(mechanism), Tunnel::server(mechanism)],
            Program::new(null(Config::builder(last))),
        )
    }

    /// Two programs with one tunnel between them, the second of ZMTP 3.0.
    fn to_old(mechanism: &str, first: SocketType, last: SocketType) -> Self {
        Self::of(
            Program::new(client(Config::builder(first), mechanism)),
            vec![Tunnel::server(mechanism)],
            Program::new(null(Config::builder(last))).old(),
        )
    }

    fn drive(&mut self) {
        drive(&mut self.first, &mut self.tunnels, &mut self.last, WHOLE);
    }
}

fn ping(ttl: u16, context: &'static str) -> Bytes {
    let context = context.into();
    TrafficCommand::Ping { ttl, context }.encode().unwrap()
}

fn pong(context: &'static str) -> Bytes {
    let context = context.into();
    TrafficCommand::Pong { context }.encode().unwrap()
}

#[test]
fn messages_cross_whole_in_order_and_both_ways() {
    for mechanism in MECHANISMS {
        let mut line = Line::through_both(mechanism, SocketType::Dealer, SocketType::Router);
        for size in [0, 1, 254, 255, 256, 4095, 4096, 65_536, 300_000] {
            let body = vec![7; size];
            let message: [(Flags, Bytes); 4] = [
                (Flags::More, "".into()),
                (Flags::More, body.clone().into()),
                (Flags::More, "x".into()),
                (Flags::Last, body.into()),
            ];
            for (flags, body) in &message {
                line.first.send(*flags, body);
                line.last.send(*flags, body);
            }
            line.first.send(Flags::Last, b"next");
            line.drive();
            let there = line.last.received();
            assert_eq!(there[..4], message);
            assert_eq!(there[4..], [(Flags::Last, "next".into())]);
            assert_eq!(line.first.received(), message);
        }
    }
}

#[test]
fn a_message_without_its_last_frame_never_arrives() {
    let mut line = Line::through_both("curve", SocketType::Push, SocketType::Pull);
    line.first.send(Flags::More, b"begun");
    line.first.send(Flags::More, &vec![1; 100_000]);
    line.drive();
    assert_eq!(line.last.received(), []);
    assert!(line.tunnels[1].relay().is_drained(Side::Back));
}

#[test]
fn pings_are_answered_by_the_tunnel_and_not_passed_on() {
    for mechanism in MECHANISMS {
        let mut line = Line::through_both(mechanism, SocketType::Dealer, SocketType::Dealer);
        line.first.send(Flags::Command, &ping(0, "one"));
        line.last.send(Flags::Command, &ping(0, "two"));
        // Unsolicited, and not passed on either.
        line.last.send(Flags::Command, &pong("three"));
        line.drive();
        assert_eq!(line.first.received(), [(Flags::Command, pong("one"))]);
        assert_eq!(line.last.received(), [(Flags::Command, pong("two"))]);
    }
}

#[test]
fn a_ping_is_answered_in_the_middle_of_a_message_to_the_same_side() {
    let mut line = Line::through_both("curve", SocketType::Dealer, SocketType::Dealer);
    line.last.send(Flags::More, b"begun");
    line.drive();
    line.first.send(Flags::Command, &ping(0, "there?"));
    line.drive();
    assert_eq!(line.first.received(), [(Flags::Command, pong("there?"))]);
    line.last.send(Flags::Last, b"done");
    line.drive();
    let expected = [(Flags::More, "begun".into()), (Flags::Last, "done".into())];
    assert_eq!(line.first.received(), expected);
}

#[test]
fn a_flood_of_pings_waits_until_its_sender_reads() {
    let mut tunnel_side = Line::of(
        Program::new(client(Config::builder(SocketType::Push), "curve")),
        vec![Tunnel::server("curve")],
        Program::new(null(Config::builder(SocketType::Pull))),
    );
    let Line {
        first,
        tunnels,
        last,
    } = &mut tunnel_side;
    for _ in 0..10_000 {
        first.send(Flags::Command, &ping(0, "0123456789abcdef"));
    }
    first.send(Flags::Last, b"after the flood");
    tunnels[0].feed(Side::Front, &first.take(WHOLE));
    // The program reads no answers: 64 KiB of them wait, 16 more PINGs are answered, and then the
    // tunnel reads no more.
    let waiting: usize = tunnels[0]
        .relay()
        .output(Side::Front)
        .iter()
        .map(|part| part.len())
        .sum();
    assert!(waiting < 70_000, "{waiting}");
    assert!(!tunnels[0].relay().wants_input(Side::Front));
    assert!(!tunnels[0].relay().is_drained(Side::Back));
    drive(first, tunnels, last, WHOLE);
    assert_eq!(first.received().len(), 10_000);
    assert_eq!(last.received(), [(Flags::Last, "after the flood".into())]);
}

#[test]
fn subscriptions_take_the_form_that_each_version_knows() {
    let subscribe = |topic: &'static str| TrafficCommand::Subscribe(topic.into()).encode().unwrap();
    let cancel = |topic: &'static str| TrafficCommand::Cancel(topic.into()).encode().unwrap();
    for mechanism in MECHANISMS {
        let mut line = Line::through_both(mechanism, SocketType::Sub, SocketType::Pub);
        line.first.send(Flags::Command, &subscribe("a"));
        line.first.send(Flags::Last, b"\x01b");
        line.first.send(Flags::Command, &cancel("a"));
        line.first.send(Flags::Last, b"\x00b");
        line.drive();
        let expected = [
            (Flags::Command, subscribe("a")),
            (Flags::Last, "\x01b".into()),
            (Flags::Command, cancel("a")),
            (Flags::Last, "\x00b".into()),
        ];
        assert_eq!(line.last.received(), expected);

        let mut line = Line::to_old(mechanism, SocketType::Sub, SocketType::Pub);
        line.first.send(Flags::Command, &subscribe("a"));
        line.first.send(Flags::Last, b"\x01b");
        line.first.send(Flags::Command, &cancel("a"));
        line.drive();
        let expected = ["\x01a", "\x01b", "\x00a"].map(|body| (Flags::Last, body.into()));
        assert_eq!(line.last.received(), expected);
    }
}

#[test]
fn topics_of_every_length_around_a_short_frame_cross() {
    let mut line = Line::through_both("curve", SocketType::Sub, SocketType::Pub);
    for length in 240..260 {
        let topic = Bytes::from(vec![b't'; length]);
        let body = TrafficCommand::Subscribe(topic.clone()).encode().unwrap();
        line.first.send(Flags::Command, &body);
        line.first
            .send(Flags::Last, &[&b"\x01"[..], &topic].concat());
        line.drive();
        let got = line.last.received();
        assert_eq!(got[0], (Flags::Command, body));
        assert_eq!(got[1].1.len(), length + 1);
    }
}

#[test]
fn of_other_commands_only_those_of_a_pattern_cross() {
    let mut line = Line::through_both("curve", SocketType::Dish, SocketType::Radio);
    for body in [
        &b"\x04JOINgroup"[..],
        b"\x05ERROR\x03400",
        b"\x05READY",
        b"\x07unheardof",
        b"\x05LEAVEgroup",
    ] {
        line.first.send(Flags::Command, body);
    }
    line.drive();
    let expected = ["\x04JOINgroup", "\x05LEAVEgroup"].map(|body| (Flags::Command, body.into()));
    assert_eq!(line.last.received(), expected);
}

#[test]
fn what_one_side_does_not_read_is_not_taken_from_the_other() {
    for mechanism in MECHANISMS {
        let mut line = Line::of(
            Program::new(client(Config::builder(SocketType::Push), mechanism)),
            vec![Tunnel::server(mechanism)],
            Program::new(null(Config::builder(SocketType::Pull))),
        );
        let Line {
            first,
            tunnels,
            last,
        } = &mut line;
        let mut sent = 0;
        while tunnels[0].relay().wants_input(Side::Front) {
            first.send(Flags::Last, &[7; 1000]);
            tunnels[0].feed(Side::Front, &first.take(WHOLE));
            sent += 1;
        }
        // One write, and the bytes in flight.
        assert!((60..80).contains(&sent), "{sent}");
        assert!(
            tunnels[0].relay().wants_input(Side::Back),
            "the other way is open"
        );
        drive(first, tunnels, last, WHOLE);
        assert_eq!(last.received().len(), sent);
        assert!(tunnels[0].relay().wants_input(Side::Front));
    }
}

#[test]
fn the_flags_outside_a_box_mean_nothing_in_a_tunnel() {
    for outer in [0, 1, 4] {
        let mut line = Line::of(
            Program::new(client(Config::builder(SocketType::Dealer), "curve")),
            vec![Tunnel::server("curve")],
            Program::new(null(Config::builder(SocketType::Dealer))),
        );
        for (flags, body) in [(Flags::More, "one"), (Flags::Last, "two")] {
            line.first.send(flags, body.as_bytes());
            let mut frame = line.first.take(usize::MAX);
            frame[0] |= outer;
            line.tunnels[0].feed(Side::Front, &frame);
        }
        line.drive();
        let expected = [(Flags::More, "one".into()), (Flags::Last, "two".into())];
        assert_eq!(line.last.received(), expected, "{outer}");
        assert!(line.tunnels[0].ended().is_none());
    }
}

#[test]
fn small_limits_hold_on_each_side() {
    for limit in [0, 1, 10, 100, 512, 990, 991, 1000, 1023, 1024, 1025] {
        for side in [Side::Front, Side::Back] {
            for frames in [&[limit][..], &[limit / 2, limit - limit / 2]] {
                let mut line = Line::of(
                    Program::new(client(Config::builder(SocketType::Dealer), "curve")),
                    vec![Tunnel::server("curve").limited(|limits| limits.max_message = limit)],
                    Program::new(null(Config::builder(SocketType::Dealer))),
                );
                let sender = match side {
                    Side::Front => &mut line.first,
                    Side::Back => &mut line.last,
                };
                for (at, len) in frames.iter().enumerate() {
                    let is_last = at + 1 == frames.len();
                    sender.send(
                        if is_last { Flags::Last } else { Flags::More },
                        &vec![7; *len],
                    );
                }
                line.drive();
                let (sender, receiver) = match side {
                    Side::Front => (&mut line.first, &mut line.last),
                    Side::Back => (&mut line.last, &mut line.first),
                };
                assert_eq!(receiver.received().len(), frames.len(), "{limit} {side:?}");
                sender.send(Flags::More, &vec![7; limit]);
                sender.send(Flags::Last, b"x");
                line.drive();
                let received = match side {
                    Side::Front => line.last.received(),
                    Side::Back => line.first.received(),
                };
                assert_eq!(received, []);
                match line.tunnels[0].ended() {
                    Some(Ended::Traffic(RelayError {
                        side: at,
                        error: Error::Limit(_),
                    })) => {
                        assert_eq!(*at, side);
                    }
                    other => panic!("{limit} {side:?} {other:?}"),
                }
            }
        }
    }
}

#[test]
fn limits_hold_on_each_side_and_say_on_which() {
    let over = |side: Side| {
        let mut line = Line::of(
            Program::new(client(Config::builder(SocketType::Dealer), "curve")),
            vec![Tunnel::server("curve").limited(|limits| limits.max_message = 1000)],
            Program::new(null(Config::builder(SocketType::Dealer))),
        );
        let sender = match side {
            Side::Front => &mut line.first,
            Side::Back => &mut line.last,
        };
        sender.send(Flags::Last, &[7; 1000]);
        sender.send(Flags::More, &[7; 600]);
        sender.send(Flags::Last, &[7; 401]);
        line.drive();
        let got = match side {
            Side::Front => line.last.received(),
            Side::Back => line.first.received(),
        };
        assert!(got.len() <= 1, "the message that was too long came through");
        line.tunnels[0].ended().cloned()
    };
    for side in [Side::Front, Side::Back] {
        // Under CURVE the length on the header counts, with the sealing.
        let size = match side {
            Side::Front => 1001 + MESSAGE_OVERHEAD as u64,
            Side::Back => 1001,
        };
        let error = Error::Limit(LimitExceeded::Message { size, limit: 1000 });
        match over(side) {
            Some(Ended::Traffic(broken)) => assert_eq!(broken, RelayError { side, error }),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_peer_that_breaks_the_protocol_ends_both_connections() {
    let mut line = Line::of(
        Program::new(null(Config::builder(SocketType::Dealer))),
        vec![Tunnel::client("curve")],
        Program::new(server(Config::builder(SocketType::Dealer), "curve")),
    );
    // A message in clear on a CURVE connection.
    line.tunnels[0].feed(Side::Back, b"\x01\x05clear");
    match line.tunnels[0].ended() {
        Some(Ended::Traffic(RelayError { side, error })) => {
            assert_eq!(*side, Side::Back);
            let expected = ProtocolError::UnexpectedCommand {
                expected: "MESSAGE",
                got: "clear".into(),
            };
            assert_eq!(*error, Error::Protocol(expected));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_side_that_falls_silent_longer_than_it_announced_is_told_apart() {
    let mut line = Line::through_both("curve", SocketType::Dealer, SocketType::Dealer);
    let start = Instant::now();
    line.last.send(Flags::Command, &ping(20, ""));
    line.drive();
    let relay = line.tunnels[1].relay();
    relay.on_read(Side::Back, start);
    let due = relay.deadline(start).unwrap();
    assert_eq!(due, start + Duration::from_secs(2));
    assert_eq!(relay.on_deadline(start + Duration::from_secs(1)), Ok(()));
    let silent = relay.on_deadline(due).unwrap_err();
    assert_eq!(
        (silent.side, silent.expired),
        (Side::Back, HeartbeatExpired::TtlExpired)
    );
    // The time to live counts only for this connection.
    assert_eq!(line.tunnels[0].relay().deadline(start), None);
}

#[test]
fn a_side_that_sends_or_takes_no_more_has_no_heartbeat() {
    for end in [Relay::end_input, Relay::end_output] {
        let mut line = Line::through_both("curve", SocketType::Dealer, SocketType::Dealer);
        let start = Instant::now();
        line.last.send(Flags::Command, &ping(20, ""));
        line.drive();
        let relay = line.tunnels[1].relay();
        relay.on_read(Side::Back, start);
        assert!(relay.deadline(start).is_some());
        end(relay, Side::Back);
        assert_eq!(relay.deadline(start), None);
        assert_eq!(relay.on_deadline(start + Duration::from_secs(60)), Ok(()));
    }
}

#[test]
fn what_is_sent_to_a_side_that_takes_no_more_is_dropped_and_its_sender_answered() {
    let mut line = Line::of(
        Program::new(client(Config::builder(SocketType::Dealer), "curve")),
        vec![Tunnel::server("curve")],
        Program::new(null(Config::builder(SocketType::Dealer))),
    );
    // More than is ever buffered for a side, ending with a message's last frame.
    line.last.send(Flags::More, &[7; 100_000]);
    line.last.send(Flags::More, &[7; 100_000]);
    let Line {
        first,
        tunnels,
        last,
    } = &mut line;
    tunnels[0].feed(Side::Back, &last.take(WHOLE));
    tunnels[0].relay().end_output(Side::Front);
    for _ in 0..100 {
        last.send(Flags::Last, &[7; 100_000]);
        last.send(Flags::Command, &ping(0, "there?"));
        assert!(tunnels[0].relay().wants_input(Side::Back));
        tunnels[0].feed(Side::Back, &last.take(WHOLE));
        last.feed(&tunnels[0].take(Side::Back, WHOLE));
    }
    assert_eq!(last.received().len(), 100);
    // The other direction goes on, with its PINGs.
    for _ in 0..40 {
        first.send(Flags::Command, &ping(0, "unheard"));
    }
    first.send(Flags::Last, b"still here");
    drive(first, tunnels, last, WHOLE);
    assert_eq!(last.received(), [(Flags::Last, "still here".into())]);
    assert_eq!(first.received(), []);
}

#[test]
fn messages_of_one_frame_and_of_several_keep_their_order_among_each_other() {
    let single = |len: usize| vec![(Flags::Last, vec![1; len])];
    let several = |len: usize| vec![(Flags::More, vec![2; len]), (Flags::Last, vec![3; len])];
    // More of each than are opened together, and then both in turn.
    let mut sent = Vec::new();
    for len in [0, 10, 255, 256, 1000, 1100, 4096, 9000] {
        sent.extend((0..20).flat_map(|_| single(len)));
        sent.extend((0..20).flat_map(|_| several(len)));
        sent.extend((0..20).flat_map(|_| [single(len), several(len)].concat()));
    }
    for mechanism in MECHANISMS {
        for most in [100, 5000, WHOLE] {
            let mut line = Line::through_both(mechanism, SocketType::Dealer, SocketType::Dealer);
            let mut pings = 0;
            for (at, (flags, body)) in sent.iter().enumerate() {
                line.first.send(*flags, body);
                if at % 7 == 0 {
                    line.first.send(Flags::Command, &ping(0, "there?"));
                    pings += 1;
                }
            }
            drive(&mut line.first, &mut line.tunnels, &mut line.last, most);
            let got = line.last.received();
            assert_eq!(got.len(), sent.len(), "{mechanism} {most}");
            let same = |(got, sent): (&(Flags, Bytes), &(Flags, Vec<u8>))| {
                got.0 == sent.0 && got.1 == sent.1
            };
            assert!(got.iter().zip(&sent).all(same), "{mechanism} {most}");
            assert_eq!(line.first.received().len(), pings);
        }
    }
}

/// A frame of a message, or a PING.
fn frames() -> impl Strategy<Value = Vec<(Flags, Vec<u8>)>> {
    let body = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 2..40),
        1 => proptest::collection::vec(any::<u8>(), 4000..4200),
        1 => proptest::collection::vec(any::<u8>(), 70_000..70_010),
    ];
    let frame = prop_oneof![
        3 => body.clone().prop_map(|body| (Flags::Last, body)),
        2 => body.prop_map(|body| (Flags::More, body)),
        1 => Just((Flags::Command, ping(0, "p").to_vec())),
    ];
    proptest::collection::vec(frame, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_traffic_in_any_pieces_arrives_as_it_was_sent(
        there in frames(),
        back in frames(),
        most in prop_oneof![1..200_usize, Just(WHOLE)],
    ) {
        let mut line = Line::through_both("curve", SocketType::Dealer, SocketType::Dealer);
        for (program, frames) in [(&mut line.first, &there), (&mut line.last, &back)] {
            for (flags, body) in frames {
                program.send(*flags, body);
            }
            program.send(Flags::Last, b"end");
        }
        drive(&mut line.first, &mut line.tunnels, &mut line.last, most);
        for (program, sent, own) in [(&mut line.last, &there, &back), (&mut line.first, &back, &there)] {
            let expected: Vec<_> = sent
                .iter()
                .filter(|(flags, _)| *flags != Flags::Command)
                .map(|(flags, body)| (*flags, Bytes::from(body.clone())))
                .chain([(Flags::Last, "end".into())])
                .collect();
            let got = program.received();
            let messages: Vec<_> = got
                .iter()
                .filter(|(flags, _)| *flags != Flags::Command)
                .cloned()
                .collect();
            prop_assert_eq!(messages, expected);
            let pings = own.iter().filter(|(flags, _)| *flags == Flags::Command).count();
            prop_assert_eq!(got.len() - pings, sent.iter().filter(|(flags, _)| *flags != Flags::Command).count() + 1);
        }
    }
}

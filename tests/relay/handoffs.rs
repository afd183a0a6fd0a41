//! Nested handshakes of a tunnel: what each program learns of the other, and for which peers no
//! backend is dialled.

use super::rig::{Ended, MECHANISMS, Program, Tunnel, WHOLE, client, drive, here, null, server};
use zmtp_auth::PeerContext;
use zmtp_auth::relay::{IdentityRule, Side};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{
    Approval, Config, DenialStatus, Error, LimitExceeded, LocalError, Metadata, SocketType, Verdict,
};

fn dealer() -> zmtp_auth::Builder<zmtp_auth::config::WantsMechanism> {
    Config::builder(SocketType::Dealer)
        .identity("the dealer")
        .property("X-Colour", "green")
}

fn router() -> zmtp_auth::Builder<zmtp_auth::config::WantsMechanism> {
    Config::builder(SocketType::Router)
        .identity("the router")
        .property("X-Taste", "sour")
}

fn metadata(properties: &[(&str, &'static str)]) -> Metadata {
    let mut metadata = Metadata::new();
    for (name, value) in properties {
        metadata.push(name, *value).unwrap();
    }
    metadata
}

/// Checks that both programs see each other as without a tunnel.
fn have_met(dealer: &Program, router: &Program) {
    let claims = &router.peer().claims;
    assert_eq!(claims.socket_type, Some(SocketType::Dealer));
    assert_eq!(claims.identity.as_deref(), Some(&b"the dealer"[..]));
    assert_eq!(router.property("X-Colour").unwrap(), "green");
    let claims = &dealer.peer().claims;
    assert_eq!(claims.socket_type, Some(SocketType::Router));
    assert_eq!(claims.identity.as_deref(), Some(&b"the router"[..]));
    assert_eq!(dealer.property("X-Taste").unwrap(), "sour");
}

#[test]
fn two_programs_meet_through_a_tunnel_as_if_it_were_not_there() {
    for mechanism in MECHANISMS {
        // A program that speaks the mechanism, and a backend with NULL.
        let mut far = Program::new(client(dealer(), mechanism));
        let mut beside = Program::new(null(router()));
        let mut tunnel = [Tunnel::server(mechanism)];
        drive(&mut far, &mut tunnel, &mut beside, WHOLE);
        have_met(&far, &beside);
        assert_eq!(beside.property("User-Id").unwrap(), "alice");

        // A program with NULL, and a server that speaks the mechanism.
        let mut beside = Program::new(null(dealer()));
        let mut far = Program::new(server(router(), mechanism));
        let mut tunnel = [Tunnel::client(mechanism)];
        drive(&mut beside, &mut tunnel, &mut far, WHOLE);
        have_met(&beside, &far);

        // Two programs with NULL, and two tunnels between them.
        let (mut one, mut two) = (Program::new(null(dealer())), Program::new(null(router())));
        let mut tunnels = [Tunnel::client(mechanism), Tunnel::server(mechanism)];
        drive(&mut one, &mut tunnels, &mut two, WHOLE);
        have_met(&one, &two);
        assert_eq!(two.property("User-Id").unwrap(), "alice");
    }
}

#[test]
fn however_the_network_cuts_it_they_meet_and_talk() {
    for mechanism in MECHANISMS {
        for most in (1..80).chain([97, 128, 255, 256, 1000]) {
            let (mut one, mut two) = (Program::new(null(dealer())), Program::new(null(router())));
            let mut tunnels = [Tunnel::client(mechanism), Tunnel::server(mechanism)];
            drive(&mut one, &mut tunnels, &mut two, most);
            have_met(&one, &two);
            one.send(Flags::More, b"a");
            one.send(Flags::Last, &[7; 300]);
            two.send(Flags::Last, b"c");
            drive(&mut one, &mut tunnels, &mut two, most);
            let expected = [
                (Flags::More, "a".into()),
                (Flags::Last, vec![7; 300].into()),
            ];
            assert_eq!(two.received(), expected);
            assert_eq!(one.received(), [(Flags::Last, "c".into())]);
        }
    }
}

#[test]
fn every_split_point_of_what_a_peer_sends_gives_the_same() {
    for mechanism in MECHANISMS {
        // The bytes that the peer sends up to the end of its handshake.
        let mut longest = 0;
        for cut in 0.. {
            let mut far = Program::new(client(dealer(), mechanism));
            let mut beside = Program::new(null(router()));
            let mut tunnel = Tunnel::server(mechanism);
            let mut sent = 0;
            while !far.is_complete() || !beside.is_complete() {
                let bytes = far.take(WHOLE);
                let (before, after) = bytes.split_at(cut.clamp(sent, sent + bytes.len()) - sent);
                sent += bytes.len();
                tunnel.feed(Side::Front, before);
                tunnel.feed(Side::Front, after);
                beside.feed(&tunnel.take(Side::Back, WHOLE));
                tunnel.feed(Side::Back, &beside.take(WHOLE));
                far.feed(&tunnel.take(Side::Front, WHOLE));
            }
            have_met(&far, &beside);
            longest = longest.max(sent);
            if cut > longest {
                break;
            }
        }
    }
}

#[test]
fn what_a_peer_sends_with_its_last_command_is_not_lost() {
    // A program with NULL that sends traffic before it receives READY, as libzmq may.
    let mut tunnel = Tunnel::client("curve");
    let mut far = Program::new(server(router(), "curve"));
    tunnel.feed(Side::Front, &super::pair::greeting("null"));
    tunnel.feed(
        Side::Front,
        &super::pair::framed(b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"),
    );
    tunnel.feed(Side::Front, b"\x00\x05early");
    while !far.is_complete() {
        far.feed(&tunnel.take(Side::Back, WHOLE));
        tunnel.feed(Side::Back, &far.take(WHOLE));
    }
    far.feed(&tunnel.take(Side::Back, WHOLE));
    assert_eq!(far.received(), [(Flags::Last, "early".into())]);
}

#[test]
fn a_forged_user_id_never_arrives() {
    let forged = metadata(&[
        ("Socket-Type", "DEALER"),
        ("Identity", ""),
        ("User-Id", "root"),
        ("peer-ADDRESS", "192.0.2.1"),
        ("X-Role", "admin"),
        ("X-Colour", "green"),
    ]);
    let others = ["user-id", "USER-ID", "uSeR-iD", "User-ID"].map(|name| {
        let mut metadata = forged.clone();
        metadata.remove("User-Id").unwrap();
        metadata.push(name, "root").unwrap();
        metadata
    });
    let approval = Approval {
        user_id: "alice".into(),
        metadata: metadata(&[("x-role", "clerk")]),
        ..Approval::default()
    };
    for mechanism in MECHANISMS {
        for forged in [&forged].into_iter().chain(&others) {
            let conn = || PeerContext::new(here()).with_metadata(forged.clone());
            let answering =
                || Tunnel::server(mechanism).answering(Verdict::Allow(approval.clone()));
            // From a program that connects to the tunnel directly, and from one behind another
            // tunnel.
            let mut far = Program::with_conn(&client(dealer(), mechanism), conn());
            let mut beside = Program::new(null(router()));
            drive(&mut far, &mut [answering()], &mut beside, WHOLE);
            let arrived = |beside: &Program| {
                let properties = beside.peer().claims.properties.clone();
                assert_eq!(properties.get("user-id").unwrap(), "alice");
                assert_eq!(properties.get("peer-address"), None);
                assert_eq!(properties.get("x-colour").unwrap(), "green");
                let values: Vec<_> = properties.iter().map(|(_, value)| value.clone()).collect();
                assert!(!values.iter().any(|value| value == "root"));
                properties
            };
            assert_eq!(arrived(&beside).get("x-role"), None);

            let mut far = Program::with_conn(&null(dealer()), conn());
            let mut beside = Program::new(null(router()));
            let mut tunnels = [Tunnel::client(mechanism), answering()];
            drive(&mut far, &mut tunnels, &mut beside, WHOLE);
            assert_eq!(arrived(&beside).get("x-role"), None);

            // From a server: the client-side program receives no user id.
            let mut beside = Program::new(null(router()));
            let mut far = Program::with_conn(&server(dealer(), mechanism), conn());
            drive(
                &mut beside,
                &mut [Tunnel::client(mechanism)],
                &mut far,
                WHOLE,
            );
            let properties = &beside.peer().claims.properties;
            assert_eq!(properties.get("user-id"), None);
            assert_eq!(properties.get("peer-address"), None);
        }
    }
}

#[test]
fn the_identity_is_passed_replaced_or_emptied_as_told() {
    for (rule, expected) in [
        (IdentityRule::Pass, "the dealer"),
        (IdentityRule::UserId, "alice"),
        (IdentityRule::Drop, ""),
    ] {
        let mut far = Program::new(client(dealer(), "curve"));
        let mut beside = Program::new(null(router()));
        let mut tunnel = [Tunnel::server("curve").ruled(rule)];
        drive(&mut far, &mut tunnel, &mut beside, WHOLE);
        assert_eq!(beside.property("Identity").unwrap(), expected);
        // The backend's own metadata is passed on.
        assert_eq!(far.property("Identity").unwrap(), "the router");
    }
}

#[test]
fn the_back_is_not_dialled_for_a_refused_peer() {
    for mechanism in MECHANISMS {
        for status in [
            DenialStatus::Temporary,
            DenialStatus::Failure,
            DenialStatus::Internal,
        ] {
            let mut far = Program::new(client(dealer(), mechanism));
            let mut beside = Program::new(null(router()));
            let mut tunnel = [Tunnel::server(mechanism).denying(status)];
            drive(&mut far, &mut tunnel, &mut beside, WHOLE);
            let [tunnel] = tunnel;
            assert_eq!(tunnel.dialled, 0);
            assert!(matches!(
                tunnel.ended(),
                Some(Ended::Front(Error::Denied(_)))
            ));
            let told = matches!(far.error(), Some(Error::RefusedByPeer(_)));
            assert_eq!(told, status != DenialStatus::Temporary);
        }
    }
}

#[test]
fn the_back_is_not_dialled_without_a_handshake() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &super::pair::greeting("null"),
        &[&super::pair::greeting("curve")[..], b"\x04\x06\x05READY"].concat(),
    ] {
        let mut tunnel = Tunnel::server("curve");
        tunnel.feed(Side::Front, bytes);
        assert_eq!(tunnel.dialled, 0);
        assert!(matches!(tunnel.ended(), Some(Ended::Front(_))));
        assert!(tunnel.take(Side::Back, WHOLE).is_empty());
    }
}

#[test]
fn a_local_program_is_never_told_that_the_far_side_refused() {
    for mechanism in MECHANISMS {
        let mut beside = Program::new(null(dealer()));
        let mut tunnel = Tunnel::client(mechanism);
        let mut far =
            super::pair::Endpoint::new(server(router(), mechanism)).denying(DenialStatus::Failure);
        let mut told = Vec::new();
        loop {
            let [one, two, three, four] = [
                beside.take(WHOLE),
                tunnel.take(Side::Front, WHOLE),
                tunnel.take(Side::Back, WHOLE),
                far.take_output(),
            ];
            if [&one, &two, &three, &four]
                .iter()
                .all(|bytes| bytes.is_empty())
            {
                break;
            }
            told.extend_from_slice(&two);
            tunnel.feed(Side::Front, &one);
            beside.feed(&two);
            far.feed(&three);
            tunnel.feed(Side::Back, &four);
        }
        assert!(matches!(
            tunnel.ended(),
            Some(Ended::Back(Error::RefusedByPeer(_)))
        ));
        // The greeting and nothing more.
        assert_eq!(told.len(), 64);
    }
}

#[test]
fn a_user_id_too_long_for_an_identity_is_refused() {
    let mut far = Program::new(client(dealer(), "curve"));
    let mut beside = Program::new(null(router()));
    let mut tunnel = [Tunnel::server("curve")
        .ruled(IdentityRule::UserId)
        .answering(Verdict::allow("u".repeat(256)))];
    drive(&mut far, &mut tunnel, &mut beside, WHOLE);
    assert!(matches!(
        tunnel[0].ended(),
        Some(Ended::Front(Error::Local(LocalError::UserIdTooLong)))
    ));
    assert_eq!(tunnel[0].dialled, 0);
}

#[test]
fn metadata_of_any_size_within_the_limits_crosses_and_beyond_them_does_not() {
    let of_length = |length: usize| {
        let mut metadata = metadata(&[("Socket-Type", "DEALER")]);
        metadata.push("X-Long", vec![b'x'; length]).unwrap();
        PeerContext::new(here()).with_metadata(metadata)
    };
    for length in [0, 200, 255, 256, 7000] {
        let mut far = Program::with_conn(&client(dealer(), "curve"), of_length(length));
        let mut beside = Program::new(null(router()));
        drive(&mut far, &mut [Tunnel::server("curve")], &mut beside, WHOLE);
        assert_eq!(beside.property("X-Long").unwrap().len(), length);
    }
    let mut far = Program::with_conn(&client(dealer(), "curve"), of_length(9000));
    let mut beside = Program::new(null(router()));
    let mut tunnel = [Tunnel::server("curve")];
    drive(&mut far, &mut tunnel, &mut beside, WHOLE);
    assert!(matches!(
        tunnel[0].ended(),
        Some(Ended::Front(Error::Limit(
            LimitExceeded::HandshakeCommand { .. }
        )))
    ));
    assert_eq!(tunnel[0].dialled, 0);
}

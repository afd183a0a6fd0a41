//! Handshakes in memory: which peers complete, which are refused, and what each side learns.

use crate::pair;

use bytes::BytesMut;
use pair::{Endpoint, KINDS, client_keys, commands, drive, endpoints, keys, server_keys};
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{
    Config, Credential, Credentials, CryptoError, DenialStatus, Domain, Error, Fault, Incompatible,
    Limits, MechanismKind, ProtocolError, SocketType, Stage, Status, Verdict,
};

#[test]
fn every_kind_completes_and_carries_messages_both_ways() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 1);
        drive(&mut client, &mut server);
        let (client, server) = (client.into_established(), server.into_established());
        let limits = Limits::default();
        let mut writers = [
            FrameWriter::new(client.sealer),
            FrameWriter::new(server.sealer),
        ];
        let mut readers = [
            FrameReader::new(server.opener, &limits),
            FrameReader::new(client.opener, &limits),
        ];
        for len in [0, 1, 222, 223, 255, 256, 65536] {
            for (writer, reader) in writers.iter_mut().zip(&mut readers) {
                let mut wire = BytesMut::new();
                for flags in [Flags::More, Flags::Last, Flags::Command] {
                    writer.write(flags, &vec![7; len], &mut wire).unwrap();
                }
                for flags in [Flags::More, Flags::Last, Flags::Command] {
                    let frame = reader.read(&mut wire).unwrap().unwrap();
                    assert_eq!((frame.flags, frame.body.len()), (flags, len), "{kind}");
                }
                assert!(wire.is_empty());
            }
        }
    }
}

#[test]
fn each_side_learns_what_the_other_claims_and_nothing_more() {
    for kind in KINDS {
        let (mut client, mut server) = endpoints(kind, 1);
        drive(&mut client, &mut server);
        let (of_server, of_client) = (&client.established().peer, &server.established().peer);
        assert_eq!(
            of_client.claims.socket_type,
            Some(SocketType::Dealer),
            "{kind}"
        );
        assert_eq!(of_client.claims.identity.as_ref().unwrap(), "the client");
        assert_eq!(
            of_client.claims.properties.get("x-colour").unwrap(),
            "green"
        );
        assert_eq!(of_client.claims.properties.len(), 3);
        assert_eq!(of_server.claims.socket_type, Some(SocketType::Router));
        assert_eq!(of_server.claims.identity.as_ref().unwrap(), "the server");
        assert_eq!(of_server.claims.properties.len(), 2);
    }
}

#[test]
fn which_sides_ask_policy_and_which_prove_a_key() {
    for (kind, asked_by_client, asked_by_server) in [
        ("null", 0, 0),
        ("null-asks", 0, 1),
        ("null-both-ask", 1, 1),
        ("plain", 0, 1),
        ("curve", 0, 0),
        ("curve-asks", 0, 1),
    ] {
        let (mut client, mut server) = endpoints(kind, 1);
        drive(&mut client, &mut server);
        assert_eq!(
            (client.asked.len(), server.asked.len()),
            (asked_by_client, asked_by_server)
        );
        let (of_server, of_client) = (&client.established().peer, &server.established().peer);
        assert_eq!(
            of_client.authenticated.is_some(),
            asked_by_server == 1,
            "{kind}"
        );
        assert_eq!(
            of_server.authenticated.is_some(),
            asked_by_client == 1,
            "{kind}"
        );
        let proven = kind
            .starts_with("curve")
            .then(|| client_keys().public_key());
        assert_eq!(of_client.proven_key, proven);
        let proven = kind
            .starts_with("curve")
            .then(|| server_keys().public_key());
        assert_eq!(of_server.proven_key, proven);
    }
}

#[test]
fn the_question_holds_what_the_mechanism_knows() {
    let (mut client, mut server) = endpoints("plain", 1);
    drive(&mut client, &mut server);
    let request = &server.asked[0];
    assert_eq!(request.domain, Domain::from("test"));
    assert_eq!(request.address.to_string(), "127.0.0.1");
    assert!(
        request.claims.is_none(),
        "PLAIN's claims come after the verdict"
    );
    let Credentials::Plain { username, password } = &request.credentials else {
        panic!()
    };
    assert_eq!(
        (&username[..], password.expose()),
        (&b"admin"[..], &b"secret"[..])
    );

    let (mut client, mut server) = endpoints("curve-asks", 1);
    drive(&mut client, &mut server);
    let request = &server.asked[0];
    assert_eq!(request.identity().unwrap(), "the client");
    let Credentials::Curve { key } = request.credentials else {
        panic!()
    };
    assert_eq!(key, client_keys().public_key());
}

#[test]
fn the_verdict_names_the_user() {
    let (mut client, server) = endpoints("curve-asks", 1);
    let mut server = server.answering(|_| {
        let mut metadata = zmtp_auth::Metadata::new();
        metadata.push("Team", "billing").unwrap();
        Verdict::Allow(zmtp_auth::Approval {
            user_id: "alice".into(),
            metadata,
            grant: None,
        })
    });
    drive(&mut client, &mut server);
    let authenticated = server.established().peer.authenticated.as_ref().unwrap();
    assert_eq!(authenticated.user_id, "alice");
    assert_eq!(authenticated.domain, Domain::from("test"));
    assert_eq!(authenticated.mechanism(), MechanismKind::Curve);
    assert_eq!(
        authenticated.credential,
        Credential::Key(client_keys().public_key())
    );
    assert_eq!(authenticated.zap_metadata.get("team").unwrap(), "billing");
    let claimed = &client.established().peer.claims.properties;
    assert!(
        claimed.get("Team").is_none(),
        "ZAP metadata is not for the peer"
    );
}

#[test]
fn every_denial_by_every_mechanism_is_refused_and_told_as_rfc_27_wants() {
    for kind in ["null-asks", "plain", "curve-asks"] {
        for (status, told) in [
            (DenialStatus::Temporary, None),
            (DenialStatus::Failure, Some(Status::AuthenticationFailure)),
            (DenialStatus::Internal, Some(Status::InternalError)),
        ] {
            let (mut client, server) = endpoints(kind, 1);
            let mut server = server.denying(status);
            let log = drive(&mut client, &mut server);
            assert!(
                matches!(server.error(), Some(Error::Denied(denied)) if denied.status == status)
            );
            let sent = commands(&log, pair::Direction::ToClient);
            let last = sent.last().map(Vec::as_slice);
            for body in &sent {
                assert!(!body.starts_with(b"\x05READY"), "{kind} {status}");
                assert!(kind == "curve-asks" || !body.starts_with(b"\x07WELCOME"));
            }
            match told {
                None => {
                    assert!(client.error().is_none() && !client.is_complete());
                    assert!(!last.is_some_and(|body| body.starts_with(b"\x05ERROR")));
                }
                Some(told) => {
                    let Some(Error::RefusedByPeer(refusal)) = client.error() else {
                        panic!()
                    };
                    assert_eq!(refusal.status, Some(told));
                    assert_eq!(client.error().unwrap().fault(), Fault::OurCredentials);
                    let body = [b"\x05ERROR\x03", told.as_str().as_bytes()].concat();
                    assert_eq!(last, Some(&body[..]), "the peer sees only the status");
                }
            }
        }
    }
}

#[test]
fn plain_can_misspell_error_for_libzmq_and_understands_both() {
    let mut client = endpoints("plain", 1).0;
    let config = Config::builder(SocketType::Router)
        .plain_server()
        .libzmq_error_spelling()
        .authorize(Domain::EMPTY)
        .finish()
        .unwrap();
    let mut server = Endpoint::new(config).denying(DenialStatus::Failure);
    let log = drive(&mut client, &mut server);
    let sent = commands(&log, pair::Direction::ToClient);
    assert_eq!(sent, [b"\x5ERROR\x03400"]);
    assert!(matches!(client.error(), Some(Error::RefusedByPeer(_))));
}

#[test]
fn a_wrong_server_key_is_not_answered() {
    let mut server = endpoints("curve", 1).1;
    let config = Config::builder(SocketType::Dealer)
        .curve_client(client_keys(), keys(33).public_key())
        .finish()
        .unwrap();
    let mut client = Endpoint::new(config);
    let log = drive(&mut client, &mut server);
    assert_eq!(server.error(), Some(&CryptoError::HelloNotOpened.into()));
    assert!(commands(&log, pair::Direction::ToClient).is_empty());
    assert_eq!(client.stage(), Some(Stage::CurveWelcome));
}

#[test]
fn a_server_with_several_keys_answers_to_each() {
    for key in [22, 1, 2, 3] {
        let config = Config::builder(SocketType::Router)
            .curve_server(server_keys())
            .also_accept(keys(1))
            .also_accept(keys(2))
            .also_accept(keys(3))
            .accept_any_peer()
            .finish()
            .unwrap();
        let mut server = Endpoint::new(config);
        let config = Config::builder(SocketType::Dealer)
            .curve_client(client_keys(), keys(key).public_key())
            .finish()
            .unwrap();
        let mut client = Endpoint::new(config);
        drive(&mut client, &mut server);
        assert_eq!(
            client.established().peer.proven_key,
            Some(keys(key).public_key())
        );
        assert!(server.is_complete());
    }
}

#[test]
fn different_mechanisms_end_the_handshake_at_once() {
    for ours in ["null", "plain", "curve"] {
        for theirs in ["null", "plain", "curve"] {
            if ours == theirs {
                continue;
            }
            let mut client = endpoints(ours, 1).0;
            let mut server = endpoints(theirs, 1).1;
            drive(&mut client, &mut server);
            for side in [&client, &server] {
                assert!(
                    matches!(
                        side.error(),
                        Some(Error::Incompatible(Incompatible::Mechanism { .. }))
                    ),
                    "{ours} {theirs}"
                );
            }
            assert!(server.asked.is_empty());
        }
    }
}

#[test]
fn two_clients_see_an_unexpected_hello_and_two_servers_wait() {
    for kind in ["plain", "curve"] {
        let (mut one, mut other) = (endpoints(kind, 1).0, endpoints(kind, 5).0);
        drive(&mut one, &mut other);
        for side in [&one, &other] {
            assert!(matches!(
                side.error(),
                Some(Error::Protocol(ProtocolError::UnexpectedCommand { got, .. })) if got == "HELLO"
            ));
        }
        let (mut one, mut other) = (endpoints(kind, 1).1, endpoints(kind, 5).1);
        drive(&mut one, &mut other);
        assert!(one.stage().is_some() && other.stage().is_some());
    }
}

#[test]
fn sockets_that_do_not_fit_are_refused_before_anyone_is_asked() {
    for kind in ["null", "curve-asks"] {
        let mut server = endpoints(kind, 1).1;
        let builder = Config::builder(SocketType::Sub);
        let mut client = if kind == "null" {
            Endpoint::new(builder.null().accept_any_peer().finish().unwrap())
        } else {
            let builder = builder.curve_client(client_keys(), server_keys().public_key());
            Endpoint::new(builder.finish().unwrap())
        };
        drive(&mut client, &mut server);
        let expected = Incompatible::SocketType {
            peer: "SUB".into(),
            ours: "ROUTER",
        };
        assert_eq!(server.error(), Some(&expected.into()));
        assert!(server.asked.is_empty());
    }
}

#[test]
fn older_protocols_are_refused_whole_and_byte_by_byte_by_everyone() {
    let v1: &[u8] = &[0x01, 0x00];
    let v1_long: &[u8] = &[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7E, 0, 0];
    let v2: &[u8] = &[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 0x01, 0x05, 0x00, 0x00];
    let v2_0: &[u8] = &[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 0x00, 0x05, 0x00, 0x00];
    let v3_as_2: &[u8] = &[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 0x02, 0x05, 0x00, 0x00];
    for kind in ["null", "null-asks", "plain", "curve", "curve-asks"] {
        for header in [v1, v1_long, v2, v2_0, v3_as_2] {
            for byte_by_byte in [false, true] {
                let (client, server) = endpoints(kind, 1);
                for mut side in [client, server] {
                    side.take_output();
                    for part in header.chunks(if byte_by_byte { 1 } else { header.len() }) {
                        side.feed(part);
                    }
                    assert!(
                        matches!(
                            side.error(),
                            Some(Error::Incompatible(
                                Incompatible::NotZmtp3 | Incompatible::OldVersion { .. }
                            ))
                        ),
                        "{kind} {header:?}"
                    );
                    assert!(side.asked.is_empty() && side.take_output().is_empty());
                }
            }
        }
    }
}

#[test]
fn traffic_that_follows_the_handshake_in_one_read_is_kept() {
    let (mut client, mut server) = endpoints("null", 1);
    let mut bytes = client.take_output();
    server.feed(&bytes);
    client.feed(&server.take_output());
    bytes = client.take_output();
    bytes.extend_from_slice(b"\x00\x02hi");
    server.feed(&bytes);
    assert!(server.is_complete());
    assert_eq!(server.leftover(), b"\x00\x02hi");
}

#[test]
fn a_closed_connection_says_what_was_waited_for() {
    let (mut client, mut server) = endpoints("curve", 1);
    server.feed(&client.take_output());
    client.feed(&server.take_output());
    assert_eq!(client.stage(), Some(Stage::CurveWelcome));
    let error = Error::ClosedByPeer(Stage::CurveWelcome);
    assert_eq!(error.fault(), Fault::OurCredentials);
    let (client, _) = endpoints("curve", 1);
    assert_eq!(client.stage(), Some(Stage::Greeting));
}

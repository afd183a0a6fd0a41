//! A relay's handshake pauses until its far side supplies the metadata for the peer.

use super::pair::{
    self, Direction, Endpoint, client_keys, commands, drive, endpoints, server_keys,
};
use zmtp_auth::PeerContext;
use zmtp_auth::{Config, DenialStatus, Domain, Error, Metadata, PeerAddress, SocketType, Verdict};

fn supplied() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.push("Socket-Type", "ROUTER").unwrap();
    metadata.push("X-From", "the far side").unwrap();
    metadata
}

fn as_client() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.push("Socket-Type", "DEALER").unwrap();
    metadata.push("Identity", "passed on").unwrap();
    metadata
}

fn relay_server(kind: &str) -> Endpoint {
    let relay = Config::builder(SocketType::Relay);
    let domain = Domain::from("relay");
    let endpoint = match kind {
        "null" => Endpoint::new(relay.null().accept_any_peer().finish().unwrap()),
        "null-asks" => Endpoint::new(relay.null().authorize(domain).finish().unwrap()),
        "plain" => Endpoint::new(relay.plain_server().authorize(domain).finish().unwrap()),
        "curve" => Endpoint::new(
            relay
                .curve_server(server_keys())
                .accept_any_peer()
                .finish()
                .unwrap(),
        ),
        "curve-asks" => Endpoint::new(
            relay
                .curve_server(server_keys())
                .authorize(domain)
                .finish()
                .unwrap(),
        ),
        other => panic!("{other}"),
    };
    endpoint.supplying(supplied())
}

#[test]
fn a_relay_as_server_learns_who_it_is_before_it_says_anything() {
    for kind in ["null", "null-asks", "plain", "curve", "curve-asks"] {
        let mut client = endpoints(kind, 1).0;
        let mut relay = relay_server(kind);
        drive(&mut client, &mut relay);
        assert_eq!(relay.pauses, 1, "{kind}");
        assert_eq!(
            relay.asked.len(),
            usize::from(kind == "plain" || kind.ends_with("asks"))
        );
        let of_client = &relay.established().peer;
        assert_eq!(of_client.claims.identity.as_ref().unwrap(), "the client");
        let of_relay = &client.established().peer;
        assert_eq!(of_relay.claims.socket_type, Some(SocketType::Router));
        assert_eq!(
            of_relay.claims.properties.get("X-From").unwrap(),
            "the far side"
        );
    }
}

#[test]
fn a_relay_as_client_speaks_for_its_far_side() {
    for kind in ["null", "plain", "curve"] {
        let relay = Config::builder(SocketType::Relay);
        let relay = match kind {
            "null" => relay.null().accept_any_peer().finish().unwrap(),
            "plain" => relay.plain_client("admin", "secret").finish().unwrap(),
            _ => relay
                .curve_client(client_keys(), server_keys().public_key())
                .finish()
                .unwrap(),
        };
        let mut relay = Endpoint::new(relay).supplying(as_client());
        let mut server = endpoints(kind, 1).1;
        drive(&mut relay, &mut server);
        assert_eq!(relay.pauses, 1, "{kind}");
        let claims = &server.established().peer.claims;
        assert_eq!(claims.identity.as_ref().unwrap(), "passed on");
        assert!(relay.is_complete());
    }
}

#[test]
fn a_relay_that_knows_its_metadata_at_the_start_does_not_pause() {
    for kind in ["null", "plain", "curve"] {
        let conn = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1")).with_metadata(as_client());
        let relay = Config::builder(SocketType::Relay);
        let relay = match kind {
            "null" => relay.null().accept_any_peer().finish().unwrap(),
            "plain" => relay.plain_client("admin", "secret").finish().unwrap(),
            _ => relay
                .curve_client(client_keys(), server_keys().public_key())
                .finish()
                .unwrap(),
        };
        let mut relay = Endpoint::with_conn(&relay, conn);
        let mut server = endpoints(kind, 1).1;
        drive(&mut relay, &mut server);
        assert_eq!(relay.pauses, 0, "{kind}");
        assert_eq!(
            server.established().peer.claims.identity.as_ref().unwrap(),
            "passed on"
        );
    }
}

#[test]
fn a_denied_peer_never_reaches_the_pause() {
    for kind in ["null-asks", "plain", "curve-asks"] {
        let mut client = endpoints(kind, 1).0;
        let mut relay = relay_server(kind).denying(DenialStatus::Failure);
        let log = drive(&mut client, &mut relay);
        assert_eq!(relay.pauses, 0, "{kind}");
        assert!(matches!(relay.error(), Some(Error::Denied(_))));
        for body in commands(&log, Direction::ToClient) {
            assert!(!body.starts_with(b"\x05READY"));
        }
    }
}

#[test]
fn a_relay_accepts_socket_types_it_does_not_know_but_not_their_absence() {
    let unknown = b"\x05READY\x0bSocket-Type\0\0\0\x05WEIRD";
    let missing = b"\x05READY\x06X-Name\0\0\0\0";
    let mut relay = relay_server("null");
    relay.feed(&pair::greeting("null"));
    relay.feed(&pair::framed(unknown));
    assert_eq!(relay.established().peer.claims.socket_type, None);
    let mut relay = relay_server("null");
    relay.feed(&pair::greeting("null"));
    relay.feed(&pair::framed(missing));
    assert!(relay.error().is_some());
}

#[test]
fn what_policy_said_is_known_at_the_pause() {
    use zmtp_auth::handshake::Handshake;
    let config = Config::builder(SocketType::Relay)
        .curve_server(server_keys())
        .authorize(Domain::EMPTY)
        .finish()
        .unwrap();
    let mut client = endpoints("curve", 1).0;
    let (mut out, mut input) = (bytes::BytesMut::new(), bytes::BytesMut::new());
    let here = PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"));
    let mut relay = Handshake::start(&config, here, &mut out);
    let pause = loop {
        client.feed(&out.split());
        input.extend_from_slice(&client.take_output());
        relay = match relay {
            Handshake::NeedsInput(waiting) => waiting.process(&mut input, &mut out).unwrap(),
            Handshake::Authorize(question) => {
                question.resume(Verdict::allow("alice"), &mut out).unwrap()
            }
            Handshake::NeedsMetadata(pause) => break pause,
            Handshake::Complete(_) => panic!("complete without metadata"),
        };
    };
    assert_eq!(pause.authenticated().unwrap().user_id, "alice");
    assert_eq!(
        pause.claims().unwrap().socket_type,
        Some(SocketType::Dealer)
    );
    assert!(out.is_empty(), "READY waits for the metadata");
    assert!(matches!(
        pause.resume(&supplied(), &mut out),
        Ok(Handshake::Complete(_))
    ));
}

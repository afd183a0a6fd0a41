//! Type and identity of a socket belong to its connections.

use crate::parties::*;
use bytes::BytesMut;
use std::time::Instant;
use zmtp_auth::PeerContext;
use zmtp_auth::host::{Failed, FailureKind, Secured};
use zmtp_auth::traffic::{Incoming, Message, Outgoing};
use zmtp_auth::{Config, ConfigError, KeyPair, Limits, Security, SocketType};

/// A client and a server for sockets of any type, which are shared by all of them.
fn untyped() -> (Security, Security) {
    let keys = KeyPair::generate().unwrap();
    let client = Config::untyped_builder()
        .property("X-b", "2")
        .property("X-a", "1")
        .curve_client(KeyPair::generate().unwrap(), keys.public_key());
    let server = Config::untyped_builder().curve_server(keys);
    (
        client.finish().unwrap().into(),
        server.accept_any_peer().finish().unwrap().into(),
    )
}

fn socket(socket_type: SocketType, identity: &'static str) -> PeerContext {
    context().for_socket(socket_type, identity).unwrap()
}

async fn both(
    (one, here): (&Security, PeerContext),
    (other, there): (&Security, PeerContext),
) -> (Result<Secured, Failed>, Result<Secured, Failed>) {
    let (mut stream, mut other_stream) = tokio::io::duplex(4096);
    let (mut input, mut other_input) = (BytesMut::new(), BytesMut::new());
    // Each end is closed when its party is done.
    let one = async move { one.conduct(here, &mut stream, &mut input).await };
    let other = async move {
        other
            .conduct(there, &mut other_stream, &mut other_input)
            .await
    };
    tokio::join!(one, other)
}

#[tokio::test]
async fn sockets_of_all_types_share_one_configuration() {
    let (client, server) = untyped();
    assert_eq!(client.socket_type(), None);
    for (ours, theirs, claimed) in [
        (SocketType::Push, SocketType::Pull, None),
        (SocketType::Dealer, SocketType::Router, Some("me")),
        (SocketType::Sub, SocketType::Xpub, None),
    ] {
        let here = socket(ours, "me");
        let there = socket(theirs, "");
        let (one, other) = both((&client, here), (&server, there)).await;
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.peer().claims.socket_type, Some(theirs));
        let claims = &other.peer().claims;
        assert_eq!(claims.socket_type, Some(ours));
        // As with libzmq, other types send none.
        assert_eq!(claims.identity.as_deref(), claimed.map(str::as_bytes));
        let properties: Vec<_> = claims.properties.iter().collect();
        let own = &properties[properties.len() - 2..];
        assert_eq!(own[0], ("X-a", &"1".into()));
        assert_eq!(own[1], ("X-b", &"2".into()));
        assert_eq!(one.into_established().socket_type, ours);
    }
}

#[tokio::test]
async fn the_types_are_checked_as_ever() {
    let (client, server) = untyped();
    let here = socket(SocketType::Push, "");
    let there = socket(SocketType::Pub, "");
    let (one, other) = both((&client, here), (&server, there)).await;
    assert_eq!(other.unwrap_err().kind(), FailureKind::SocketTypeMismatch);
    assert!(one.is_err());
}

#[tokio::test]
async fn a_connection_of_no_socket_fails_on_our_own_side() {
    let (client, server) = untyped();
    let here = socket(SocketType::Push, "");
    let (one, other) = both((&client, here), (&server, context())).await;
    assert_eq!(other.unwrap_err().kind(), FailureKind::Local);
    assert!(one.is_err());
}

/// A configuration with a type may serve another type, too.
#[tokio::test]
async fn a_connection_outranks_its_configuration() {
    let dealer = Config::builder(SocketType::Dealer).identity("configured");
    let dealer = dealer.null().accept_any_peer().finish().unwrap().into();
    let here = socket(SocketType::Req, "connection");
    let router = null(SocketType::Router);
    let (one, other) = both((&dealer, here), (&router, context())).await;
    let claims = &other.as_ref().unwrap().peer().claims;
    assert_eq!(claims.socket_type, Some(SocketType::Req));
    assert_eq!(claims.identity.as_deref(), Some(&b"connection"[..]));
    one.unwrap();
}

#[test]
fn what_no_socket_can_be_is_an_error() {
    let long = vec![1; 256];
    let error = context().for_socket(SocketType::Dealer, long).unwrap_err();
    assert_eq!(error, ConfigError::IdentityTooLong(256));
    let error = context().for_socket(SocketType::Relay, "").unwrap_err();
    assert_eq!(error, ConfigError::RelayMetadata);
    let identity = Config::untyped_builder().identity("me").null();
    let error = identity.accept_any_peer().finish().unwrap_err();
    assert_eq!(error, ConfigError::IdentityWithoutType);
    // It would not fit into READY with a long identity, so not every socket could use it.
    let limits = Limits::default().with_max_handshake_command(300);
    let full = Config::untyped_builder().property("X-p", vec![7; 100]);
    let error = full.limits(limits).null().accept_any_peer().finish();
    assert!(matches!(
        error.unwrap_err(),
        ConfigError::MetadataTooLong { .. }
    ));
}

/// Both sides then speak 3.0, whichever has announced it.
#[tokio::test]
async fn a_host_that_knows_no_3_1_announces_3_0() {
    let old = |socket_type| -> Security {
        let builder = Config::builder(socket_type).zmtp_3_0().null();
        builder.accept_any_peer().finish().unwrap().into()
    };
    for (sub, publisher) in [
        (old(SocketType::Sub), null(SocketType::Xpub)),
        (null(SocketType::Sub), old(SocketType::Xpub)),
        (old(SocketType::Sub), old(SocketType::Xpub)),
        // The host itself has asked for it.
        (null(SocketType::Sub).zmtp_3_0(), null(SocketType::Xpub)),
    ] {
        let (one, other) = both((&sub, context()), (&publisher, context())).await;
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.is_zmtp_3_0() && other.is_zmtp_3_0());
        let (_, mut writer) = one.into_messages();
        let mut bytes = BytesMut::new();
        let topic = Outgoing::Subscribe("topic".into());
        writer.write(topic, &mut bytes).unwrap();
        assert_eq!(&bytes[..], b"\0\x06\x01topic", "a message");
        let (_, mut channel) = other.into_channel(bytes, None, Instant::now());
        channel.process_input(usize::MAX).unwrap();
        let subscribed = Incoming::Subscribe("topic".into());
        assert_eq!(channel.poll_event(), Some(subscribed));
        channel.queue(Message::from("topic: news")).unwrap();
    }
}

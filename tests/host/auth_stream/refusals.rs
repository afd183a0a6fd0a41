//! Handshakes that fail, each told apart by one match.

use super::party::{Party, client, here, keys, null, server, server_with};
use super::rig::{ROOM, admitting, in_time};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{sleep, timeout};
use zmtp_auth::host::{AuthStream, Failed, FailureKind};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, DenialStatus, Limits, Security, SocketType};

/// What a host matches on.
fn kind(error: &io::Error) -> FailureKind {
    let failed = error.get_ref().and_then(|cause| cause.downcast_ref());
    failed.map(Failed::kind).expect("a failed handshake")
}

/// A server that answers every question so.
fn answering(mechanism: &str, status: DenialStatus) -> Security {
    let router = ZapRouter::new();
    let deny = move |request: ZapRequest| {
        let reply = request.deny(status, "not you");
        async move { reply }
    };
    router.bind("host", deny).unwrap();
    Security::from((server(SocketType::Dealer, mechanism), router))
}

/// How a host that connects learns of its server's refusal.
async fn refused(ours: &Security, theirs: Security) -> FailureKind {
    let (network, far) = duplex(ROOM);
    let host = async {
        let stream = match AuthStream::connect(network, ours).await {
            Ok(stream) => stream,
            Err(failed) => return failed.kind(),
        };
        let mut party = stream;
        let mut all = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
        all.resize(64, 0);
        all.extend_from_slice(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER");
        party.write_all(&all).await.unwrap();
        let mut rest = Vec::new();
        let error = party.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(kind(&party.write(b"x").await.unwrap_err()), kind(&error));
        kind(&error)
    };
    // The server closes when it is done, as an accepting host does.
    let peer = async { drop(AuthStream::accept(far, here(), &theirs).await) };
    in_time(async { tokio::join!(host, peer) }).await.0
}

#[tokio::test]
async fn a_host_that_connects_can_tell_every_refusal() {
    let curve = Security::from(client(SocketType::Dealer, "curve"));
    let plain = Security::from(client(SocketType::Dealer, "plain"));
    let wrong = Config::builder(SocketType::Dealer).curve_client(keys(11), keys(33).public_key());
    let wrong = Security::from(wrong.finish().unwrap());
    for (ours, theirs, expected) in [
        (
            &curve,
            answering("curve", DenialStatus::Failure),
            FailureKind::Refused,
        ),
        (
            &plain,
            answering("plain", DenialStatus::Failure),
            FailureKind::Refused,
        ),
        (
            &curve,
            answering("curve", DenialStatus::Temporary),
            FailureKind::RefusedForNow,
        ),
        (
            &plain,
            answering("plain", DenialStatus::Temporary),
            FailureKind::RefusedForNow,
        ),
        (&wrong, admitting("curve"), FailureKind::WrongServerKey),
        (&plain, admitting("curve"), FailureKind::OtherMechanism),
        (&curve, admitting("null"), FailureKind::OtherMechanism),
        (
            &null(SocketType::Dealer).into(),
            admitting("plain"),
            FailureKind::OtherMechanism,
        ),
    ] {
        assert_eq!(refused(ours, theirs).await, expected);
    }
}

#[tokio::test]
async fn a_peer_of_an_old_protocol_is_told_apart_in_both_roles() {
    let curve = Security::from(client(SocketType::Dealer, "curve"));
    let (network, mut far) = duplex(ROOM);
    far.write_all(b"\x01\0").await.unwrap();
    let failed = in_time(AuthStream::connect(network, &curve))
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), FailureKind::OldProtocol);
    let (network, mut far) = duplex(ROOM);
    far.write_all(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01")
        .await
        .unwrap();
    let security = admitting("curve");
    let failed = in_time(AuthStream::accept(network, here(), &security))
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), FailureKind::OldProtocol);
}

#[tokio::test]
async fn a_host_that_accepts_learns_why_its_peer_does_not_come() {
    for (theirs, ours, expected) in [
        (
            "curve",
            answering("curve", DenialStatus::Failure),
            FailureKind::Denied,
        ),
        (
            "plain",
            answering("plain", DenialStatus::Temporary),
            FailureKind::Denied,
        ),
        ("plain", admitting("curve"), FailureKind::OtherMechanism),
    ] {
        let (network, far) = duplex(ROOM);
        let accepting = AuthStream::accept(network, here(), &ours);
        let peer = Party::meet(far, client(SocketType::Dealer, theirs));
        let (host, peer) = in_time(async { tokio::join!(accepting, peer) }).await;
        assert_eq!(host.unwrap_err().kind(), expected);
        assert!(peer.is_err());
    }
}

#[tokio::test]
async fn a_peer_that_leaves_during_the_verdict_ends_the_question() {
    let router = ZapRouter::new();
    router.bind("host", |_| std::future::pending()).unwrap();
    let config = server_with(SocketType::Dealer, "curve", Limits::default());
    let security = Security::from((config, router.clone()));
    let (network, far) = duplex(ROOM);
    let peer = async {
        let meeting = Party::meet(far, client(SocketType::Dealer, "curve"));
        assert!(timeout(Duration::from_millis(100), meeting).await.is_err());
    };
    let accepting = AuthStream::accept(network, here(), &security);
    let (failed, ()) = in_time(async { tokio::join!(accepting, peer) }).await;
    assert_eq!(failed.unwrap_err().kind(), FailureKind::PeerClosed);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(router.in_progress(), 0);
}

//! How a connection through an `AuthStream` ends.

use super::party::{Party, client, here, keys, null};
use super::rig::{ROOM, accepted, accepted_over, admitting, admitting_with, connected, in_time};
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep};
use zmtp_auth::host::{AuthStream, AuthStreamOptions, Failed, StreamError};
use zmtp_auth::traffic::heartbeat::{Expiry, HeartbeatSettings};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::{Credential, Limits, Security, SocketType};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_peer_that_closes_first_still_gets_what_the_host_sends() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    in_time(async {
        peer.send(b"last").await.unwrap();
        peer.stream.shutdown().await.unwrap();
        assert_eq!(host.recv().await, "last");
        assert!(host.next().await.unwrap().is_none());
        host.send(b"answer").await.unwrap();
        host.stream.shutdown().await.unwrap();
        assert_eq!(peer.recv().await, "answer");
        assert!(peer.next().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn both_may_close_at_once() {
    let (mut host, mut peer) = connected("curve", ROOM).await;
    in_time(async {
        let (one, other) = tokio::join!(host.stream.shutdown(), peer.stream.shutdown());
        one.unwrap();
        other.unwrap();
        assert!(host.next().await.unwrap().is_none());
        assert!(peer.next().await.unwrap().is_none());
        let error = host.send(b"late").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        host.stream.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_waits_until_the_network_has_all() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    let bytes = host.encode(Flags::Last, &[7; 60_000]);
    in_time(host.stream.write_all(&bytes)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), host.stream.shutdown()).await;
    assert!(early.is_err(), "no one has read");
    let (shut, got) = in_time(async { tokio::join!(host.stream.shutdown(), peer.recv()) }).await;
    shut.unwrap();
    assert_eq!(got.len(), 60_000);
    assert!(in_time(peer.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_may_close_in_the_middle_of_its_handshake() {
    let (network, far) = duplex(ROOM);
    let security = admitting("curve");
    let host = async {
        let mut stream = AuthStream::accept(network, here(), &security)
            .await
            .unwrap();
        stream.write_all(b"\xff\0\0\0").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.map(|_| ())
    };
    let peer = Party::meet(far, client(SocketType::Dealer, "curve"));
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    host.unwrap();
    assert!(peer.is_err());
}

#[tokio::test]
async fn messages_that_are_written_before_the_handshake_is_complete_arrive_before_the_end() {
    let (network, far) = duplex(ROOM);
    let security = Security::from(client(SocketType::Dealer, "curve"));
    let host = async {
        let mut stream = AuthStream::connect(network, &security).await.unwrap();
        // All at once, as a host that waits for nothing.
        let mut all = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
        all.resize(64, 0);
        all.extend_from_slice(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER");
        all.extend_from_slice(b"\0\x05hello\0\x03you");
        stream.write_all(&all).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    let peer = async {
        let mut peer = Party::meet(far, admitting("curve")).await.unwrap();
        assert_eq!(peer.recv().await, "hello");
        assert_eq!(peer.recv().await, "you");
        assert!(peer.next().await.unwrap().is_none());
        peer
    };
    in_time(async { tokio::join!(host, peer) }).await;
}

#[tokio::test]
async fn a_peer_that_leaves_before_the_host_has_met_it_is_told_of() {
    let (network, far) = duplex(ROOM);
    let security = admitting("plain");
    let peer = async {
        // It has no patience after its INITIATE.
        let meeting = Party::meet(far, client(SocketType::Dealer, "plain"));
        let _ = tokio::time::timeout(Duration::from_millis(100), meeting).await;
    };
    let host = AuthStream::accept(network, here(), &security);
    let (host, ()) = in_time(async { tokio::join!(host, peer) }).await;
    let error = in_time(Party::meet(host.unwrap(), null(SocketType::Dealer))).await;
    assert!(error.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_speak_is_timed_out_by_the_handshake() {
    let limits = Limits::default().with_handshake_timeout(7 * SECOND);
    let security = admitting_with("curve", limits);
    let (network, far) = duplex(ROOM);
    let host = async {
        let start = Instant::now();
        let mut stream = AuthStream::accept(network, here(), &security)
            .await
            .unwrap();
        let mut rest = Vec::new();
        let error = stream.read_to_end(&mut rest).await.unwrap_err();
        (error, start.elapsed())
    };
    let peer = Party::meet(far, client(SocketType::Dealer, "curve"));
    let ((error, took), peer) = tokio::join!(host, peer);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    let failed: &Failed = error.get_ref().unwrap().downcast_ref().unwrap();
    assert_eq!(failed.domain(), Some(&"host".into()));
    let key = keys(11).public_key();
    assert_eq!(failed.credential(), Some(&Credential::Key(key)));
    assert!((7 * SECOND..8 * SECOND).contains(&took), "{took:?}");
    assert!(peer.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_closed_and_one_that_answers_stays() {
    let heartbeat = HeartbeatSettings::every(SECOND).with_expiry(Expiry::Always);
    let options = AuthStreamOptions::default().with_heartbeat(heartbeat);
    let security = admitting("curve");
    let (mut host, mut peer) = accepted_over(duplex(ROOM), "curve", &security, &options).await;
    let answering = async {
        for _ in 0..20 {
            let ping = peer.recv().await;
            assert!(ping.starts_with(b"\x04PING"));
            peer.send_frame(Flags::Command, b"\x04PONG").await.unwrap();
        }
        sleep(1000 * SECOND).await;
    };
    let start = Instant::now();
    let error = tokio::select! {
        next = host.next() => next.unwrap_err(),
        () = answering => panic!("it is not noticed"),
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(start.elapsed() > 19 * SECOND && start.elapsed() < 60 * SECOND);
    assert!(
        host.stream.get_ref(|_| ()).is_none(),
        "its socket is closed"
    );
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_closed_and_what_it_had_sent_arrives() {
    let (mut host, mut peer) = accepted("curve", 1 << 20).await;
    let mut bytes = peer.encode(Flags::Last, b"good");
    for _ in 0..200 {
        bytes.extend_from_slice(&peer.encode(Flags::Last, &[7; 1000]));
    }
    bytes.extend_from_slice(b"\xff\xff\xff");
    in_time(async {
        peer.stream.write_all(&bytes).await.unwrap();
        assert_eq!(host.recv().await, "good");
        for _ in 0..200 {
            assert_eq!(host.recv().await.len(), 1000);
        }
        let error = host.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(host.send(b"on").await.is_err());
        assert!(peer.next().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn all_messages_that_come_in_one_read_with_a_violation_arrive() {
    let forge: [fn(&mut BytesMut); 3] = [
        // A frame with a reserved flag.
        |bytes| bytes.extend_from_slice(b"\x80\x01x"),
        // A MESSAGE that is too short to be one.
        |bytes| bytes.extend_from_slice(b"\x00\x09\x07MESSAGEx"),
        // A box that does not open.
        |bytes| *bytes.last_mut().unwrap() ^= 1,
    ];
    for (at, forge) in forge.into_iter().enumerate() {
        // As many as are opened together, fewer and more.
        for count in [1, 15, 16, 17, 40_u8] {
            let (mut host, mut peer) = accepted("curve", 1 << 20).await;
            let mut bytes = BytesMut::new();
            for number in 0..count {
                bytes.extend_from_slice(&peer.encode(Flags::Last, &[number; 10]));
            }
            forge(&mut bytes);
            let good = if at == 2 { count - 1 } else { count };
            in_time(async {
                peer.stream.write_all(&bytes).await.unwrap();
                for number in 0..good {
                    assert_eq!(host.recv().await, [number; 10][..]);
                }
                let error = host.next().await.unwrap_err();
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
                assert!(matches!(cause, Some(StreamError::Peer(_))), "{error:?}");
            })
            .await;
        }
    }
}

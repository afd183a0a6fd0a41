//! What crosses an `AuthStream`, and what each side learns of the other.

use super::party::{Party, client, here, keys, null, server};
use super::rig::{
    Dripping, MECHANISMS, ROOM, accepted, accepted_over, admitting, connected, connected_over,
    in_time,
};
use bytes::Bytes;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use zmtp_auth::PeerContext;
use zmtp_auth::host::{AuthStream, AuthStreamOptions};
use zmtp_auth::relay::IdentityRule;
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Config, Metadata, Security, SocketType};

/// Sends messages of many sizes there and back, and closes one side after the other.
macro_rules! converse {
    ($host:expr, $peer:expr, $sizes:expr) => {
        for size in $sizes {
            let body = Bytes::from(vec![7; size]);
            let (back, there) = in_time(async {
                tokio::join!(
                    async {
                        $host.send_frame(Flags::More, b"a").await.unwrap();
                        $host.send(&body).await.unwrap();
                        $host.recv().await
                    },
                    async {
                        assert_eq!($peer.recv().await, "a");
                        let got = $peer.recv().await;
                        $peer.send(&got).await.unwrap();
                        got
                    }
                )
            })
            .await;
            assert_eq!((&back, &there), (&body, &body));
        }
        in_time(async {
            $host.stream.shutdown().await.unwrap();
            assert!($peer.next().await.unwrap().is_none());
            $peer.send(b"last").await.unwrap();
            assert_eq!($host.recv().await, "last");
            $peer.stream.shutdown().await.unwrap();
            assert!($host.next().await.unwrap().is_none());
        })
        .await;
    };
}

#[tokio::test]
async fn messages_cross_both_ways_in_every_mechanism_and_role() {
    let sizes = [0, 1, 255, 256, 10_000, 70_000, 300_000];
    for mechanism in MECHANISMS {
        for room in [ROOM, 1 << 20] {
            let (mut host, mut peer) = accepted(mechanism, room).await;
            converse!(host, peer, sizes);
            let (mut host, mut peer) = connected(mechanism, room).await;
            converse!(host, peer, sizes);
        }
    }
}

#[tokio::test]
async fn what_the_host_writes_crosses_in_order_however_it_is_cut() {
    let mut frames = Vec::new();
    for len in [0, 10, 255, 1000, 4096, 70_000, 10] {
        for _ in 0..20 {
            frames.push((Flags::Last, Bytes::from(vec![1; len])));
        }
        frames.push((Flags::More, Bytes::from(vec![2; len])));
        frames.push((Flags::Last, Bytes::from(vec![3; len])));
        frames.push((Flags::Last, Bytes::from(vec![4; len])));
    }
    for mechanism in MECHANISMS {
        for step in [997, 8192, 70_010, usize::MAX] {
            let (mut host, mut peer) = accepted(mechanism, 1 << 20).await;
            let mut bytes = Vec::new();
            for (flags, body) in &frames {
                bytes.extend_from_slice(&host.encode(*flags, body));
            }
            let writes = async {
                for piece in bytes.chunks(step.min(bytes.len())) {
                    host.stream.write_all(piece).await.unwrap();
                }
                host.stream.shutdown().await.unwrap();
            };
            let reads = async {
                for (flags, body) in &frames {
                    let got = peer.next().await.unwrap().expect("a frame");
                    assert!(
                        got.flags == *flags && got.body == *body,
                        "{mechanism} {step}"
                    );
                }
                assert!(peer.next().await.unwrap().is_none());
            };
            in_time(async { tokio::join!(writes, reads) }).await;
        }
    }
}

#[tokio::test]
async fn streams_that_take_and_give_one_byte_at_a_time_carry_the_same() {
    for mechanism in MECHANISMS {
        let dripping = || {
            let (one, other) = duplex(ROOM);
            (Dripping(one, 1), Dripping(other, 1))
        };
        let options = AuthStreamOptions::default();
        let security = admitting(mechanism);
        let (mut host, mut peer) = accepted_over(dripping(), mechanism, &security, &options).await;
        converse!(host, peer, [0, 1, 300, 5000]);
        let (mut host, mut peer) = connected_over(dripping(), mechanism).await;
        converse!(host, peer, [0, 1, 300, 5000]);
    }
}

#[tokio::test]
async fn two_hosts_behind_two_streams_meet_over_tcp() {
    for mechanism in MECHANISMS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let security = admitting(mechanism);
        let server = async {
            let (stream, address) = listener.accept().await.unwrap();
            let stream = AuthStream::accept(stream, address, &security)
                .await
                .unwrap();
            let port = stream.get_ref(|tcp| tcp.peer_addr().unwrap().port());
            assert_eq!(port, stream.peer().unwrap().port);
            // Its own reads and writes are of one byte, too.
            Party::meet(Dripping(stream, 1), null(SocketType::Rep)).await
        };
        let security = Security::from(client(SocketType::Req, mechanism));
        let client = async {
            let stream = TcpStream::connect(to).await.unwrap();
            let stream = AuthStream::connect(stream, &security).await.unwrap();
            Party::meet(stream, null(SocketType::Req)).await
        };
        let (server, client) = in_time(async { tokio::join!(server, client) }).await;
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!(server.property("User-Id").unwrap(), "alice");
        assert_eq!(client.property("User-Id"), None);
        converse!(client, server, [0, 1, 300, 100_000]);
    }
}

#[tokio::test]
async fn each_side_learns_type_identity_and_properties_of_the_other() {
    let (network, far) = duplex(ROOM);
    let security = admitting("curve");
    let host = async {
        let stream = AuthStream::accept(network, here(), &security)
            .await
            .unwrap();
        let ours = Config::builder(SocketType::Router).identity("the host");
        let ours = ours.property("X-Colour", "red").null().accept_any_peer();
        Party::meet(stream, ours.finish().unwrap()).await.unwrap()
    };
    let mut claims = Metadata::new();
    for (name, value) in [
        ("Socket-Type", "DEALER"),
        ("Identity", "the peer"),
        ("X-Colour", "green"),
        // A peer says who it is, and is not believed.
        ("user-ID", "root"),
        ("Peer-Address", "192.0.2.1"),
    ] {
        claims.push(name, value).unwrap();
    }
    let context = PeerContext::new(here()).with_metadata(claims);
    let peer = Party::meet_as(far, client(SocketType::Dealer, "curve"), context);
    let (host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    let peer = peer.unwrap();
    let claims = &host.peer.claims;
    assert_eq!(claims.socket_type, Some(SocketType::Dealer));
    assert_eq!(claims.identity.as_deref(), Some(&b"the peer"[..]));
    assert_eq!(host.property("X-Colour").unwrap(), "green");
    assert_eq!(host.property("User-Id").unwrap(), "alice");
    assert_eq!(host.property("user-ID"), None);
    assert_eq!(host.property("Peer-Address"), None);
    let known = host.stream.peer().unwrap();
    assert_eq!(known.proven_key, Some(keys(11).public_key()));
    let claims = &peer.peer.claims;
    assert_eq!(claims.socket_type, Some(SocketType::Router));
    assert_eq!(claims.identity.as_deref(), Some(&b"the host"[..]));
    assert_eq!(peer.property("X-Colour").unwrap(), "red");
}

#[tokio::test]
async fn the_user_id_can_take_the_place_of_the_identity() {
    let options = AuthStreamOptions::default().with_identity(IdentityRule::UserId);
    let security = admitting("curve");
    let (host, _peer) = accepted_over(duplex(ROOM), "curve", &security, &options).await;
    let identity = host.peer.claims.identity.as_deref();
    assert_eq!(identity, Some(&b"alice"[..]));
}

#[tokio::test]
async fn a_host_of_zmtp_3_0_gets_and_sends_subscriptions_as_messages() {
    let subscribe = TrafficCommand::Subscribe("topic".into()).encode().unwrap();
    let (network, far) = duplex(ROOM);
    let security = admitting("curve");
    let host = async {
        let stream = AuthStream::accept(network, here(), &security)
            .await
            .unwrap();
        Party::meet_3_0(stream, null(SocketType::Xpub))
            .await
            .unwrap()
    };
    let peer = Party::meet(far, client(SocketType::Xsub, "curve"));
    let (mut host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    let mut peer = peer.unwrap();
    peer.send_frame(Flags::Command, &subscribe).await.unwrap();
    let frame = in_time(host.next()).await.unwrap().unwrap();
    assert_eq!(
        (frame.flags, &frame.body[..]),
        (Flags::Last, &b"\x01topic"[..])
    );

    let (network, far) = duplex(ROOM);
    let security = Security::from(client(SocketType::Xsub, "curve"));
    let host = async {
        let stream = AuthStream::connect(network, &security).await.unwrap();
        Party::meet_3_0(stream, null(SocketType::Xsub))
            .await
            .unwrap()
    };
    let server = (server(SocketType::Xpub, "curve"), ZapRouter::new());
    let peer = Party::meet(far, server);
    let (mut host, peer) = in_time(async { tokio::join!(host, peer) }).await;
    let mut peer = peer.unwrap();
    host.send(b"\x01topic").await.unwrap();
    assert_eq!(in_time(peer.recv()).await, "\x01topic");
}

#[tokio::test]
async fn pings_are_answered_by_the_stream_and_not_passed_on() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    let ping = |context: &'static str| {
        let context = context.into();
        TrafficCommand::Ping { ttl: 0, context }.encode().unwrap()
    };
    let pong = |context: &'static str| {
        let context = context.into();
        TrafficCommand::Pong { context }.encode().unwrap()
    };
    in_time(async {
        host.send_frame(Flags::Command, &ping("host"))
            .await
            .unwrap();
        assert_eq!(host.recv().await, pong("host"));
        peer.send_frame(Flags::Command, &ping("peer"))
            .await
            .unwrap();
        peer.send(b"after").await.unwrap();
        assert_eq!(host.recv().await, "after");
        assert_eq!(peer.recv().await, pong("peer"));
    })
    .await;
}

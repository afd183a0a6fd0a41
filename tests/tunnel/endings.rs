//! How connections through a tunnel end: by either side, or by the tunnel.

use crate::net_peers::{ANY_PORT, RawPeer, eventually, null, port, soon, welcoming};
use crate::rig::{Line, address, claiming, client, client_keys, server, server_tunnel};
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::net::{Connection, Listener, NetError, Tunnel, TunnelOptions};
use zmtp_auth::traffic::frames::{FrameReader, FrameWriter};
use zmtp_auth::wire::frame::Flags;
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{Limits, Metadata, SocketType};

#[tokio::test]
async fn what_was_sent_before_a_close_arrives_before_the_end() {
    let line = Line::new("curve", SocketType::Pull).await;
    let (mut push, mut pull) = line.meet(null(SocketType::Push)).await;
    for index in 0..200_u8 {
        push.send(vec![index; 10_000]).await.unwrap();
    }
    let receiving = async {
        for index in 0..200_u8 {
            let message = soon(pull.recv_message()).await.unwrap();
            assert_eq!(message.frames(), [vec![index; 10_000]]);
        }
        soon(pull.recv_message()).await.unwrap_err()
    };
    let (closed, end) = tokio::join!(push.close(), receiving);
    closed.unwrap();
    assert!(matches!(end, NetError::Closed));
}

#[tokio::test]
async fn a_close_by_the_backend_reaches_the_peer() {
    let line = Line::new("curve", SocketType::Pair).await;
    let (mut there, mut here) = line.meet(null(SocketType::Pair)).await;
    here.send("last").await.unwrap();
    here.close().await.unwrap();
    assert_eq!(soon(there.recv_message()).await.unwrap().frames(), ["last"]);
    assert!(matches!(
        soon(there.recv_message()).await.unwrap_err(),
        NetError::Closed
    ));
}

#[tokio::test]
async fn one_side_may_close_and_still_hear_the_other_out() {
    // Two raw peers, since a real one would answer a close by closing.
    let bound = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let program = crate::net_peers::local(bound.local_addr().unwrap().port());
    let server = server_tunnel(&program, "curve", welcoming()).await;
    let tunnel = crate::rig::client_tunnel(server.local_endpoint(), "curve").await;
    let dialling = async {
        let stream = TcpStream::connect(address(tunnel.local_endpoint()));
        RawPeer::shake_hands(stream.await.unwrap(), SocketType::Pair, 1).await
    };
    let accepting = async {
        let (stream, _) = bound.accept().await.unwrap();
        RawPeer::shake_hands(stream, SocketType::Pair, 1).await
    };
    let (mut first, mut second) = soon(async { tokio::join!(dialling, accepting) }).await;
    first.send(Flags::Last, b"goodbye").await;
    first.half_close().await;
    assert_eq!(second.message_body().await, "goodbye");
    assert!(second.frame().await.is_none());
    for body in [&b"and"[..], b"farewell"] {
        second.send(Flags::Last, body).await;
        assert_eq!(first.message_body().await, body);
    }
    drop(second);
    assert!(first.frame().await.is_none());
}

#[tokio::test]
async fn a_message_that_was_not_finished_is_not_delivered() {
    let line = Line::new("curve", SocketType::Pull).await;
    let stream = TcpStream::connect(address(line.client.local_endpoint())).await;
    let shaking = RawPeer::shake_hands(stream.unwrap(), SocketType::Push, 1);
    let (mut push, pull) = soon(async { tokio::join!(shaking, line.program.accept()) }).await;
    let mut pull = pull.unwrap();
    push.send(Flags::Last, b"whole").await;
    push.send(Flags::More, b"half").await;
    drop(push);
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["whole"]);
    soon(pull.recv_message()).await.unwrap_err();
}

#[tokio::test]
async fn closing_a_tunnel_delivers_what_it_has_taken_and_frees_its_place() {
    let line = Line::new("curve", SocketType::Pull).await;
    let (mut push, mut pull) = line.meet(null(SocketType::Push)).await;
    push.send("taken").await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["taken"]);
    let endpoint = line.client.local_endpoint().clone();
    soon(line.client.close()).await.unwrap();
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
    assert!(matches!(
        soon(pull.recv_message()).await.unwrap_err(),
        NetError::Closed
    ));
    // The listener is gone.
    let refused = TcpStream::connect(address(&endpoint)).await;
    refused.unwrap_err();
    soon(line.server.close()).await.unwrap();
}

#[tokio::test]
async fn a_handshake_in_progress_does_not_hold_up_the_close() {
    let line = Line::new("curve", SocketType::Pull).await;
    let _silent = TcpStream::connect(address(line.server.local_endpoint())).await;
    let _program = TcpStream::connect(address(line.client.local_endpoint())).await;
    soon(line.client.close()).await.unwrap();
    soon(line.server.close()).await.unwrap();
}

#[tokio::test]
async fn a_peer_whose_admission_is_revoked_is_put_out_of_the_tunnel() {
    let authenticator = Authenticator::new();
    authenticator.configure_curve_keys("test", [client_keys().public_key()]);
    let router = ZapRouter::new();
    router.bind("test", authenticator.clone()).unwrap();
    let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
        .await
        .unwrap();
    let config = server(SocketType::Relay, "curve");
    let forward = program.local_endpoint();
    let options = TunnelOptions::default();
    let tunnel = Tunnel::server(ANY_PORT, forward, (config, router), options)
        .await
        .unwrap();
    let config = client(SocketType::Push, "curve");
    let mut push = soon(Connection::connect(tunnel.local_endpoint(), config.clone()))
        .await
        .unwrap();
    let mut pull = soon(program.accept()).await.unwrap();
    push.send("in").await.unwrap();
    assert_eq!(soon(pull.recv_message()).await.unwrap().frames(), ["in"]);
    authenticator.configure_curve_keys("test", []);
    assert!(matches!(soon(push.closed()).await, NetError::Closed));
    soon(pull.recv_message()).await.unwrap_err();
    let again = soon(Connection::connect(tunnel.local_endpoint(), config)).await;
    assert!(matches!(again.unwrap_err(), NetError::Handshake(_)));
}

#[tokio::test]
async fn a_dropped_tunnel_ends_everything() {
    let line = Line::new("curve", SocketType::Pull).await;
    let (push, mut pull) = line.meet(null(SocketType::Push)).await;
    let at = port(line.client.local_endpoint());
    drop(line.client);
    soon(push.closed()).await;
    soon(pull.recv_message()).await.unwrap_err();
    eventually(|| std::net::TcpStream::connect(("127.0.0.1", at)).is_err()).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_closed_by_default_if_it_has_answered_before() {
    let second = Duration::from_secs(1);
    for answers in [0, 2] {
        let program = Listener::bind(ANY_PORT, null(SocketType::Pull))
            .await
            .unwrap();
        let tunnel = server_tunnel(program.local_endpoint(), "curve", welcoming()).await;
        let config = client(SocketType::Push, "curve");
        let mut claims = Metadata::new();
        claims.push("Socket-Type", "PUSH").unwrap();
        let claiming = claiming(tunnel.local_endpoint(), &config, claims);
        let (claimed, pull) = tokio::join!(claiming, program.accept());
        let (mut stream, established) = claimed.unwrap();
        let mut pull = pull.unwrap();
        let mut reader = FrameReader::new(established.opener, &Limits::default());
        let mut writer = FrameWriter::new(established.sealer);
        let start = Instant::now();
        let answering = async {
            let mut input = BytesMut::new();
            let mut asked = 0;
            while stream.read_buf(&mut input).await.unwrap() > 0 {
                while let Some(frame) = reader.read(&mut input).unwrap() {
                    assert_eq!(frame.flags, Flags::Command);
                    asked += 1;
                    if asked <= answers {
                        let mut out = BytesMut::new();
                        writer.write(Flags::Command, b"\x04PONG", &mut out).unwrap();
                        stream.write_all(&out).await.unwrap();
                    }
                }
            }
        };
        let watching = async {
            let end = tokio::time::timeout(3600 * second, pull.recv_message()).await;
            (end, start.elapsed())
        };
        tokio::select! {
            (end, after) = watching => {
                match answers {
                    0 => assert!(end.is_err(), "a peer that never answers was closed"),
                    _ => assert!(matches!(end, Ok(Err(NetError::Closed)))),
                }
                assert!(answers == 0 || after < 120 * second, "after {after:?}");
            }
            () = async { answering.await; std::future::pending().await } => {}
        }
    }
}

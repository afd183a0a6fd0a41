//! `Security::conduct`: one call from a stream to a peer.

use crate::parties::*;
use bytes::BytesMut;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use zmtp_auth::host::FailureKind;
use zmtp_auth::traffic::{Incoming, Message};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Limits, Security, SocketType};

/// A client and a server of each mechanism.
fn pairs() -> Vec<(Security, Security)> {
    let limits = Limits::default();
    vec![
        (null(SocketType::Push), null(SocketType::Pull)),
        (
            null(SocketType::Push),
            null_asks(SocketType::Pull, admits(), &limits),
        ),
        (
            plain_client(SocketType::Push),
            plain_server(SocketType::Pull, admits(), &limits),
        ),
        curve(admits(), &limits),
    ]
}

#[tokio::test]
async fn every_mechanism_comes_to_its_end_also_in_small_pieces() {
    for room in [128, 4096] {
        for (client, server) in pairs() {
            let (push, pull) = both(&client, &server, room).await;
            let (push, pull) = (push.unwrap(), pull.unwrap());
            assert_eq!(push.peer().claims.socket_type, Some(SocketType::Pull));
            assert_eq!(pull.peer().claims.socket_type, Some(SocketType::Push));
            assert!(!push.is_zmtp_3_0());
            let user = pull.peer().user_id().map(|user| &user[..]);
            assert!(matches!(user, None | Some(b"alice")));
        }
    }
}

#[tokio::test]
async fn a_stream_that_buffers_is_flushed() {
    for (client, server) in pairs() {
        let (here, there) = tokio::io::duplex(4096);
        let (mut here, mut there) = (BufStream::new(here), BufStream::new(there));
        let (push, pull) = tokio::join!(conduct(&client, &mut here), conduct(&server, &mut there));
        drop(push.unwrap());
        drop(pull.unwrap());
    }
}

#[tokio::test]
async fn a_handshake_can_be_a_task_of_its_own() {
    let (client, server) = curve(admits(), &Limits::default());
    let (mut here, mut there) = tokio::io::duplex(4096);
    let server = tokio::spawn(async move { conduct(&server, &mut there).await });
    drop(conduct(&client, &mut here).await.unwrap());
    drop(server.await.unwrap().unwrap());
}

/// The messages arrive together with the last command, so the handshake reads them too.
#[tokio::test]
async fn what_arrives_behind_the_handshake_stays_in_the_input() {
    for (client, server) in pairs() {
        let (mut here, mut there) = tokio::io::duplex(1 << 16);
        let sending = async {
            let mut input = BytesMut::new();
            let secured = client.conduct(context(), &mut here, &mut input).await;
            let (_, mut channel) = secured.unwrap().into_channel(input, None, Instant::now());
            channel.queue(Message::from("first")).unwrap();
            channel.queue(Message::from(["second", "part"])).unwrap();
            channel.encode().unwrap();
            for part in channel.output() {
                here.write_all(&part).await.unwrap();
            }
            here
        };
        // The server begins when everything has arrived that the client can send.
        let receiving = async {
            let mut input = BytesMut::new();
            let secured = server.conduct(context(), &mut there, &mut input).await;
            (secured.unwrap(), input, there)
        };
        let (mut here, (secured, input, mut there)) = tokio::join!(sending, receiving);
        here.shutdown().await.unwrap();
        let (_, mut channel) = secured.into_channel(input, None, Instant::now());
        let mut rest = Vec::new();
        there.read_to_end(&mut rest).await.unwrap();
        channel.push_input(&rest, Instant::now());
        channel.process_input(usize::MAX).unwrap();
        let expected = [Message::from("first"), Message::from(["second", "part"])];
        for message in expected {
            assert_eq!(channel.poll_event(), Some(Incoming::Message(message)));
        }
    }
}

#[tokio::test]
async fn bytes_that_were_read_before_are_part_of_the_handshake() {
    for (client, server) in pairs() {
        let (mut here, mut there) = tokio::io::duplex(4096);
        let receiving = async {
            // The host looks at the signature to tell protocols apart.
            let mut input = BytesMut::new();
            while input.len() < 10 {
                there.read_buf(&mut input).await.unwrap();
            }
            let secured = server.conduct(context(), &mut there, &mut input).await;
            (secured, input)
        };
        let (push, (pull, input)) = tokio::join!(conduct(&client, &mut here), receiving);
        drop(push.unwrap());
        drop(pull.unwrap());
        assert!(input.is_empty());
    }
}

/// Everything is there at once: greeting, command, and traffic.
#[tokio::test]
async fn one_read_may_bring_the_whole_handshake_and_traffic() {
    let mut peer = BytesMut::new();
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..16].copy_from_slice(b"NULL");
    peer.extend_from_slice(&greeting);
    let ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH";
    peer.extend_from_slice(&[4, ready.len() as u8]);
    peer.extend_from_slice(ready);
    peer.extend_from_slice(b"\x00\x05hello\x00");
    let (mut here, mut there) = tokio::io::duplex(4096);
    there.write_all(&peer).await.unwrap();
    let mut input = BytesMut::new();
    let pull = null(SocketType::Pull);
    let secured = pull
        .conduct(context(), &mut here, &mut input)
        .await
        .unwrap();
    assert_eq!(&input[..], b"\x00\x05hello\x00");
    let (_, mut channel) = secured.into_channel(input, None, Instant::now());
    assert_eq!(channel.process_input(usize::MAX), Ok(1));
    let hello = Incoming::Message(Message::from("hello"));
    assert_eq!(channel.poll_event(), Some(hello));
}

/// The command that fails is named, whatever came before it in the same read.
#[tokio::test]
async fn a_failure_has_the_stage_of_its_command_also_if_the_greeting_came_with_it() {
    let mut peer = vec![0; 64];
    (peer[0], peer[9], peer[10], peer[11]) = (0xff, 0x7f, 3, 1);
    peer[12..17].copy_from_slice(b"PLAIN");
    // A user name of 9 bytes, of which none follows.
    peer.extend_from_slice(b"\x04\x07\x05HELLO\x09");
    let (mut here, mut there) = tokio::io::duplex(4096);
    there.write_all(&peer).await.unwrap();
    let server = plain_server(SocketType::Pull, admits(), &Limits::default());
    let failed = conduct(&server, &mut here).await.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::Protocol);
    assert_eq!(failed.stage(), zmtp_auth::Stage::PlainHello);
}

#[tokio::test]
async fn a_peer_that_leaves_while_policy_thinks_cancels_the_question() {
    let limits = Limits::default();
    let router = ponders(&limits);
    let server = plain_server(SocketType::Pull, router.clone(), &limits);
    let client = plain_client(SocketType::Push);
    let (mut here, mut there) = tokio::io::duplex(4096);
    let leaving = async {
        tokio::select! {
            _ = conduct(&client, &mut here) => panic!("there is no verdict"),
            () = async {
                while router.in_progress() == 0 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        drop(here);
    };
    let (failed, ()) = tokio::join!(conduct(&server, &mut there), leaving);
    let failed = failed.unwrap_err();
    assert_eq!(failed.kind(), FailureKind::PeerClosed);
    assert_eq!(failed.stage(), zmtp_auth::Stage::Verdict);
    assert_eq!(router.in_progress(), 0);
}

#[tokio::test]
async fn a_peer_that_talks_on_while_policy_thinks_is_cut_off() {
    let limits = Limits::default();
    let router = ponders(&limits);
    let server = null_asks(SocketType::Pull, router.clone(), &limits);
    let (mut here, mut there) = tokio::io::duplex(1 << 20);
    // NULL asks as soon as the greeting is there.
    let client = async {
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
        greeting[12..16].copy_from_slice(b"NULL");
        there.write_all(&greeting).await.unwrap();
        there
            .write_all(&vec![7; limits.max_handshake_command + 100])
            .await
    };
    let (failed, _) = tokio::join!(conduct(&server, &mut here), client);
    assert_eq!(failed.unwrap_err().kind(), FailureKind::Protocol);
    assert_eq!(router.in_progress(), 0);
}

#[tokio::test]
async fn a_dropped_handshake_cancels_the_question_and_keeps_no_bytes() {
    let limits = Limits::default();
    let router = ponders(&limits);
    let server = plain_server(SocketType::Pull, router.clone(), &limits);
    let client = plain_client(SocketType::Push);
    let (mut here, mut there) = tokio::io::duplex(4096);
    let mut input = BytesMut::new();
    tokio::select! {
        _ = conduct(&client, &mut here) => panic!("there is no verdict"),
        _ = server.conduct(context(), &mut there, &mut input) => panic!("there is no verdict"),
        () = async {
            while router.in_progress() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(router.in_progress(), 0);
    assert!(input.is_empty());
}

/// PLAIN asks about HELLO, and two commands follow the verdict.
#[tokio::test]
async fn a_revocation_between_verdict_and_completion_is_a_denial() {
    for ends in [false, true] {
        let admission = Admission::new();
        let server = plain_server(SocketType::Pull, admission.router(), &Limits::default());
        let client = plain_client(SocketType::Push);
        let (here, mut there) = tokio::io::duplex(4096);
        // WELCOME has come, so the verdict has been given.
        let mut here = tokio_stream(here, move |read| {
            if ends && read.windows(7).any(|bytes| bytes == b"WELCOME") {
                admission.end();
            }
        });
        let (push, pull) = tokio::join!(conduct(&client, &mut here), conduct(&server, &mut there));
        drop(push.unwrap());
        match pull {
            Ok(_) => assert!(!ends),
            Err(failed) => {
                assert!(ends);
                assert_eq!(failed.kind(), FailureKind::Denied);
            }
        }
    }
}

/// A verdict that takes its time, while the peer has sent its next bytes already.
#[tokio::test(start_paused = true)]
async fn a_late_verdict_admits_all_the_same() {
    let router = ZapRouter::new();
    let slow = async |request: ZapRequest| {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        request.allow("alice")
    };
    router.bind("*", slow).unwrap();
    let server = null_asks(SocketType::Pull, router, &Limits::default());
    let (push, pull) = both(&null(SocketType::Push), &server, 4096).await;
    drop(push.unwrap());
    assert_eq!(pull.unwrap().peer().user_id().unwrap(), "alice");
}

/// A stream that shows what is read from it.
fn tokio_stream<S>(
    stream: S,
    read: impl FnMut(&[u8]) + Unpin,
) -> Watched<S, impl FnMut(&[u8]) + Unpin> {
    Watched { stream, read }
}

struct Watched<S, F> {
    stream: S,
    read: F,
}

impl<S: tokio::io::AsyncRead + Unpin, F: FnMut(&[u8]) + Unpin> tokio::io::AsyncRead
    for Watched<S, F>
{
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(cx, buffer);
        (self.read)(&buffer.filled()[before..]);
        polled
    }
}

impl<S: tokio::io::AsyncWrite + Unpin, F: Unpin> tokio::io::AsyncWrite for Watched<S, F> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! How a handshake fails: each cause has its kind, its time, and its end.

use crate::parties::*;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::Instant;
use zmtp_auth::host::{Failed, FailureKind};
use zmtp_auth::zap::{ZapRequest, ZapRouter};
use zmtp_auth::{Config, Credential, DenialStatus, KeyPair, Limits, Security, SocketType, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn denies(status: DenialStatus) -> ZapRouter {
    let router = ZapRouter::new();
    let deny = move |request: ZapRequest| async move { request.deny(status, "no") };
    router.bind("*", deny).unwrap();
    router
}

fn limits() -> Limits {
    Limits::default()
        .with_greeting_timeout(2 * SECOND)
        .with_handshake_timeout(9 * SECOND)
        .with_verdict_timeout(4 * SECOND)
        .with_linger_timeout(3 * SECOND)
        .with_linger_bytes(10_000)
}

#[track_caller]
fn kinds(
    (client, server): (
        Result<zmtp_auth::host::Secured, Failed>,
        Result<zmtp_auth::host::Secured, Failed>,
    ),
) -> (Option<FailureKind>, Option<FailureKind>) {
    let kind = |outcome: Result<_, Failed>| outcome.err().map(|failed| failed.kind());
    (kind(client), kind(server))
}

/// A name, the client, the server, and the kind of failure on each side.
type Case = (
    &'static str,
    Security,
    Security,
    (Option<FailureKind>, Option<FailureKind>),
);

#[tokio::test(start_paused = true)]
async fn one_match_tells_what_went_wrong() {
    use FailureKind as Kind;
    let limits = limits();
    let plain = || plain_client(SocketType::Push);
    let (curve_client, curve_server) = curve(denies(DenialStatus::Failure), &limits);
    let stranger = Config::builder(SocketType::Push)
        .curve_client(
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap().public_key(),
        )
        .finish();
    let plain_server = |router| plain_server(SocketType::Pull, router, &limits);
    let cases: Vec<Case> = vec![
        (
            "wrong server key",
            stranger.unwrap().into(),
            curve_server.clone(),
            (Some(Kind::WrongServerKey), Some(Kind::WrongServerKey)),
        ),
        (
            "CURVE 400",
            curve_client,
            curve_server,
            (Some(Kind::Refused), Some(Kind::Denied)),
        ),
        (
            "PLAIN 400",
            plain(),
            plain_server(denies(DenialStatus::Failure)),
            (Some(Kind::Refused), Some(Kind::Denied)),
        ),
        (
            "PLAIN 300",
            plain(),
            plain_server(denies(DenialStatus::Temporary)),
            (Some(Kind::RefusedForNow), Some(Kind::Denied)),
        ),
        (
            "PLAIN 500",
            plain(),
            plain_server(denies(DenialStatus::Internal)),
            (Some(Kind::Refused), Some(Kind::Denied)),
        ),
        (
            "no verdict in time",
            plain(),
            plain_server(ponders(&limits)),
            (Some(Kind::RefusedForNow), Some(Kind::Denied)),
        ),
        (
            "another mechanism",
            plain(),
            null(SocketType::Pull),
            (Some(Kind::OtherMechanism), Some(Kind::OtherMechanism)),
        ),
        (
            "socket types",
            null(SocketType::Push),
            null(SocketType::Pub),
            (
                Some(Kind::SocketTypeMismatch),
                Some(Kind::SocketTypeMismatch),
            ),
        ),
    ];
    for (what, client, server, expected) in cases {
        let outcomes = both(&client, &server, 4096).await;
        assert_eq!(kinds(outcomes), expected, "{what}");
    }
}

#[tokio::test]
async fn an_older_protocol_is_told_apart_from_nonsense() {
    for (sent, kind) in [
        (&b"\x01\x00"[..], FailureKind::OldProtocol),
        (b"\xff\0\0\0\0\0\0\0\x01\x7f\x01", FailureKind::OldProtocol),
        (b"GET / HTTP/1.1\r\n", FailureKind::OldProtocol),
        (b"", FailureKind::PeerClosed),
        (b"\xff\0\0\0", FailureKind::PeerClosed),
    ] {
        let (mut here, mut there) = tokio::io::duplex(4096);
        there.write_all(sent).await.unwrap();
        there.shutdown().await.unwrap();
        let mut input = BytesMut::new();
        let failed = null(SocketType::Pull)
            .conduct(context(), &mut here, &mut input)
            .await
            .unwrap_err();
        assert_eq!(failed.kind(), kind, "{sent:?}: {failed:?}");
        assert_eq!(failed.stage(), Stage::Greeting);
        assert!(input.is_empty());
    }
}

#[tokio::test]
async fn a_failure_says_who_it_was_and_becomes_an_io_error_that_keeps_it() {
    let (client, server) = curve(denies(DenialStatus::Failure), &limits());
    let (_, failed) = both(&client, &server, 4096).await;
    let failed = failed.unwrap_err();
    assert!(matches!(failed.credential(), Some(Credential::Key(_))));
    assert!(failed.domain() == Some(&zmtp_auth::Domain::EMPTY));
    let io = io::Error::from(failed);
    assert_eq!(io.kind(), io::ErrorKind::PermissionDenied);
    let kept: &Failed = io.get_ref().unwrap().downcast_ref().unwrap();
    assert_eq!(kept.kind(), FailureKind::Denied);
}

/// Sends `bytes` to a server and nothing more; how long it waits, and how it fails.
async fn silent_after(server: &Security, bytes: &[u8]) -> (Duration, Failed) {
    let (mut here, mut there) = tokio::io::duplex(4096);
    there.write_all(bytes).await.unwrap();
    let start = Instant::now();
    let failed = conduct(server, &mut here).await.unwrap_err();
    (start.elapsed(), failed)
}

fn greeting(mechanism: &[u8]) -> [u8; 64] {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..12 + mechanism.len()].copy_from_slice(mechanism);
    greeting
}

#[tokio::test(start_paused = true)]
async fn time_outs_are_kept_to_the_millisecond() {
    let server = plain_server(SocketType::Pull, ponders(&limits()), &limits());
    let hello = b"\x04\x13\x05HELLO\x05alice\x06secret";
    let cases = [
        (vec![], 2, Stage::Greeting, FailureKind::TimedOut),
        (
            greeting(b"PLAIN")[..63].to_vec(),
            2,
            Stage::Greeting,
            FailureKind::TimedOut,
        ),
        (
            greeting(b"PLAIN").to_vec(),
            9,
            Stage::PlainHello,
            FailureKind::TimedOut,
        ),
        (
            [&greeting(b"PLAIN"), &hello[..10]].concat(),
            9,
            Stage::PlainHello,
            FailureKind::TimedOut,
        ),
        // The router denies with 300, which sends no ERROR.
        (
            [&greeting(b"PLAIN"), &hello[..]].concat(),
            4,
            Stage::Verdict,
            FailureKind::Denied,
        ),
    ];
    for (bytes, seconds, stage, kind) in cases {
        let (time, failed) = silent_after(&server, &bytes).await;
        assert_eq!((failed.stage(), failed.kind()), (stage, kind), "{failed:?}");
        let late = time - seconds * SECOND;
        assert!(late < Duration::from_millis(5), "{stage}: {time:?}");
    }
}

/// The whole handshake is over when its time is, although policy has time left.
#[tokio::test(start_paused = true)]
async fn a_verdict_does_not_outlast_the_handshake() {
    let limits = limits()
        .with_handshake_timeout(3 * SECOND)
        .with_verdict_timeout(60 * SECOND);
    let router = ponders(&limits);
    let server = null_asks(SocketType::Pull, router.clone(), &limits);
    let (time, failed) = silent_after(&server, &greeting(b"NULL")).await;
    assert_eq!(failed.kind(), FailureKind::TimedOut);
    assert_eq!(failed.stage(), Stage::Verdict);
    assert!(time < 4 * SECOND, "{time:?}");
    assert_eq!(router.in_progress(), 0);
}

/// A peer that takes nothing: the time-out ends a write, too.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_runs_into_the_time_out() {
    let server = null_asks(SocketType::Pull, admits(), &limits());
    let (mut here, mut there) = tokio::io::duplex(16);
    let client = async {
        let _ = there.write_all(&greeting(b"NULL")).await;
        std::future::pending::<()>().await;
    };
    let start = Instant::now();
    let failed = tokio::select! {
        failed = conduct(&server, &mut here) => failed.unwrap_err(),
        () = client => unreachable!(),
    };
    assert_eq!(failed.kind(), FailureKind::TimedOut);
    // There is no ERROR to linger for.
    assert!(start.elapsed() < 10 * SECOND);
}

/// A client of PLAIN that is refused, by hand.
async fn refused(there: &mut DuplexStream) {
    there.write_all(&greeting(b"PLAIN")).await.unwrap();
    there
        .write_all(b"\x04\x13\x05HELLO\x05alice\x06secret")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_waits_for_its_reader() {
    let server = plain_server(SocketType::Pull, denies(DenialStatus::Failure), &limits());
    let (mut here, mut there) = tokio::io::duplex(4096);
    let client = async {
        refused(&mut there).await;
        // It reads late, and sees the end of the stream without having closed.
        tokio::time::sleep(2 * SECOND).await;
        let mut read = Vec::new();
        there.read_to_end(&mut read).await.unwrap();
        assert!(read.ends_with(b"\x05ERROR\x03400"), "{read:?}");
        drop(there);
    };
    let start = Instant::now();
    let (failed, ()) = tokio::join!(conduct(&server, &mut here), client);
    assert_eq!(failed.unwrap_err().kind(), FailureKind::Denied);
    let time = start.elapsed();
    assert!(2 * SECOND <= time && time < 3 * SECOND, "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_closes_or_talks_on_ends_the_wait() {
    for (talks, expected) in [(false, 3 * SECOND), (true, Duration::ZERO)] {
        let server = plain_server(SocketType::Pull, denies(DenialStatus::Failure), &limits());
        let (mut here, mut there) = tokio::io::duplex(4096);
        let client = async {
            refused(&mut there).await;
            if talks {
                while there.write_all(&[7; 1000]).await.is_ok() {}
            }
            std::future::pending::<()>().await;
        };
        let start = Instant::now();
        let failed = tokio::select! {
            failed = conduct(&server, &mut here) => failed.unwrap_err(),
            () = client => unreachable!(),
        };
        assert_eq!(failed.kind(), FailureKind::Denied);
        let late = start.elapsed() - expected;
        assert!(late < Duration::from_millis(5), "{late:?}");
    }
}

/// A stream that fails in its own way.
struct Fails {
    reads: Vec<io::Result<Vec<u8>>>,
    write: fn(usize) -> io::Result<usize>,
}

impl AsyncRead for Fails {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads.is_empty() {
            return Poll::Ready(Ok(()));
        }
        buffer.put_slice(&self.reads.remove(0)?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fails {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready((self.write)(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

#[tokio::test]
async fn errors_of_the_stream_are_told_from_a_peer_that_leaves() {
    let broken = |kind: io::ErrorKind| move || Err(io::Error::from(kind));
    let reset = broken(io::ErrorKind::ConnectionReset);
    let other = broken(io::ErrorKind::StorageFull);
    let takes_all: fn(usize) -> io::Result<usize> = Ok;
    let takes_none: fn(usize) -> io::Result<usize> = |_| Ok(0);
    let hangs_up: fn(usize) -> io::Result<usize> = |_| Err(io::ErrorKind::BrokenPipe.into());
    let error_command = b"\x04\x0a\x05ERROR\x03400".to_vec();
    let cases = [
        ("reset", vec![reset()], takes_all, FailureKind::PeerClosed),
        ("read", vec![other()], takes_all, FailureKind::Io),
        (
            "write",
            vec![Ok(greeting(b"PLAIN").to_vec())],
            takes_none,
            FailureKind::Io,
        ),
        // What it sent before it left is read, although writing fails.
        (
            "hang-up",
            vec![Ok(greeting(b"PLAIN").to_vec()), Ok(error_command)],
            hangs_up,
            FailureKind::Refused,
        ),
    ];
    for (what, reads, write, kind) in cases {
        let mut stream = Fails { reads, write };
        let client = plain_client(SocketType::Push);
        let failed = conduct(&client, &mut stream).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{what}: {failed:?}");
        assert_eq!(failed.io_error().is_some(), kind == FailureKind::Io);
    }
}

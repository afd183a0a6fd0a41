//! `AuthStream` over the traits of `futures-io`, without a runtime.

mod simulated;

use bytes::{Buf, BufMut, BytesMut};
use simulated::{End, Time, join, pair};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::time::Duration;
use zmtp_auth::auth::Authenticator;
use zmtp_auth::host::{
    AuthStream, AuthStreamOptions, ByteStream, Clock, FuturesStream, MessageReader, MessageWriter,
    StreamError,
};
use zmtp_auth::traffic::Message;
use zmtp_auth::traffic::heartbeat::{Expiry, HeartbeatExpired, HeartbeatSettings};
use zmtp_auth::zap::ZapRouter;
use zmtp_auth::{
    Config, Domain, KeyPair, Limits, PeerAddress, PeerContext, PublicKey, Security, SocketType,
};

const SECOND: Duration = Duration::from_secs(1);
/// Bytes on their way in one direction.
const ROOM: usize = 2000;

fn context() -> PeerContext {
    PeerContext::new(PeerAddress::from_zap(b"127.0.0.1"))
}

fn null() -> Security {
    let config = Config::builder(SocketType::Dealer).null().accept_any_peer();
    config.finish().unwrap().into()
}

fn client(server: PublicKey) -> Security {
    let builder = Config::builder(SocketType::Dealer);
    let config = builder.curve_client(KeyPair::generate().unwrap(), server);
    config.finish().unwrap().into()
}

/// A CURVE server, and the policy that admits every key until it says otherwise.
fn server() -> (PublicKey, Security, Authenticator) {
    let keys = KeyPair::generate().unwrap();
    let key = keys.public_key();
    let auth = Authenticator::new();
    let _ = auth.configure_curve_any("host");
    let router = ZapRouter::new();
    router.bind("host", auth.clone()).unwrap();
    let limits = Limits::default().with_handshake_timeout(7 * SECOND);
    let config = Config::builder(SocketType::Dealer)
        .limits(limits)
        .curve_server(keys)
        .authorize(Domain::from("host"));
    (
        key,
        Security::from((config.finish().unwrap(), router)),
        auth,
    )
}

/// A program after its handshake, over a stream of `futures-io`.
struct Party<S> {
    stream: FuturesStream<S>,
    input: BytesMut,
    reader: MessageReader,
    writer: MessageWriter,
}

impl<S> Party<S>
where
    FuturesStream<S>: ByteStream,
{
    async fn meet(stream: S, security: &Security, time: &Time) -> Self {
        let mut stream = FuturesStream(stream);
        let mut input = BytesMut::new();
        let secured = security.conduct_on(context(), &mut stream, time, &mut input);
        let (reader, writer) = secured.await.unwrap().into_messages();
        Self {
            stream,
            input,
            reader,
            writer,
        }
    }

    async fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        let mut out = BytesMut::new();
        self.writer.write(message.into(), &mut out)?;
        self.write(out).await
    }

    async fn write(&mut self, mut out: BytesMut) -> io::Result<()> {
        while !out.is_empty() {
            let parts = [IoSlice::new(&out)];
            let written = poll_fn(|cx| self.stream.poll_write(cx, &parts)).await?;
            out.advance(written);
        }
        poll_fn(|cx| self.stream.poll_flush(cx)).await
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(incoming) = self.reader.read(&mut self.input)? {
                return Ok(incoming.into_message());
            }
            self.input.reserve(4096);
            let input = &mut self.input;
            if poll_fn(|cx| self.stream.poll_read(cx, &mut input.limit(4096))).await? == 0 {
                assert!(input.is_empty(), "cut within a frame");
                return Ok(None);
            }
        }
    }

    async fn recv(&mut self) -> Message {
        self.next().await.unwrap().expect("a message")
    }

    async fn close(&mut self) {
        poll_fn(|cx| self.stream.poll_shutdown_write(cx))
            .await
            .unwrap();
    }
}

type Pair = (Party<AuthStream<End>>, Party<End>);

/// A host that has accepted, and the client that has connected to it.
fn accepted(time: &Time, options: &AuthStreamOptions) -> (Pair, Authenticator) {
    let (key, server, auth) = server();
    let (network, far) = pair(ROOM);
    let host = async {
        let accepting = AuthStream::accept_on(time.clone(), network, context(), &server, options);
        Party::meet(accepting.await.unwrap(), &null(), time).await
    };
    let (host, peer) = join(time, host, async {
        Party::meet(far, &client(key), time).await
    });
    ((host, peer), auth)
}

/// A host that has connected, and its server.
fn connected(time: &Time) -> Pair {
    let (key, server, _) = server();
    let (network, far) = pair(ROOM);
    let options = AuthStreamOptions::default();
    let host = async {
        let client = client(key);
        let connecting = AuthStream::connect_on(time.clone(), network, &client, &options);
        Party::meet(connecting.await.unwrap(), &null(), time).await
    };
    join(time, host, async { Party::meet(far, &server, time).await })
}

fn cause(error: &io::Error) -> Option<&StreamError> {
    error.get_ref()?.downcast_ref()
}

#[test]
fn messages_cross_both_ways_and_each_side_closes_by_itself() {
    let time = Time::new();
    let options = AuthStreamOptions::default();
    for (mut host, mut peer) in [accepted(&time, &options).0, connected(&time)] {
        for size in [0, 1, 300, 70_000] {
            let body = vec![7; size];
            let message = Message::from([b"part".to_vec(), body]);
            let there = async {
                host.send(message.clone()).await.unwrap();
                host.recv().await
            };
            let back = async {
                let got = peer.recv().await;
                peer.send(got.clone()).await.unwrap();
                got
            };
            let (back, there) = join(&time, there, back);
            assert!(back == message && there == message, "{size}");
        }
        let closing = async {
            host.close().await;
            let last = host.recv().await;
            assert!(host.next().await.unwrap().is_none());
            last
        };
        let answering = async {
            assert!(peer.next().await.unwrap().is_none());
            peer.send("last").await.unwrap();
            peer.close().await;
        };
        let (last, ()) = join(&time, closing, answering);
        assert_eq!(last, Message::from("last"));
    }
}

#[test]
fn a_revocation_wakes_a_read_that_waits_and_closes_the_network() {
    let time = Time::new();
    let ((mut host, mut peer), auth) = accepted(&time, &AuthStreamOptions::default());
    let reading = async { host.next().await.unwrap_err() };
    let revoking = async {
        time.sleep(SECOND).await;
        auth.deny(["127.0.0.1"]).unwrap();
        assert!(peer.next().await.unwrap().is_none());
    };
    let (error, ()) = join(&time, reading, revoking);
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(cause(&error), Some(&StreamError::Revoked));
}

#[test]
fn the_time_outs_are_those_of_the_clock_that_was_handed_in() {
    let time = Time::new();
    let every = HeartbeatSettings::every(SECOND).with_expiry(Expiry::Always);
    let options = AuthStreamOptions::default().with_heartbeat(every);
    let ((mut host, peer), _) = accepted(&time, &options);
    let start = time.now();
    let (error, ()) = join(&time, async { host.next().await.unwrap_err() }, async {});
    let expired = StreamError::Heartbeat(HeartbeatExpired::NoAnswer);
    assert_eq!(cause(&error), Some(&expired));
    assert_eq!(time.now() - start, 2 * SECOND);
    drop(peer);

    // A host that never greets.
    let (key, server, _) = server();
    let (network, far) = pair(ROOM);
    let start = time.now();
    let host = async {
        let options = AuthStreamOptions::default();
        let accepting = AuthStream::accept_on(time.clone(), network, context(), &server, &options);
        let mut stream = FuturesStream(accepting.await.unwrap());
        let mut bytes = BytesMut::with_capacity(1000);
        loop {
            let read = poll_fn(|cx| stream.poll_read(cx, &mut (&mut bytes).limit(100)));
            if let Err(error) = read.await {
                return error;
            }
        }
    };
    let peer = async {
        let client = client(key);
        let (mut far, mut input) = (FuturesStream(far), BytesMut::new());
        let meeting = client.conduct_on(context(), &mut far, &time, &mut input);
        assert!(meeting.await.is_err());
    };
    let (error, ()) = join(&time, host, peer);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(time.now() - start, 7 * SECOND);
}

#[test]
fn a_stream_that_is_dropped_while_its_read_waited_closes_the_network() {
    let time = Time::new();
    let ((mut host, mut peer), _) = accepted(&time, &AuthStreamOptions::default());
    let dropping = async {
        {
            let mut next = std::pin::pin!(host.next());
            poll_fn(|cx| {
                assert!(next.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        drop(host);
    };
    let ((), end) = join(&time, dropping, peer.next());
    assert!(end.unwrap().is_none());
}

//! Whatever the host polls, both directions go on, and no more is held than the bounds allow.

use super::party::Party;
use super::rig::{ROOM, accepted, connected, in_time};
use bytes::BytesMut;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::task::yield_now;
use zmtp_auth::wire::command::TrafficCommand;
use zmtp_auth::wire::frame::Flags;

const KIB: usize = 1024;

fn ping() -> bytes::Bytes {
    let context = "there?".into();
    TrafficCommand::Ping { ttl: 0, context }.encode().unwrap()
}

/// Writes until the stream takes no more, and returns how much it took.
async fn fill(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> usize {
    let mut taken = 0;
    let mut idle = 0;
    while idle < 10 && taken < bytes.len() {
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *stream).poll_write(cx, &bytes[taken..]) {
            Poll::Ready(count) => {
                taken += count.unwrap();
                idle = 0;
            }
            Poll::Pending => {
                idle += 1;
                yield_now().await;
            }
        }
    }
    taken
}

#[tokio::test]
async fn a_host_that_only_writes_answers_pings() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    in_time(async {
        peer.send_frame(Flags::Command, &ping()).await.unwrap();
        host.send(b"one").await.unwrap();
        host.send(b"two").await.unwrap();
        let mut bodies = Vec::new();
        for _ in 0..3 {
            bodies.push(peer.recv().await);
        }
        assert!(bodies.contains(&"one".into()) && bodies.contains(&"two".into()));
        assert!(bodies.iter().any(|body| body.starts_with(b"\x04PONG")));
    })
    .await;
}

#[tokio::test]
async fn a_host_that_only_reads_sends_what_it_has_written() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    let bytes = host.encode(Flags::Last, &[7; 50 * KIB]);
    // It fits into the stream, and not into the network.
    in_time(host.stream.write_all(&bytes)).await.unwrap();
    let reading = async {
        let mut byte = [0];
        host.stream.read(&mut byte).await
    };
    let got = async {
        let got = peer.recv().await;
        peer.stream.shutdown().await.unwrap();
        got
    };
    let (read, got) = in_time(async { tokio::join!(reading, got) }).await;
    assert_eq!(read.unwrap(), 0);
    assert_eq!(got.len(), 50 * KIB);
}

#[tokio::test]
async fn two_tasks_may_poll_one_half_each() {
    for round in 0..20 {
        let (mut host, mut peer) = connected("curve", ROOM).await;
        let message = host.encode(Flags::Last, &[7; 3000]);
        let (mut reader, mut writer) = split(host.stream);
        let writing = tokio::spawn(async move {
            for _ in 0..50 {
                writer.write_all(&message[..]).await.unwrap();
                if round % 2 == 0 {
                    break;
                }
            }
            writer.flush().await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        in_time(async {
            let mut got = 0;
            while let Some(frame) = peer.next().await.unwrap() {
                assert_eq!(frame.body.len(), 3000);
                got += 1;
                peer.send(b"0123456789").await.unwrap();
            }
            peer.stream.shutdown().await.unwrap();
            writing.await.unwrap();
            assert_eq!(reading.await.unwrap(), 12 * got);
        })
        .await;
    }
}

#[tokio::test]
async fn a_host_that_does_not_read_holds_its_peer_up_and_not_the_other_direction() {
    for connects in [false, true] {
        let (mut host, mut peer) = match connects {
            false => accepted("curve", ROOM).await,
            true => connected("curve", ROOM).await,
        };
        let mut bytes = BytesMut::new();
        let mut sent = 0;
        let mut taken = 0;
        // The host only writes, which lets the peer's messages in.
        for _ in 0..200 {
            if bytes.len() - taken < 4000 {
                bytes.extend_from_slice(&peer.encode(Flags::Last, &[7; 1000]));
                sent += 1;
            }
            taken += fill(&mut peer.stream, &bytes[taken..]).await;
            host.send(b"on").await.unwrap();
            assert_eq!(peer.recv().await, "on");
        }
        // 64 KiB wait for the host, a read's worth of messages behind them, and what the network
        // itself holds.
        assert!((64 * KIB..150 * KIB).contains(&taken), "{taken} of {sent}");
        let peer_goes_on = async {
            peer.stream.write_all(&bytes[taken..]).await.unwrap();
            peer.stream.shutdown().await.unwrap();
        };
        let host_reads = async {
            let mut got = 0;
            while let Some(frame) = host.next().await.unwrap() {
                assert_eq!(frame.body.len(), 1000);
                got += 1;
            }
            got
        };
        let ((), got) = in_time(async { tokio::join!(peer_goes_on, host_reads) }).await;
        assert_eq!(got, sent);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_the_host_up_and_not_the_other_direction() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    let mut bytes = BytesMut::new();
    for _ in 0..1000 {
        bytes.extend_from_slice(&host.encode(Flags::Last, &[7; 1000]));
    }
    let taken = in_time(fill(&mut host.stream, &bytes)).await;
    assert!((64 * KIB..200 * KIB).contains(&taken), "{taken}");
    peer.send(b"on").await.unwrap();
    assert_eq!(in_time(host.recv()).await, "on");
    let host_goes_on = async {
        host.stream.write_all(&bytes[taken..]).await.unwrap();
        host.stream.shutdown().await.unwrap();
    };
    let peer_reads = async {
        let mut got = 0;
        while peer.next().await.unwrap().is_some() {
            got += 1;
        }
        got
    };
    let ((), got) = in_time(async { tokio::join!(host_goes_on, peer_reads) }).await;
    assert_eq!(got, 1000);
}

#[tokio::test]
async fn reads_and_writes_that_are_given_up_lose_nothing() {
    let (mut host, mut peer) = accepted("curve", ROOM).await;
    let outgoing: Vec<u8> = (0..100)
        .flat_map(|number: u8| host.encode(Flags::Last, &[number; 700]).to_vec())
        .collect();
    let mut to_send = Vec::new();
    for number in 0..100_u8 {
        to_send.extend_from_slice(&peer.encode(Flags::Last, &[number; 700]));
    }
    let mut given = 0;
    let mut fed = 0;
    let mut read = Vec::new();
    let mut heard = Vec::new();
    let mut turns = 0;
    while heard.len() < 100 || read.len() < 100 * 709 {
        turns += 1;
        assert!(turns < 100_000, "{} {}", heard.len(), read.len());
        // Each call is polled once and then dropped.
        let cx = &mut Context::from_waker(Waker::noop());
        let host = &mut host.stream;
        if given < outgoing.len() {
            let end = outgoing.len().min(given + 100);
            if let Poll::Ready(count) = Pin::new(&mut *host).poll_write(cx, &outgoing[given..end]) {
                given += count.unwrap();
            }
        }
        let _ = Pin::new(&mut *host).poll_flush(cx);
        let mut room = [0; 333];
        let mut buffer = ReadBuf::new(&mut room);
        if let Poll::Ready(outcome) = Pin::new(&mut *host).poll_read(cx, &mut buffer) {
            outcome.unwrap();
            read.extend_from_slice(buffer.filled());
        }
        if fed < to_send.len() {
            let end = to_send.len().min(fed + 500);
            if let Poll::Ready(count) =
                Pin::new(&mut peer.stream).poll_write(cx, &to_send[fed..end])
            {
                fed += count.unwrap();
            }
        }
        while let Some(frame) = next_now(&mut peer) {
            heard.push(frame);
        }
        yield_now().await;
    }
    let expected: Vec<_> = (0..100_u8).map(|number| vec![number; 700]).collect();
    assert_eq!(heard, expected);
    let bodies: Vec<_> = read.chunks(709).map(|frame| frame[9..].to_vec()).collect();
    assert_eq!(bodies, expected);
}

/// The next frame, if it is here.
fn next_now<S: AsyncRead + AsyncWrite + Unpin>(party: &mut Party<S>) -> Option<bytes::Bytes> {
    let mut next = Box::pin(party.next());
    let cx = &mut Context::from_waker(Waker::noop());
    match next.as_mut().poll(cx) {
        Poll::Ready(frame) => Some(frame.unwrap().expect("it goes on").body),
        Poll::Pending => None,
    }
}
